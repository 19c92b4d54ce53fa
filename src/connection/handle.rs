//! A connection as everybody but its driver sees it: a mailbox, a few published facts.

use crate::call::finish::wake;
use crate::call::state::{Credit, SharedCall};
use crate::call::timeline::Timeline;
use crate::call::{Carrier, Permit};
use crate::connection::counters::ConnectionCounters;
pub use crate::connection::event::{ConnectionEvent, DisconnectReason, Leak};
use crate::connection::mailbox::{Mailbox, Policy};
use crate::connection::permits::{PermitCounter, Reading, Refused};
use crate::error::{ConnectionFacts, Error};
use crate::http2::Blocked;
use crate::memory::budget::Budget;
use crate::memory::unsent::QueuedBytes;
use crate::rt;
use crate::rt::sync::{AtomicBool, AtomicU32, Ordering, next_id};
use crate::transport::connect::ConnectionInfo;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where a connection's calls go when it cannot carry them, and who hears of its life.
pub trait Owner: Send + Sync + 'static {
    /// Takes back a call that the peer has surely not processed.
    fn redispatch(&self, call: Arc<SharedCall>);
    /// Hears of a change.
    fn changed(&self, handle: &Arc<Handle>, change: ConnectionEvent);
    /// A call has given its place back.
    fn released(&self, handle: &Arc<Handle>, reading: Reading);
}

/// One connection's door.
pub struct Handle {
    id: u64,
    born: Instant,
    info: ConnectionInfo,
    home: Option<Arc<dyn Owner>>,
    mailbox: Mailbox<Arc<SharedCall>>,
    /// Calls under way, and whether new ones are welcome: a published copy that may lag only
    /// towards "no".
    life: PermitCounter,
    /// The peer's SETTINGS have come.
    ready: AtomicBool,
    /// The channel is gone: close once the last call has ended.
    goodbye: AtomicBool,
    /// Much is unread: consumed bytes are reported at once.
    pressed: AtomicBool,
    streams: AtomicU32,
    /// Calls that the peer allows at a time.
    limit: AtomicU32,
    /// Bytes that wait for the socket or a window, at the end of the driver's last turn.
    queued: AtomicU32,
    /// Microseconds that the slowest call of the last turn waited for the driver.
    lag: AtomicU32,
    /// Turns of the driver.
    turns: AtomicU32,
    /// Stands in its endpoint's queue of connections without calls.
    resting: AtomicBool,
    /// Milliseconds that DATA waited for the connection's window.
    stalled: AtomicU32,
    /// Calls are held back until the peer is heard.
    unproved: AtomicBool,
    /// Calls that are held back shall look for another connection.
    let_go: AtomicBool,
    tally: ConnectionCounters,
    unsent: Arc<QueuedBytes>,
    /// Consumed bytes that are worth a report.
    credit_step: u32,
    /// A message with more bytes to come is worth a report at once.
    stream_window: u32,
}

impl Handle {
    /// The door of a connection that was made at `born`.
    #[must_use]
    pub fn new(
        info: ConnectionInfo,
        home: Option<Arc<dyn Owner>>,
        policy: Policy,
        stream_window: u32,
        born: Instant,
    ) -> Self {
        Self {
            home,
            id: next_id(),
            born,
            info,
            mailbox: Mailbox::new(policy),
            life: PermitCounter::new(),
            ready: AtomicBool::new(false),
            goodbye: AtomicBool::new(false),
            pressed: AtomicBool::new(false),
            streams: AtomicU32::new(0),
            limit: AtomicU32::new(u32::MAX),
            queued: AtomicU32::new(0),
            lag: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            resting: AtomicBool::new(false),
            stalled: AtomicU32::new(0),
            unproved: AtomicBool::new(false),
            let_go: AtomicBool::new(false),
            tally: ConnectionCounters::default(),
            unsent: QueuedBytes::within(None),
            credit_step: (stream_window / 8).min(32 * 1024),
            stream_window,
        }
    }

    /// Charges what waits to be sent to this budget, too.
    #[must_use]
    pub fn within(self, budget: Option<Arc<Budget>>) -> Self {
        Self { unsent: QueuedBytes::within(budget), ..self }
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
    pub const fn mailbox(&self) -> &Mailbox<Arc<SharedCall>> {
        &self.mailbox
    }

    /// Whether new calls are welcome.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        self.life.read().open
    }

    /// No new call is welcome from now on.
    pub fn stop_accepting(&self) {
        self.life.close();
    }

    /// Calls under way, epoch, open or closing.
    #[must_use]
    pub const fn life(&self) -> &PermitCounter {
        &self.life
    }

    /// Takes a place for a call.
    ///
    /// # Errors
    /// All places are taken, or the connection takes no new calls.
    pub fn reserve(self: &Arc<Self>) -> Result<Permit, Refused> {
        self.life.reserve(self.limit())?;
        Ok(Permit::counted(self.clone()))
    }

    /// Takes a place for a call if fewer than `most` are taken.
    ///
    /// # Errors
    /// As [`Handle::reserve`].
    pub fn reserve_within(self: &Arc<Self>, most: u32) -> Result<Permit, Refused> {
        self.life.reserve(most.min(self.limit()))?;
        Ok(Permit::counted(self.clone()))
    }

    /// Calls that the peer allows at a time.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limit(&self, calls: u32) {
        self.limit.store(calls, Ordering::Relaxed);
    }

    /// Bytes that waited for the socket or a window at the end of the driver's last turn.
    #[must_use]
    pub fn queued(&self) -> u32 {
        self.queued.load(Ordering::Relaxed)
    }

    /// How long the slowest call of the driver's last turn had waited for it.
    #[must_use]
    pub fn lag(&self) -> Duration {
        Duration::from_micros(self.lag.load(Ordering::Relaxed).into())
    }

    /// Turns of the driver, modulo 2^32.
    #[must_use]
    pub fn turns(&self) -> u32 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The end of a driver's turn.
    pub(crate) fn publish(&self, queued: usize, lag: Duration) {
        self.queued.store(u32::try_from(queued).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.lag.store(u32::try_from(lag.as_micros()).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.turns.store(self.turns().wrapping_add(1), Ordering::Relaxed);
    }

    /// What its driver has counted.
    #[must_use]
    pub const fn tally(&self) -> &ConnectionCounters {
        &self.tally
    }

    /// Whether calls are held back here until the peer is heard.
    #[must_use]
    pub fn is_unproved(&self) -> bool {
        self.unproved.load(Ordering::Relaxed)
    }

    pub(crate) fn set_unproved(&self, unproved: bool) {
        self.unproved.store(unproved, Ordering::Relaxed);
    }

    /// Another connection is there for the calls that are held back.
    pub(crate) fn let_held_go(&self) {
        self.let_go.store(true, Ordering::Release);
        self.mailbox.ring();
    }

    pub(crate) fn take_let_go(&self) -> bool {
        self.let_go.load(Ordering::Relaxed) && self.let_go.swap(false, Ordering::AcqRel)
    }

    /// Claims the place in the queue of connections without calls; `false` when it stands there.
    pub(crate) fn claim_rest(&self) -> bool {
        !self.resting.swap(true, Ordering::AcqRel)
    }

    /// It was taken out of that queue.
    pub(crate) fn leave_rest(&self) {
        self.resting.store(false, Ordering::Release);
    }

    /// Whether the peer's SETTINGS have come.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Asks the driver to close once its last call has ended.
    pub fn goodbye(&self) {
        self.stop_accepting();
        self.goodbye.store(true, Ordering::Release);
        self.mailbox.ring();
    }

    pub(crate) fn is_goodbye(&self) -> bool {
        self.goodbye.load(Ordering::Acquire)
    }

    /// Streams at the end of the driver's last turn.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Time in which bytes of any stream waited for the connection's window, in whole milliseconds,
    /// as it was at the end of the driver's last turn.
    #[must_use]
    pub fn connection_stalled(&self) -> Duration {
        Duration::from_millis(u64::from(self.stalled.load(Ordering::Relaxed)))
    }

    pub(crate) fn set_stalled(&self, stalled: Duration) {
        let millis = u32::try_from(stalled.as_millis()).unwrap_or(u32::MAX);
        self.stalled.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn set_streams(&self, streams: u32) {
        self.streams.store(streams, Ordering::Relaxed);
    }

    /// Whether a reader reports this at once: enough bytes to credit, a message that is larger
    /// than a window; everything while much is unread.
    #[must_use]
    pub fn is_worth(&self, credit: &Credit) -> bool {
        credit.bytes() >= self.credit_step
            || credit.expected > self.stream_window as usize
            || self.pressed.load(Ordering::SeqCst)
    }

    pub(crate) fn set_pressed(&self, pressed: bool) {
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

    /// Gives a call to the connection on which it has a place.
    pub fn submit(permit: Permit, call: Arc<SharedCall>) {
        let carrier = Arc::clone(permit.carrier());
        let before = call.lock().handle.replace(permit);
        drop(before);
        // A call that still stands in an old mailbox is forwarded by whoever takes it there.
        if call.claim_queue() {
            carrier.deliver(call);
        }
    }

    /// Tells the driver of a call that has claimed its place. A driver that is gone has settled
    /// it.
    pub(crate) fn push(&self, call: Arc<SharedCall>) {
        if let Err(left) = self.mailbox.submit(call) {
            self.settle(left);
        }
    }

    /// Slots found in the mailbox of a driver that is gone: calls that never reached a stream go
    /// home, the others were settled by the driver.
    pub(crate) fn settle(&self, left: VecDeque<Arc<SharedCall>>) {
        for call in left {
            call.leave_queue();
            let Some(call) = self.forward(call) else { continue };
            let Some(home) = &self.home else { continue };
            // Two threads may settle one call, and the first may have moved it already: the call
            // goes home with the permit for this connection, hence once.
            let mut x = call.lock();
            let new = !x.done && x.key.is_none();
            let permit = x.handle.take_if(|permit| new && permit.carrier().id() == self.id);
            drop(x);
            if let Some(permit) = permit {
                drop(permit);
                home.redispatch(call);
            }
        }
    }

    /// Sends a call that the peer has surely not processed home, if it may move; one that was given
    /// up, or whose request is not kept, ends here.
    pub(crate) fn send_back(
        &self,
        call: Arc<SharedCall>,
        may_move: bool,
        otherwise: impl FnOnce() -> Error,
    ) {
        let mut x = call.lock();
        if x.done || x.cancel.is_some() {
            let wakers = x.give_up();
            drop(x);
            return wake(wakers);
        }
        let movable = x.send.is_movable();
        x.key = None;
        let permit = x.handle.take();
        x.stream_id = None;
        x.parked = false;
        x.send.stalls.note(Blocked::No, rt::now());
        x.send.counted = None;
        if movable {
            x.send.rewind();
        }
        drop(x);
        drop(permit);
        match self.home.as_ref().filter(|_| movable && may_move) {
            Some(home) => home.redispatch(call),
            None => {
                let wakers = call.lock().fail(otherwise());
                wake(wakers);
            }
        }
    }

    /// Sends a call that has moved to another connection there; returns it if it is ours.
    pub(crate) fn forward(&self, call: Arc<SharedCall>) -> Option<Arc<SharedCall>> {
        let handle = call.lock().handle.as_ref().map(|permit| Arc::clone(permit.carrier()));
        match handle {
            Some(handle) if handle.id() != self.id => {
                if call.claim_queue() {
                    handle.deliver(call);
                }
                None
            }
            Some(_) => Some(call),
            None => None,
        }
    }

    /// Who hears of this connection's life.
    #[must_use]
    pub fn owner(&self) -> Option<&Arc<dyn Owner>> {
        self.home.as_ref()
    }
}

impl Carrier for Handle {
    fn id(&self) -> u64 {
        self.id
    }

    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn facts(&self, now: Instant) -> ConnectionFacts {
        Self::facts(self, now)
    }

    fn deliver(&self, call: Arc<SharedCall>) {
        self.push(call);
    }

    fn is_worth(&self, credit: &Credit) -> bool {
        Self::is_worth(self, credit)
    }

    fn unsent(&self) -> &Arc<QueuedBytes> {
        &self.unsent
    }

    fn ended(&self, timeline: &Timeline) {
        self.tally.ended(timeline);
    }

    fn release(self: Arc<Self>) {
        let reading = self.life.release();
        if let Some(home) = &self.home {
            home.released(&self, reading);
        }
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
