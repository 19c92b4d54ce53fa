//! The order of service among the tenants of a channel: by weight, FIFO within a tenant, and never a
//! tenant at its limit of calls.
//!
//! Start-time fair queueing: virtual time is the turn of the call served last. A tenant's next turn
//! is `1/weight` after its last one, and never in the past. So an absent tenant saves nothing up, and
//! a long line of one tenant delays another tenant by one call at most.

use crate::call::state::SharedCall;
use crate::pool::queue::line::{Arrival, Full, Line};
use crate::pool::tenant::{Share, Standing, Tenant, TenantStats};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};

/// Virtual time between two turns of a tenant of weight one.
const STRIDE: u128 = 1 << 32;
/// The line of calls without a tenant; its weight is one. Identifiers begin above it.
const OWN: u64 = 0;

/// The lines of a channel's tenants.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    lines: BTreeMap<u64, TenantLine>,
    labels: HashMap<Arc<str>, Weak<Tenant>>,
    /// Lines with a call that may be served, by the virtual time of their turn.
    turns: BTreeSet<(u128, u64)>,
    clock: u128,
    own: Turn,
    ready: u32,
    waiting: u32,
}

/// When a line's turn comes, and whether it is in `turns`.
#[derive(Debug, Default)]
struct Turn {
    at: u128,
    listed: bool,
}

/// A tenant's calls that wait, and how many are in flight.
#[derive(Debug)]
pub(crate) struct TenantLine {
    label: Arc<str>,
    share: Share,
    in_flight: u32,
    /// Calls that the tenant's limit counts already and that need a permit only: they go first.
    admitted: VecDeque<Arc<SharedCall>>,
    line: Line,
    turn: Turn,
    /// What is counted of it in `ready` and `waiting`.
    counted: (u32, u32),
    refused: u64,
}

impl TenantLine {
    fn new(label: Arc<str>, share: Share) -> Self {
        Self {
            label,
            share,
            in_flight: 0,
            admitted: VecDeque::new(),
            line: Line::default(),
            turn: Turn::default(),
            counted: (0, 0),
            refused: 0,
        }
    }

    fn waiting(&self) -> u32 {
        self.admitted.len() as u32 + self.line.len()
    }

    /// Calls that need nothing but a permit.
    fn ready(&self) -> u32 {
        let free = self.share.calls().saturating_sub(self.in_flight);
        self.admitted.len() as u32 + self.line.len().min(free)
    }

    fn pop(&mut self, over: &mut Vec<Arc<SharedCall>>) -> Option<Arc<SharedCall>> {
        while let Some(call) = self.admitted.pop_front() {
            if !call.lock().is_over() {
                return Some(call);
            }
            over.push(call);
        }
        if self.in_flight >= self.share.calls() {
            return None;
        }
        let call = self.line.pop(over)?;
        self.in_flight += 1;
        Some(call)
    }
}

impl Shares {
    /// The tenant of that label, made by `make` if there is none; `share` holds from now on.
    pub(crate) fn tenant(
        &mut self,
        label: &str,
        share: Share,
        make: impl FnOnce(Arc<str>) -> Arc<Tenant>,
    ) -> Arc<Tenant> {
        let known = self.labels.get(label).and_then(Weak::upgrade);
        let tenant = known.unwrap_or_else(|| {
            let label: Arc<str> = label.into();
            let tenant = make(Arc::clone(&label));
            self.labels.insert(Arc::clone(&label), Arc::downgrade(&tenant));
            self.lines.insert(tenant.id(), TenantLine::new(label, share));
            tenant
        });
        if let Some(line) = self.lines.get_mut(&tenant.id()) {
            line.share = share;
        }
        self.refresh(tenant.id());
        tenant
    }

    /// A tenant without users and calls.
    pub(crate) fn remove(&mut self, id: u64, label: &str) -> Option<TenantLine> {
        if self.labels.get(label).is_some_and(|tenant| tenant.strong_count() == 0) {
            self.labels.remove(label);
        }
        let line = self.lines.remove(&id)?;
        self.turns.remove(&(line.turn.at, id));
        self.ready -= line.counted.0;
        self.waiting -= line.counted.1;
        Some(line)
    }

    /// Calls of tenants that need nothing but a permit.
    pub(crate) const fn ready(&self) -> u32 {
        self.ready
    }

    /// Calls of tenants that wait.
    pub(crate) const fn waiting(&self) -> u32 {
        self.waiting
    }

    /// So many calls without a tenant wait.
    pub(crate) fn set_ready_without_tenant(&mut self, waiting: u32) {
        list(&mut self.turns, self.clock, OWN, &mut self.own, waiting > 0);
    }

    /// Counts a new call, if the limit allows.
    pub(crate) fn admit(&mut self, id: u64) -> bool {
        let Some(line) = self.lines.get_mut(&id) else { return true };
        let free = line.waiting() == 0 && line.in_flight < line.share.calls();
        line.in_flight += u32::from(free);
        free
    }

    /// A call that was counted has ended.
    pub(crate) fn leave(&mut self, id: u64) {
        if let Some(line) = self.lines.get_mut(&id) {
            debug_assert!(line.in_flight > 0, "a call ended twice");
            line.in_flight = line.in_flight.saturating_sub(1);
            self.refresh(id);
        }
    }

    pub(crate) fn join(
        &mut self,
        call: Arc<SharedCall>,
        standing: Standing,
    ) -> Result<(), (Full, Arc<SharedCall>)> {
        // A call's channel holds its tenant, so its line is there.
        let Some(line) = self.lines.get_mut(&standing.tenant) else {
            return Err((Full(0), call));
        };
        if standing.counted {
            line.admitted.push_back(call);
        } else if let Err(refused) = line.line.join(call, Arrival::New, line.share.waiting()) {
            line.refused += 1;
            return Err(refused);
        }
        self.refresh(standing.tenant);
        Ok(())
    }

    /// Takes out and counts the next call: of a tenant, or of `own`, the line of calls without one.
    pub(crate) fn pop(
        &mut self,
        own: &mut Line,
        over: &mut Vec<Arc<SharedCall>>,
    ) -> Option<Arc<SharedCall>> {
        while let Some((at, id)) = self.turns.pop_first() {
            if id == OWN {
                self.own.listed = false;
                if let Some(call) = own.pop(over) {
                    (self.clock, self.own.at) = (at, at + STRIDE);
                    return Some(call);
                }
                continue;
            }
            let Some(line) = self.lines.get_mut(&id) else { continue };
            line.turn.listed = false;
            let call = line.pop(over);
            if call.is_some() {
                self.clock = at;
                line.turn.at = at + STRIDE / u128::from(line.share.weight_of());
            }
            self.refresh(id);
            if call.is_some() {
                return call;
            }
        }
        None
    }

    /// A call was cancelled.
    pub(crate) fn forget(&mut self, call: &Arc<SharedCall>, id: u64) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        if !line.line.remove(call) {
            line.admitted.retain(|other| !Arc::ptr_eq(other, call));
        }
        self.refresh(id);
    }

    pub(crate) fn take_if(
        &mut self,
        which: impl Fn(&Arc<SharedCall>) -> bool,
        taken: &mut Vec<Arc<SharedCall>>,
    ) {
        let waiting = self.lines.iter_mut().filter(|(_, line)| line.waiting() > 0);
        let ids: Vec<u64> = waiting
            .map(|(id, line)| {
                let (out, left) = line.admitted.drain(..).partition(&which);
                line.admitted = left;
                taken.extend::<VecDeque<_>>(out);
                line.line.take_if(&which, taken);
                *id
            })
            .collect();
        for id in ids {
            self.refresh(id);
        }
    }

    /// Every call of a tenant that waits.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Arc<SharedCall>> {
        self.lines.values().flat_map(|line| line.admitted.iter().chain(line.line.iter()))
    }

    /// The tenants as they are now.
    pub(crate) fn stats(&self) -> Vec<TenantStats> {
        let stats = |line: &TenantLine| TenantStats {
            label: line.label.to_string(),
            share: line.share,
            calls: line.in_flight,
            waiting: line.waiting(),
            refused: line.refused,
        };
        let mut all: Vec<_> = self.lines.values().map(stats).collect();
        all.sort_by(|a, b| a.label.cmp(&b.label));
        all
    }

    /// A line has changed: what is counted of it, and whether it has a turn.
    fn refresh(&mut self, id: u64) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let now = (line.ready(), line.waiting());
        self.ready = self.ready - line.counted.0 + now.0;
        self.waiting = self.waiting - line.counted.1 + now.1;
        line.counted = now;
        list(&mut self.turns, self.clock, id, &mut line.turn, now.0 > 0);
    }
}

/// Adds a line to those that have a turn, or removes it.
fn list(turns: &mut BTreeSet<(u128, u64)>, clock: u128, id: u64, turn: &mut Turn, ready: bool) {
    if ready && !turn.listed {
        turn.at = turn.at.max(clock);
        turns.insert((turn.at, id));
    } else if !ready && turn.listed {
        turns.remove(&(turn.at, id));
    }
    turn.listed = ready;
}

#[cfg(all(test, not(framewire_loom)))]
mod tests;
