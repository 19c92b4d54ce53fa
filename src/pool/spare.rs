//! A place for a call that may not wait, press or make the pool dial: a hedge.

use crate::call::Permit;
use crate::call::state::SharedCall;
use crate::connection::handle::Handle;
use crate::error::{Error, Kind};
use crate::grpc::status::Code;
use crate::pool::balance::Balance;
use crate::pool::endpoint::Endpoint;
use crate::pool::{Pool, Shared, fail};
use crate::rt::sync::Ordering;
use std::sync::Arc;

impl Pool {
    /// A place on a connection with room to spare: proved, below its soft target, and nobody waits
    /// for a place. The first choice is another endpoint than those of the connections `not_on`, then
    /// another connection, then the one with the fewest calls. Nothing is dialled.
    #[must_use]
    pub fn spare(&self, not_on: &[u64]) -> Option<Permit> {
        self.shared.spare(not_on)
    }
}

impl Shared {
    fn spare(&self, not_on: &[u64]) -> Option<Permit> {
        if !self.waiting.is_empty() || self.shutdown.load(Ordering::Acquire) {
            return None;
        }
        let endpoints = self.endpoints();
        let mut found = Vec::new();
        if self.options.balance == Balance::PickFirst {
            let first = self.turn.load(Ordering::Relaxed) as usize % endpoints.len().max(1);
            let (before, from) = endpoints.split_at(first);
            // The endpoint in use has all of the calls, so it has the hedges.
            let in_use = from.iter().chain(before).find(|endpoint| endpoint.is_connected());
            in_use.into_iter().for_each(|endpoint| candidates(endpoint, not_on, &mut found));
        } else {
            endpoints.iter().for_each(|endpoint| candidates(endpoint, not_on, &mut found));
        }
        found.sort_by_key(|(rank, _)| *rank);
        found.iter().find_map(|(_, (soft, member))| member.reserve_within(*soft).ok())
    }

    /// A hedge came back from a connection that did not act on it: it moves where there is room to
    /// spare, or ends.
    pub(super) fn bounce(&self, call: Arc<SharedCall>) {
        match self.spare(&[]) {
            Some(permit) => Handle::submit(permit, call),
            None => {
                let text = "no connection has room to spare for a hedge";
                fail(&call, Error::local(Kind::GoAway, Code::Unavailable, text));
            }
        }
    }
}

/// Its connection is used, its endpoint is used, calls on it.
type Rank = (bool, bool, u32);

fn candidates(endpoint: &Endpoint, not_on: &[u64], found: &mut Vec<(Rank, (u32, Arc<Handle>))>) {
    let members = endpoint.members();
    let used = |member: &Arc<Handle>| not_on.contains(&member.id());
    let endpoint_used = members.iter().any(used);
    for member in members {
        let calls = member.life().read().calls;
        if member.is_ready() && !member.is_unproved() && !endpoint.is_pressed(&member, calls) {
            let rank = (used(&member), endpoint_used, calls);
            found.push((rank, (endpoint.soft_target(&member), member)));
        }
    }
}
