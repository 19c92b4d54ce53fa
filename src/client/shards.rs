//! Channels kept apart: one for each combination of everything that makes a connection its owner's.

use crate::client::builder::{BuildError, ChannelBuilder};
use crate::client::channel::Channel;
use crate::pool::{Cap, PoolStats};
use crate::rt::sync::{Mutex, next_id};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A part of a key that is named by its owner, or is like no other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) enum Part {
    /// The crate's own.
    #[default]
    Default,
    /// Equal where the name is.
    Named(Arc<str>),
    /// Equal to its own copies only.
    Unique(u64),
}

impl Part {
    pub(super) fn unique() -> Self {
        Self::Unique(next_id())
    }

    /// Gives it a name, if there is anything to be named.
    pub(super) fn name(&mut self, name: &str) {
        if *self != Self::Default {
            *self = Self::Named(name.into());
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Named(name) => write!(f, "{name:?}"),
            Self::Unique(id) => write!(f, "#{id}"),
        }
    }
}

/// What two calls must have in common to share a connection, compared part by part: a key that is a
/// hash of its parts mixes owners as soon as two hashes meet.
///
/// | part | from |
/// |---|---|
/// | scheme, host, port or Unix path | the target |
/// | `:authority` | the target, or [`ChannelBuilder::authority`] |
/// | TLS identity, roots, verifier | the `ClientTls`: equal for its clones alone, whatever it is replaced by; its server name (SNI) apart |
/// | the way there: proxy, tunnel | [`ChannelBuilder::connector`], equal for none but where [`ChannelBuilder::via`] names it |
/// | resolver | [`ChannelBuilder::resolver`], likewise ([`ChannelBuilder::resolved_by`]) |
/// | interceptors | [`ChannelBuilder::intercept`], likewise ([`ChannelBuilder::intercepted_as`]) |
/// | tenant | [`ChannelBuilder::shard`] |
///
/// Credentials of a call, such as `authorization`, are metadata and no part of it. Nor are options,
/// message limits and policies: those of the channel that was built first hold.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ShardKey {
    /// As it reads: no two targets read alike.
    pub(super) target: String,
    pub(super) authority: String,
    pub(super) tls: Option<(u64, Option<String>)>,
    pub(super) connector: Part,
    pub(super) resolver: Part,
    pub(super) interceptors: Part,
    pub(super) tenant: Option<Arc<str>>,
}

impl ShardKey {
    /// The tenant, if one was named.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.target, self.authority)?;
        if let Some((id, name)) = &self.tls {
            write!(f, ", TLS #{id}")?;
            if let Some(name) = name {
                write!(f, " to {name:?}")?;
            }
        }
        if self.connector != Part::Default {
            write!(f, ", via {}", self.connector)?;
        }
        if self.resolver != Part::Default {
            write!(f, ", resolver {}", self.resolver)?;
        }
        if self.interceptors != Part::Default {
            write!(f, ", interceptors {}", self.interceptors)?;
        }
        match &self.tenant {
            Some(tenant) => write!(f, ", tenant {tenant:?}"),
            None => Ok(()),
        }
    }
}

/// Keeps one channel for each [`ShardKey`]: who asks with an equal key gets the same channel, who
/// differs in any part shares no connection, no queue and no TLS session with it.
///
/// Isolation costs connections × tenants; [`Channel::tenant`] is the cheap form for tenants that may
/// meet on a connection.
#[derive(Debug)]
pub struct Channels {
    most: usize,
    sockets: u32,
    dials: u32,
    shards: Mutex<HashMap<ShardKey, Channel>>,
}

impl Channels {
    /// At most `shards` channels (zero counts as one). Each gets a [`Cap`] of its own inside the
    /// process's: `sockets` connections, `dials` a second, unless its options bring one.
    #[must_use]
    pub fn new(shards: usize, sockets: u32, dials: u32) -> Self {
        Self { most: shards.max(1), sockets, dials, shards: Mutex::new(HashMap::new()) }
    }

    /// The channel of that key; built, if there is none yet. A channel that is there keeps the
    /// options with which it was built.
    ///
    /// # Errors
    /// For a key that is new, as [`ChannelBuilder::build`], and [`BuildError::TooManyShards`] when there are as many as
    /// allowed and every one is in use: somebody holds it, or it has connections.
    pub fn get(&self, builder: ChannelBuilder) -> Result<Channel, BuildError> {
        let key = builder.shard_key()?;
        let mut shards = self.shards.lock();
        if let Some(channel) = shards.get(&key) {
            return Ok(channel.clone());
        }
        let full = shards.len() >= self.most;
        let unused = shards.iter().find(|(_, channel)| full && channel.is_unused());
        let unused = unused.map(|(key, _)| key.clone());
        if full && unused.is_none() {
            return Err(BuildError::TooManyShards { most: self.most });
        }
        let cap = Cap::inside(&Cap::process(), self.sockets, self.dials);
        let channel = builder.cap_if_none(cap).build()?;
        let evicted = unused.and_then(|key| shards.remove(&key));
        shards.insert(key, channel.clone());
        drop(shards);
        drop(evicted);
        Ok(channel)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What each channel does at this instant.
    #[must_use]
    pub fn stats(&self) -> Vec<(ShardKey, PoolStats)> {
        let shards: Vec<_> =
            self.shards.lock().iter().map(|(key, one)| (key.clone(), one.clone())).collect();
        shards.into_iter().map(|(key, channel)| (key, channel.stats())).collect()
    }
}
