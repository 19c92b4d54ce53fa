//! Layer 4: one RPC between its caller and the connection that carries it.
//!
//! A call belongs to a channel or to a server, never to a connection: it can wait in the pool's
//! queue, be replayed on another connection, and outlive the one that carried it. What it needs of
//! the connection that carries it now is the trait [`Carrier`].

pub mod attempt;
pub mod deadline;
#[cfg(feature = "tower")]
pub mod frames;
pub mod messages;
pub mod quota;
pub mod reader;
pub mod recv;
pub mod send;
pub mod served;
pub mod stalls;
pub mod state;
pub mod timeline;
pub mod writer;

use crate::error::ConnectionFacts;
use crate::memory::queued::QueuedBytes;
use crate::transport::connect::ConnectionInfo;
pub use recv::Credit;
use state::SharedCall;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use timeline::Timeline;

/// What a call needs of the connection that carries it.
///
/// `connection::handle::Handle` implements it, and nothing else in production: the trait lets a
/// call name its connection although connections are built on calls.
pub trait Carrier: fmt::Debug + Send + Sync + 'static {
    /// Returns the connection's identifier, unique within the process.
    fn id(&self) -> u64;
    /// Returns how the connection was made.
    fn info(&self) -> &ConnectionInfo;
    /// Returns the connection's facts for an error.
    fn facts(&self, now: Instant) -> ConnectionFacts;
    /// Puts a call into the mailbox that its state names ([`News`](state::News)).
    fn deliver(&self, call: Arc<SharedCall>);
    /// Returns whether a reader reports this credit at once.
    fn reports_at_once(&self, credit: &Credit) -> bool;
    /// Returns whether the head of the stream with this identifier was handed to the socket.
    fn has_written(&self, stream: u32) -> bool;
    /// Returns the counter of bytes that wait to be sent.
    fn queued_bytes(&self) -> &Arc<QueuedBytes>;
    /// Counts a call that has ended.
    fn ended(&self, timeline: &Timeline);
    /// Takes a permit back.
    fn release(self: Arc<Self>);
}

/// The right of one call to be in flight on a connection. Dropping it returns it: drop it with no
/// lock held.
#[derive(Debug)]
pub struct Permit {
    carrier: Arc<dyn Carrier>,
    counted: bool,
}

impl Permit {
    /// Creates a permit that the carrier has counted.
    #[must_use]
    pub const fn counted(carrier: Arc<dyn Carrier>) -> Self {
        Self { carrier, counted: true }
    }

    /// Creates the permit of a server's call: the peer opened its stream, so nobody counts it here.
    #[must_use]
    pub const fn uncounted(carrier: Arc<dyn Carrier>) -> Self {
        Self { carrier, counted: false }
    }

    /// Takes the counted permit out, if there is one; what stays only names the connection.
    pub(crate) fn take(&mut self) -> Option<Self> {
        let counted = std::mem::take(&mut self.counted);
        counted.then(|| Self { carrier: Arc::clone(&self.carrier), counted })
    }

    /// Returns the connection.
    #[must_use]
    pub const fn carrier(&self) -> &Arc<dyn Carrier> {
        &self.carrier
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.counted {
            Arc::clone(&self.carrier).release();
        }
    }
}
