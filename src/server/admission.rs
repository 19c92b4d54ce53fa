//! Which connections a server admits when it has as many as it may have.

use crate::rt;
use crate::server::listener::Shared;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// The most connections that wait until others have closed.
pub(super) const WAITING_MAX: usize = 64;
/// The longest time that they wait.
const WAITING_TIME: Duration = Duration::from_secs(5);

/// What lets a connection in.
pub(super) enum Admission {
    /// It is within the limit.
    Permit(OwnedSemaphorePermit),
    /// Another connection closes for it.
    Waiting(OwnedSemaphorePermit),
}

impl Shared {
    /// Admits a connection within the limit, or in place of the one that has waited longest for its peer to
    /// close, or else of the one without streams that has been silent for longest: clients that are silent
    /// do not shut out others.
    pub(super) fn admit(&self) -> Option<Admission> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(Admission::Permit(permit));
        }
        let turn = Arc::clone(&self.waiting).try_acquire_owned().ok()?;
        let closes = self.drain.cut_oldest() || self.handshakes.close_longest_silent(&self.drain);
        closes.then_some(Admission::Waiting(turn))
    }
}

impl Admission {
    /// Returns the permit, once the other connection has closed.
    pub(super) async fn permit(self, shared: &Shared) -> Option<OwnedSemaphorePermit> {
        match self {
            Self::Permit(permit) => Some(permit),
            Self::Waiting(_turn) => {
                let permit = Arc::clone(&shared.permits).acquire_owned();
                rt::timeout(WAITING_TIME, permit).await.ok()?.ok()
            }
        }
    }
}
