//! A connection as everybody but its driver sees it: a mailbox, a few published facts.

use super::connect::ConnectionInfo;
use super::env;
use super::handoff::{Handoff, Policy};
use super::slot::{Credit, HeadState, Slot, wake};
use super::sync::{AtomicBool, AtomicU32, Ordering, next_id};
use crate::error::{ConnectionFacts, Error};
use crate::http2::Blocked;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What happened to a connection, for the pool that owns it.
#[derive(Clone, Debug)]
pub enum Change {
    /// The peer's SETTINGS have come.
    Ready,
    /// No new call is welcome: GOAWAY was sent or received, or identifiers run out.
    Draining,
    /// The peer's GOAWAY said `too_many_pings`.
    TooManyPings,
    /// It is over.
    Closed(Option<Error>),
}

/// Where a connection's calls go when it cannot carry them, and who hears of its life.
pub trait Home: Send + Sync + 'static {
    /// Takes back a call that the peer has surely not processed.
    fn redispatch(&self, slot: Arc<Slot>);
    /// Hears of a change.
    fn changed(&self, handle: &Arc<Handle>, change: Change);
}

/// One connection's door.
pub struct Handle {
    id: u64,
    born: Instant,
    info: ConnectionInfo,
    home: Option<Arc<dyn Home>>,
    mailbox: Handoff<Arc<Slot>>,
    /// New calls are welcome. A published copy that may lag only towards "no".
    accepting: AtomicBool,
    /// The peer's SETTINGS have come.
    ready: AtomicBool,
    /// The channel is gone: close once the last call has ended.
    goodbye: AtomicBool,
    /// Much is unread: consumed octets are reported at once.
    pressed: AtomicBool,
    streams: AtomicU32,
    /// Milliseconds that DATA waited for the connection's window.
    stalled: AtomicU32,
    /// Consumed octets that are worth a report.
    credit_step: u32,
    /// A message with more octets to come is worth a report at once.
    stream_window: u32,
}

impl Handle {
    /// The door of a connection that was made at `born`.
    #[must_use]
    pub fn new(
        info: ConnectionInfo,
        home: Option<Arc<dyn Home>>,
        policy: Policy,
        stream_window: u32,
        born: Instant,
    ) -> Self {
        Self {
            home,
            id: next_id(),
            born,
            info,
            mailbox: Handoff::new(policy),
            accepting: AtomicBool::new(true),
            ready: AtomicBool::new(false),
            goodbye: AtomicBool::new(false),
            pressed: AtomicBool::new(false),
            streams: AtomicU32::new(0),
            stalled: AtomicU32::new(0),
            credit_step: (stream_window / 8).min(32 * 1024),
            stream_window,
        }
    }

    /// Unique within the process.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// How the connection was made.
    #[must_use]
    pub const fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// The mailbox.
    #[must_use]
    pub const fn mailbox(&self) -> &Handoff<Arc<Slot>> {
        &self.mailbox
    }

    /// Whether new calls are welcome.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        self.accepting.load(Ordering::Acquire)
    }

    /// No new call is welcome from now on.
    pub fn stop_accepting(&self) {
        self.accepting.store(false, Ordering::Release);
    }

    /// Whether the peer's SETTINGS have come.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Asks the driver to close once its last call has ended.
    pub fn goodbye(&self) {
        self.stop_accepting();
        self.goodbye.store(true, Ordering::Release);
        self.mailbox.ring();
    }

    pub(super) fn is_goodbye(&self) -> bool {
        self.goodbye.load(Ordering::Acquire)
    }

    /// Streams at the end of the driver's last turn.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Time in which octets of any stream waited for the connection's window, in whole milliseconds,
    /// as it was at the end of the driver's last turn.
    #[must_use]
    pub fn connection_stalled(&self) -> Duration {
        Duration::from_millis(u64::from(self.stalled.load(Ordering::Relaxed)))
    }

    pub(super) fn set_stalled(&self, stalled: Duration) {
        let millis = u32::try_from(stalled.as_millis()).unwrap_or(u32::MAX);
        self.stalled.store(millis, Ordering::Relaxed);
    }

    pub(super) fn set_streams(&self, streams: u32) {
        self.streams.store(streams, Ordering::Relaxed);
    }

    /// Whether a reader reports this at once: enough octets to credit, a message that is larger
    /// than a window; everything while much is unread.
    #[must_use]
    pub fn is_worth(&self, credit: &Credit) -> bool {
        credit.octets() >= self.credit_step
            || credit.expected > self.stream_window as usize
            || self.pressed.load(Ordering::SeqCst)
    }

    pub(super) fn set_pressed(&self, pressed: bool) {
        self.pressed.store(pressed, Ordering::SeqCst);
    }

    /// Facts for an error.
    #[must_use]
    pub fn facts(&self, now: Instant) -> ConnectionFacts {
        let peer = match &self.info.peer {
            Some(peer) => peer.to_string(),
            None => "an unnamed peer".to_owned(),
        };
        let age = now.saturating_duration_since(self.born);
        ConnectionFacts { id: self.id, peer, age, stream_id: None }
    }

    /// Gives a call to this connection.
    pub fn submit(self: &Arc<Self>, slot: Arc<Slot>) {
        slot.lock().handle = Some(Arc::clone(self));
        // A slot that still stands in an old mailbox is forwarded by whoever takes it there.
        if slot.claim_queue() {
            self.push(slot);
        }
    }

    /// Tells the driver of a slot that has claimed its place. A driver that is gone has settled
    /// it.
    pub(super) fn push(&self, slot: Arc<Slot>) {
        if let Err(left) = self.mailbox.submit(slot) {
            self.settle(left);
        }
    }

    /// Slots found in the mailbox of a driver that is gone: calls that never reached a stream go
    /// home, the others were settled by the driver.
    pub(super) fn settle(&self, left: VecDeque<Arc<Slot>>) {
        for slot in left {
            slot.leave_queue();
            let Some(slot) = self.forward(slot) else { continue };
            let x = slot.lock();
            let new = !x.done && x.key.is_none();
            drop(x);
            if let (true, Some(home)) = (new, &self.home) {
                slot.lock().handle = None;
                home.redispatch(slot);
            }
        }
    }

    /// Sends a call that the peer has surely not processed home, if it may move; one that was given
    /// up, or whose request is not kept, ends here.
    pub(super) fn send_back(
        &self,
        slot: Arc<Slot>,
        may_move: bool,
        otherwise: impl FnOnce() -> Error,
    ) {
        let mut x = slot.lock();
        if x.done || x.cancel.is_some() {
            let wakers = x.give_up();
            drop(x);
            return wake(wakers);
        }
        let replayable = x.out.head == HeadState::Ready || x.out.replayable;
        x.key = None;
        x.handle = None;
        x.stream_id = None;
        x.parked = false;
        x.out.stalls.note(Blocked::No, env::now());
        x.out.rewind();
        drop(x);
        match self.home.as_ref().filter(|_| replayable && may_move) {
            Some(home) => home.redispatch(slot),
            None => {
                let wakers = slot.lock().fail(otherwise());
                wake(wakers);
            }
        }
    }

    /// Sends a slot that has moved to another connection there; returns it if it is ours.
    pub(super) fn forward(&self, slot: Arc<Slot>) -> Option<Arc<Slot>> {
        let handle = slot.lock().handle.clone();
        match handle {
            Some(handle) if handle.id != self.id => {
                if slot.claim_queue() {
                    handle.push(slot);
                }
                None
            }
            Some(_) => Some(slot),
            None => None,
        }
    }

    /// Who hears of this connection's life.
    #[must_use]
    pub fn home(&self) -> Option<&Arc<dyn Home>> {
        self.home.as_ref()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("id", &self.id)
            .field("peer", &self.info.peer)
            .field("accepting", &self.is_accepting())
            .field("ready", &self.is_ready())
            .field("streams", &self.streams())
            .finish_non_exhaustive()
    }
}
