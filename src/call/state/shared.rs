//! A call's state behind its lock, and how its connection is told that it changed.

use super::{CallState, HeadState, News, RecvState};
use crate::rt::sync::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Instant;

/// A call, shared by its caller, the pool and the connection that carries it.
#[derive(Debug)]
pub struct SharedCall {
    state: Mutex<CallState>,
}

impl SharedCall {
    /// Creates a call.
    #[must_use]
    pub fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(CallState::new(now)) })
    }

    /// Locks the state. Nobody holds the lock over I/O, a wait, a wake-up or user code.
    pub fn lock(&self) -> MutexGuard<'_, CallState> {
        self.state.lock()
    }

    /// Makes a call that nobody else holds as good as new, [`CallState::restart`] apart; returns
    /// `false` when somebody holds it. Large buffers are freed.
    pub fn recycle(self: &mut Arc<Self>) -> bool {
        let alone = self.alone();
        let is_alone = alone.is_some();
        alone.map(CallState::clear);
        is_alone
    }

    /// Returns the state without a lock, if nobody else holds the call.
    pub fn alone(self: &mut Arc<Self>) -> Option<&mut CallState> {
        Some(Arc::get_mut(self)?.state.get_mut())
    }

    /// Reads what the peer has sent on a call that has ended, with no lock held.
    pub fn read_alone<R>(self: &mut Arc<Self>, f: impl FnOnce(&mut RecvState) -> R) -> R {
        if let Some(x) = self.alone() {
            return f(x.recv_mut());
        }
        // Its connection still holds it.
        let mut taken = std::mem::take(self.lock().recv_mut());
        f(&mut taken)
    }

    /// Tells the connection that something changed: more to send, bytes read, cancelled.
    pub fn notify(self: &Arc<Self>) {
        self.tell(self.lock());
    }

    /// As [`SharedCall::notify`], for a change that was made under this lock.
    pub(crate) fn tell(self: &Arc<Self>, mut x: MutexGuard<'_, CallState>) {
        let news = x.news();
        drop(x);
        news.deliver(self);
    }
}

impl News {
    /// Puts the call into the mailbox, unless it is there.
    pub(crate) fn deliver(self, call: &Arc<SharedCall>) {
        if let Some(carrier) = self.0 {
            carrier.deliver(Arc::clone(call));
        }
    }

    /// Puts the call into the mailbox, unless it is there.
    pub(crate) fn deliver_owned(self, call: Arc<SharedCall>) {
        if let Some(carrier) = self.0 {
            carrier.deliver(call);
        }
    }
}

/// Which mailbox the call is in. A change and the note that it must be told are one step under the call's
/// lock, and so are reading a change and clearing the note. So a call with a permit and unread changes is
/// in the mailbox of that connection, or one thread is about to put it there.
impl CallState {
    /// Notes that the connection that carries the call must look at it. A call without a connection is
    /// told when it gets one.
    pub fn news(&mut self) -> News {
        let Some(permit) = &self.permit else { return News(None) };
        let carrier = permit.carrier();
        let id = carrier.id();
        let before = std::mem::replace(&mut self.mailbox, id);
        News((before != id).then(|| Arc::clone(carrier)))
    }

    /// The connection looks at the call: later changes are to be told again.
    pub(crate) fn taken(&mut self, connection: u64) {
        // It may have moved while it was in this connection's mailbox; then it is in another one.
        if self.mailbox == connection {
            self.mailbox = 0;
        }
    }

    /// The connection will look at the call without being told.
    pub(crate) const fn will_look(&mut self, connection: u64) {
        self.mailbox = connection;
    }

    /// Withholds what is to be told, until [`CallState::unmute`] with what this returns. `None` if there is
    /// nothing to withhold: the call is in the mailbox, or no connection carries it.
    pub(crate) fn mute(&mut self) -> Option<u64> {
        let id = self.permit.as_ref()?.carrier().id();
        let before = std::mem::replace(&mut self.mailbox, id);
        (before != id).then_some(id)
    }

    /// Tells what was withheld.
    pub(crate) fn unmute(&mut self, connection: u64) -> News {
        self.taken(connection);
        let changed = self.cancel.is_some()
            || self.send.head() != HeadState::None
            || self.recv.credit().bytes() > 0;
        if changed { self.news() } else { News(None) }
    }
}
