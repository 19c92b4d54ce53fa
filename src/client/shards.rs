//! Separate channels, one per [`ShardKey`].

use crate::client::build_error::BuildError;
use crate::client::builder::ChannelBuilder;
use crate::client::channel::Channel;
use crate::client::shard_key::ShardKey;
use crate::pool::{Cap, CloseReport, PoolStats};
use crate::rt::sync::Mutex;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

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

    /// Returns the channel of the builder's key, and builds it if there is none, or if it was closed. An
    /// existing channel keeps the options with which it was built.
    ///
    /// # Errors
    /// For a new key those of [`ChannelBuilder::build`], and [`BuildError::TooManyShards`] if the
    /// maximum is reached and every channel is in use: it is not closed, and it has connections, or clones
    /// of it exist.
    pub fn get(&self, builder: ChannelBuilder) -> Result<Channel, BuildError> {
        let key = builder.shard_key()?;
        if let Some(channel) = self.find(&key)? {
            return Ok(channel);
        }
        // Without the lock: a connector or a log subscriber may use this set.
        let cap = Cap::inside(&Cap::process(), self.sockets, self.dials);
        let channel = builder.cap_if_none(cap).build()?;
        let mut shards = self.shards.lock();
        let evicted = match open(&shards, &key).cloned() {
            Some(other) => {
                // Another thread was faster.
                drop(shards);
                drop(channel);
                return Ok(other);
            }
            None => self.evicts(&shards, &key)?.and_then(|unused| shards.remove(&unused)),
        };
        let closed = shards.insert(key, channel.clone());
        drop(shards);
        drop((evicted, closed));
        Ok(channel)
    }

    /// The channel of this key, or `None` if one may be built.
    fn find(&self, key: &ShardKey) -> Result<Option<Channel>, BuildError> {
        let shards = self.shards.lock();
        match open(&shards, key) {
            Some(channel) => Ok(Some(channel.clone())),
            None => self.evicts(&shards, key).map(|_| None),
        }
    }

    /// The key of the channel that makes way for one with this key, if the set is full.
    fn evicts(
        &self,
        shards: &HashMap<ShardKey, Channel>,
        key: &ShardKey,
    ) -> Result<Option<ShardKey>, BuildError> {
        if shards.len() < self.most || shards.contains_key(key) {
            return Ok(None);
        }
        let unused = |channel: &Channel| channel.is_closed() || channel.is_unused();
        let unused = shards.iter().find(|(_, channel)| unused(channel));
        let most = self.most;
        unused.map(|(key, _)| Some(key.clone())).ok_or(BuildError::TooManyShards { most })
    }

    /// Closes every channel of the set as [`Channel::close`] does, all at the same time, and returns when
    /// their connections have ended, with the sums of their reports. The set is empty then: a later
    /// [`Channels::get`] builds a new channel.
    ///
    /// # Runtime
    /// As [`Channel::close`].
    ///
    /// # Cancel safety
    /// Once it was polled, the channels stay closed if the future is dropped. Calls in flight continue, and
    /// none is cut.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use framewire::client::{Channel, Channels};
    /// use std::time::Duration;
    ///
    /// let channels = Channels::new(100, 8, 4);
    /// let red = channels.get(Channel::builder("http://users.local:80").shard("red"))?;
    /// let report = channels.close(Duration::from_secs(10)).await;
    /// assert_eq!((report.cut, channels.len()), (0, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self, limit: Duration) -> CloseReport {
        let channels: Vec<_> = {
            let shards = std::mem::take(&mut *self.shards.lock());
            shards.into_values().collect()
        };
        let closing = channels.iter().map(|channel| Box::pin(channel.close(limit)));
        let mut closing: Vec<_> = closing.collect();
        let mut sum = CloseReport::default();
        poll_fn(|cx| {
            closing.retain_mut(|one| match one.as_mut().poll(cx) {
                Poll::Ready(report) => {
                    sum = sum.and(report);
                    false
                }
                Poll::Pending => true,
            });
            if closing.is_empty() { Poll::Ready(sum) } else { Poll::Pending }
        })
        .await
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

/// The channel of this key that is not closed.
fn open<'a>(shards: &'a HashMap<ShardKey, Channel>, key: &ShardKey) -> Option<&'a Channel> {
    shards.get(key).filter(|channel| !channel.is_closed())
}
