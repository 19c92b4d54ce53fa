//! Separate channels, one per [`ShardKey`].

use crate::client::build_error::BuildError;
use crate::client::builder::ChannelBuilder;
use crate::client::channel::Channel;
use crate::client::shard_key::ShardKey;
use crate::pool::{Cap, PoolStats};
use crate::rt::sync::Mutex;
use std::collections::HashMap;

/// A set of channels, one per [`ShardKey`]: equal keys get the same channel; channels whose keys
/// differ in any part share no connection, queue or TLS session.
///
/// Isolation costs connections × tenants. [`Channel::tenant`] is cheaper, for tenants that may share
/// connections.
///
/// ```
/// use framewire::client::{Channel, Channels};
///
/// // At most 100 channels, each with at most 8 sockets and 4 dials per second.
/// let channels = Channels::new(100, 8, 4);
/// let builder = || Channel::builder("http://users.local:80");
/// let red = channels.get(builder().shard("red"))?;
/// let blue = channels.get(builder().shard("blue"))?;
/// let again = channels.get(builder().shard("red"))?;
/// assert_eq!(channels.len(), 2, "the third call returned the first channel");
/// # Ok::<(), framewire::client::BuildError>(())
/// ```
#[derive(Debug)]
pub struct Channels {
    most: usize,
    sockets: u32,
    dials: u32,
    shards: Mutex<HashMap<ShardKey, Channel>>,
}

impl Channels {
    /// Creates an empty set of at most `shards` channels; 0 counts as 1. Each channel gets a [`Cap`]
    /// of its own inside the process's, of `sockets` connections and `dials` per second, unless
    /// [`Advanced::cap`](super::Advanced::cap) sets another one.
    #[must_use]
    pub fn new(shards: usize, sockets: u32, dials: u32) -> Self {
        Self { most: shards.max(1), sockets, dials, shards: Mutex::new(HashMap::new()) }
    }

    /// Returns the channel of the builder's key, and builds it if there is none. An existing channel
    /// keeps the options with which it was built.
    ///
    /// # Errors
    /// For a new key those of [`ChannelBuilder::build`], and [`BuildError::TooManyShards`] if the
    /// maximum is reached and every channel is in use: it has connections, or clones of it exist.
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

    /// Returns the number of channels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.lock().len()
    }

    /// Returns whether there is no channel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what each channel does now; see [`Channel::stats`].
    #[must_use]
    pub fn stats(&self) -> Vec<(ShardKey, PoolStats)> {
        let shards: Vec<_> =
            self.shards.lock().iter().map(|(key, one)| (key.clone(), one.clone())).collect();
        shards.into_iter().map(|(key, channel)| (key, channel.stats())).collect()
    }
}
