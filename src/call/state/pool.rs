//! Transitions of the pool, and of a connection that sends a call back to it.

use super::{CallState, News, Stage};
use crate::call::Permit;
use crate::call::quota::TenantPermit;
use crate::error::Phase;
use crate::http2::Blocked;
use std::time::{Duration, Instant};

impl CallState {
    /// Gives the call a permit for the connection that is to carry it; returns the one it had. The
    /// caller drops it with no lock held.
    pub fn assign(&mut self, permit: Permit) -> (Option<Permit>, News) {
        let before = self.permit.replace(permit);
        (before, self.news())
    }

    /// Takes the permit for this connection, which has ended, from a call that has no stream, if it has
    /// it: the call is [`Stage::Pending`] then. So of two threads that settle one call, one finds it, and
    /// a call that has moved is left alone.
    #[must_use]
    pub fn detach(&mut self, connection: u64) -> Option<Permit> {
        self.taken(connection);
        let pending = matches!(self.stage, Stage::Pending | Stage::Parked);
        let permit =
            self.permit.take_if(|permit| pending && permit.carrier().id() == connection)?;
        self.stage = Stage::Pending;
        Some(permit)
    }

    /// Returns the call to [`Stage::Pending`]: the connection carries it no longer. Returns the permit,
    /// which the caller drops with no lock held.
    #[must_use]
    pub fn sent_back(&mut self, now: Instant) -> Option<Permit> {
        self.stage = Stage::Pending;
        self.stream_id = None;
        self.send.left_connection(now);
        if self.send.is_movable() {
            self.send.rewind();
        }
        self.permit.take()
    }

    /// Notes that a peer refused the call's stream. Returns how often that has happened.
    pub const fn note_refused(&mut self) -> u32 {
        self.refusals = self.refusals.saturating_add(1);
        self.refusals
    }

    /// Returns how often peers have refused the call's stream.
    #[must_use]
    pub const fn refusals(&self) -> u32 {
        self.refusals
    }

    /// The call begins to wait in the queue, in this phase.
    pub fn begin_wait(&mut self, phase: Phase, now: Instant) {
        self.queued = Some(now);
        self.enter(phase, now);
    }

    /// The call leaves the queue. Returns how long it waited there, whatever the phases were.
    #[must_use]
    pub fn end_wait(&mut self, now: Instant) -> Duration {
        self.queued.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Makes the call a hedge with its tenant's permit.
    pub fn set_hedge(&mut self, tenant: Option<TenantPermit>) {
        self.hedge = true;
        self.tenant = tenant;
    }

    /// Counts the call among its tenant's, wherever it goes.
    pub fn set_tenant(&mut self, tenant: TenantPermit) {
        self.tenant = Some(tenant);
    }

    /// Returns the call's permit among its tenant's calls.
    #[must_use]
    pub const fn tenant(&self) -> Option<&TenantPermit> {
        self.tenant.as_ref()
    }

    /// Marks the tenant's permit as taken: the call leaves the tenant's queue.
    pub fn take_tenant_turn(&mut self) {
        if let Some(tenant) = &mut self.tenant {
            tenant.take();
        }
    }
}

impl super::SendState {
    /// The connection that carried the call does so no longer.
    pub(super) fn left_connection(&mut self, now: Instant) {
        self.note_blocked(Blocked::No, now);
        *self.counted_mut() = None;
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::call::state::SharedCall;
    use crate::call::state::pool::*;

    /// The phases of the dial that a call waited for do not shorten its wait.
    #[test]
    fn a_wait_is_measured_from_its_beginning() {
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        let call = SharedCall::new(now);
        let mut x = call.lock();
        x.begin_wait(Phase::PoolWait, after(10));
        for (phase, at) in [(Phase::Dial, 20), (Phase::Tls, 60), (Phase::StreamQuota, 90)] {
            x.enter(phase, after(at));
        }
        assert_eq!(x.end_wait(after(100)), Duration::from_millis(90));
        assert_eq!(x.end_wait(after(200)), Duration::ZERO, "it waits no longer");
        assert_eq!(x.timeline().wall(), x.timeline().total());
    }
}
