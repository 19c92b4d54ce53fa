//! A call's state behind its lock, and the flag that keeps it in one mailbox at most.

use super::CallState;
use crate::rt::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// A call, shared by its caller, the pool and the connection that carries it.
#[derive(Debug)]
pub struct SharedCall {
    /// The call is in a mailbox.
    queued: AtomicBool,
    state: Mutex<CallState>,
}

impl SharedCall {
    /// Creates a call.
    #[must_use]
    pub fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self { queued: AtomicBool::new(false), state: Mutex::new(CallState::new(now)) })
    }

    /// Locks the state. Nobody holds the lock over I/O, a wait, a wake-up or user code.
    pub fn lock(&self) -> MutexGuard<'_, CallState> {
        self.state.lock()
    }

    /// Makes a call that nobody else holds as good as new, [`CallState::restart`] apart; returns
    /// `false` when somebody holds it. Large buffers are freed.
    pub fn recycle(self: &mut Arc<Self>) -> bool {
        if Arc::get_mut(self).is_none() {
            return false;
        }
        self.queued.store(false, Ordering::Relaxed);
        self.state.lock().clear();
        true
    }

    /// Claims the mailbox flag; returns `false` when the call is in a mailbox already.
    pub(crate) fn claim_mailbox(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }

    /// Clears the mailbox flag. The component that does so reads the state afterwards, or holds its lock: a change
    /// that found the flag set would be lost otherwise.
    pub(crate) fn leave_mailbox(&self) {
        self.queued.store(false, Ordering::Release);
    }

    /// Tells the connection that something changed: more to send, bytes read, cancelled.
    pub fn notify(self: &Arc<Self>) {
        if !self.claim_mailbox() {
            return;
        }
        // A hand-over stores its permit under this lock and claims the flag afterwards. The flag is
        // cleared under the lock, too: a hand-over that comes later finds it clear and delivers.
        let x = self.lock();
        let Some(carrier) = x.permit().map(|permit| Arc::clone(permit.carrier())) else {
            self.leave_mailbox();
            return;
        };
        drop(x);
        carrier.deliver(Arc::clone(self));
    }
}
