//! The line of dials that wait for a cap, and what is left on each level. Values only: it has no lock and
//! no clock, and wakes nobody.

use crate::pool::Shared;
use crate::pool::cap::{Cap, Capped, Waiter};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What a dial is needed for. Earlier variants come first in line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Need {
    /// Calls of a pool that has no connection.
    First,
    /// Calls that wait beside connections that are full.
    More,
    /// No call waits: a number of connections is kept, or an old one is replaced.
    Kept,
}

/// One cap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) name: &'static str,
    pub(super) sockets: u32,
    pub(super) dials: u32,
    pub(super) open: u32,
    /// Of those, connections without calls that are being closed for dials that wait.
    pub(super) closing: u32,
    pub(super) begun: u64,
    pub(super) delayed: u64,
    tokens: f64,
    since: Option<Instant>,
}

impl Level {
    pub(super) fn new(name: &'static str, sockets: u32, dials: u32) -> Self {
        let (open, closing, begun, delayed) = (0, 0, 0, 0);
        let (tokens, since) = (f64::from(sockets), None);
        Self { name, sockets, dials, open, closing, begun, delayed, tokens, since }
    }

    /// A bucket that fills evenly.
    fn refill(&mut self, now: Instant) {
        // Another thread may have read the clock later.
        let since = self.since.unwrap_or(now);
        let passed = now.saturating_duration_since(since).as_secs_f64();
        self.since = Some(since.max(now));
        let tokens = self.tokens + passed * f64::from(self.dials);
        self.tokens = tokens.min(f64::from(self.sockets));
    }

    /// Time until there are tokens for a dial and for `ahead` others.
    fn token_in(&self, ahead: usize) -> Duration {
        let missing = (ahead as f64 + 1.0 - self.tokens).max(0.0);
        // Rounded up: the bucket must not lack a part of a token then.
        Duration::from_secs_f64(missing / f64::from(self.dials)) + Duration::from_nanos(1)
    }

    fn has_token(&self) -> bool {
        self.tokens >= 1.0 - 1e-9
    }
}

/// What a dial waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Blocked {
    /// A socket of this level.
    Full(u64),
    /// A token of this level.
    Rate(u64),
}

/// Whose sockets would help dials that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// The levels that are full, and what the first dial that waits for each is needed for.
    levels: Vec<(u64, Need)>,
}

impl Shortage {
    /// What the most urgent dial is needed for that a socket of this cap would help. `None`: none.
    pub(crate) fn need(&self, cap: &Cap) -> Option<Need> {
        let helped = self.levels.iter().filter(|(level, _)| cap.chain.contains(level));
        helped.map(|(_, need)| *need).min()
    }
}

/// The line, in the order of its keys.
#[derive(Default)]
pub(super) struct Line {
    levels: BTreeMap<u64, Level>,
    waiting: BTreeMap<(Need, u64), Waiter>,
    /// The first dial that only the rate delays: the one that looks again when there is a token.
    front: Option<u64>,
    pub(super) pools: BTreeMap<u64, Weak<Shared>>,
    /// Connections that have ended and whose sockets wait for their peers to close, with their chains, the
    /// oldest first.
    lingering: Vec<(u64, Arc<[u64]>)>,
}

/// What to do once the lock is released.
#[derive(Default)]
pub(super) struct Granted {
    /// Those whose turn has come, in order.
    pub(super) waiters: Vec<Waiter>,
    /// The dial that is now first among those that only the rate delays.
    pub(super) front: Option<Arc<Notify>>,
}

impl Line {
    pub(super) fn add(&mut self, id: u64, level: Level) {
        self.levels.insert(id, level);
    }

    /// A cap is gone: nobody waits for it, and none of its sockets is open.
    pub(super) fn remove(&mut self, id: u64) {
        self.levels.remove(&id);
    }

    pub(super) fn level(&self, id: u64) -> Level {
        self.levels.get(&id).copied().unwrap_or_else(|| Level::new("", 1, 1))
    }

    fn each(&mut self, chain: &[u64], f: impl Fn(&mut Level)) {
        for id in chain {
            self.levels.get_mut(id).into_iter().for_each(&f);
        }
    }

    pub(super) fn join(&mut self, key: (Need, u64), waiter: Waiter) {
        self.waiting.insert(key, waiter);
    }

    pub(super) fn leave(&mut self, key: (Need, u64)) -> Option<Waiter> {
        self.waiting.remove(&key)
    }

    /// A socket is closed.
    pub(super) fn release(&mut self, chain: &[u64], was_closing: bool) {
        self.each(chain, |level| {
            level.open = level.open.saturating_sub(1);
            level.closing = level.closing.saturating_sub(u32::from(was_closing));
        });
    }

    /// A connection without calls is being closed for a dial that waits.
    pub(super) fn closing(&mut self, chain: &[u64]) {
        self.each(chain, |level| level.closing += 1);
    }

    /// The socket of this connection waits for its peer to close.
    pub(super) fn linger(&mut self, connection: u64, chain: &Arc<[u64]>) {
        self.lingering.push((connection, Arc::clone(chain)));
    }

    /// It waits no longer.
    pub(super) fn end_linger(&mut self, connection: u64) {
        self.lingering.retain(|(other, _)| *other != connection);
    }

    /// The connections whose lingering sockets would help dials that wait, the oldest first.
    pub(super) fn helpful(&self) -> Vec<u64> {
        let Some(Shortage { levels }) = self.shortage() else { return Vec::new() };
        let helps = |chain: &[u64]| levels.iter().any(|(level, _)| chain.contains(level));
        let helpful = self.lingering.iter().filter(|(_, chain)| helps(chain));
        helpful.map(|(connection, _)| *connection).collect()
    }

    /// Takes those out of the line whose turn has come.
    pub(super) fn advance(&mut self, now: Instant) -> Granted {
        self.levels.values_mut().for_each(|level| level.refill(now));
        let (mut turns, mut front) = (Vec::new(), None);
        for (key, waiter) in &self.waiting {
            let chain = &waiter.cap.chain;
            let blocked = blocked(&self.levels, chain);
            match blocked {
                None => {
                    for id in &**chain {
                        if let Some(level) = self.levels.get_mut(id) {
                            level.open += 1;
                            level.begun += 1;
                            level.tokens -= 1.0;
                        }
                    }
                    turns.push(*key);
                }
                Some(Blocked::Rate(_)) => _ = front.get_or_insert(*key),
                Some(Blocked::Full(_)) => {}
            }
            // Nobody passes the outermost level.
            if let Some(Blocked::Full(at) | Blocked::Rate(at)) = blocked
                && chain.last() == Some(&at)
            {
                break;
            }
        }
        let waiters = turns.iter().filter_map(|key| self.waiting.remove(key)).collect();
        let before = std::mem::replace(&mut self.front, front.map(|(_, id)| id));
        let front = front.filter(|(_, id)| before != Some(*id));
        let front = front.and_then(|key| self.waiting.get(&key));
        Granted { waiters, front: front.map(|waiter| Arc::clone(&waiter.news)) }
    }

    /// Why a dial waits; `None` once its turn has come.
    pub(super) fn capped(&self, key: (Need, u64), now: Instant) -> Option<Capped> {
        let waiter = self.waiting.get(&key)?;
        let chain = &waiter.cap.chain;
        let (at, until) = match blocked(&self.levels, chain)? {
            Blocked::Full(at) => (at, None),
            Blocked::Rate(at) => {
                let before = self.waiting.range(..key).map(|(_, other)| &other.cap.chain);
                let delayed = |chain: &&Arc<[u64]>| {
                    matches!(blocked(&self.levels, chain), Some(Blocked::Rate(_)))
                };
                let ahead = before.filter(delayed).count();
                let levels = chain.iter().filter_map(|id| self.levels.get(id));
                let wait = levels.map(|level| level.token_in(ahead)).max();
                (at, Some(now + wait.unwrap_or_default()))
            }
        };
        let Level { name, sockets, dials, .. } = self.level(at);
        Some(Capped { by: name, sockets, dials, until })
    }

    /// Counts a dial that must wait.
    pub(super) fn note_delayed(&mut self, key: (Need, u64)) {
        let Some(waiter) = self.waiting.get(&key) else { return };
        if let Some(Blocked::Full(at) | Blocked::Rate(at)) =
            blocked(&self.levels, &waiter.cap.chain)
            && let Some(level) = self.levels.get_mut(&at)
        {
            level.delayed += 1;
        }
    }

    /// The dials that calls need and that wait for a socket no closing connection will leave: as if
    /// those were closed and their sockets given to the first in line.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        let mut after = self.levels.clone();
        after.values_mut().for_each(|level| level.open = level.open.saturating_sub(level.closing));
        let mut levels: Vec<(u64, Need)> = Vec::new();
        for ((need, _), waiter) in &self.waiting {
            if *need == Need::Kept {
                break;
            }
            let chain = &waiter.cap.chain;
            let Some(at) = full(&after, chain) else {
                for id in &**chain {
                    after.get_mut(id).into_iter().for_each(|level| level.open += 1);
                }
                continue;
            };
            if !levels.iter().any(|(level, _)| *level == at) {
                levels.push((at, *need));
            }
            if chain.last() == Some(&at) {
                break;
            }
        }
        (!levels.is_empty()).then_some(Shortage { levels })
    }
}

/// The innermost level that has no socket left.
fn full(levels: &BTreeMap<u64, Level>, chain: &[u64]) -> Option<u64> {
    let full = |id: &&u64| levels.get(id).is_some_and(|level| level.open >= level.sockets);
    chain.iter().find(full).copied()
}

/// What a dial under these levels waits for.
fn blocked(levels: &BTreeMap<u64, Level>, chain: &[u64]) -> Option<Blocked> {
    // The outermost that has no token: nobody passes it.
    let rate = |id: &&u64| levels.get(id).is_some_and(|level| !level.has_token());
    let rate = chain.iter().rev().find(rate).copied();
    full(levels, chain).map(Blocked::Full).or_else(|| rate.map(Blocked::Rate))
}
