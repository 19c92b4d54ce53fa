//! One dial at a time an endpoint. It outlives the call that asked for it and serves whoever waits.

use crate::call::state::SharedCall;
use crate::connection::driver::Driver;
use crate::connection::engine::Intake;
use crate::connection::handle::{Handle, Owner};
use crate::error::{Error, Kind, Phase};
use crate::grpc::status::Code;
use crate::pool::balance::Balance;
use crate::pool::cap::Socket;
use crate::pool::counters::Count;
use crate::pool::endpoint::Endpoint;
use crate::pool::member::Member;
use crate::pool::{Shared, connect_error};
use crate::rt;
use crate::rt::sync::{Mutex, Ordering};
use crate::transport::connect::{
    ConnectError, ConnectPhase, ConnectTimings, Connected, ConnectionInfo,
};
use crate::transport::tcp::ATTEMPT_DELAY;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a dial waits for a socket of the process to come free before it looks again.
const SOCKET_WAIT: Duration = Duration::from_millis(100);

/// The endpoint's dial under way. Dropped, as when a runtime ends, another one may begin.
pub(super) struct Dialing(pub(super) Arc<Endpoint>);

impl Drop for Dialing {
    fn drop(&mut self) {
        let mut cold = self.0.cold.lock();
        (cold.dialing, cold.capped) = (false, None);
    }
}

/// A connection that counts and is not there yet.
struct Attempt {
    endpoint: Arc<Endpoint>,
    socket: Option<Socket>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.socket.is_some() {
            self.endpoint.not_opened();
        }
    }
}

/// How a dial's task ends.
enum Outcome {
    Found(Box<Connected>, Socket, Instant),
    /// Nobody waits for a connection.
    Unwanted,
    /// There are as many connections as allowed.
    Bounded,
    /// Another endpoint is tried instead.
    Elsewhere,
}

/// Dials until there is a connection, or nobody waits for one.
pub(super) async fn run(shared: Arc<Shared>, dialing: Dialing) {
    let endpoint = Arc::clone(&dialing.0);
    match search(&shared, &endpoint).await {
        Outcome::Found(connected, socket, started) => {
            arrived(&shared, dialing, *connected, socket, started);
        }
        Outcome::Unwanted => {
            drop(dialing);
            // Somebody may have come and found a dial that was about to end.
            if is_wanted(&shared, &endpoint) {
                shared.start_dial(&endpoint);
            }
        }
        Outcome::Bounded | Outcome::Elsewhere => {}
    }
}

async fn search(shared: &Arc<Shared>, endpoint: &Arc<Endpoint>) -> Outcome {
    loop {
        let wait = endpoint.cold.lock().retry_at.filter(|at| *at > rt::now());
        if let Some(at) = wait {
            rt::sleep_until(at).await;
            if !is_wanted(shared, endpoint) {
                return Outcome::Unwanted;
            }
        }
        let beyond = endpoint.may_exceed();
        let socket = match endpoint.open_one(&shared.cap, rt::now(), beyond) {
            Ok(socket) => socket,
            // Whoever closes a connection looks again.
            Err(None) => return Outcome::Bounded,
            Err(Some(capped)) => {
                shared.ledger.note(Count::DialsPutOff);
                endpoint.cold.lock().capped = Some(capped.by);
                rt::sleep(capped.wait.unwrap_or(SOCKET_WAIT)).await;
                if !is_wanted(shared, endpoint) {
                    return Outcome::Unwanted;
                }
                continue;
            }
        };
        let mut attempt = Attempt { endpoint: Arc::clone(endpoint), socket: Some(socket) };
        let started = rt::now();
        {
            let mut cold = endpoint.cold.lock();
            // Cleared: the state is CONNECTING again, though what failed last is still known.
            (cold.retry_at, cold.capped) = (None, None);
            cold.began = Some(started);
        }
        endpoint.progress.enter(ConnectPhase::Resolve);
        shared.publish();
        let dialled = attend(shared, endpoint).await;
        endpoint.cold.lock().began = None;
        match dialled {
            None => return Outcome::Unwanted,
            Some(Ok(_)) if is_late(shared, endpoint) => return Outcome::Unwanted,
            Some(Ok(connected)) => match attempt.socket.take() {
                Some(socket) => return Outcome::Found(Box::new(connected), socket, started),
                None => return Outcome::Unwanted,
            },
            Some(Err(error)) => {
                drop(attempt);
                tracing::debug!(%error, "dial failed");
                shared.ledger.note(Count::DialsFailed);
                if let Some(outcome) = failed(shared, endpoint, error) {
                    return outcome;
                }
            }
        }
    }
}

/// Dials, and sees to what happens meanwhile; `None` when the dial has become needless.
async fn attend(shared: &Shared, endpoint: &Arc<Endpoint>) -> Option<Result<Connected, Error>> {
    let beside = endpoint.probing.load(Ordering::Acquire);
    let mut alone = shared.options.balance == Balance::PickFirst && !shared.is_connected();
    let mut dialled = std::pin::pin!(dial(shared, endpoint));
    let mut patience = std::pin::pin!(rt::sleep(ATTEMPT_DELAY));
    loop {
        tokio::select! {
            biased;
            result = &mut dialled => return Some(result),
            () = endpoint.answered(), if beside => {
                if !is_wanted(shared, endpoint) {
                    return None;
                }
            }
            // RFC 8305 §5: an address that stays silent is not waited for alone.
            () = &mut patience, if alone => {
                alone = false;
                shared.dial_beside(endpoint);
            }
        }
    }
}

/// Whether another endpoint was first, so that nobody needs this connection.
fn is_late(shared: &Shared, endpoint: &Endpoint) -> bool {
    shared.options.balance == Balance::PickFirst
        && !endpoint.is_connected()
        && shared.is_connected()
        && !is_wanted(shared, endpoint)
}

async fn dial(shared: &Shared, endpoint: &Endpoint) -> Result<Connected, Error> {
    let time = shared.options.dial_time;
    let target = endpoint.target.clone().reporting(endpoint.progress.clone());
    match rt::timeout(time, shared.connector.connect(target)).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(error)) => {
            shared.note_failure(endpoint, &error);
            Err(connect_error(&error))
        }
        Err(_) => {
            let phase = match endpoint.progress.phase() {
                ConnectPhase::Resolve => Phase::Resolve,
                ConnectPhase::Tls => Phase::Tls,
                _ => Phase::Dial,
            };
            let text = format!("{}: no connection within {time:?} (dial_time)", endpoint.target);
            Err(Error::local(Kind::Connect, Code::Unavailable, text).with_phase(phase))
        }
    }
}

impl Shared {
    /// Counts a handshake that failed; tells once that the target speaks no HTTP/2.
    fn note_failure(&self, endpoint: &Endpoint, error: &ConnectError) {
        if error.phase() == ConnectPhase::Tls {
            self.ledger.note(Count::TlsFailed);
            self.meter().handshake_failed(error.kind());
        }
        if !error.kind().is_not_http2() {
            return;
        }
        let before = endpoint.cold.lock().http2.replace(false);
        if before != Some(false) {
            self.ledger.note(Count::LostHttp2);
            let spoke = before == Some(true);
            tracing::warn!(target = %endpoint.target, %error, spoke, "the target speaks no HTTP/2");
        }
    }

    /// Counts what a connection cost.
    fn note_success(&self, info: &ConnectionInfo, took: Duration) {
        self.meter().dialed(took);
        if let Some(tls) = &info.tls {
            self.ledger.note(if tls.resumed { Count::TlsResumed } else { Count::TlsFull });
            self.meter().handshake(tls.resumed, tls.handshake);
        }
    }
}

/// Whether somebody still wants the connection.
fn is_wanted(shared: &Shared, endpoint: &Endpoint) -> bool {
    let wanted = !shared.waiting.is_empty()
        || shared.lacks(endpoint)
        || endpoint.probing.load(Ordering::Acquire);
    wanted && !endpoint.cold.lock().removed && !shared.shutdown.load(Ordering::Acquire)
}

/// The connection is there: it starts with the calls that waited, in the preface's flight.
fn arrived(
    shared: &Arc<Shared>,
    dialing: Dialing,
    connected: Connected,
    socket: Socket,
    started: Instant,
) {
    let endpoint = &Arc::clone(&dialing.0);
    let now = rt::now();
    let Connected { io, info, .. } = connected;
    let timings = info.timings;
    shared.note_success(&info, now.saturating_duration_since(started));
    shared.prefer(endpoint);
    tracing::debug!(peer = ?info.peer, "connected");
    let member = Member {
        shared: Arc::downgrade(shared),
        waiting: Arc::clone(&shared.waiting),
        endpoint: Arc::clone(endpoint),
        socket: Mutex::new(Some(socket)),
        goaway: Mutex::new(None),
    };
    let home: Arc<dyn Owner> = Arc::new(member);
    let limits = &shared.options.driver.limits;
    let (window, early) = (limits.stream_window, limits.streams_before_settings);
    let handle = Handle::new(info, Some(home), window, now);
    let handle = Arc::new(handle.within(Some(shared.options.driver.shared_budget())));
    // Calls that have no other connection leave in the preface's flight; where there is one, the
    // new one proves itself first.
    handle.set_limit(if endpoint.is_ready() { 0 } else { early });
    shared.live.lock().push(Arc::clone(&handle));
    endpoint.add(Arc::clone(&handle));
    endpoint.rest(&handle);
    // The next one may be dialled from here on.
    drop(dialing);
    shared.publish();
    shared.waiting.each(|call| charge(call, timings, started, now));
    shared.serve(now);
    let gone = shared.shutdown.load(Ordering::Acquire);
    if gone || endpoint.cold.lock().removed {
        endpoint.remove(&handle);
        handle.goodbye();
    }
    shared.keep();
    let options = Arc::clone(&shared.driver.lock());
    match &shared.options.engine {
        None => rt::spawn(Driver::client(io, handle, options)),
        Some(engine) => rt::spawn(engine.client(io, Intake::new(handle, None), (*options).clone())),
    };
}

/// The parts of the dial belong to the calls that waited for it.
fn charge(call: &SharedCall, timings: ConnectTimings, started: Instant, now: Instant) {
    let mut x = call.lock();
    if x.timeline().phase() != Phase::PoolWait {
        return;
    }
    x.enter(Phase::Resolve, started);
    x.enter(Phase::Dial, started + timings.resolve);
    x.enter(Phase::Tls, started + timings.resolve + timings.tcp);
    x.enter(Phase::Settings, now);
}

/// The dial failed: calls without patience are told. `None` when somebody still waits for it.
fn failed(shared: &Shared, endpoint: &Arc<Endpoint>, error: Error) -> Option<Outcome> {
    shared.back_off(endpoint, rt::now(), error.clone());
    shared.publish();
    // Its servers may be at other addresses by now.
    shared.resolve();
    let first = shared.options.balance == Balance::PickFirst && !shared.is_connected();
    if first && shared.next_endpoint(endpoint) {
        return Some(Outcome::Elsewhere);
    }
    if !shared.is_connected() && shared.broken(rt::now()).is_some() {
        let impatient = |call: &Arc<SharedCall>| !call.lock().spec().wait_for_ready;
        shared.fail_waiting(impatient, &error);
    }
    (!is_wanted(shared, endpoint)).then_some(Outcome::Unwanted)
}
