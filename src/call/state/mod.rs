//! The state of one call: request out, response in, behind one short lock.
//!
//! A call belongs to a channel or to a server, never to a connection: queue, dial, mailbox and stream
//! hold references to it. Nobody writes a field from outside. Each component has its own named
//! transitions, one module each:
//!
//! | module | who calls it | transitions |
//! | --- | --- | --- |
//! | [`caller`] | `client`, `server`, [`Reader`](super::reader::Reader), [`Writer`](super::writer::Writer) | `prepare`, `cancel`, `answer`, `wait_*` |
//! | [`pool`] | `pool`, and the connection that sends a call back | `assign`, `detach`, `sent_back`, tenant permits |
//! | [`carrier`] | `connection` | `request_received`, `opened`, `parked`, `response_head`, `body_received`, … |
//! | [`ending`] | the component that ends an attempt | `complete`, `fail`, `end_cancelled` |
//! | [`policy`] | `client`'s retry policy | `set_policy`, `attempt`, `retry`, `settle`, `abandon_retry` |
//!
//! | from | transition | to |
//! | --- | --- | --- |
//! | Pending | `parked` | Parked |
//! | Parked | `unparked` | Pending |
//! | Pending | `opened`, `request_received` | Open |
//! | Pending, Parked, Open | `sent_back` | Pending |
//! | Pending, Parked, Open | `complete`, `fail`, `end_cancelled` | Over; with a retry policy and not cancelled Undecided |
//! | Undecided | `retry` | Pending |
//! | Undecided | `settle`, `abandon_retry` | Over |
//!
//! hot: recycled, so that a call allocates nothing here.

mod bounds;
pub mod caller;
pub mod carrier;
pub mod ending;
pub mod policy;
pub mod pool;
mod shared;
#[cfg(all(test, not(framewire_loom)))]
mod tests;
mod waiters;

use super::{Carrier, Permit};
use crate::call::quota::TenantPermit;
use crate::call::timeline::Timeline;
use crate::error::{ConnectionFacts, Error, Kind, Phase};
use crate::http2::{ErrorCode, StreamKey};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

pub use crate::call::recv::{Credit, RecvEnd, RecvState};
pub use crate::call::send::{HeadState, INLINE_MAX, SendEnd, SendState};
pub use caller::CallSpec;
pub use carrier::HeadArrival;
pub use shared::SharedCall;
use waiters::Waiters;
pub use waiters::{Until, Wait};

/// Bytes queued on a call above which a sender waits.
pub const SEND_BUFFER_LIMIT: usize = 64 * 1024;

/// Where a call stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stage {
    /// It has no stream: its caller fills it, it is in the pool's queue or in a mailbox, or it pauses
    /// between two attempts.
    #[default]
    Pending,
    /// A connection has queued it, for the peer's stream limit or behind a probe.
    Parked,
    /// It has a stream; the engine of this crate knows it by this key.
    Open(Option<StreamKey>),
    /// The attempt has ended, and the retry policy decides whether another one follows. The caller
    /// does not see this end.
    Undecided,
    /// It has ended.
    Over,
}

/// The state of one call, behind the lock of its [`SharedCall`].
#[derive(Debug)]
pub struct CallState {
    /// What the caller asked for.
    spec: CallSpec,
    send: SendState,
    recv: RecvState,
    stage: Stage,
    timeline: Timeline,
    /// When the call began to wait in the pool's queue.
    queued: Option<Instant>,
    /// Times that the head was written to a connection, since the last retry by policy.
    attempts: u32,
    /// Times that a peer answered with REFUSED_STREAM, retries by policy included.
    refusals: u32,
    /// The peer may have processed an earlier attempt.
    maybe_processed: bool,
    /// Decides whether another attempt follows; woken when one has ended.
    policy: Option<Waker>,
    /// A hedge: it goes where capacity is free, or fails.
    hedge: bool,
    /// The caller has cancelled: reset the stream with this code.
    cancel: Option<ErrorCode>,
    /// A server's handler goes on although nobody waits for its answer.
    detached: bool,
    permit: Option<Permit>,
    /// The connection whose mailbox the call is in, or is being put into; 0 for none.
    mailbox: u64,
    tenant: Option<TenantPermit>,
    /// The identifier of the stream, until the call is sent back: errors name it.
    stream_id: Option<u32>,
    /// Why the call failed, whatever had come before.
    failure: Option<Error>,
    reader: Option<Waker>,
    /// Who else waits.
    waiters: Waiters,
}

/// A call that must be put into the mailbox of the connection that carries it. Its state names that
/// mailbox already, so nobody else puts it there: the holder delivers it, with no lock held.
#[derive(Debug)]
#[must_use]
pub struct News(Option<Arc<dyn Carrier>>);

impl CallState {
    fn new(now: Instant) -> Self {
        Self {
            spec: CallSpec::default(),
            send: SendState::default(),
            recv: RecvState::default(),
            stage: Stage::Pending,
            timeline: Timeline::new(Phase::PoolWait, now),
            queued: None,
            attempts: 0,
            refusals: 0,
            maybe_processed: false,
            policy: None,
            hedge: false,
            cancel: None,
            detached: false,
            permit: None,
            mailbox: 0,
            tenant: None,
            stream_id: None,
            failure: None,
            reader: None,
            waiters: Waiters::default(),
        }
    }

    /// Makes the state as good as new, [`CallState::restart`] apart. Large buffers are freed.
    fn clear(&mut self) {
        self.spec = CallSpec::default();
        self.send.clear();
        self.recv.clear();
        self.stage = Stage::Pending;
        self.attempts = 0;
        self.refusals = 0;
        self.maybe_processed = false;
        self.policy = None;
        self.hedge = false;
        self.cancel = None;
        self.detached = false;
        self.permit = None;
        self.mailbox = 0;
        self.tenant = None;
        self.stream_id = None;
        self.failure = None;
        self.reader = None;
        self.waiters.clear();
    }

    /// Starts the clock of a recycled call.
    pub fn restart(&mut self, now: Instant) {
        self.timeline = Timeline::new(Phase::PoolWait, now);
    }

    /// Returns what the caller asked for.
    #[must_use]
    pub const fn spec(&self) -> &CallSpec {
        &self.spec
    }

    /// Returns when the call must have ended.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.spec.deadline
    }

    /// Returns where the call stands.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns whether the call has ended.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Returns the key of the stream on which the call is open.
    #[must_use]
    pub const fn stream(&self) -> Option<StreamKey> {
        match self.stage {
            Stage::Open(key) => key,
            _ => None,
        }
    }

    /// Returns the code with which the caller has cancelled.
    #[must_use]
    pub const fn cancel_code(&self) -> Option<ErrorCode> {
        self.cancel
    }

    /// Returns whether the handler goes on although nobody waits for its answer.
    #[must_use]
    pub const fn is_detached(&self) -> bool {
        self.detached
    }

    /// Returns whether the call is a hedge: it goes where capacity is free, or fails.
    #[must_use]
    pub const fn is_hedge(&self) -> bool {
        self.hedge
    }

    /// Returns how often the head was written to a connection, since the last retry by policy.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns the permit for the connection that carries the call.
    #[must_use]
    pub const fn permit(&self) -> Option<&Permit> {
        self.permit.as_ref()
    }

    /// Returns whether the connection with this identifier carries the call.
    #[must_use]
    pub fn is_carried_by(&self, connection: u64) -> bool {
        self.permit.as_ref().is_some_and(|permit| permit.carrier().id() == connection)
    }

    /// Returns where the call's time went.
    #[must_use]
    pub const fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Ends the current phase of the timeline and begins `phase`.
    pub fn enter(&mut self, phase: Phase, now: Instant) {
        self.timeline.enter(phase, now);
    }

    /// Returns what the caller sends.
    #[must_use]
    pub const fn send(&self) -> &SendState {
        &self.send
    }

    /// Returns what the caller sends, for the transitions of [`SendState`].
    pub const fn send_mut(&mut self) -> &mut SendState {
        &mut self.send
    }

    /// Returns what the peer sends, whether the caller may see it yet or not.
    #[must_use]
    pub const fn recv(&self) -> &RecvState {
        &self.recv
    }

    /// Returns what the peer sends, for the transitions of [`RecvState`].
    pub const fn recv_mut(&mut self) -> &mut RecvState {
        &mut self.recv
    }

    /// Returns how the peer's side ended, once the caller may see it: a retry policy decides first.
    #[must_use]
    #[inline]
    pub const fn end(&self) -> Option<&RecvEnd> {
        if self.is_undecided() { None } else { self.recv.end() }
    }

    /// Returns whether the caller may see the head: it has come, and no retry policy may replace it.
    #[must_use]
    #[inline]
    pub const fn has_head(&self) -> bool {
        self.recv.is_head_ready() && (!self.is_undecided() || self.recv.end().is_none())
    }

    /// Returns whether an end that came now would go to the retry policy first.
    const fn is_undecided(&self) -> bool {
        self.policy.is_some() && !self.is_over() && self.cancel.is_none()
    }

    /// Returns whether somebody waits for the call.
    #[must_use]
    pub const fn is_awaited(&self) -> bool {
        self.reader.is_some() || !self.waiters.is_empty()
    }

    /// Adds phase, connection and stream to an error of this side. The peer's own status needs none,
    /// and an error that names a stream keeps it.
    #[must_use]
    pub fn located(&self, error: Error, now: Instant) -> Error {
        let named = error.connection().is_some_and(|facts| facts.stream_id.is_some());
        if error.kind() == Kind::Status || named {
            return error;
        }
        let Some(carrier) = self.permit.as_ref().map(Permit::carrier) else { return error };
        let facts = ConnectionFacts { stream_id: self.stream_id, ..carrier.facts(now) };
        // What a caller finds wrong with a response that has ended was met in reading it.
        let written = || self.stream_id.is_some_and(|id| carrier.has_written(id));
        let phase = match self.timeline.phase() {
            Phase::Caller => Phase::Read,
            // The connection notes late that a request was handed to the socket.
            Phase::WriteQueue if written() && self.send.in_flight() == 0 => Phase::Server,
            phase => phase,
        };
        error.with_phase(phase).with_connection(facts)
    }
}
