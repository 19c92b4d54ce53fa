//! Channels kept apart: one for each combination of everything that makes a connection its owner's.

use crate::client::build_error::BuildError;
use crate::client::builder::ChannelBuilder;
use crate::client::channel::Channel;
use crate::client::shard_key::ShardKey;
use crate::pool::{Cap, PoolStats};
use crate::rt::sync::Mutex;
use std::collections::HashMap;

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
