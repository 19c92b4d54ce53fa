//! One dial at a time. It outlives the call that asked for it and serves whoever waits.

use super::{ChannelState, Shared, connect_error, fail};
use crate::error::{Error, Kind, Phase};
use crate::grpc::status::Code;
use crate::net::connect::{ConnectTimings, Connected};
use crate::net::driver::{Driver, DriverOptions, deadline_error};
use crate::net::engine::Intake;
use crate::net::env;
use crate::net::handle::{Handle, Home};
use crate::net::slot::Slot;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

/// Dials until there is a connection, or nobody waits for one.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let wait = shared.state.lock().retry_at.filter(|at| *at > env::now());
        if let Some(at) = wait
            && !patience(&shared, at).await
        {
            return;
        }
        shared.publish(ChannelState::Connecting);
        let started = env::now();
        let dial =
            env::timeout(shared.options.dial_time, shared.connector.connect(shared.target.clone()));
        let result = with_deadlines(&shared, dial).await;
        let now = env::now();
        let error = match result {
            Ok(Ok(connected)) => return arrived(&shared, connected, started, now),
            Ok(Err(error)) => connect_error(&error),
            Err(_) => Error::local(
                Kind::Connect,
                Code::Unavailable,
                format!(
                    "{}: no connection within {:?} (dial_time)",
                    shared.target, shared.options.dial_time
                ),
            )
            .with_phase(Phase::Dial),
        };
        tracing::debug!(%error, "dial failed");
        shared.publish(ChannelState::TransientFailure);
        if !failed(&shared, error, now) {
            return;
        }
    }
}

/// Waits for the back-off; `false` when meanwhile nobody is left who waits.
async fn patience(shared: &Arc<Shared>, at: Instant) -> bool {
    with_deadlines(shared, env::sleep_until(at)).await;
    let mut state = shared.state.lock();
    if state.waiting.is_empty() || state.shutdown {
        state.dialing = false;
        return false;
    }
    true
}

/// Runs `future`; calls whose deadline passes meanwhile are told.
async fn with_deadlines<F: Future>(shared: &Arc<Shared>, future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        let next = next_deadline(shared);
        let expiry = async {
            match next {
                Some(at) => env::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            output = &mut future => return output,
            () = expiry => expire(shared, env::now()),
            // A call with an earlier deadline may have joined.
            () = shared.joined.notified() => {}
        }
    }
}

fn next_deadline(shared: &Shared) -> Option<Instant> {
    shared.state.lock().waiting.iter().filter_map(|slot| slot.lock().deadline).min()
}

fn expire(shared: &Shared, now: Instant) {
    let mut late = Vec::new();
    shared.state.lock().waiting.retain(|slot| {
        let expired = slot.lock().deadline.is_some_and(|at| at <= now);
        if expired {
            late.push(Arc::clone(slot));
        }
        !expired
    });
    for slot in late {
        let last = shared.state.lock().last_error.clone();
        let phase = if last.is_some() { Phase::PoolWait } else { Phase::Dial };
        fail(&slot, deadline_error(crate::error::Processed::No).with_phase(phase));
    }
}

/// The connection is there: it starts with the calls that waited, in the preface's flight.
fn arrived(shared: &Arc<Shared>, connected: Connected, started: Instant, now: Instant) {
    let Connected { io, info } = connected;
    let timings = info.timings;
    tracing::debug!(peer = ?info.peer, "connected");
    let home: Arc<dyn Home> = Arc::clone(shared) as Arc<dyn Home>;
    let window = shared.options.driver.limits.stream_window;
    let handle = Arc::new(Handle::new(info, Some(home), shared.options.handoff, window, now));
    let mut state = shared.state.lock();
    state.dialing = false;
    state.live.push(Arc::clone(&handle));
    let options = DriverOptions { keepalive: state.keepalive, ..shared.options.driver.clone() };
    let waiting = std::mem::take(&mut state.waiting);
    *shared.current.lock() = Some(Arc::clone(&handle));
    if state.shutdown {
        handle.goodbye();
    }
    drop(state);
    for slot in waiting {
        charge(&slot, timings, started, now);
        handle.submit(slot);
    }
    match &shared.options.engine {
        None => env::spawn(Driver::client(io, handle, options)),
        Some(engine) => env::spawn(engine.client(io, Intake::new(handle, None), options)),
    };
}

/// The parts of the dial belong to the calls that waited for it.
fn charge(slot: &Slot, timings: ConnectTimings, started: Instant, now: Instant) {
    let mut x = slot.lock();
    x.timeline.enter(Phase::Resolve, started);
    x.timeline.enter(Phase::Dial, started + timings.resolve);
    x.timeline.enter(Phase::Tls, started + timings.resolve + timings.tcp);
    x.timeline.enter(Phase::Settings, now);
}

/// The dial failed: calls without patience are told. `true` when somebody still waits.
fn failed(shared: &Shared, error: Error, now: Instant) -> bool {
    let mut state = shared.state.lock();
    shared.back_off(&mut state, now, error.clone());
    let told = state.impatient();
    let goes_on = !state.waiting.is_empty() && !state.shutdown;
    if !goes_on {
        state.dialing = false;
    }
    drop(state);
    for slot in told {
        fail(&slot, error.clone());
    }
    goes_on
}
