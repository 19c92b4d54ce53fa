//! A connection's tie to its pool: what the driver tells, and where its calls go when it cannot
//! carry them.

use crate::call::state::SharedCall;
use crate::connection::driver::ConnectionOptions;
use crate::connection::handle::{ConnectionEvent, DisconnectReason, Handle, Owner};
use crate::connection::permits::Reading;
use crate::error::{Error, Initiator, Kind, Phase, Processed};
use crate::grpc::status::{Code, Status};
use crate::http2::ErrorCode;
use crate::pool::balance::Balance;
use crate::pool::cap::Socket;
use crate::pool::counters::Count;
use crate::pool::endpoint::Endpoint;
use crate::pool::queue::CallQueue;
use crate::pool::{Shared, fail};
use crate::rt;
use crate::rt::sync::Mutex;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A connection below this age that the peer ends with an error counts as a dial that failed, from the
/// second in a row on.
const YOUNG: Duration = Duration::from_secs(10);

/// One connection's home.
pub(super) struct Member {
    pub(super) shared: Weak<Shared>,
    pub(super) waiting: Arc<CallQueue>,
    pub(super) endpoint: Arc<Endpoint>,
    /// Its place among the process's sockets, until it is closed.
    pub(super) socket: Mutex<Option<Socket>>,
    /// The code of the first GOAWAY that came.
    pub(super) goaway: Mutex<Option<ErrorCode>>,
}

impl Owner for Member {
    fn redispatch(&self, call: Arc<SharedCall>) {
        match self.shared.upgrade() {
            Some(shared) => shared.redispatch(call),
            None => fail(&call, crate::pool::shut_down()),
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
            ConnectionEvent::Ready => {
                shared.ledger.note(Count::DialsSucceeded);
                self.endpoint.cold.lock().forgive();
                self.spoke_http2(&shared);
                self.endpoint.relieve();
                if handle.life().read().calls == 0 {
                    self.endpoint.rest(handle);
                }
                shared.publish();
                shared.news.notify_one();
                shared.serve(now);
                if !shared.waiting.is_empty() {
                    shared.grow();
                }
            }
            ConnectionEvent::StreamLimit => {
                if handle.life().read().calls == 0 {
                    self.endpoint.rest(handle);
                }
                shared.serve(now);
            }
            ConnectionEvent::Draining => {
                let used = self.endpoint.remove(handle) && handle.life().read().calls > 0;
                shared.lost(&self.endpoint);
                if used && !self.endpoint.is_connected() {
                    // More calls will come: the next one need not wait for the whole dial.
                    shared.start_dial(&self.endpoint);
                }
            }
            ConnectionEvent::Goaway(code) => {
                shared.ledger.note(Count::Goaways);
                let first = {
                    let mut goaway = self.goaway.lock();
                    let first = goaway.is_none();
                    goaway.get_or_insert(code);
                    first
                };
                if first && code != ErrorCode::NO_ERROR {
                    self.scolded(&shared, handle, code, now);
                }
            }
            ConnectionEvent::TooManyPings => shared.ping_less(),
            ConnectionEvent::Probing
            | ConnectionEvent::Overdue
            | ConnectionEvent::Proved(_)
            | ConnectionEvent::Unproved(_)
            | ConnectionEvent::DiedSilently(_) => self.doubted(&shared, &change, now),
            ConnectionEvent::Leaked(leak) => shared.leaked(leak),
            ConnectionEvent::Closed(error, ending) => {
                self.closed(&shared, handle, error, ending, now)
            }
        }
    }

    fn released(&self, handle: &Arc<Handle>, reading: Reading) {
        if reading.calls == 0 && reading.open {
            self.endpoint.rest(handle);
        }
        if reading.open
            && !self.waiting.is_empty()
            && let Some(shared) = self.shared.upgrade()
        {
            shared.serve(rt::now());
        }
    }
}

impl Member {
    fn spoke_http2(&self, shared: &Shared) {
        if self.endpoint.cold.lock().http2.replace(true) == Some(false) {
            tracing::info!(target = %self.endpoint.target, peer = %shared.target, "speaks HTTP/2 again");
        }
    }

    /// Whether the connection lives was asked, or answered one way or the other.
    fn doubted(&self, shared: &Shared, change: &ConnectionEvent, now: Instant) {
        match *change {
            ConnectionEvent::Probing => shared.ledger.note(Count::Probes),
            ConnectionEvent::Overdue => {
                self.endpoint.probing.store(true, crate::pool::Ordering::Release);
                shared.start_dial(&self.endpoint);
            }
            ConnectionEvent::Proved(silence) => {
                self.endpoint.proved();
                shared.survived(silence, now);
            }
            ConnectionEvent::Unproved(silence) => {
                shared.ledger.note(Count::ProbesFailed);
                self.endpoint.probing.store(false, crate::pool::Ordering::Release);
                shared.died_silently(silence, now);
            }
            ConnectionEvent::DiedSilently(silence) => {
                shared.ledger.note(Count::SilentDeaths);
                shared.died_silently(silence, now);
            }
            _ => {}
        }
    }

    /// The peer ended the connection with an error, ENHANCE_YOUR_CALM mostly. Once is a reason to
    /// connect anew; young connections that end so one after the other are as dials that fail.
    fn scolded(&self, shared: &Shared, handle: &Handle, code: ErrorCode, now: Instant) {
        let facts = handle.facts(now);
        let scolded = {
            let mut cold = self.endpoint.cold.lock();
            cold.scolded = if facts.age < YOUNG { cold.scolded.saturating_add(1) } else { 0 };
            cold.failures = cold.failures.max(cold.scolded.saturating_sub(2));
            cold.scolded
        };
        if scolded > 1 {
            let text = format!("the peer ended {scolded} connections in a row with GOAWAY {code}");
            let status = Status::new(Code::Unavailable, text);
            let error = Error::new(Kind::GoAway, status, Initiator::Remote, Processed::No);
            shared.back_off(&self.endpoint, now, error.with_connection(facts));
        }
    }

    /// The connection is closed: nothing that outlives it knows it any more.
    fn leave(&self, handle: &Handle) {
        self.endpoint.remove(handle);
        self.endpoint.left(handle);
        drop(self.socket.lock().take());
    }

    fn closed(
        &self,
        shared: &Shared,
        handle: &Handle,
        error: Option<Error>,
        ending: DisconnectReason,
        now: Instant,
    ) {
        self.leave(handle);
        shared.live.lock().retain(|other| other.id() != handle.id());
        let stalled = handle.connection_stalled().as_millis() as u64;
        shared.ledger.close(&handle.tally().read(), stalled);
        if handle.is_ready() {
            shared.ledger.note(Count::Disconnections);
            let code = self.goaway.lock().take();
            let why = code.map_or_else(|| ending.words().to_owned(), |c| format!("GOAWAY {c}"));
            shared.meter().disconnected(why);
        } else {
            shared.ledger.note(Count::DialsFailed);
            // It never spoke HTTP/2: as good as a dial that failed.
            let error = error.unwrap_or_else(|| never_spoke(handle));
            // It speaks to calls that were not sent there.
            let error = error.with_processed(Processed::No);
            shared.back_off(&self.endpoint, now, error.clone());
            if shared.options.balance == Balance::PickFirst && !shared.is_connected() {
                shared.next_endpoint(&self.endpoint);
            }
            if shared.broken(now).is_some() {
                let impatient = |call: &Arc<SharedCall>| !call.lock().spec().wait_for_ready;
                shared.fail_waiting(impatient, &error.with_phase(Phase::Settings));
            }
        }
        shared.lost(&self.endpoint);
    }
}

impl Shared {
    // gRPC keepalive: the interval of later connections doubles
    fn ping_less(&self) {
        self.ledger.note(Count::TooManyPings);
        let mut driver = self.driver.lock();
        let least = Duration::from_secs(10);
        let interval = driver.keepalive.map(|time| time.max(least).saturating_mul(2));
        *driver = Arc::new(ConnectionOptions { keepalive: interval, ..(**driver).clone() });
        tracing::warn!(target = %self.target, ?interval, "too_many_pings");
    }

    /// A connection takes no more calls: others may be wanted.
    fn lost(&self, endpoint: &Arc<Endpoint>) {
        self.publish();
        self.news.notify_one();
        self.resolve();
        let shut = self.shutdown.load(crate::pool::Ordering::Acquire);
        if shut || self.waiting.is_empty() {
            return;
        }
        match self.options.balance {
            // It may be another one's turn.
            Balance::PickFirst => self.grow(),
            Balance::RoundRobin | Balance::LeastLoaded => self.start_dial(endpoint),
        }
    }

    /// The endpoint's next dial waits: times 1.6 for each failure in a row, give or take a fifth. The
    /// second wait is taken three times, so that who comes back within four seconds is found in two.
    pub(super) fn back_off(&self, endpoint: &Endpoint, now: Instant, error: Error) {
        let jitter = |base| self.jitter(base, 0.2);
        let mut cold = endpoint.cold.lock();
        let growth = cold.failures.min(1).max(cold.failures.min(32).saturating_sub(2));
        let factor = 1.6f64.powi(growth as i32);
        let base = self.options.backoff.mul_f64(factor).min(self.options.backoff_max);
        cold.failures = cold.failures.saturating_add(1);
        cold.retry_at = Some(now + jitter(base));
        cold.last_error = Some(error);
    }

    /// A call that was surely not processed looks for another connection.
    pub(super) fn redispatch(&self, call: Arc<SharedCall>) {
        let (attempts, spare) = {
            let mut x = call.lock();
            x.enter(Phase::PoolWait, rt::now());
            (x.attempts(), x.is_hedge())
        };
        self.ledger.note(Count::Moved);
        if attempts >= self.options.attempts {
            let status = Status::new(
                Code::Unavailable,
                format!("{attempts} connections refused the call without acting on it"),
            );
            let error = Error::new(Kind::GoAway, status, Initiator::Remote, Processed::No);
            return fail(&call, error);
        }
        if spare {
            return self.bounce(call);
        }
        // Never written, or once: at once. More often: the peer is given time.
        if attempts < 2 {
            return self.submit(call);
        }
        let Some(me) = self.me.upgrade() else { return };
        let pause = self.jitter(Duration::from_millis(25) * (1 << attempts.min(6)), 0.2);
        let mut pausing = Pausing(Some((me, call)));
        rt::spawn(async move {
            rt::sleep(pause).await;
            pausing.end();
        });
    }
}

/// A call that is to look for a connection after a pause. Dropped before, as when a runtime ends, it
/// fails: nobody else would tell it.
struct Pausing(Option<(Arc<Shared>, Arc<SharedCall>)>);

impl Pausing {
    fn end(&mut self) {
        if let Some((shared, call)) = self.0.take() {
            shared.submit(call);
        }
    }
}

impl Drop for Pausing {
    fn drop(&mut self) {
        if let Some((_, call)) = self.0.take() {
            let text = "the runtime on which the call paused has ended";
            let error = Error::local(Kind::Shutdown, Code::Unavailable, text);
            fail(&call, error);
        }
    }
}

impl crate::pool::endpoint::Cold {
    /// A connection has come: what failed before is forgotten.
    fn forgive(&mut self) {
        self.failures = 0;
        self.retry_at = None;
        self.last_error = None;
    }
}

fn never_spoke(handle: &Handle) -> Error {
    let status = Status::new(Code::Unavailable, "the connection closed before the peer's SETTINGS");
    Error::new(Kind::ConnectionLost, status, Initiator::Remote, Processed::No)
        .with_connection(handle.facts(rt::now()))
}
