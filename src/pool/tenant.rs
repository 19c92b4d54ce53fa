//! Tenants that share a channel: each has a weight, a limit on its calls in flight and one on those
//! that wait.

use crate::call::quota::{TenantPermit, TenantQuota};
use crate::call::state::{CallState, SharedCall};
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::status::{Code, Status};
use crate::pool::queue::Arrival;
use crate::pool::{Pool, Shared};
use crate::rt;
use crate::rt::sync::next_id;
use std::fmt;
use std::sync::{Arc, Weak};

/// What a tenant may use of a channel that it shares. There are always limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Share {
    weight: u32,
    max_calls: u32,
    max_waiting: u32,
}

impl Share {
    /// Creates a share of weight 1, 100 calls in flight and 1,000 that wait.
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

    /// Sets the limit on the tenant's calls in flight: from when a call may go to a connection to its
    /// end, however often it moves. Further calls wait in the tenant's own line, even while
    /// connections have capacity. Default 100; 0 counts as 1.
    #[must_use]
    pub const fn max_calls(mut self, calls: u32) -> Self {
        self.max_calls = calls;
        self
    }

    /// Sets the limit on the tenant's calls that wait; the next one is refused immediately. They do not count for
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
    /// Its calls in flight.
    pub calls: u32,
    /// Its calls that wait, for its quota or for a permit.
    pub waiting: u32,
    /// Calls refused at once: too many waited, or their deadline could not be met.
    pub refused: u64,
}

impl fmt::Display for TenantStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, share, calls, waiting, refused } = self;
        let (most, weight) = (share.calls(), share.weight_of());
        write!(f, "tenant {label:?} of weight {weight}: {calls} of {most} calls in flight, ")?;
        write!(f, "{waiting} of {} waiting, {refused} refused", share.waiting())
    }
}

/// A tenant of a pool, while it has users or calls.
pub struct Tenant {
    id: u64,
    label: Arc<str>,
    pool: Weak<Shared>,
}

impl Tenant {
    pub(super) fn new(label: Arc<str>, pool: Weak<Shared>) -> Arc<Self> {
        Arc::new(Self { id: next_id(), label, pool })
    }

    /// Returns the label.
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
            pool.queue.share(|shares| shares.leave(self.id));
        }
    }

    fn serve(&self) {
        let Some(pool) = self.pool.upgrade() else { return };
        if pool.queue.is_empty() {
            return;
        }
        pool.serve(rt::now());
        if !pool.queue.is_empty() && pool.may_grow() {
            // The end of a call may be outside of a runtime: the maintenance task dials.
            pool.maintenance.notify_one();
        }
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let line = pool.queue.share(|shares| shares.remove(self.id, &self.label));
            drop(line);
        }
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant").field("label", &self.label).finish_non_exhaustive()
    }
}

/// A call's tenant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) tenant: u64,
    /// The tenant's limit counts the call: it started before, or waits for a permit only.
    pub(super) counted: bool,
}

impl Standing {
    /// Returns the call's tenant, if it has one.
    pub(super) fn of(x: &CallState) -> Option<Self> {
        let permit = x.tenant()?;
        Some(Self { tenant: permit.quota().id(), counted: permit.is_taken() })
    }
}

impl Pool {
    /// Returns the tenant of that label, whose share is `share` from now on. The pool forgets a tenant
    /// that nobody holds and that has no calls.
    #[must_use]
    pub fn tenant(&self, label: &str, share: Share) -> Arc<Tenant> {
        let shared = &self.shared;
        let make = |label| Tenant::new(label, shared.me.clone());
        let tenant = shared.queue.share(|shares| shares.tenant(label, share, make));
        // With a larger share, calls that wait may continue.
        tenant.serve();
        tenant
    }

    /// Returns a permit for one more call of a tenant, if its limit allows and none of its calls waits.
    #[must_use]
    pub fn tenant_permit(&self, tenant: &Arc<Tenant>) -> Option<TenantPermit> {
        let quota: Arc<dyn TenantQuota> = Arc::clone(tenant) as _;
        self.shared.queue.admit(tenant.id).then(|| TenantPermit::new(quota, true))
    }

    /// Submits a tenant's call.
    pub fn submit_for(&self, call: Arc<SharedCall>, tenant: &Arc<Tenant>) {
        let quota: Arc<dyn TenantQuota> = Arc::clone(tenant) as _;
        let counted = self.shared.queue.admit(tenant.id);
        call.lock().set_tenant(TenantPermit::new(quota, counted));
        if counted {
            self.shared.submit(call);
        } else {
            self.shared.enqueue(call, Arrival::New);
        }
    }

    /// Submits a call again, after a retry policy's pause. A tenant's call that its quota does not
    /// count yet asks for it again.
    pub fn resubmit(&self, call: Arc<SharedCall>) {
        let uncounted = {
            let x = call.lock();
            x.tenant().filter(|permit| !permit.is_taken()).map(|permit| permit.quota().id())
        };
        match uncounted {
            None => self.shared.submit(call),
            Some(tenant) if self.shared.queue.admit(tenant) => {
                call.lock().take_tenant_turn();
                self.shared.submit(call);
            }
            Some(_) => self.shared.enqueue(call, Arrival::New),
        }
    }
}

impl Shared {
    /// Whether one more connection may be dialled somewhere.
    fn may_grow(&self) -> bool {
        let candidates = self.candidates();
        let max = self.options.max_connections.max(1);
        candidates.is_empty()
            || candidates.iter().any(|one| one.subchannel.lifecycle().open() < max)
    }

    /// Dials for calls that waited for their tenant's quota before: nothing else dials for them.
    pub(super) fn grow_for_tenants(&self) {
        if !self.queue.is_empty() && self.queue.shares(|_| ()).is_some() {
            self.grow();
        }
    }
}

/// Returns the error of a call whose deadline passed in a line: `error`, or one that names its tenant.
pub(super) fn deadline_error_of_line(call: &SharedCall, error: Error) -> Error {
    let x = call.lock();
    let Some(permit) = x.tenant().filter(|permit| !permit.is_taken()) else { return error };
    let label = permit.quota().label();
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
