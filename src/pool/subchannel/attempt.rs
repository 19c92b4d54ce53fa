//! The attempts of one dial: each connects to one address, to the end: socket, TLS, ALPN and the peer's
//! SETTINGS. The first connection that is ready wins, and the others are dropped.

use crate::connection::driver::Driver;
use crate::connection::engine::{EngineTask, Intake};
use crate::connection::handle::Handle;
use crate::pool::subchannel::claim::Claim;
use crate::pool::subchannel::owner::PoolOwner;
use crate::rt;
use crate::rt::contain::{Panicked, contain_future};
use crate::transport::connect::{ConnectError, ConnectErrorKind, ConnectPhase, Connected, Target};
use crate::transport::race::race;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// The task of a connection that is ready; `None` if the connection is closed again.
pub(super) type Ready = Option<EngineTask>;

/// Tries the addresses behind the target, or the target itself if the connector finds its server alone.
pub(super) async fn connect(claim: &Arc<Claim>) -> Result<Ready, ConnectError> {
    let shared = &claim.shared;
    let target = &claim.subchannel.target;
    let progress = &claim.subchannel.progress;
    progress.enter(ConnectPhase::Resolve);
    let started = rt::now();
    let looked_up = async {
        match shared.connector.addresses(target) {
            Some(addresses) => addresses.await.map(Some),
            None => Ok(None),
        }
    };
    let addresses = contain_future(looked_up).await.map_err(|Panicked| panicked(claim))?;
    let addresses = addresses.map_err(|error| {
        ConnectError::new(ConnectErrorKind::Resolve, ConnectPhase::Resolve, target)
            .with_source(error)
    })?;
    let resolve = rt::now().saturating_duration_since(started);
    let target = target.clone().reporting(progress.clone());
    let targets = match addresses {
        Some(addresses) => addresses.into_iter().map(|at| target.clone().at(at)).collect(),
        None => vec![target],
    };
    let begin = |target| attempt(Arc::clone(claim), target, resolve);
    let won = race(targets, begin, || claim.silence()).await;
    won.map_err(|failures| all_failed(claim, failures))
}

/// One error out of all addresses' errors: the kind of the first, the words of each.
fn all_failed(claim: &Claim, mut failures: Vec<(Target, ConnectError)>) -> ConnectError {
    let target = &claim.subchannel.target;
    if failures.len() > 1 {
        let words = failures.iter().map(|(target, error)| match target.address() {
            Some(address) => format!("{address}: {}", error.cause()),
            None => error.cause(),
        });
        let words: Vec<_> = words.collect();
        let (_, first) = failures.swap_remove(0);
        return ConnectError::new(first.kind(), first.phase(), target)
            .with_detail(words.join("; "))
            .with_source(first);
    }
    failures.pop().map(|(_, error)| error).unwrap_or_else(|| {
        ConnectError::new(ConnectErrorKind::Resolve, ConnectPhase::Resolve, target)
            .with_detail("the name has no address")
    })
}

async fn attempt(
    claim: Arc<Claim>,
    target: Target,
    resolve: Duration,
) -> Result<Ready, ConnectError> {
    let user = async {
        let started = rt::now();
        target.enter(ConnectPhase::Socket);
        let connected = claim.shared.connector.connect(target.clone()).await;
        let mut connected = connected.inspect_err(|error| claim.note_failure(error))?;
        connected.info.timings.resolve += resolve;
        target.enter(ConnectPhase::Http2);
        claim.note_opened();
        crate::rt::log!(debug, peer = ?connected.info.peer, "connected");
        handshake(&claim, &target, connected, started).await
    };
    contain_future(user).await.unwrap_or_else(|Panicked| Err(panicked(&claim)))
}

/// The code of a connector, or of the stream that it returned, panicked.
fn panicked(claim: &Claim) -> ConnectError {
    let phase = claim.subchannel.progress.phase();
    ConnectError::new(ConnectErrorKind::Other, phase, &claim.subchannel.target)
        .with_detail("the connector panicked")
}

/// Runs the connection's task until the peer's SETTINGS have arrived. Dropped before, it drops the
/// connection.
async fn handshake(
    claim: &Arc<Claim>,
    target: &Target,
    connected: Connected,
    started: Instant,
) -> Result<Ready, ConnectError> {
    let shared = &claim.shared;
    let Connected { io, info, socket, .. } = connected;
    let options = shared.driver.lock().clone();
    let owner = Arc::new(PoolOwner::new(claim, started));
    let window = shared.options.driver.limits.stream_window;
    let handle = Handle::new(info, Some(owner.clone()), window, rt::now());
    let handle = handle.within(Some(shared.options.driver.shared_budget()));
    let handle = Arc::new(handle.at_most(shared.options.max_calls));
    // No call is written to a connection before the peer's SETTINGS.
    handle.set_limit(Some(0));
    shared.live.lock().push(Arc::clone(&handle));
    if shared.options.early_calls && !claim.subchannel.is_connected() {
        owner.admit_early(shared, &handle);
    }
    let mut task: EngineTask = match shared.options.engine.foreign() {
        None => Box::pin(
            Driver::client(io, Arc::clone(&handle), options.into_arc()).with_socket(socket),
        ),
        Some(engine) => {
            engine.client(io, Intake::new(Arc::clone(&handle), None), (*options).clone())
        }
    };
    let ended = poll_fn(|cx| match task.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending if handle.is_ready() => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
    });
    match (ended.await, handle.is_ready()) {
        (ended, true) => Ok((!ended).then_some(task)),
        (_, false) => Err(owner.take_end().into_error(target)),
    }
}
