//! The queue of an endpoint's idle connections: lock-free, longest idle first. A connection marks
//! itself while it is queued, so it is queued once.

use crate::connection::handle::Handle;
use crate::rt::sync::{ArrayQueue, Ordering, fence};
use std::sync::Arc;

/// Connections without calls.
#[derive(Debug)]
pub(crate) struct IdleConnections(ArrayQueue<Arc<Handle>>);

impl IdleConnections {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(ArrayQueue::new(capacity))
    }

    /// Takes the connection that was queued first. Others may have used or closed it meanwhile.
    pub(crate) fn pop(&self) -> Option<Arc<Handle>> {
        let connection = self.0.pop()?;
        connection.leave_idle();
        Some(connection)
    }

    /// Queues a connection that has no calls.
    pub(crate) fn push(&self, connection: &Arc<Handle>) {
        if !connection.claim_idle() {
            return;
        }
        if let Err(connection) = self.0.push(Arc::clone(connection)) {
            self.sweep();
            if self.0.push(Arc::clone(&connection)).is_err() {
                connection.leave_idle();
            }
        }
        // It may have closed meanwhile; then nobody else takes it out.
        fence(Ordering::SeqCst);
        if !connection.is_accepting() {
            self.sweep();
        }
    }

    /// Takes out a connection that is closed: it owns its subchannel, which must not own it.
    pub(crate) fn remove(&self, connection: &Handle) {
        fence(Ordering::SeqCst);
        if !connection.claim_idle() {
            self.sweep();
        }
    }

    /// Takes out those that take no more calls.
    fn sweep(&self) {
        let mut again = true;
        while std::mem::take(&mut again) {
            for _ in 0..self.0.len() {
                let Some(other) = self.0.pop() else { break };
                if !other.is_accepting() || self.0.push(Arc::clone(&other)).is_err() {
                    other.leave_idle();
                    continue;
                }
                // Whatever closed it meanwhile did not find it in the queue.
                fence(Ordering::SeqCst);
                again |= !other.is_accepting();
            }
        }
    }
}
