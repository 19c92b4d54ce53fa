//! The claim on the one dial of a subchannel that may be in flight. The dial's task owns it: however the
//! task ends, the claim reports it.

use crate::error::{Error, Kind};
use crate::grpc::status::Code;
use crate::pool::Shared;
use crate::pool::cap::Socket;
use crate::pool::subchannel::Subchannel;
use crate::rt;
use crate::rt::sync::{AtomicBool, Mutex, Ordering};
use crate::transport::tcp::ATTEMPT_DELAY;
use std::sync::Arc;
use tokio::sync::Notify;

/// The claim. Dropped before [`Claim::end`], it reports that the task is gone: by a panic, which is a
/// failed dial, or with its runtime, which is none.
pub(super) struct Claim {
    pub(super) shared: Arc<Shared>,
    pub(super) subchannel: Arc<Subchannel>,
    id: u64,
    /// For the connection that is ready first.
    socket: Mutex<Option<Socket>>,
    /// A transport is open.
    opened: Notify,
    over: AtomicBool,
}

impl Claim {
    pub(super) fn new(shared: Arc<Shared>, subchannel: &Arc<Subchannel>, id: u64) -> Self {
        Self {
            shared,
            subchannel: Arc::clone(subchannel),
            id,
            socket: Mutex::new(None),
            opened: Notify::new(),
            over: AtomicBool::new(false),
        }
    }

    pub(super) fn hold_socket(&self, socket: Option<Socket>) {
        let before = std::mem::replace(&mut *self.socket.lock(), socket);
        drop(before);
    }

    /// Takes the socket for a connection that is ready. `None` if another address was first.
    pub(super) fn take_socket(&self) -> Option<Socket> {
        self.socket.lock().take()
    }

    /// Notes that a transport is open.
    pub(super) fn note_opened(&self) {
        self.opened.notify_waiters();
    }

    /// Completes when the dial has made no progress for 250 ms.
    ///
    /// RFC 8305 §5: an address that stays silent is not waited for alone.
    pub(super) async fn silence(&self) {
        let progress = &self.subchannel.progress;
        let mut phase = progress.phase();
        loop {
            tokio::select! {
                () = self.opened.notified() => {}
                () = rt::sleep(ATTEMPT_DELAY) => {
                    if progress.phase() == phase {
                        return;
                    }
                }
            }
            phase = progress.phase();
        }
    }

    /// The dial is over: with a connection, or because nobody needs one.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.subchannel.lifecycle().drop_dial(self.id, false);
    }

    /// The task is gone. Nothing is started here: the runtime may be ending. The maintenance task, which
    /// may run on another one, dials for the calls that wait.
    fn lost(&self) {
        let (shared, subchannel) = (&*self.shared, &*self.subchannel);
        let panicked = std::thread::panicking();
        let error = Error::local(Kind::Connect, Code::Unavailable, "the task of the dial panicked");
        let mut lifecycle = subchannel.lifecycle();
        let delay = |failures| shared.backoff_delay(failures);
        let failed = || lifecycle.dial_failed(rt::now(), error.clone(), delay);
        let before = panicked.then(failed);
        lifecycle.drop_dial(self.id, panicked);
        drop(lifecycle);
        drop(before);
        shared.publish();
        if panicked && shared.unreachable().is_some() {
            shared.fail_fast(&error);
        }
        shared.maintenance.notify_one();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.over.load(Ordering::Relaxed) {
            self.lost();
        }
    }
}
