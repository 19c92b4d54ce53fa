//! The shared handle of a connection: its mailbox, its permits, and what its driver publishes.

mod goodbye;
mod published;
mod refusals;
mod returned;

use crate::call::state::{Credit, SharedCall};
use crate::call::timeline::Timeline;
use crate::call::{Carrier, Permit};
use crate::connection::counters::ConnectionCounters;
pub use crate::connection::event::{ConnectionEvent, DisconnectReason, EarlyEnd, Leak};
use crate::connection::mailbox::Mailbox;
use crate::connection::permits::{PermitCounter, Reading, Refused};
use crate::error::ConnectionFacts;
use crate::memory::budget::Budget;
use crate::memory::queued::QueuedBytes;
use crate::rt::sync::{AtomicBool, AtomicU32, Ordering, next_id};
use crate::transport::connect::ConnectionInfo;
use published::Published;
pub(crate) use published::STREAMS_UNNAMED;
pub use refusals::Refusal;
pub(crate) use returned::why_dropped;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// The owner of a connection: takes back its calls and receives its events.
pub trait Owner: Send + Sync + 'static {
    /// Takes back a call that was never written, or that a GOAWAY or the connection's end left
    /// unprocessed.
    fn redispatch(&self, call: Arc<SharedCall>);
    /// Takes back a call whose stream the peer refused, on a connection that continues.
    fn refused(&self, handle: &Arc<Handle>, call: Arc<SharedCall>, refusal: Refusal);
    /// Receives an event.
    fn changed(&self, handle: &Arc<Handle>, change: ConnectionEvent);
    /// Notes that a call has released its permit.
    fn released(&self, handle: &Arc<Handle>, reading: Reading);
}

/// The handle of one connection.
pub struct Handle {
    id: u64,
    born: Instant,
    info: ConnectionInfo,
    owner: Option<Arc<dyn Owner>>,
    mailbox: Mailbox<Arc<SharedCall>>,
    /// Calls in flight, and whether the connection takes new ones. It never grants a permit that the
    /// driver would refuse for good.
    life: PermitCounter,
    /// The peer's first SETTINGS arrived.
    ready: AtomicBool,
    /// The owner is gone: the driver closes after the last call has ended.
    goodbye: AtomicBool,
    /// Another connection needs the socket.
    makes_way: AtomicBool,
    /// The owner waits no longer: the driver ends the calls that are left.
    cut: AtomicBool,
    /// Readers report at once: many bytes are unread, credit is pending, or a partial message may be
    /// reset for want of progress.
    report_at_once: AtomicBool,
    published: Published,
    /// It is in its endpoint's queue of idle connections.
    idle: AtomicBool,
    /// Calls are held until the peer answers a probe.
    unproved: AtomicBool,
    /// Held calls must move to another connection.
    move_held: AtomicBool,
    tally: ConnectionCounters,
    queued_bytes: Arc<QueuedBytes>,
    /// The initial window of streams, in bytes. A reader that expects more bytes of its message than this
    /// reports at once, as one does that has read an eighth of it.
    stream_window: AtomicU32,
}

impl Handle {
    /// Creates the handle of a connection that was established at `born`.
    #[must_use]
    pub fn new(
        info: ConnectionInfo,
        owner: Option<Arc<dyn Owner>>,
        stream_window: u32,
        born: Instant,
    ) -> Self {
        Self {
            owner,
            id: next_id(),
            born,
            info,
            mailbox: Mailbox::new(),
            life: PermitCounter::new(),
            ready: AtomicBool::new(false),
            goodbye: AtomicBool::new(false),
            makes_way: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            report_at_once: AtomicBool::new(false),
            published: Published::default(),
            idle: AtomicBool::new(false),
            unproved: AtomicBool::new(false),
            move_held: AtomicBool::new(false),
            tally: ConnectionCounters::default(),
            queued_bytes: QueuedBytes::within(None),
            stream_window: AtomicU32::new(stream_window),
        }
    }

    /// Charges bytes queued to send to this budget as well.
    #[must_use]
    pub fn within(self, budget: Option<Arc<Budget>>) -> Self {
        Self { queued_bytes: QueuedBytes::within(budget), ..self }
    }

    /// Returns an identifier that is unique within the process.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Returns how the connection was established.
    #[must_use]
    pub const fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// Returns the mailbox of the driver.
    #[must_use]
    pub const fn mailbox(&self) -> &Mailbox<Arc<SharedCall>> {
        &self.mailbox
    }

    /// Returns whether the connection takes new calls.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        self.life.read().open
    }

    /// Stops taking new calls.
    pub fn stop_accepting(&self) {
        self.life.close();
    }

    /// Returns the permit counter.
    #[must_use]
    pub const fn life(&self) -> &PermitCounter {
        &self.life
    }

    /// Takes a permit for a call.
    ///
    /// # Errors
    /// All permits are taken, or the connection takes no new calls.
    pub fn reserve(self: &Arc<Self>) -> Result<Permit, Refused> {
        self.life.reserve(self.limit())?;
        Ok(Permit::counted(self.clone()))
    }

    /// Takes a permit for a call if fewer than `most` are taken.
    ///
    /// # Errors
    /// As [`Handle::reserve`].
    pub fn reserve_within(self: &Arc<Self>, most: u32) -> Result<Permit, Refused> {
        self.life.reserve(most.min(self.limit()))?;
        Ok(Permit::counted(self.clone()))
    }

    /// Returns the counters of the driver.
    #[must_use]
    pub const fn tally(&self) -> &ConnectionCounters {
        &self.tally
    }

    /// Returns whether calls are held here until the peer answers a probe.
    #[must_use]
    pub fn is_unproved(&self) -> bool {
        self.unproved.load(Ordering::Acquire)
    }

    /// Calls are held from now on.
    pub(crate) fn hold_calls(&self) {
        // First: an owner that sees that calls are held may ask at once to move them.
        self.take_move_held();
        self.unproved.store(true, Ordering::Release);
    }

    /// Calls are held no longer.
    pub(crate) fn set_proved(&self) {
        self.unproved.store(false, Ordering::Relaxed);
    }

    /// Moves the held calls: another connection is available.
    pub(crate) fn move_held_calls(&self) {
        self.move_held.store(true, Ordering::Release);
        self.mailbox.wake();
    }

    pub(crate) fn take_move_held(&self) -> bool {
        self.move_held.load(Ordering::Relaxed) && self.move_held.swap(false, Ordering::AcqRel)
    }

    /// Marks it as queued among the idle connections. Returns `false` if it was queued already.
    pub(crate) fn claim_idle(&self) -> bool {
        !self.idle.swap(true, Ordering::AcqRel)
    }

    /// Marks it as taken out of that queue. A thread that found it marked meanwhile has released its
    /// permit first, and the caller sees that from now on.
    pub(crate) fn leave_idle(&self) {
        self.idle.swap(false, Ordering::AcqRel);
    }

    /// Returns whether the peer's first SETTINGS arrived.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub(crate) fn set_report_at_once(&self, at_once: bool) {
        self.report_at_once.store(at_once, Ordering::SeqCst);
    }

    /// Returns the facts about the connection that an error carries.
    #[must_use]
    pub fn facts(&self, now: Instant) -> ConnectionFacts {
        let peer = match &self.info.peer {
            Some(peer) => peer.to_string(),
            None => "an unnamed peer".to_owned(),
        };
        let age = now.saturating_duration_since(self.born);
        ConnectionFacts { id: self.id, peer, age, stream_id: None }
    }

    /// Hands a call to the connection whose permit it holds.
    pub fn submit(permit: Permit, call: Arc<SharedCall>) {
        let (before, news) = call.lock().assign(permit);
        drop(before);
        news.deliver_owned(call);
    }

    /// Queues a call for the driver. If the driver is gone, settles it.
    pub(crate) fn push(&self, call: Arc<SharedCall>) {
        if let Err(left) = self.mailbox.submit(call) {
            self.settle(left);
        }
    }

    /// Returns the owner that receives the events of this connection.
    #[must_use]
    pub fn owner(&self) -> Option<&Arc<dyn Owner>> {
        self.owner.as_ref()
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

    fn reports_at_once(&self, credit: &Credit) -> bool {
        Self::reports_at_once(self, credit)
    }

    fn has_written(&self, stream: u32) -> bool {
        Self::has_written(self, stream)
    }

    fn queued_bytes(&self) -> &Arc<QueuedBytes> {
        &self.queued_bytes
    }

    fn ended(&self, timeline: &Timeline) {
        self.tally.ended(timeline);
    }

    fn release(self: Arc<Self>) {
        let reading = self.life.release();
        if let Some(owner) = &self.owner {
            owner.released(&self, reading);
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
