//! The dial task of a subchannel, at most one at a time. It outlives the call that asked for it, waits
//! for the backoff and the cap, and ends with a connection or when nobody needs one.

use crate::call::state::SharedCall;
use crate::connection::driver::Driver;
use crate::connection::engine::Intake;
use crate::connection::handle::Handle;
use crate::error::{Error, Kind, Phase};
use crate::grpc::status::Code;
use crate::pool::balance::Balance;
use crate::pool::cap::Socket;
use crate::pool::counters::Count;
use crate::pool::subchannel::Subchannel;
use crate::pool::subchannel::owner::PoolOwner;
use crate::pool::{Shared, connect_error};
use crate::rt;
use crate::transport::connect::{
    ConnectError, ConnectPhase, ConnectTimings, Connected, ConnectionInfo,
};
use crate::transport::tcp::ATTEMPT_DELAY;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause of a dial that the cap on sockets delays.
const SOCKET_WAIT: Duration = Duration::from_millis(100);

/// The claim on the one dial in flight. When it is dropped, as when a runtime ends, another dial may
/// begin.
struct Claim(Arc<Subchannel>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.lifecycle().drop_dial();
    }
}

/// How a dial task ends.
enum Outcome {
    Found(Box<Connected>, Socket, Instant),
    /// Nobody needs a connection.
    Unwanted,
    /// No connection more is allowed. Whatever closes one looks again.
    Bounded,
    /// Another endpoint is tried instead.
    Elsewhere,
}

impl Shared {
    /// Starts the subchannel's dial task if none runs and the limits allow.
    pub(crate) fn start_dial(&self, subchannel: &Arc<Subchannel>) {
        if self.is_shut_down() {
            return;
        }
        let Some(me) = self.me.upgrade() else { return };
        if subchannel.lifecycle().request_dial() {
            let dial = run(me, Claim(Arc::clone(subchannel)));
            if self.options.executor.spawn(dial).is_err() {
                // The maintenance task may run elsewhere, and dials there.
                self.maintenance.notify_one();
            }
        }
    }

    /// Whether somebody needs a connection of this subchannel.
    fn is_wanted(&self, subchannel: &Subchannel) -> bool {
        let wanted = !self.queue.is_empty()
            || self.needs_connection(subchannel)
            || subchannel.lifecycle().is_probing();
        wanted && !subchannel.lifecycle().is_shut_down() && !self.is_shut_down()
    }

    /// Counts a failed handshake, and reports once that the target speaks no HTTP/2.
    fn note_failure(&self, subchannel: &Subchannel, error: &ConnectError) {
        if error.phase() == ConnectPhase::Tls {
            self.counters.note(Count::TlsFailed);
            self.meter().handshake_failed(error.kind());
        }
        if !error.kind().is_not_http2() {
            return;
        }
        let before = subchannel.lifecycle().not_http2();
        if before != Some(false) {
            self.counters.note(Count::LostHttp2);
            let (target, spoke) = (&subchannel.target, before == Some(true));
            tracing::warn!(%target, %error, spoke, "the target speaks no HTTP/2");
        }
    }

    /// Counts what a connection cost.
    fn note_success(&self, info: &ConnectionInfo, took: Duration) {
        self.meter().dialed(took);
        if let Some(tls) = &info.tls {
            self.counters.note(if tls.resumed { Count::TlsResumed } else { Count::TlsFull });
            self.meter().handshake(tls.resumed, tls.handshake);
        }
    }
}

/// Dials until there is a connection, or nobody needs one.
async fn run(shared: Arc<Shared>, claim: Claim) {
    let subchannel = Arc::clone(&claim.0);
    match search(&shared, &subchannel).await {
        Outcome::Found(connected, socket, started) => {
            arrived(&shared, claim, *connected, socket, started);
        }
        Outcome::Unwanted => {
            drop(claim);
            // A call may have come while this dial was in flight but about to end.
            if shared.is_wanted(&subchannel) {
                shared.start_dial(&subchannel);
            }
        }
        Outcome::Bounded | Outcome::Elsewhere => {}
    }
}

async fn search(shared: &Arc<Shared>, subchannel: &Arc<Subchannel>) -> Outcome {
    loop {
        let wait = subchannel.lifecycle().backoff().pending(rt::now());
        if let Some(at) = wait {
            rt::sleep_until(at).await;
            if !shared.is_wanted(subchannel) {
                return Outcome::Unwanted;
            }
        }
        let started = rt::now();
        let begun = subchannel.lifecycle().begin_dial(&shared.cap, started);
        let socket = match begun {
            Ok(socket) => socket,
            Err(None) => return Outcome::Bounded,
            Err(Some(capped)) => {
                shared.counters.note(Count::DialsPutOff);
                rt::sleep(capped.wait.unwrap_or(SOCKET_WAIT)).await;
                if !shared.is_wanted(subchannel) {
                    return Outcome::Unwanted;
                }
                continue;
            }
        };
        subchannel.progress.enter(ConnectPhase::Resolve);
        shared.publish();
        match attend(shared, subchannel).await {
            None => return Outcome::Unwanted,
            Some(Ok(_)) if is_late(shared, subchannel) => return Outcome::Unwanted,
            Some(Ok(connected)) => return Outcome::Found(Box::new(connected), socket, started),
            Some(Err(error)) => {
                drop(socket);
                tracing::debug!(%error, "dial failed");
                shared.counters.note(Count::DialsFailed);
                if let Some(outcome) = failed(shared, subchannel, error) {
                    return outcome;
                }
            }
        }
    }
}

/// Dials, and reacts to what happens meanwhile; `None` when nobody needs the connection any more.
async fn attend(shared: &Shared, subchannel: &Subchannel) -> Option<Result<Connected, Error>> {
    let probing = subchannel.lifecycle().is_probing();
    let mut alone = shared.options.balance == Balance::PickFirst && !shared.is_connected();
    let mut dialled = std::pin::pin!(dial(shared, subchannel));
    let mut delay = std::pin::pin!(rt::sleep(ATTEMPT_DELAY));
    loop {
        tokio::select! {
            biased;
            result = &mut dialled => return Some(result),
            () = subchannel.answered.notified(), if probing => {
                if !shared.is_wanted(subchannel) {
                    return None;
                }
            }
            // RFC 8305 §5: an address that stays silent is not waited for alone.
            () = &mut delay, if alone => {
                alone = false;
                shared.dial_beside(subchannel);
            }
        }
    }
}

/// Whether another endpoint was first, so that nobody needs this connection.
fn is_late(shared: &Shared, subchannel: &Subchannel) -> bool {
    shared.options.balance == Balance::PickFirst
        && !subchannel.is_connected()
        && shared.is_connected()
        && !shared.is_wanted(subchannel)
}

async fn dial(shared: &Shared, subchannel: &Subchannel) -> Result<Connected, Error> {
    let time = shared.options.dial_time;
    let target = subchannel.target.clone().reporting(subchannel.progress.clone());
    match rt::timeout(time, shared.connector.connect(target)).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(error)) => {
            shared.note_failure(subchannel, &error);
            Err(connect_error(&error))
        }
        Err(_) => {
            let phase = match subchannel.progress.phase() {
                ConnectPhase::Resolve => Phase::Resolve,
                ConnectPhase::Tls => Phase::Tls,
                _ => Phase::Dial,
            };
            let target = &subchannel.target;
            let text = format!("{target}: no connection within {time:?} (dial_time)");
            Err(Error::local(Kind::Connect, Code::Unavailable, text).with_phase(phase))
        }
    }
}

/// The transport is there. Calls that wait leave together with the preface.
fn arrived(
    shared: &Arc<Shared>,
    claim: Claim,
    connected: Connected,
    socket: Socket,
    started: Instant,
) {
    let subchannel = &Arc::clone(&claim.0);
    let now = rt::now();
    let Connected { io, info, .. } = connected;
    let timings = info.timings;
    shared.note_success(&info, now.saturating_duration_since(started));
    shared.prefer(subchannel);
    tracing::debug!(peer = ?info.peer, "connected");
    let owner = PoolOwner::new(shared, Arc::clone(subchannel));
    let limits = &shared.options.driver.limits;
    let (window, early) = (limits.stream_window, limits.streams_before_settings);
    let handle = Handle::new(info, Some(Arc::new(owner)), window, now);
    let handle = handle.within(Some(shared.options.driver.shared_budget()));
    let handle = Arc::new(handle.at_most(shared.options.max_calls));
    shared.live.lock().push(Arc::clone(&handle));
    let replace_at = shared.options.max_age.map(|age| now + shared.jitter(age, 0.1));
    {
        let mut lifecycle = subchannel.lifecycle();
        // Calls that have no other connection leave with the preface. If there is a ready one, the
        // new one must be ready first.
        handle.set_limit(Some(if lifecycle.ready() > 0 { 0 } else { early }));
        lifecycle.connected(Arc::clone(&handle), socket, replace_at);
    }
    subchannel.idle.push(&handle);
    // From here on the next dial may start.
    drop(claim);
    shared.publish();
    shared.queue.each(|call| charge(call, timings, started, now));
    shared.serve(now);
    if shared.is_shut_down() || subchannel.lifecycle().is_shut_down() {
        subchannel.lifecycle().drain(&handle);
        shared.publish();
        handle.goodbye();
    }
    shared.maintain();
    let options = Arc::clone(&shared.driver.lock());
    match shared.options.engine.foreign() {
        None => rt::spawn(Driver::client(io, handle, options)),
        Some(engine) => rt::spawn(engine.client(io, Intake::new(handle, None), (*options).clone())),
    };
}

/// Assigns the parts of the dial to a call that waited for it.
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

/// The dial failed: so do the calls that wait, except those with `wait_for_ready`. `None` if somebody
/// still needs a connection.
fn failed(shared: &Shared, subchannel: &Arc<Subchannel>, error: Error) -> Option<Outcome> {
    let delay = |failures| shared.backoff_delay(failures);
    subchannel.lifecycle().dial_failed(rt::now(), error.clone(), delay);
    // The servers may be at other addresses by now.
    shared.resolve();
    let first = shared.options.balance == Balance::PickFirst && !shared.is_connected();
    let elsewhere = first && shared.next_endpoint(subchannel);
    shared.publish();
    if elsewhere {
        return Some(Outcome::Elsewhere);
    }
    if !shared.is_connected()
        && let Some(_) = shared.unreachable(rt::now())
    {
        shared.fail_fast(&error);
    }
    (!shared.is_wanted(subchannel)).then_some(Outcome::Unwanted)
}
