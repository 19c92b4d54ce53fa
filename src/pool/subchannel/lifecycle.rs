//! All that changes in the life of a subchannel, behind one lock: its state, the dial in flight, the
//! backoff, and its connections with their age. Each method is one transition, or a question.

mod aging;
mod dialing;

use crate::connection::handle::Handle;
use crate::http2::ErrorCode;
use crate::pool::backoff::Backoff;
use crate::pool::cap::Socket;
use crate::pool::stats::EndpointStats;
use crate::pool::subchannel::state::{ChannelState, Event, Remaining, next};
use crate::transport::connect::ConnectPhase;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use aging::{Limits, LongIdle};
use dialing::Dial;

/// What changes in the life of a subchannel.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    state: ChannelState,
    max: u32,
    dial: Option<Dial>,
    backoff: Backoff,
    /// Connections whose peers have sent SETTINGS and that are not closed, oldest first.
    connections: Vec<Connection>,
    /// A connection is too old: one more than `max` may be dialled.
    replacing: bool,
    /// Calls wait for the answer to a PING on a connection: one more than `max` may be dialled.
    probing: bool,
    /// Connections in a row that the peer ended early: young, with an error or before any call ended.
    ended_early: u32,
    /// Connections in a row that ended soon and to which no call was given.
    unused: u32,
    /// Whether the endpoint spoke HTTP/2 at the last attempt; `None` until that is known.
    http2: Option<bool>,
}

/// A connection that is not closed.
#[derive(Debug)]
struct Connection {
    handle: Arc<Handle>,
    socket: Socket,
    /// It takes calls; otherwise it drains.
    accepting: bool,
    /// The code of the first GOAWAY from the peer.
    goaway: Option<ErrorCode>,
    /// Whether its end was early is known.
    judged: bool,
    /// The epoch in which it was found without calls, and when.
    idle: Option<(u32, Instant)>,
    replace_at: Option<Instant>,
}

impl Lifecycle {
    pub(super) const fn new(max: u32) -> Self {
        Self {
            state: ChannelState::Idle,
            max,
            dial: None,
            backoff: Backoff::new(),
            connections: Vec::new(),
            replacing: false,
            probing: false,
            ended_early: 0,
            unused: 0,
            http2: None,
        }
    }

    // ---- questions ------------------------------------------------------------------------------

    /// The state for the channel's. As in gRPC, a failure lasts while the next dial runs.
    pub(crate) fn state(&self) -> ChannelState {
        match self.state {
            ChannelState::Connecting if self.backoff.is_failing() => ChannelState::TransientFailure,
            state => state,
        }
    }

    /// The last dial failed, and no connection is left.
    pub(crate) fn is_failing(&self) -> bool {
        self.backoff.is_failing() && !self.is_connected()
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.state == ChannelState::Shutdown
    }

    fn accepting(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().filter(|connection| connection.accepting)
    }

    /// The connections that take calls and whose peers have sent SETTINGS, oldest first.
    pub(crate) fn handles(&self) -> impl Iterator<Item = &Arc<Handle>> {
        self.accepting().map(|connection| &connection.handle)
    }

    /// The connections that calls may be written to: those, and early ones.
    pub(crate) fn carriers(&self) -> impl Iterator<Item = &Arc<Handle>> {
        self.handles().chain(self.dial.iter().flat_map(|dial| &dial.early))
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.handles().any(|handle| handle.is_accepting())
    }

    /// Connections that are ready and take calls.
    pub(crate) fn count(&self) -> u32 {
        self.accepting().count() as u32
    }

    /// Connections that take calls, and the dial that has begun.
    pub(crate) fn open(&self) -> u32 {
        self.count() + u32::from(self.dial_began().is_some())
    }

    pub(crate) const fn is_replacing(&self) -> bool {
        self.replacing
    }

    pub(crate) const fn is_probing(&self) -> bool {
        self.probing
    }

    pub(crate) const fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    pub(crate) fn stats(&self, target: String, phase: ConnectPhase, now: Instant) -> EndpointStats {
        let retry_in = self.backoff.pending(now).map(|at| at.saturating_duration_since(now));
        let began = self.dial_began();
        EndpointStats {
            target,
            open: self.open(),
            max: self.max,
            dialing: u32::from(began.is_some() && phase != ConnectPhase::Http2),
            dial: began.map(|at| (phase, now.saturating_duration_since(at))),
            http2: self.http2,
            capped: self.dial.is_some() && began.is_none() && retry_in.is_none(),
            capped_by: self.capped().map(|capped| capped.by),
            draining: self.connections.len() as u32 - self.count(),
            failures: self.backoff.failures(),
            last_error: self.backoff.error().cloned(),
            retry_in,
        }
    }

    // ---- the state ------------------------------------------------------------------------------

    /// Follows the table. An event that cannot happen in this state leaves it as it is.
    fn apply(&mut self, event: Event) {
        let state = next(self.state, event);
        debug_assert!(state.is_some(), "{event:?} in {:?}", self.state);
        self.state = state.unwrap_or(self.state);
    }

    /// After a dial has ended: the state, unless another one is in flight.
    fn attempt_ended(&mut self) {
        if !self.is_connecting() {
            let failed = self.backoff.is_failing();
            self.apply(if failed { Event::DialFailed } else { Event::DialDropped });
        }
    }

    // ---- connections ----------------------------------------------------------------------------

    /// The dial in flight ended with a connection whose peer has sent SETTINGS. Returns whether the
    /// endpoint spoke no HTTP/2 before, and the backoff so far, to be dropped without a lock.
    #[must_use]
    pub(crate) fn connected(
        &mut self,
        handle: Arc<Handle>,
        socket: Socket,
        replace_at: Option<Instant>,
    ) -> (bool, Backoff) {
        let (accepting, goaway, judged, idle) = (true, None, false, None);
        self.connections.push(Connection {
            handle,
            socket,
            accepting,
            goaway,
            judged,
            idle,
            replace_at,
        });
        self.dial = None;
        let backoff = std::mem::replace(&mut self.backoff, Backoff::new());
        self.apply(Event::SettingsReceived);
        (self.http2.replace(true) == Some(false), backoff)
    }

    fn find(&mut self, handle: &Handle) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.handle.id() == handle.id())
    }

    /// A connection takes no more calls; `true` the first time.
    pub(crate) fn drain(&mut self, handle: &Handle) -> bool {
        let Some(connection) = self.find(handle).filter(|one| one.accepting) else { return false };
        connection.accepting = false;
        if self.count() == 0 {
            let remaining = match (self.is_connecting(), self.backoff.is_failing()) {
                (true, _) => Remaining::Attempt,
                (false, true) => Remaining::Failure,
                (false, false) => Remaining::Nothing,
            };
            self.apply(Event::ConnectionLost(remaining));
        }
        true
    }

    /// Notes a GOAWAY from the peer.
    pub(crate) fn goaway(&mut self, handle: &Handle, code: ErrorCode) {
        if let Some(connection) = self.find(handle) {
            connection.goaway.get_or_insert(code);
        }
    }

    /// The code of the first GOAWAY from the peer.
    pub(crate) fn goaway_of(&mut self, handle: &Handle) -> Option<ErrorCode> {
        self.find(handle).and_then(|connection| connection.goaway)
    }

    /// The peer ends a connection, `early` or not. From the second early end in a row on, each counts as
    /// a failed dial. Returns how many there are in a row; 0 if the connection was judged before.
    pub(crate) fn judge(&mut self, handle: &Handle, early: bool) -> u32 {
        let known = self.find(handle).is_none_or(|one| std::mem::replace(&mut one.judged, true));
        if known {
            return 0;
        }
        self.ended_early = if early { self.ended_early.saturating_add(1) } else { 0 };
        self.backoff.at_least(self.ended_early.saturating_sub(2));
        self.ended_early
    }

    /// A connection of this age, to which no call was given, takes no more calls: the next dial waits
    /// until the backoff that so many in a row have earned has passed since it began.
    pub(crate) fn ended_unused(
        &mut self,
        age: Duration,
        now: Instant,
        delay: impl FnOnce(u32) -> Duration,
    ) {
        let left = delay(self.unused).checked_sub(age);
        self.unused = left.map_or(0, |_| self.unused.saturating_add(1));
        if let Some(at) = left.and_then(|left| now.checked_add(left)) {
            self.backoff.pause(at);
        }
    }

    /// A connection is closed. Returns its socket and the code of its first GOAWAY.
    pub(crate) fn closed(&mut self, handle: &Handle) -> Option<(Socket, Option<ErrorCode>)> {
        self.drain(handle);
        let at = self.connections.iter().position(|one| one.handle.id() == handle.id())?;
        let Connection { socket, goaway, .. } = self.connections.remove(at);
        Some((socket, goaway))
    }

    /// Calls wait for the answer to a PING, or no longer. Returns whether they did before.
    pub(crate) const fn set_probing(&mut self, probing: bool) -> bool {
        std::mem::replace(&mut self.probing, probing)
    }

    /// Takes no more connections. Returns those that still take calls.
    pub(crate) fn shut_down(&mut self) -> Vec<Arc<Handle>> {
        self.apply(Event::Removed);
        let handles: Vec<_> = self.handles().cloned().collect();
        for handle in &handles {
            self.drain(handle);
        }
        handles
    }
}

#[cfg(test)]
mod tests {
    use crate::error::{Error, Kind};
    use crate::grpc::status::Code;
    use crate::pool::cap::Cap;
    use crate::pool::subchannel::lifecycle::*;
    use crate::transport::connect::ConnectionInfo;

    fn handle(now: Instant) -> Arc<Handle> {
        Arc::new(Handle::new(ConnectionInfo::default(), None, 65_535, now))
    }

    fn begin(lifecycle: &mut Lifecycle, cap: &Arc<Cap>, now: Instant) -> (u64, Socket) {
        let id = lifecycle.request_dial(now, true).unwrap();
        assert_eq!(lifecycle.request_dial(now, true), None, "one dial in flight");
        assert!(lifecycle.begin_dial(now));
        (id, cap.take(now).unwrap())
    }

    fn connect(lifecycle: &mut Lifecycle, cap: &Arc<Cap>, now: Instant) -> Arc<Handle> {
        let (id, socket) = begin(lifecycle, cap, now);
        let handle = handle(now);
        let _ = lifecycle.connected(Arc::clone(&handle), socket, None);
        // Its claim comes late and finds another dial.
        lifecycle.drop_dial(id, false);
        handle
    }

    fn refused() -> Error {
        Error::local(Kind::Connect, Code::Unavailable, "refused")
    }

    #[test]
    fn a_dial_beside_a_ready_connection_changes_no_state() {
        let (now, cap) = (Instant::now(), Cap::new(9, 9));
        let mut lifecycle = Lifecycle::new(2);
        let (_, socket) = begin(&mut lifecycle, &cap, now);
        assert_eq!((lifecycle.state(), lifecycle.count()), (ChannelState::Connecting, 0));
        let first = handle(now);
        let _ = lifecycle.connected(Arc::clone(&first), socket, None);
        assert_eq!((lifecycle.state(), lifecycle.count()), (ChannelState::Ready, 1));
        let (id, _) = begin(&mut lifecycle, &cap, now);
        let _ = lifecycle.dial_failed(now, refused(), |_| Duration::from_secs(1));
        assert_eq!((lifecycle.state(), lifecycle.open()), (ChannelState::Ready, 1));
        assert!(!lifecycle.is_failing(), "a connection is ready");
        // The failure counts once nothing is ready.
        assert!(lifecycle.drain(&first) && !lifecycle.drain(&first), "once");
        assert_eq!(lifecycle.state(), ChannelState::TransientFailure);
        assert!(lifecycle.is_failing());
        lifecycle.drop_dial(id, true);
        let second = connect(&mut lifecycle, &cap, now);
        assert_eq!(lifecycle.state(), ChannelState::Ready);
        assert!(lifecycle.closed(&second).is_some() && lifecycle.closed(&second).is_none());
        assert_eq!(lifecycle.shut_down().len(), 0);
        assert!(lifecycle.is_shut_down() && lifecycle.request_dial(now, true).is_none());
    }

    #[test]
    fn a_failure_lasts_while_the_next_dial_runs_and_ends_with_the_last_one() {
        let (now, cap) = (Instant::now(), Cap::new(9, 9));
        let mut lifecycle = Lifecycle::new(1);
        let (id, _) = begin(&mut lifecycle, &cap, now);
        let _ = lifecycle.dial_failed(now, refused(), |_| Duration::from_secs(1));
        assert!(lifecycle.begin_dial(now));
        assert_eq!(lifecycle.state(), ChannelState::TransientFailure);
        assert!(lifecycle.is_failing(), "the next one runs");
        lifecycle.drop_dial(id + 1, false);
        assert!(lifecycle.is_dialing(), "another dial's claim");
        lifecycle.drop_dial(id, false);
        assert_eq!(lifecycle.state(), ChannelState::Idle);
        assert!(!lifecycle.is_failing() && lifecycle.backoff().error().is_some());
    }

    /// Connections that end at once without a call: each waits longer. One that lived for longer than
    /// its pause ends this.
    #[test]
    fn unused_connections_that_end_soon_are_followed_by_a_pause() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut lifecycle = Lifecycle::new(1);
        let mut ended = |age| {
            lifecycle.reset_retry();
            lifecycle.ended_unused(age, now, |ended| second * (ended + 1));
            lifecycle.backoff().pending(now).map(|at| at - now)
        };
        let soon = second / 4;
        assert_eq!(ended(soon), Some(second - soon));
        assert_eq!(ended(soon), Some(second * 2 - soon));
        assert_eq!(ended(second * 4), None);
        assert_eq!(ended(soon), Some(second - soon));
    }

    impl Lifecycle {
        fn reset_retry(&mut self) {
            self.backoff = Backoff::new();
        }
    }
}
