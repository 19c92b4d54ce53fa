//! The pool's side of a connection: reacts to its events, and takes back calls and permits.

use crate::call::state::SharedCall;
use crate::connection::driver::ConnectionOptions;
use crate::connection::handle::{ConnectionEvent, DisconnectReason, Handle, Owner, Refusal};
use crate::connection::permits::Reading;
use crate::error::{Error, Initiator, Kind, Phase, Processed};
use crate::grpc::status::{Code, Status};
use crate::http2::{ErrorCode, StreamId};
use crate::pool::balance::Balance;
use crate::pool::counters::Count;
use crate::pool::queue::CallQueue;
use crate::pool::subchannel::Subchannel;
use crate::pool::{Shared, fail, shut_down};
use crate::rt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// If the peer ends connections with an error, or without the end of a call, before this age, each counts
/// as a failed dial, from the second in a row on.
const YOUNG: Duration = Duration::from_secs(10);

/// The owner of one connection.
pub(super) struct PoolOwner {
    shared: Weak<Shared>,
    waiting: Arc<CallQueue>,
    subchannel: Arc<Subchannel>,
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
        let Some(shared) = self.shared.upgrade() else {
            if matches!(change, ConnectionEvent::Closed(..)) {
                self.leave(handle);
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
                let first = self.subchannel.lifecycle().drain(handle);
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
                    self.ended(&shared, handle, failed, &format!("GOAWAY {code}"), now);
                }
            }
            ConnectionEvent::TooManyPings => shared.ping_less(),
            ConnectionEvent::Quiet => shared.free_spare_calls(),
            ConnectionEvent::Probing
            | ConnectionEvent::Overdue
            | ConnectionEvent::Proved(_)
            | ConnectionEvent::Unproved(_)
            | ConnectionEvent::DiedSilently(_) => self.probed(&shared, &change, now),
            ConnectionEvent::Leaked(leak) => shared.leaked(leak),
            ConnectionEvent::Closed(error, reason) => {
                self.closed(&shared, handle, error, reason, now);
            }
        }
    }

    fn released(&self, handle: &Arc<Handle>, reading: Reading) {
        self.note_idle(handle, reading);
        if reading.open
            && !self.waiting.needs_no_permit()
            && let Some(shared) = self.shared.upgrade()
        {
            shared.serve_refused(handle);
            if !shared.queue.has_refused(handle.id()) {
                // The next new call finds out whether the peer carries more again.
                handle.grow_learned();
            }
            shared.serve(rt::now());
        }
    }
}

impl PoolOwner {
    pub(super) fn new(shared: &Arc<Shared>, subchannel: Arc<Subchannel>) -> Self {
        Self { shared: Arc::downgrade(shared), waiting: Arc::clone(&shared.queue), subchannel }
    }

    /// A connection without calls is queued for calls that need one.
    fn note_idle(&self, handle: &Arc<Handle>, reading: Reading) {
        if reading.calls == 0 && reading.open {
            self.subchannel.idle.push(handle);
        }
    }

    fn ready(&self, shared: &Shared, handle: &Arc<Handle>, now: Instant) {
        shared.counters.note(Count::DialsSucceeded);
        let (again, probing) = {
            let mut lifecycle = self.subchannel.lifecycle();
            (lifecycle.settings_received(handle), lifecycle.set_probing(false))
        };
        if again {
            let (target, peer) = (&self.subchannel.target, &shared.target);
            tracing::info!(%target, %peer, "speaks HTTP/2 again");
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
        shared.maintenance.notify_one();
        shared.serve_or_grow(now);
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
                self.subchannel.answered.notify_waiters();
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
    fn ended(&self, shared: &Shared, handle: &Handle, failed: bool, how: &str, now: Instant) {
        let facts = handle.facts(now);
        let unused = handle.tally().read().ended == 0;
        let early = facts.age < YOUNG && (failed || unused);
        let mut lifecycle = self.subchannel.lifecycle();
        let in_a_row = lifecycle.judge(handle, early);
        if in_a_row > 1 {
            let text = format!("the peer ended {in_a_row} connections in a row with {how}");
            let status = Status::new(Code::Unavailable, text);
            let error = Error::new(Kind::GoAway, status, Initiator::Remote, Processed::No);
            let delay = |failures| shared.backoff_delay(failures);
            lifecycle.back_off(now, error.with_connection(facts), delay);
        }
    }

    /// The connection is closed: its subchannel does not keep it. Returns its first GOAWAY.
    fn leave(&self, handle: &Handle) -> Option<ErrorCode> {
        let closed = self.subchannel.lifecycle().closed(handle);
        self.subchannel.idle.remove(handle);
        closed.and_then(|(_socket, goaway)| goaway)
    }

    fn closed(
        &self,
        shared: &Shared,
        handle: &Handle,
        error: Option<Error>,
        reason: DisconnectReason,
        now: Instant,
    ) {
        if handle.is_ready() && !handle.is_goodbye() {
            self.ended(shared, handle, false, reason.words(), now);
        }
        let goaway = self.leave(handle);
        shared.live.lock().retain(|other| other.id() != handle.id());
        let stalled = handle.connection_stalled().as_millis() as u64;
        shared.counters.close(&handle.tally().read(), stalled);
        if handle.is_ready() {
            shared.counters.note(Count::Disconnections);
            let why = goaway.map_or_else(|| reason.words().to_owned(), |c| format!("GOAWAY {c}"));
            shared.meter().disconnected(why);
        } else {
            shared.counters.note(Count::DialsFailed);
            // It never spoke HTTP/2: this is a failed dial. Calls that wait were not sent there.
            let error = error.unwrap_or_else(|| never_spoke(handle));
            let error = error.with_processed(Processed::No);
            let delay = |failures| shared.backoff_delay(failures);
            self.subchannel.lifecycle().back_off(now, error.clone(), delay);
            if shared.options.balance == Balance::PickFirst && !shared.is_connected() {
                shared.next_endpoint(&self.subchannel);
            }
            if shared.unreachable(now).is_some() {
                shared.publish();
                shared.fail_fast(&error.with_phase(Phase::Settings));
            }
        }
        shared.lost(&self.subchannel);
        shared.release_refused(handle);
    }
}

impl Shared {
    // gRPC keepalive: the interval of later connections doubles
    fn ping_less(&self) {
        self.counters.note(Count::TooManyPings);
        let mut driver = self.driver.lock();
        let least = Duration::from_secs(10);
        let interval = driver.keepalive.map(|time| time.max(least).saturating_mul(2));
        *driver = Arc::new(ConnectionOptions { keepalive: interval, ..(**driver).clone() });
        tracing::warn!(target = %self.target, ?interval, "too_many_pings");
    }
}

fn never_spoke(handle: &Handle) -> Error {
    let status = Status::new(Code::Unavailable, "the connection closed before the peer's SETTINGS");
    Error::new(Kind::ConnectionLost, status, Initiator::Remote, Processed::No)
        .with_connection(handle.facts(rt::now()))
}
