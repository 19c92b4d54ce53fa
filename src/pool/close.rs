//! The end of a pool: when its last handle is dropped, or when it is closed.

use crate::pool::{ChannelState, Pool, Shared, shut_down};
use crate::rt;
use crate::rt::sync::Ordering;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Time for connections to end once their calls were cut.
const CUT_TIME: Duration = Duration::from_secs(1);

/// What `Channel::close` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Connections that ended by themselves: their calls had ended within the limit.
    pub closed: usize,
    /// Calls that waited for a connection and failed: nothing of them was sent.
    pub refused: usize,
    /// Calls in flight that were cut at the limit. A server may have processed them.
    pub cut: usize,
}

impl CloseReport {
    /// Adds the numbers of another channel.
    #[cfg(feature = "client")]
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            closed: self.closed + other.closed,
            refused: self.refused + other.refused,
            cut: self.cut + other.cut,
        }
    }
}

impl Pool {
    /// Completes when the pool is closed.
    pub(crate) fn shut_down(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut state = self.watch();
        async move {
            let ended = state.wait_for(|state| *state == ChannelState::Shutdown).await;
            drop(ended);
        }
    }

    /// Ends the pool: new calls and those that wait fail, each connection sends GOAWAY and closes once
    /// its last call has ended. Calls that have not ended after `limit` are cut.
    ///
    /// # Cancel safety
    /// The pool stays closed. Calls in flight continue, and none is cut.
    pub async fn close(&self, limit: Duration) -> CloseReport {
        let shared = &self.shared;
        let mut changes = shared.changes.subscribe();
        let refused = shared.queue.len() as usize;
        let open = shared.live.lock().len();
        shared.shut_down();
        let hard = rt::now().checked_add(limit);
        shared.closed_by(hard, &mut changes).await;
        let left = shared.live.lock().clone();
        let cut = left.iter().map(|handle| handle.life().read().calls as usize).sum();
        left.iter().for_each(|handle| handle.cut());
        if !left.is_empty() {
            shared.closed_by(rt::now().checked_add(CUT_TIME), &mut changes).await;
        }
        CloseReport { closed: open.saturating_sub(left.len()), refused, cut }
    }
}

impl Pool {
    /// Ends the pool as [`Pool::close`] does, and does not wait.
    pub(crate) fn close_at_once(&self) -> CloseReport {
        let refused = self.shared.queue.len() as usize;
        self.shared.shut_down();
        CloseReport { refused, ..CloseReport::default() }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shut_down();
    }
}

impl Shared {
    /// Ends everything but the calls in flight: those that wait, dials, resolutions, the maintenance.
    fn shut_down(&self) {
        self.shutdown.store(true, Ordering::Release);
        self.watch.send_replace(ChannelState::Shutdown);
        self.fail_waiting(|_| true, &shut_down());
        for candidate in self.candidates().iter() {
            candidate.subchannel.shut_down();
        }
        for handle in self.live.lock().clone() {
            handle.goodbye();
        }
        self.maintenance.notify_one();
        // A warm-up ends.
        self.changes.send_replace(());
    }

    /// Waits until no connection is left, or until `hard`.
    async fn closed_by(&self, hard: Option<Instant>, changes: &mut watch::Receiver<()>) {
        let closed = async {
            while !self.live.lock().is_empty() {
                // The sender is this pool's.
                let _ = changes.changed().await;
            }
        };
        match hard {
            Some(at) => tokio::select! {
                biased;
                () = closed => {}
                () = rt::sleep_until(at) => {}
            },
            None => closed.await,
        }
    }
}
