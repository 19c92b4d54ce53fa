//! All that changes in the life of a subchannel, behind one lock: its state, the dial in flight, the
//! backoff, and its connections with their age. Each method is one transition, or a question.

mod aging;

use crate::connection::handle::Handle;
use crate::error::Error;
use crate::http2::ErrorCode;
use crate::pool::backoff::Backoff;
use crate::pool::cap::{Cap, Capped, Socket};
use crate::pool::stats::EndpointStats;
use crate::pool::subchannel::state::{ChannelState, Event, Remaining, next};
use crate::transport::connect::ConnectPhase;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use aging::Limits;

/// Times `max_connections` that may be draining while no other connection remains.
const DRAINING: u32 = 4;

/// What changes in the life of a subchannel.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    state: ChannelState,
    max: u32,
    dial: Option<Dial>,
    backoff: Backoff,
    /// Connections that are not closed, oldest first.
    connections: Vec<Connection>,
    /// A connection is too old: one more than `max` may be dialled.
    replacing: bool,
    /// Calls wait for the answer to a PING on a connection: one more than `max` may be dialled.
    probing: bool,
    /// Connections in a row that the peer ended early: young, with an error or before any call ended.
    ended_early: u32,
    /// Whether the endpoint spoke HTTP/2 at the last attempt; `None` until that is known.
    http2: Option<bool>,
}

/// The dial in flight. It waits for its backoff or a cap until it begins.
#[derive(Debug, Default)]
struct Dial {
    began: Option<Instant>,
    /// The level of the cap that delays it.
    capped: Option<&'static str>,
}

/// A connection that is not closed.
#[derive(Debug)]
struct Connection {
    handle: Arc<Handle>,
    socket: Socket,
    /// It takes calls; otherwise it drains.
    accepting: bool,
    /// The peer's SETTINGS have arrived.
    ready: bool,
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
            http2: None,
        }
    }

    // ---- questions ------------------------------------------------------------------------------

    pub(crate) const fn state(&self) -> ChannelState {
        self.state
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.state == ChannelState::Shutdown
    }

    fn accepting(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().filter(|connection| connection.accepting)
    }

    /// The connections that take calls, oldest first.
    pub(crate) fn handles(&self) -> impl Iterator<Item = &Arc<Handle>> {
        self.accepting().map(|connection| &connection.handle)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.handles().any(|handle| handle.is_accepting())
    }

    /// Connections that take calls.
    pub(crate) fn count(&self) -> u32 {
        self.accepting().count() as u32
    }

    /// Of them, those that are ready.
    pub(crate) fn ready(&self) -> u32 {
        self.accepting().filter(|connection| connection.ready).count() as u32
    }

    /// Connections that take calls, and the dial that has begun.
    pub(crate) fn open(&self) -> u32 {
        self.count() + u32::from(self.dial_began().is_some())
    }

    pub(crate) fn dial_began(&self) -> Option<Instant> {
        self.dial.as_ref().and_then(|dial| dial.began)
    }

    /// A dial or a handshake is in flight and does not wait for a backoff.
    fn is_connecting(&self) -> bool {
        let dialing = self.dial.is_some() && self.backoff.retry_at().is_none();
        dialing || self.dial_began().is_some() || self.accepting().any(|one| !one.ready)
    }

    pub(crate) const fn is_dialing(&self) -> bool {
        self.dial.is_some()
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
            dialing: u32::from(began.is_some()),
            dial: began.map(|at| (phase, now.saturating_duration_since(at))),
            http2: self.http2,
            capped: self.dial.is_some() && began.is_none() && retry_in.is_none(),
            capped_by: self.dial.as_ref().and_then(|dial| dial.capped),
            draining: self.connections.len() as u32 - self.count(),
            failures: self.backoff.failures(),
            last_error: self.backoff.error().cloned(),
            retry_in,
        }
    }

    // ---- the dial -------------------------------------------------------------------------------

    /// Follows the table. An event that cannot happen in this state leaves it as it is.
    fn apply(&mut self, event: Event) {
        let state = next(self.state, event);
        debug_assert!(state.is_some(), "{event:?} in {:?}", self.state);
        self.state = state.unwrap_or(self.state);
    }

    /// After a dial or a handshake has ended: the state, unless another one is in flight.
    fn attempt_ended(&mut self) {
        if !self.is_connecting() {
            let failed = self.backoff.error().is_some();
            self.apply(if failed { Event::DialFailed } else { Event::DialDropped });
        }
    }

    /// Claims the one dial that may be in flight; `false` if there is one, or no connection more is
    /// allowed, or a connection still waits for its SETTINGS: what it can carry is not known yet.
    pub(crate) fn request_dial(&mut self) -> bool {
        let beyond = self.replacing || self.probing;
        let refused = self.dial.is_some()
            || self.open() >= self.max + u32::from(beyond)
            || (!beyond && self.accepting().any(|connection| !connection.ready))
            || next(self.state, Event::ConnectRequested).is_none();
        if !refused {
            self.dial = Some(Dial::default());
            self.apply(Event::ConnectRequested);
        }
        !refused
    }

    /// Begins to connect: takes a socket from the cap. `Err(None)` if no connection more is allowed.
    pub(crate) fn begin_dial(
        &mut self,
        cap: &Arc<Cap>,
        now: Instant,
    ) -> Result<Socket, Option<Capped>> {
        let (open, beyond) = (self.count(), self.replacing || self.probing);
        // Calls that end late must not block new ones while a server is reachable.
        let draining = if open == 0 { self.max.saturating_mul(DRAINING) } else { self.max };
        if self.connections.len() as u32 - open > draining || open >= self.max + u32::from(beyond) {
            return Err(None);
        }
        let dialed = cap.dial(now);
        let dial = self.dial.get_or_insert_default();
        dial.capped = dialed.as_ref().err().map(|capped| capped.by);
        let socket = dialed?;
        dial.began = Some(now);
        self.backoff.attempt();
        self.apply(Event::BackoffElapsed);
        Ok(socket)
    }

    /// The dial in flight failed. It may try again after the backoff.
    pub(crate) fn dial_failed(
        &mut self,
        now: Instant,
        error: Error,
        delay: impl FnOnce(u32) -> Duration,
    ) {
        if let Some(dial) = &mut self.dial {
            dial.began = None;
        }
        self.back_off(now, error, delay);
    }

    /// No dial is in flight any more.
    pub(crate) fn drop_dial(&mut self) {
        if self.dial.take().is_some() {
            self.attempt_ended();
        }
    }

    /// The next dial waits. Notes a connection that failed, as it counts as a failed dial.
    pub(crate) fn back_off(
        &mut self,
        now: Instant,
        error: Error,
        delay: impl FnOnce(u32) -> Duration,
    ) {
        self.backoff.fail(now, error, delay);
        self.attempt_ended();
    }

    /// Notes that the endpoint speaks no HTTP/2, and returns what was known before.
    pub(crate) const fn not_http2(&mut self) -> Option<bool> {
        self.http2.replace(false)
    }

    // ---- connections ----------------------------------------------------------------------------

    /// The dial in flight ended with a connection.
    pub(crate) fn connected(
        &mut self,
        handle: Arc<Handle>,
        socket: Socket,
        replace_at: Option<Instant>,
    ) {
        self.connections.push(Connection {
            handle,
            socket,
            accepting: true,
            ready: false,
            goaway: None,
            judged: false,
            idle: None,
            replace_at,
        });
        self.dial = None;
    }

    fn find(&mut self, handle: &Handle) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.handle.id() == handle.id())
    }

    /// The peer's SETTINGS arrived. Returns whether the endpoint spoke no HTTP/2 before.
    pub(crate) fn settings_received(&mut self, handle: &Handle) -> bool {
        if let Some(connection) = self.find(handle).filter(|one| one.accepting) {
            connection.ready = true;
            self.backoff = Backoff::new();
            self.apply(Event::SettingsReceived);
        }
        self.http2.replace(true) == Some(false)
    }

    /// A connection takes no more calls; `true` the first time.
    pub(crate) fn drain(&mut self, handle: &Handle) -> bool {
        let Some(connection) = self.find(handle).filter(|one| one.accepting) else { return false };
        connection.accepting = false;
        if self.ready() == 0 {
            let remaining = match (self.is_connecting(), self.backoff.error()) {
                (true, _) => Remaining::Attempt,
                (false, Some(_)) => Remaining::Failure,
                (false, None) => Remaining::Nothing,
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
    use crate::error::Kind;
    use crate::grpc::status::Code;
    use crate::pool::subchannel::lifecycle::*;
    use crate::transport::connect::ConnectionInfo;

    fn connect(lifecycle: &mut Lifecycle, cap: &Arc<Cap>, now: Instant) -> Arc<Handle> {
        assert!(lifecycle.request_dial() && !lifecycle.request_dial(), "one dial in flight");
        let socket = lifecycle.begin_dial(cap, now).unwrap();
        let handle = Arc::new(Handle::new(ConnectionInfo::default(), None, 65_535, now));
        lifecycle.connected(Arc::clone(&handle), socket, None);
        handle
    }

    #[test]
    fn a_dial_beside_a_ready_connection_changes_no_state() {
        let (now, cap) = (Instant::now(), Cap::new(9, 9));
        let mut lifecycle = Lifecycle::new(2);
        let first = connect(&mut lifecycle, &cap, now);
        assert_eq!((lifecycle.state(), lifecycle.ready()), (ChannelState::Connecting, 0));
        assert!(!lifecycle.request_dial(), "its SETTINGS have not arrived");
        lifecycle.settings_received(&first);
        assert_eq!(lifecycle.state(), ChannelState::Ready);
        assert!(lifecycle.request_dial());
        lifecycle.begin_dial(&cap, now).unwrap();
        let error = Error::local(Kind::Connect, Code::Unavailable, "refused");
        lifecycle.dial_failed(now, error, |_| Duration::from_secs(1));
        assert_eq!((lifecycle.state(), lifecycle.open()), (ChannelState::Ready, 1));
        // The failure counts once nothing is ready.
        assert!(lifecycle.drain(&first) && !lifecycle.drain(&first), "once");
        assert_eq!(lifecycle.state(), ChannelState::TransientFailure);
        lifecycle.drop_dial();
        let second = connect(&mut lifecycle, &cap, now);
        assert_eq!(lifecycle.state(), ChannelState::Connecting);
        assert!(lifecycle.closed(&second).is_some() && lifecycle.closed(&second).is_none());
        assert_eq!(lifecycle.shut_down().len(), 0);
        assert!(lifecycle.is_shut_down() && !lifecycle.request_dial());
    }
}
