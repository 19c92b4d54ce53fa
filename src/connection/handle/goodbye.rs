//! The end of a connection by its owner: after its last call, or now.

use crate::connection::handle::Handle;
use crate::rt::sync::Ordering;

impl Handle {
    /// Stops taking new calls and closes the connection after its last call has ended.
    pub fn goodbye(&self) {
        self.stop_accepting();
        self.goodbye.store(true, Ordering::Release);
        self.mailbox.wake();
    }

    /// Closes the connection, which has no calls, for another one: its socket does not wait for the peer
    /// to close.
    pub(crate) fn make_way(&self) {
        self.makes_way.store(true, Ordering::Release);
        self.goodbye();
    }

    pub(crate) fn makes_way(&self) -> bool {
        self.makes_way.load(Ordering::Acquire)
    }

    /// Ends the calls that are left after [`Handle::goodbye`], and the connection with them.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.goodbye();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub(crate) fn is_goodbye(&self) -> bool {
        self.goodbye.load(Ordering::Acquire)
    }
}
