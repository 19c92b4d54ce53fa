//! Tenants that share a channel: each has a weight, a bound on its calls under way and one on those
//! that wait.

use crate::call::quota::{TenantPermit, TenantQuota};
use crate::call::state::{CallState, SharedCall};
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::status::{Code, Status};
use crate::pool::{Pool, Shared};
use crate::rt;
use crate::rt::sync::next_id;
use std::fmt;
use std::sync::{Arc, Weak};

/// What a tenant may have of a channel that it shares. There is none without bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Share {
    weight: u32,
    max_calls: u32,
    max_waiting: u32,
}

impl Share {
    /// Weight 1, 100 calls under way, 1,000 that wait.
    #[must_use]
    pub const fn new() -> Self {
        Self { weight: 1, max_calls: 100, max_waiting: 1000 }
    }

    /// While calls of several tenants wait, each is served as often as its weight says beside the
    /// sum of theirs; calls without a tenant are one more of weight 1. What counts is calls begun,
    /// not the time they take: `max_calls` bounds that. Default 1; zero counts as one.
    #[must_use]
    pub const fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Calls that the tenant may have under way: from when a call may go to a connection to its
    /// end, however often it moves. Further ones wait in the tenant's own line, also while
    /// connections have room. Default 100; zero counts as one.
    #[must_use]
    pub const fn max_calls(mut self, calls: u32) -> Self {
        self.max_calls = calls;
        self
    }

    /// Calls of the tenant that may wait; the next one is refused at once. They do not count for
    /// `ChannelBuilder::max_queued_calls`, which bounds calls without a tenant. Default 1,000; zero counts
    /// as one.
    #[must_use]
    pub const fn max_waiting(mut self, calls: u32) -> Self {
        self.max_waiting = calls;
        self
    }

    pub(super) const fn weight_of(&self) -> u32 {
        if self.weight == 0 { 1 } else { self.weight }
    }

    pub(super) const fn calls(&self) -> u32 {
        if self.max_calls == 0 { 1 } else { self.max_calls }
    }

    pub(super) const fn waiting(&self) -> u32 {
        if self.max_waiting == 0 { 1 } else { self.max_waiting }
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::new()
    }
}

/// A tenant at one instant.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TenantStats {
    /// Its label.
    pub label: String,
    /// What it may have.
    pub share: Share,
    /// Its calls under way.
    pub calls: u32,
    /// Its calls that wait, for its quota or for a place.
    pub waiting: u32,
    /// Calls refused at once: too many waited, or their deadline could not be met.
    pub refused: u64,
}

impl fmt::Display for TenantStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, share, calls, waiting, refused } = self;
        let (most, weight) = (share.calls(), share.weight_of());
        write!(f, "tenant {label:?} of weight {weight}: {calls} of {most} calls under way, ")?;
        write!(f, "{waiting} of {} waiting, {refused} refused", share.waiting())
    }
}

/// A tenant of a pool, while somebody speaks for it or it has calls.
pub struct Tenant {
    id: u64,
    label: Arc<str>,
    pool: Weak<Shared>,
}

impl Tenant {
    pub(super) fn new(label: Arc<str>, pool: Weak<Shared>) -> Arc<Self> {
        Arc::new(Self { id: next_id(), label, pool })
    }

    /// What it is called.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }
}

impl TenantQuota for Tenant {
    fn id(&self) -> u64 {
        self.id
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn leave(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.waiting.share(|shares| shares.leave(self.id));
        }
    }

    fn serve(&self) {
        let Some(pool) = self.pool.upgrade() else { return };
        if pool.waiting.is_empty() {
            return;
        }
        pool.serve(rt::now());
        if !pool.waiting.is_empty() && pool.may_grow() {
            // Whoever ends a call may stand outside of a runtime: the keeper dials.
            pool.news.notify_one();
        }
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let line = pool.waiting.share(|shares| shares.remove(self.id, &self.label));
            drop(line);
        }
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant").field("label", &self.label).finish_non_exhaustive()
    }
}

/// How a call stands with its tenant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) tenant: u64,
    /// It has its seat: it was begun before, or waits for a place alone.
    pub(super) seated: bool,
}

impl Standing {
    /// How a call stands, if it has a tenant.
    pub(super) fn of(x: &CallState) -> Option<Self> {
        let seat = x.tenant()?;
        Some(Self { tenant: seat.quota().id(), seated: seat.is_taken() })
    }
}

impl Pool {
    /// The tenant of that label; `share` holds for it from now on, whoever named it before. It is
    /// forgotten when nobody holds it and it has no calls.
    #[must_use]
    pub fn tenant(&self, label: &str, share: Share) -> Arc<Tenant> {
        let shared = &self.shared;
        let make = |label| Tenant::new(label, shared.me.clone());
        let tenant = shared.waiting.share(|shares| shares.tenant(label, share, make));
        // A larger share may let calls go on that wait.
        tenant.serve();
        tenant
    }

    /// A seat for one more call of a tenant, if its quota leaves one and nobody of it waits.
    #[must_use]
    pub fn seat(&self, tenant: &Arc<Tenant>) -> Option<TenantPermit> {
        let quota: Arc<dyn TenantQuota> = Arc::clone(tenant) as _;
        self.shared.waiting.admit(tenant.id).then(|| TenantPermit::new(quota, true))
    }

    /// Sends a tenant's call on its way.
    pub fn submit_for(&self, call: Arc<SharedCall>, tenant: &Arc<Tenant>) {
        let quota: Arc<dyn TenantQuota> = Arc::clone(tenant) as _;
        let seated = self.shared.waiting.admit(tenant.id);
        call.lock().set_tenant(TenantPermit::new(quota, seated));
        if seated {
            self.shared.submit(call);
        } else {
            self.shared.wait(call);
        }
    }
}

impl Shared {
    /// Whether one more connection may be dialled somewhere.
    fn may_grow(&self) -> bool {
        let endpoints = self.endpoints();
        endpoints.is_empty() || endpoints.iter().any(|one| one.counts().0 < one.most())
    }

    /// Calls may wait for a place that nobody has asked a connection for: they waited for their
    /// tenant's quota before.
    pub(super) fn grow_for_tenants(&self) {
        if !self.waiting.is_empty() && self.waiting.shares(|_| ()).is_some() {
            self.grow();
        }
    }
}

/// The end of a call whose deadline passed in a line: `error`, or what it waited for there.
pub(super) fn late(call: &SharedCall, error: Error) -> Error {
    let x = call.lock();
    let Some(seat) = x.tenant().filter(|seat| !seat.is_taken()) else { return error };
    let label = seat.quota().label();
    let text = format!(
        "the deadline passed while the call waited in the line of tenant {label:?} \
         (Share::max_calls, Share::weight)"
    );
    let status = Status::new(Code::DeadlineExceeded, text);
    let named = Error::new(Kind::Deadline, status, Initiator::Local, Processed::No);
    match error.phase() {
        Some(phase) => named.with_phase(phase),
        None => named,
    }
}
