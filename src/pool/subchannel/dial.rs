//! The dial task of a subchannel, at most one at a time. It outlives the call that asked for it, waits
//! for the backoff and the cap, and ends with a connection whose peer has sent SETTINGS, or when nobody
//! needs one.

use crate::error::Error;
use crate::pool::balance::Balance;
use crate::pool::counters::Count;
use crate::pool::subchannel::Subchannel;
use crate::pool::subchannel::attempt::{Ready, connect};
use crate::pool::subchannel::claim::Claim;
use crate::pool::{Shared, connect_error, connect_timeout};
use crate::rt;
use crate::transport::connect::{ConnectError, ConnectPhase, ConnectionInfo};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

impl Shared {
    /// Starts the subchannel's dial task if none runs and the limits allow. It runs on the channel's
    /// runtime or the caller's; without one it ends at once, and the next caller starts another.
    pub(crate) fn start_dial(&self, subchannel: &Arc<Subchannel>) {
        self.dial(subchannel, false);
    }

    /// As [`Shared::start_dial`], for calls that wait or for the user. Returns whether it has started one.
    pub(crate) fn dial_for_calls(&self, subchannel: &Arc<Subchannel>) -> bool {
        self.dial(subchannel, true)
    }

    fn dial(&self, subchannel: &Arc<Subchannel>, called: bool) -> bool {
        if self.is_shut_down() {
            return false;
        }
        let Some(me) = self.me.upgrade() else { return false };
        let (id, put_back) = {
            let mut lifecycle = subchannel.lifecycle();
            (lifecycle.request_dial(rt::now(), called), lifecycle.is_put_back())
        };
        if called && put_back {
            subchannel.wake_dial();
        }
        if let Some(id) = id {
            let claim = Arc::new(Claim::new(me, subchannel, id));
            if self.options.executor.spawn(run(claim)).is_err() {
                // The maintenance task may run elsewhere, and dials there.
                self.maintenance.notify_one();
            }
        }
        id.is_some()
    }

    /// Whether the dial of this subchannel goes on. As in gRPC, a channel that has failed to connect
    /// tries until it succeeds, unless nobody has asked for the connection for `idle_time`.
    pub(super) fn is_wanted(&self, subchannel: &Subchannel) -> bool {
        if self.is_shut_down() {
            return false;
        }
        let needed = !self.queue.needs_no_permit() || self.needs_connection(subchannel);
        let lifecycle = subchannel.lifecycle();
        if lifecycle.is_shut_down() {
            return false;
        }
        if needed || lifecycle.is_probing() {
            return true;
        }
        let asked = lifecycle.dial_asked();
        let since = asked
            .is_some_and(|at| rt::now().saturating_duration_since(at) < self.options.idle_time);
        let served = lifecycle.count() > 0;
        drop(lifecycle);
        let elsewhere = self.options.balance == Balance::PickFirst && self.is_connected();
        since && !served && !elsewhere
    }

    /// Whether PickFirst has another endpoint meanwhile, so that nobody needs this connection.
    pub(super) fn is_late(&self, subchannel: &Subchannel) -> bool {
        self.options.balance == Balance::PickFirst
            && !subchannel.is_connected()
            && self.is_connected()
            && !self.is_wanted(subchannel)
    }

    /// Counts what a connection cost.
    pub(super) fn note_success(&self, info: &ConnectionInfo, took: Duration) {
        self.counters.note(Count::DialsSucceeded);
        self.meter().dialed(took);
        if let Some(tls) = &info.tls {
            self.counters.note(if tls.resumed { Count::TlsResumed } else { Count::TlsFull });
            self.meter().handshake(tls.resumed, tls.handshake);
        }
    }
}

impl Claim {
    /// Counts a failed handshake, and reports once that the target speaks no HTTP/2.
    pub(super) fn note_failure(&self, error: &ConnectError) {
        let (shared, subchannel) = (&self.shared, &self.subchannel);
        if error.phase() == ConnectPhase::Tls {
            shared.counters.note(Count::TlsFailed);
            shared.meter().handshake_failed(error.kind());
        }
        if !error.kind().is_not_http2() {
            return;
        }
        let before = subchannel.lifecycle().not_http2();
        if before != Some(false) {
            shared.counters.note(Count::LostHttp2);
            let (target, spoke) = (&subchannel.target, before == Some(true));
            crate::rt::log!(warn, %target, %error, spoke, "the target speaks no HTTP/2");
        }
    }

    /// Waits for news: the channel or the endpoint is gone, another endpoint is connected, the backoff
    /// was reset. Without news, ends with `pause`.
    async fn pause(&self, pause: impl Future<Output = ()>) {
        tokio::select! {
            () = self.subchannel.news.notified() => {}
            () = pause => {}
        }
    }
}

/// How a dial ends.
enum Outcome {
    /// A connection is ready; its task continues.
    Ready(Ready),
    /// Nobody needs a connection.
    Unwanted,
    /// No connection more is allowed. Whatever closes one looks again.
    Bounded,
}

/// Dials until there is a connection, or nobody needs one.
async fn run(claim: Arc<Claim>) {
    let outcome = search(&claim).await;
    claim.end();
    let (shared, subchannel) = (&claim.shared, &claim.subchannel);
    shared.publish();
    match outcome {
        Outcome::Ready(task) => {
            task.map(rt::spawn);
        }
        Outcome::Unwanted => {
            // A call may have come while this dial was in flight but about to end.
            if shared.is_wanted(subchannel) {
                shared.start_dial(subchannel);
            }
        }
        Outcome::Bounded => {}
    }
}

async fn search(claim: &Arc<Claim>) -> Outcome {
    let (shared, subchannel) = (&claim.shared, &claim.subchannel);
    loop {
        let wait = subchannel.lifecycle().backoff().pending(rt::now());
        if let Some(at) = wait {
            claim.pause(rt::sleep_until(at)).await;
            if !shared.is_wanted(subchannel) {
                return Outcome::Unwanted;
            }
            continue;
        }
        if !subchannel.lifecycle().may_begin() {
            return Outcome::Bounded;
        }
        let Some(socket) = claim.socket().await else { return Outcome::Unwanted };
        if !subchannel.lifecycle().begin_dial(rt::now()) {
            return Outcome::Bounded;
        }
        claim.hold_socket(Some(socket));
        shared.publish();
        let result = attend(claim).await;
        claim.hold_socket(None);
        match result {
            None => return Outcome::Unwanted,
            Some(Ok(ready)) => return Outcome::Ready(ready),
            Some(Err(error)) => {
                crate::rt::log!(debug, %error, "dial failed");
                shared.counters.note(Count::DialsFailed);
                failed(shared, subchannel, &error);
                if !shared.is_wanted(subchannel) {
                    return Outcome::Unwanted;
                }
            }
        }
    }
}

/// Dials, and reacts to what happens meanwhile; `None` when nobody needs the connection any more.
async fn attend(claim: &Arc<Claim>) -> Option<Result<Ready, Error>> {
    let (shared, subchannel) = (&claim.shared, &claim.subchannel);
    let probing = subchannel.lifecycle().is_probing();
    let mut alone = shared.options.balance == Balance::PickFirst && !shared.is_connected();
    let mut dialled = std::pin::pin!(dial(claim));
    let mut silence = std::pin::pin!(claim.silence());
    loop {
        tokio::select! {
            biased;
            result = &mut dialled => return Some(result),
            () = subchannel.news.notified() => {
                let over = shared.is_shut_down() || subchannel.lifecycle().is_shut_down();
                let answered = probing && !shared.is_wanted(subchannel);
                if over || answered || shared.is_late(subchannel) {
                    return None;
                }
            }
            () = &mut silence, if alone => {
                alone = false;
                shared.dial_beside(subchannel);
            }
        }
    }
}

async fn dial(claim: &Arc<Claim>) -> Result<Ready, Error> {
    let time = claim.shared.options.dial_time;
    match rt::timeout(time, connect(claim)).await {
        Ok(Ok(ready)) => Ok(ready),
        Ok(Err(error)) => {
            // Connectors' errors are noted one by one.
            if error.phase() == ConnectPhase::Http2 {
                claim.note_failure(&error);
            }
            Err(connect_error(error))
        }
        Err(_) => {
            let subchannel = &claim.subchannel;
            Err(connect_timeout(&subchannel.target, time, subchannel.progress.phase()))
        }
    }
}

/// The dial failed: so do the calls that wait, except those with `wait_for_ready`, if no endpoint is
/// left.
fn failed(shared: &Shared, subchannel: &Arc<Subchannel>, error: &Error) {
    let delay = |failures| shared.backoff_delay(failures);
    let before = subchannel.lifecycle().dial_failed(rt::now(), error.clone(), delay);
    drop(before);
    // The servers may be at other addresses by now.
    shared.resolve();
    if shared.options.balance == Balance::PickFirst && !shared.is_connected() {
        shared.dial_next(subchannel);
    }
    shared.publish();
    if shared.unreachable().is_some() {
        shared.fail_fast(error);
    }
}
