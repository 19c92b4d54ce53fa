//! The pool's side of a connection: reacts to its events, and takes back calls and permits.

use crate::call::state::SharedCall;
use crate::connection::handle::{ConnectionEvent, DisconnectReason, Handle, Owner, Refusal};
use crate::connection::keepalive::PingRule;
use crate::connection::permits::Reading;
use crate::error::{Error, Initiator, Kind, Phase, Processed};
use crate::grpc::status::{Code, Status};
use crate::http2::{ErrorCode, StreamId};
use crate::pool::books::Books;
use crate::pool::cap::{Cap, Socket};
use crate::pool::counters::Count;
use crate::pool::queue::CallQueue;
use crate::pool::subchannel::Subchannel;
use crate::pool::subchannel::claim::Claim;
use crate::pool::subchannel::early_end::End;
use crate::pool::{Shared, fail, shut_down};
use crate::rt;
use crate::rt::sync::Mutex;
use crate::transport::connect::ConnectTimings;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// If the peer ends connections with an error, or without the end of a call, before this age, each counts
/// as a failed dial, from the second in a row on.
const YOUNG: Duration = Duration::from_secs(10);

/// The owner of one connection.
pub(super) struct PoolOwner {
    shared: Weak<Shared>,
    books: Arc<Books>,
    waiting: Arc<CallQueue>,
    cap: Arc<Cap>,
    subchannel: Arc<Subchannel>,
    /// The dial that made the connection, until that has ended.
    claim: Weak<Claim>,
    /// When its connector was asked, and when the transport was open.
    dialled: [Instant; 2],
    /// How the connection ended without being the subchannel's.
    end: Mutex<End>,
    /// Of a connection that has ended, until its socket is closed.
    socket: Mutex<Option<Socket>>,
}

impl Owner for PoolOwner {
    fn redispatch(&self, call: Arc<SharedCall>) {
        match self.shared.upgrade() {
            Some(shared) => shared.redispatch(call),
            None => fail(&call, shut_down()),
        }
    }

    fn refused(&self, handle: &Arc<Handle>, call: Arc<SharedCall>, refusal: Refusal) {
        match self.shared.upgrade() {
            Some(shared) => shared.refused(handle, call, refusal),
            None => fail(&call, shut_down()),
        }
    }

    fn changed(&self, handle: &Arc<Handle>, change: ConnectionEvent) {
        if matches!(change, ConnectionEvent::SocketClosed) {
            let socket = self.socket.lock().take();
            return drop(socket);
        }
        let Some(shared) = self.shared.upgrade() else {
            if let ConnectionEvent::Closed(_, reason) = change {
                let goaway = self.leave(handle);
                self.books.closed(handle, goaway, reason);
                self.books.publish(0, 0);
            }
            return;
        };
        let now = rt::now();
        match change {
            ConnectionEvent::Ready => self.ready(&shared, handle, now),
            ConnectionEvent::StreamLimit => {
                self.note_idle(handle, handle.life().read());
                shared.serve_refused(handle);
                shared.serve(now);
            }
            ConnectionEvent::Draining => {
                let first = self.stopped(&shared, handle, now);
                let used = first && handle.life().read().calls > 0;
                shared.lost(&self.subchannel);
                shared.release_refused(handle);
                if used && !self.subchannel.is_connected() {
                    // More calls are likely: the next one need not wait for the whole dial.
                    shared.start_dial(&self.subchannel);
                }
            }
            ConnectionEvent::Goaway(code, last) => {
                shared.counters.note(Count::Goaways);
                self.subchannel.lifecycle().goaway(handle, code);
                let failed = code != ErrorCode::NO_ERROR;
                if failed || last == StreamId::CONNECTION {
                    let how = format!("with GOAWAY {code}");
                    self.ended(&shared, handle, (Kind::GoAway, failed), &how, now);
                }
            }
            ConnectionEvent::TooManyPings => shared.ping_less(),
            ConnectionEvent::Quiet => shared.free_spare_calls(),
            ConnectionEvent::Probing
            | ConnectionEvent::Overdue
            | ConnectionEvent::Proved(_)
            | ConnectionEvent::Unproved(_)
            | ConnectionEvent::DiedSilently(_) => self.probed(&shared, &change, now),
            ConnectionEvent::SocketClosed => {}
            ConnectionEvent::Leaked(leak) => shared.leaked(leak),
            ConnectionEvent::NeverReady(end) => self.end.lock().early = end,
            ConnectionEvent::Closed(error, reason) => {
                self.closed(&shared, handle, error, reason, now);
            }
        }
    }

    fn released(&self, handle: &Arc<Handle>, reading: Reading) {
        self.note_idle(handle, reading);
        if !reading.open {
            return;
        }
        let waiting = !self.waiting.needs_no_permit();
        // After the fence of the question before.
        let short = reading.calls == 0 && self.cap.is_short();
        if !waiting && !short {
            return;
        }
        let Some(shared) = self.shared.upgrade() else { return };
        if waiting {
            shared.serve_refused(handle);
            if !shared.queue.has_refused(handle.id()) {
                // The next new call finds out whether the peer carries more again.
                handle.grow_learned();
            }
            shared.serve(rt::now());
        }
        if short {
            shared.give_way(rt::now());
        }
    }
}

impl PoolOwner {
    /// Creates the owner of a connection whose connector was asked at `started` and that is open now.
    pub(super) fn new(claim: &Arc<Claim>, started: Instant) -> Self {
        Self {
            shared: Arc::downgrade(&claim.shared),
            books: Arc::clone(&claim.shared.books),
            waiting: Arc::clone(&claim.shared.queue),
            cap: Arc::clone(&claim.shared.cap),
            subchannel: Arc::clone(&claim.subchannel),
            claim: Arc::downgrade(claim),
            dialled: [started, rt::now()],
            end: Mutex::default(),
            socket: Mutex::new(None),
        }
    }

    /// How the connection ended without being the subchannel's.
    pub(super) fn take_end(&self) -> End {
        std::mem::take(&mut self.end.lock())
    }

    /// Calls may be written to the connection before the peer's SETTINGS: the options say so.
    pub(super) fn admit_early(&self, shared: &Shared, handle: &Arc<Handle>) {
        handle.set_limit(Some(shared.options.driver.limits.streams_before_settings));
        self.subchannel.lifecycle().add_early(handle);
        shared.publish();
        self.charge(shared, handle, rt::now());
        shared.serve(rt::now());
    }

    /// Assigns the parts of the dial to the calls that wait.
    fn charge(&self, shared: &Shared, handle: &Handle, now: Instant) {
        let (timings, opened) = (handle.info().timings, self.dialled[1]);
        shared.queue.each(|call| charge(call, timings, opened, now));
    }

    /// The connection takes no more calls. Returns whether this is news. One that ends soon and was given
    /// no call is followed by a pause.
    fn stopped(&self, shared: &Shared, handle: &Arc<Handle>, now: Instant) -> bool {
        let mut lifecycle = self.subchannel.lifecycle();
        let first = lifecycle.drain(handle);
        if first && handle.life().read().epoch == 0 && !shared.is_shut_down() {
            let age = handle.facts(now).age;
            lifecycle.ended_unused(age, now, |ended| shared.backoff_delay(ended));
        }
        first
    }

    /// The endpoint counts as failed: calls that wait fail if no other one is left, and the next dial
    /// begins by itself.
    fn failed(&self, shared: &Shared) {
        shared.start_dial(&self.subchannel);
        shared.publish();
        if let Some(error) = shared.unreachable() {
            shared.fail_fast(&error);
        }
    }

    /// A connection without calls is queued for calls that need one.
    fn note_idle(&self, handle: &Arc<Handle>, reading: Reading) {
        if reading.calls == 0 && reading.open {
            self.subchannel.idle.push(handle);
        }
    }

    /// The peer's SETTINGS arrived. The connection is the subchannel's from now on, unless another
    /// address or another endpoint was ready first.
    fn ready(&self, shared: &Shared, handle: &Arc<Handle>, now: Instant) {
        let early = self.subchannel.lifecycle().remove_early(handle);
        if early {
            shared.publish();
        }
        let socket = self.claim.upgrade().and_then(|claim| claim.take_socket());
        let socket = socket.filter(|_| !shared.is_late(&self.subchannel));
        let Some(socket) = socket else { return handle.goodbye() };
        shared.note_success(handle.info(), now.saturating_duration_since(self.dialled[0]));
        let first = !shared.is_connected();
        let replace_at = shared.options.max_age.map(|age| now + shared.jitter(age, 0.1));
        let ((again, backoff), probing) = {
            let mut lifecycle = self.subchannel.lifecycle();
            let connected = lifecycle.connected(Arc::clone(handle), socket, replace_at);
            (connected, lifecycle.set_probing(false))
        };
        drop(backoff);
        if first {
            shared.prefer(&self.subchannel);
        }
        if again {
            let (target, peer) = (&self.subchannel.target, &shared.target);
            crate::rt::log!(info, %target, %peer, "speaks HTTP/2 again");
        }
        if probing {
            // Calls that are held on other connections move to this one.
            let connections = self.subchannel.connections();
            connections
                .iter()
                .filter(|one| one.is_unproved())
                .for_each(|one| one.move_held_calls());
        }
        self.note_idle(handle, handle.life().read());
        shared.publish();
        let _ = shared.maintain();
        shared.maintenance.notify_one();
        self.charge(shared, handle, now);
        shared.serve_or_grow(now);
        // The calls that it was dialled for may be gone.
        shared.give_way(now);
        if shared.is_shut_down() || self.subchannel.lifecycle().is_shut_down() {
            self.subchannel.lifecycle().drain(handle);
            shared.publish();
            handle.goodbye();
        }
    }

    /// A PING asks whether a silent connection is alive, or the answer is known.
    fn probed(&self, shared: &Shared, change: &ConnectionEvent, now: Instant) {
        let probing = |probing| self.subchannel.lifecycle().set_probing(probing);
        match *change {
            ConnectionEvent::Probing => shared.counters.note(Count::Probes),
            ConnectionEvent::Overdue => {
                probing(true);
                shared.start_dial(&self.subchannel);
            }
            ConnectionEvent::Proved(silence) => {
                probing(false);
                self.subchannel.wake_dial();
                shared.survived(silence, now);
            }
            ConnectionEvent::Unproved(silence) => {
                shared.counters.note(Count::ProbesFailed);
                probing(false);
                shared.died_silently(silence, now);
            }
            ConnectionEvent::DiedSilently(silence) => {
                shared.counters.note(Count::SilentDeaths);
                shared.died_silently(silence, now);
            }
            _ => {}
        }
    }

    /// The peer ends the connection: with an error, mostly ENHANCE_YOUR_CALM, or otherwise. After one
    /// early end the pool connects again; from the second in a row on, they count as failed dials.
    fn ended(
        &self,
        shared: &Shared,
        handle: &Handle,
        (kind, failed): (Kind, bool),
        how: &str,
        now: Instant,
    ) {
        let facts = handle.facts(now);
        // Nobody was waiting for one that was given no call.
        let unused = handle.tally().read().ended == 0 && handle.life().read().epoch > 0;
        let early = facts.age < YOUNG && (failed || unused);
        let mut lifecycle = self.subchannel.lifecycle();
        let in_a_row = lifecycle.judge(handle, early);
        if in_a_row > 1 {
            let text = format!("the peer ended {in_a_row} connections in a row {how}");
            let status = Status::new(Code::Unavailable, text);
            let error = Error::new(kind, status, Initiator::Remote, Processed::No);
            let delay = |failures| shared.backoff_delay(failures);
            let before = lifecycle.back_off(now, error.with_connection(facts), delay);
            drop(lifecycle);
            drop(before);
            self.failed(shared);
        }
    }

    /// The connection is closed: its subchannel does not keep it. Returns its first GOAWAY; `None` if it
    /// was not the subchannel's.
    fn leave(&self, handle: &Handle) -> Option<Option<ErrorCode>> {
        let closed = self.subchannel.lifecycle().closed(handle);
        self.subchannel.idle.remove(handle);
        let (mut socket, goaway) = closed?;
        socket.linger(handle.id());
        *self.socket.lock() = Some(socket);
        Some(goaway)
    }

    fn closed(
        &self,
        shared: &Shared,
        handle: &Arc<Handle>,
        error: Option<Error>,
        reason: DisconnectReason,
        now: Instant,
    ) {
        if handle.is_ready() && !handle.is_goodbye() {
            let how = match (&error, self.subchannel.lifecycle().goaway_of(handle)) {
                (Some(error), _) => format!("early: {}", error.status().message()),
                (None, Some(code)) => format!("with GOAWAY {code}"),
                (None, None) => format!("early: {}", reason.words()),
            };
            self.ended(shared, handle, (Kind::Connect, false), &how, now);
        }
        self.stopped(shared, handle, now);
        let goaway = self.leave(handle);
        shared.books.closed(handle, goaway, reason);
        shared.changes.send_replace(());
        if goaway.is_none() {
            // The dial in flight, which made it, sees it end.
            let mut end = self.end.lock();
            (end.error, end.reason) = (error, reason);
            drop(end);
            if self.subchannel.lifecycle().remove_early(handle) {
                shared.publish();
            }
            return;
        }
        shared.lost(&self.subchannel);
        shared.release_refused(handle);
        if shared.is_shut_down() {
            // The maintenance task may have ended.
            shared.publish_metrics();
        }
    }
}

impl Shared {
    // gRPC keepalive: the interval of later connections doubles
    fn ping_less(&self) {
        self.counters.note(Count::TooManyPings);
        let least = Duration::from_secs(10);
        // A default server allows a PING in 2 h even without calls: rarer ones help nobody.
        let most = PingRule::GRPC.without_calls;
        let doubled = |time: Duration| time.max(least).saturating_mul(2).min(most.max(time));
        let interval = {
            let mut driver = self.driver.lock();
            let interval = driver.keepalive.map(doubled);
            driver.keepalive = interval;
            interval
        };
        crate::rt::log!(warn, target = %self.target, ?interval, "too_many_pings");
    }
}

/// Assigns the parts of a dial that has just ended to a call that waited for it.
fn charge(call: &SharedCall, timings: ConnectTimings, opened: Instant, now: Instant) {
    let mut x = call.lock();
    if x.timeline().phase() != Phase::PoolWait {
        return;
    }
    let before = |at: Instant, time| at.checked_sub(time).unwrap_or(at);
    let tls = before(opened, timings.tls);
    let tcp = before(tls, timings.tcp);
    x.enter(Phase::Resolve, before(tcp, timings.resolve));
    x.enter(Phase::Dial, tcp);
    x.enter(Phase::Tls, tls);
    x.enter(Phase::Settings, opened);
    x.enter(Phase::StreamQuota, now);
}
