//! The sockets that linger after their connections have ended, so that the oldest can be closed first
//! when sockets are short.

use crate::rt::sync::{AtomicBool, AtomicWaker, Mutex, Ordering};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::Waker;

/// Lingering sockets of all clients of a process; of more, the oldest is closed.
const CLIENTS: usize = 256;

/// Asks one lingering socket to close, or to look at its limit again.
#[derive(Debug, Default)]
pub(super) struct Signal {
    connection: u64,
    cut: AtomicBool,
    waker: AtomicWaker,
}

impl Signal {
    pub(super) fn of(connection: u64) -> Self {
        Self { connection, ..Self::default() }
    }

    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// The lingering sockets of a server, or of all clients, oldest first.
#[derive(Debug)]
pub(super) struct Lingering {
    most: usize,
    sockets: Mutex<VecDeque<Arc<Signal>>>,
}

impl Lingering {
    /// Those of a server, which its limit on connections bounds.
    pub(super) fn of_server() -> Self {
        Self::within(usize::MAX)
    }

    /// Those of all clients of the process.
    pub(super) fn of_clients() -> &'static Self {
        static SOCKETS: OnceLock<Lingering> = OnceLock::new();
        SOCKETS.get_or_init(|| Self::within(CLIENTS))
    }

    fn within(most: usize) -> Self {
        Self { most, sockets: Mutex::new(VecDeque::new()) }
    }

    pub(super) fn join(&self, signal: &Arc<Signal>) {
        let mut sockets = self.sockets.lock();
        sockets.push_back(Arc::clone(signal));
        let over = sockets.len().saturating_sub(self.most);
        let oldest: Vec<_> = sockets.drain(..over).collect();
        drop(sockets);
        oldest.iter().for_each(|signal| signal.cut());
    }

    pub(super) fn leave(&self, signal: &Arc<Signal>) {
        self.sockets.lock().retain(|other| !Arc::ptr_eq(other, signal));
    }

    /// Closes the oldest one. Returns `false` if there is none.
    pub(super) fn cut_oldest(&self) -> bool {
        let oldest = self.sockets.lock().pop_front();
        oldest.map(|signal| signal.cut()).is_some()
    }

    /// Closes that of this connection. Returns `false` if it is not here.
    fn cut(&self, connection: u64) -> bool {
        let mut sockets = self.sockets.lock();
        let at = sockets.iter().position(|signal| signal.connection == connection);
        let found = at.and_then(|at| sockets.remove(at));
        drop(sockets);
        found.inspect(|signal| signal.cut()).is_some()
    }

    /// Has each one look at its limit again.
    pub(super) fn wake(&self) {
        let sockets: Vec<_> = self.sockets.lock().iter().map(Arc::clone).collect();
        sockets.iter().for_each(|signal| signal.waker.wake());
    }
}

/// Closes the socket of this connection of a client that waits for its peer to close. Returns `false` if it
/// does not wait.
pub(crate) fn cut_lingering_client(connection: u64) -> bool {
    Lingering::of_clients().cut(connection)
}

#[cfg(all(test, framewire_loom))]
mod models {
    use crate::connection::driver::lingering::*;
    use crate::connection::loom_tests::{counting_waker, model};
    use loom::thread;

    /// register/cut: a lingering socket that is cut while it goes to sleep sees it, or is woken.
    #[test]
    fn loom_linger_cut() {
        model(|| {
            let signal = Arc::new(Signal::default());
            let (wakes, waker) = counting_waker();
            let cutter = {
                let signal = Arc::clone(&signal);
                thread::spawn(move || signal.cut())
            };
            signal.register(&waker);
            let seen = signal.is_cut();
            cutter.join().unwrap();
            assert!(seen || wakes.0.load(Ordering::SeqCst) > 0, "the socket sleeps on");
        });
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::connection::driver::lingering::*;

    #[test]
    fn the_oldest_closes_first() {
        let sockets = Lingering::within(2);
        let signals = [0, 1, 2, 3].map(|id| Arc::new(Signal::of(id)));
        let cut = || signals.each_ref().map(|signal| signal.is_cut());
        signals[..3].iter().for_each(|signal| sockets.join(signal));
        assert_eq!(cut(), [true, false, false, false]);
        sockets.leave(&signals[1]);
        sockets.join(&signals[3]);
        assert!(sockets.cut_oldest());
        assert_eq!(cut(), [true, false, true, false]);
        assert!(sockets.cut_oldest() && !sockets.cut_oldest());
        assert!(!sockets.cut(3));
    }

    #[test]
    fn that_of_a_connection_closes() {
        let sockets = Lingering::within(4);
        let signals = [0, 1, 2].map(|id| Arc::new(Signal::of(id)));
        signals.iter().for_each(|signal| sockets.join(signal));
        assert!(sockets.cut(1) && !sockets.cut(1));
        assert_eq!(signals.each_ref().map(|signal| signal.is_cut()), [false, true, false]);
    }
}
