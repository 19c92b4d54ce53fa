//! Picks the connection for a call. The picker reads an immutable list of the connections that take
//! calls, which the pool replaces when one comes or goes, and returns what it found and which
//! subchannels should dial. The pool acts on it.
//!
//! hot: one shared lock over a short list, one read-modify-write for the permit.

use crate::call::Permit;
use crate::connection::handle::Handle;
use crate::pool::balance::Balance;
use crate::pool::options::PoolOptions;
use crate::pool::subchannel::Subchannel;
use crate::rt::sync::{AtomicU32, Ordering, RwLock};
use std::sync::Arc;
use std::time::Duration;

/// The result of a search for a permit.
#[derive(Debug)]
pub(super) enum Pick {
    /// A permit of a connection below its soft target.
    Permit(Permit),
    /// A permit, but every connection of this subchannel is above its soft target.
    AboveTarget(Permit, Arc<Subchannel>),
    /// Every connection has as many calls as its peer allows.
    Full,
    /// No connection takes calls.
    None,
}

/// A subchannel and its connections that take calls, oldest first.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) subchannel: Arc<Subchannel>,
    connections: Box<[Arc<Handle>]>,
}

/// Chooses among the candidates.
#[derive(Debug)]
pub(super) struct Picker {
    balance: Balance,
    target: SoftTarget,
    /// The subchannel that PickFirst uses; how many calls RoundRobin has spread.
    turn: AtomicU32,
    candidates: RwLock<Arc<[Candidate]>>,
}

impl Picker {
    pub(super) fn new(options: &PoolOptions, subchannels: Vec<Arc<Subchannel>>) -> Self {
        Self {
            balance: options.balance,
            target: SoftTarget::new(options),
            turn: AtomicU32::new(0),
            candidates: RwLock::new(subchannels.into_iter().map(Candidate::of).collect()),
        }
    }

    /// The candidates at this instant.
    pub(super) fn candidates(&self) -> Arc<[Candidate]> {
        Arc::clone(&self.candidates.read())
    }

    /// Reads the connections of each subchannel again. The lock is held meanwhile, so that of two
    /// updates at a time the later one stays.
    pub(super) fn update(&self) {
        let mut candidates = self.candidates.write();
        let subchannels = candidates.iter().map(|one| Arc::clone(&one.subchannel));
        let after = subchannels.map(Candidate::of).collect();
        let before = std::mem::replace(&mut *candidates, after);
        drop(candidates);
        drop(before);
    }

    /// Replaces the subchannels.
    pub(super) fn replace(&self, subchannels: Vec<Arc<Subchannel>>) {
        let after: Arc<[Candidate]> = subchannels.into_iter().map(Candidate::of).collect();
        let before = {
            let mut candidates = self.candidates.write();
            if self.balance == Balance::PickFirst {
                // The subchannel in use stays in use wherever it is in the new list.
                let used = candidates.get(self.first(candidates.len()));
                let same = |one: &Candidate| used.is_some_and(|used| used.is(&one.subchannel));
                self.set_first(after.iter().position(same).unwrap_or(0));
            }
            std::mem::replace(&mut *candidates, after)
        };
        drop(before);
        // A connection may have come while the list was made.
        self.update();
    }

    /// Whether a connection is ready and takes calls.
    pub(super) fn is_connected(&self) -> bool {
        self.candidates.read().iter().any(Candidate::is_connected)
    }

    /// Looks for a permit; `draw` returns a random number below its argument. Adds the subchannels
    /// that should dial to `dial`.
    #[inline]
    pub(super) fn pick(
        &self,
        draw: impl FnMut(u64) -> u64,
        dial: &mut Vec<Arc<Subchannel>>,
    ) -> Pick {
        let candidates = self.candidates.read();
        match &candidates[..] {
            [only] => only.pick(&self.target),
            _ => self.balance(&candidates, draw, dial),
        }
    }

    fn balance(
        &self,
        candidates: &[Candidate],
        draw: impl FnMut(u64) -> u64,
        dial: &mut Vec<Arc<Subchannel>>,
    ) -> Pick {
        match self.balance {
            _ if candidates.is_empty() => Pick::None,
            Balance::PickFirst => self.pick_first(candidates),
            Balance::RoundRobin => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
                self.pick_from(candidates, turn % candidates.len(), dial)
            }
            Balance::LeastLoaded => {
                let first = less_loaded(candidates, draw, dial);
                self.pick_from(candidates, first, dial)
            }
        }
    }

    /// The index of the subchannel that PickFirst uses.
    pub(super) fn first(&self, count: usize) -> usize {
        self.turn.load(Ordering::Relaxed) as usize % count.max(1)
    }

    /// If the subchannel that PickFirst uses has lost its last connection, the first one of the list that is
    /// connected takes its place; the head if none is.
    pub(super) fn leave_lost(&self) {
        let candidates = self.candidates.read();
        let used = candidates.get(self.first(candidates.len()));
        if !used.is_some_and(Candidate::is_connected) {
            self.set_first(candidates.iter().position(Candidate::is_connected).unwrap_or(0));
        }
    }

    /// PickFirst uses this subchannel as long as it is connected.
    pub(super) fn set_first(&self, index: usize) {
        self.turn.store(index as u32, Ordering::Relaxed);
    }

    /// The subchannel in use, or another one that is connected. Its limit is the limit.
    fn pick_first(&self, candidates: &[Candidate]) -> Pick {
        let (before, from) = candidates.split_at(self.first(candidates.len()));
        let mut picks = from.iter().chain(before).map(|one| one.pick(&self.target));
        picks.find(|pick| !matches!(pick, Pick::None)).unwrap_or(Pick::None)
    }

    /// The first subchannel from `first` on that has a permit. If `first` has no connection, it would have
    /// had the call and should dial: no call waits for it.
    fn pick_from(
        &self,
        candidates: &[Candidate],
        first: usize,
        dial: &mut Vec<Arc<Subchannel>>,
    ) -> Pick {
        let (before, from) = candidates.split_at(first);
        let mut last = Pick::None;
        let unconnected = from.first().filter(|one| one.connections.is_empty());
        dial.extend(unconnected.map(|one| Arc::clone(&one.subchannel)));
        for candidate in from.iter().chain(before) {
            match candidate.pick(&self.target) {
                Pick::None => {}
                Pick::Full => last = Pick::Full,
                found => return found,
            }
        }
        last
    }

    /// A permit for a hedge: on a ready connection below its soft target. The first choice is
    /// another subchannel than those of the connections `not_on`, then another connection, then the
    /// one with the fewest calls.
    pub(super) fn spare(&self, not_on: &[u64]) -> Option<Permit> {
        self.reserve_first(&self.below_target(not_on))
    }

    /// As [`Picker::spare`], but never on the subchannel of `connection`.
    pub(super) fn elsewhere(&self, connection: u64) -> Option<Permit> {
        let mut found = self.below_target(&[connection]);
        found.retain(|((_, subchannel_used, _), _)| !subchannel_used);
        self.reserve_first(&found)
    }

    /// A permit of another connection of the subchannel of `connection`, if no call is in flight there.
    pub(super) fn beside(&self, connection: u64) -> Option<Permit> {
        let candidates = self.candidates();
        let is_it = |one: &&Arc<Handle>| one.id() == connection;
        let same = candidates.iter().find(|one| one.connections.iter().any(|one| is_it(&one)))?;
        let others = same.connections.iter().filter(|one| !is_it(one));
        let mut others = others.filter(|one| one.is_ready() && !one.is_unproved());
        others.find_map(|one| one.reserve_within(1).ok())
    }

    fn reserve_first(&self, found: &[(Rank, Arc<Handle>)]) -> Option<Permit> {
        found.iter().find_map(|(_, one)| one.reserve_within(self.target.calls(one)).ok())
    }

    /// The connections below their soft target, the first choice first.
    fn below_target(&self, not_on: &[u64]) -> Vec<(Rank, Arc<Handle>)> {
        let candidates = self.candidates();
        let mut found = Vec::new();
        if self.balance == Balance::PickFirst {
            let (before, from) = candidates.split_at(self.first(candidates.len()));
            // The subchannel in use has all of the calls, so it has the hedges.
            let in_use = from.iter().chain(before).find(|one| one.is_connected());
            in_use.into_iter().for_each(|one| one.spare(not_on, &self.target, &mut found));
        } else {
            candidates.iter().for_each(|one| one.spare(not_on, &self.target, &mut found));
        }
        found.sort_by_key(|(rank, _)| *rank);
        found
    }
}

/// Of two different subchannels drawn at random, the index of the one with fewer calls. One that is not
/// connected should dial.
fn less_loaded(
    candidates: &[Candidate],
    mut draw: impl FnMut(u64) -> u64,
    dial: &mut Vec<Arc<Subchannel>>,
) -> usize {
    let count = candidates.len() as u64;
    let first = draw(count);
    // One of the others.
    let second = (first + 1 + draw(count - 1)) % count;
    let mut load = |index: u64| {
        let index = index as usize;
        let connected = candidates[index].is_connected();
        if !connected {
            dial.push(Arc::clone(&candidates[index].subchannel));
        }
        (!connected, candidates[index].calls(), index)
    };
    let (a, b) = (load(first), load(second));
    if (b.0, b.1) < (a.0, a.1) { b.2 } else { a.2 }
}

/// For a hedge: its connection is used, its subchannel is used, calls on the connection.
type Rank = (bool, bool, u32);

impl Candidate {
    fn of(subchannel: Arc<Subchannel>) -> Self {
        let connections = subchannel.connections().into();
        Self { subchannel, connections }
    }

    fn is(&self, subchannel: &Subchannel) -> bool {
        self.subchannel.id() == subchannel.id()
    }

    /// Whether a connection is ready and takes calls.
    pub(super) fn is_connected(&self) -> bool {
        self.connections.iter().any(|one| one.is_ready() && one.is_accepting())
    }

    /// Calls in flight.
    fn calls(&self) -> u64 {
        self.connections.iter().map(|one| u64::from(one.life().read().calls)).sum()
    }

    /// A permit of the oldest connection below its soft target, else of the one idle for longest,
    /// else of any.
    fn pick(&self, target: &SoftTarget) -> Pick {
        if self.connections.is_empty() {
            return Pick::None;
        }
        let mut best: Option<(u32, &Arc<Handle>)> = None;
        for (i, connection) in self.connections.iter().enumerate() {
            let reading = connection.life().read();
            // Idle connections are in the queue below. The oldest is tried here, idle or not.
            if !reading.open || (reading.calls == 0 && i > 0) || connection.is_unproved() {
                continue;
            }
            // What is answered there does not arrive.
            if connection.is_withheld() {
                continue;
            }
            if target.is_below(connection, reading.calls)
                && let Ok(permit) = connection.reserve()
            {
                self.subchannel.note_below_target();
                return Pick::Permit(permit);
            }
            if best.is_none_or(|(calls, _)| reading.calls < calls) {
                best = Some((reading.calls, connection));
            }
        }
        while let Some(connection) = self.subchannel.idle.pop() {
            if connection.is_withheld() {
                continue;
            }
            if let Ok(permit) = connection.reserve() {
                self.subchannel.note_below_target();
                return Pick::Permit(permit);
            }
        }
        let permit = best.and_then(|(_, connection)| connection.reserve().ok());
        // The one with the fewest calls was full, or has just filled up.
        let mut open = self.connections.iter().filter(|one| !one.is_withheld());
        let any = || open.find_map(|one| one.reserve().ok());
        match permit.or_else(any) {
            Some(permit) => Pick::AboveTarget(permit, Arc::clone(&self.subchannel)),
            None => Pick::Full,
        }
    }

    fn spare(&self, not_on: &[u64], target: &SoftTarget, found: &mut Vec<(Rank, Arc<Handle>)>) {
        let used = |one: &Arc<Handle>| not_on.contains(&one.id());
        let subchannel_used = self.connections.iter().any(used);
        for one in &self.connections {
            let calls = one.life().read().calls;
            let usable = one.is_ready() && !one.is_unproved() && !one.is_withheld();
            if usable && target.is_below(one, calls) {
                found.push(((used(one), subchannel_used, calls), Arc::clone(one)));
            }
        }
    }
}

/// Up to where a connection is filled before another one is used.
#[derive(Debug)]
struct SoftTarget {
    percent: u64,
    queued_bytes: u32,
    lag: Duration,
}

impl SoftTarget {
    fn new(options: &PoolOptions) -> Self {
        Self {
            percent: u64::from(options.fill_percent.clamp(1, 100)),
            queued_bytes: options.write_queue_bytes,
            lag: options.pick_wait,
        }
    }

    /// In calls.
    fn calls(&self, connection: &Handle) -> u32 {
        let calls = (u64::from(connection.soft_limit()) * self.percent).div_ceil(100);
        u32::try_from(calls).unwrap_or(u32::MAX).max(1)
    }

    /// Below the target by calls, by bytes that wait to be written, and by the time calls waited.
    fn is_below(&self, connection: &Handle, calls: u32) -> bool {
        calls < self.calls(connection)
            && (calls == 0 || connection.queued() <= self.queued_bytes)
            && (calls <= 1 || connection.lag() <= self.lag)
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::pool::picker::*;
    use crate::transport::connect::Target;

    /// Each endpoint without a connection is asked to dial in its turn, and is no work for other calls.
    #[test]
    fn a_call_meets_one_endpoint_that_has_no_connection() {
        let options = PoolOptions { balance: Balance::RoundRobin, ..PoolOptions::new() };
        let target = Target::parse("http://test").unwrap();
        let subchannels: Vec<_> =
            (0..5).map(|_| Subchannel::new(target.clone(), &options)).collect();
        let ids: Vec<_> = subchannels.iter().map(|one| one.id()).collect();
        let picker = Picker::new(&options, subchannels);
        for id in ids {
            let mut dial = Vec::new();
            assert!(matches!(picker.pick(|_| 0, &mut dial), Pick::None));
            assert_eq!(dial.iter().map(|one| one.id()).collect::<Vec<_>>(), [id]);
        }
    }
}
