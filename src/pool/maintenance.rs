//! What only time brings: deadlines of calls that wait, connections that rest for long or grow
//! old, a floor that is to be kept. One task a pool, while there is something to look after.

use crate::connection::driver::deadline_error;
use crate::connection::handle::Handle;
use crate::error::{Error, Kind, Phase, Processed};
use crate::grpc::status::Code;
use crate::pool::counters::Count;
use crate::pool::endpoint::Endpoint;
use crate::pool::observer::Observer;
use crate::pool::tenant::late;
use crate::pool::{Shared, fail};
use crate::rt;
use crate::rt::sync::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The shortest time between two looks at connections that rest.
const LOOK_MIN: Duration = Duration::from_millis(10);

/// Time without calls after which an old connection is not replaced, only closed; less where
/// connections grow old sooner, or those of a channel without calls would replace each other for ever.
const REST: Duration = Duration::from_secs(1);

/// What is remembered of a connection between two looks.
#[derive(Debug)]
struct Known {
    /// The epoch in which it was found without calls, and since when.
    rest: Option<(u32, Instant)>,
    /// When it is to be replaced.
    old_at: Option<Instant>,
}

impl Shared {
    /// Sees to it that a keeper lives.
    pub(super) fn keep(&self) {
        if self.kept.load(Ordering::Acquire) || self.kept.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(me) = self.me.upgrade() {
            rt::spawn(run(Keeping { shared: me, over: false }));
        }
    }

    fn is_forlorn(&self) -> bool {
        let calls = !self.waiting.is_empty() || self.waiting.blocked() > 0;
        let idle = !calls && self.live.lock().is_empty();
        let dialing = self.endpoints().iter().any(|endpoint| endpoint.cold.lock().dialing);
        let shut = self.shutdown.load(Ordering::Acquire);
        (idle && !dialing && self.floor() == 0) || shut
    }

    /// Connections that each endpoint is to have.
    pub(super) fn floor(&self) -> u32 {
        let sized = self.sized.load(Ordering::Relaxed);
        self.warm.load(Ordering::Relaxed).max(self.options.min_connections).max(sized)
    }

    /// Whether the endpoint has fewer connections than it is to have, or one that is to be replaced.
    pub(super) fn lacks(&self, endpoint: &Endpoint) -> bool {
        (endpoint.members().len() as u32) < self.floor() || self.is_replacing(endpoint)
    }

    /// Whether one of the endpoint's connections has grown old.
    pub(super) fn is_replacing(&self, endpoint: &Endpoint) -> bool {
        endpoint.replacing.load(Ordering::Acquire)
    }

    /// The deadlines of calls that wait; returns the next one.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let (expired, next) = self.waiting.expire(now);
        let connected = self.is_connected();
        let failed = self.endpoints().iter().any(|e| e.cold.lock().last_error.is_some());
        for call in expired {
            let phase = match (connected, failed) {
                (true, _) => call.lock().timeline().phase(),
                (_, true) => Phase::PoolWait,
                _ => Phase::Dial,
            };
            self.ledger.note(Count::Expired);
            fail(&call, late(&call, deadline_error(Processed::No).with_phase(phase)));
        }
        next
    }
}

/// A keeper at work. Dropped before its end, as when a runtime ends, it tells the calls that wait:
/// nobody else would.
struct Keeping {
    shared: Arc<Shared>,
    over: bool,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if !self.over {
            self.shared.kept.store(false, Ordering::Release);
            let text = "the runtime on which the channel waited has ended";
            let error = Error::local(Kind::Shutdown, Code::Unavailable, text);
            self.shared.fail_waiting(|_| true, &error);
        }
    }
}

async fn run(mut keeping: Keeping) {
    let shared = Arc::clone(&keeping.shared);
    let mut known: HashMap<u64, Known> = HashMap::new();
    let mut observer = Box::new(Observer::new(&shared, rt::now()));
    loop {
        let now = rt::now();
        let deadline = shared.expire(now);
        let look = shared.tend(&mut known, now);
        let watch = observer.look(&shared, now);
        shared.grow_for_tenants();
        if shared.is_forlorn() {
            shared.kept.store(false, Ordering::Release);
            // Somebody may have come and found a keeper that was leaving.
            if shared.is_forlorn() || shared.kept.swap(true, Ordering::AcqRel) {
                keeping.over = true;
                shared.publish_metrics();
                return;
            }
            continue;
        }
        let again = shared.ask_again(now);
        let next = [deadline, look, Some(watch), again].into_iter().flatten().min();
        tokio::select! {
            biased;
            () = shared.news.notified() => {}
            () = async {
                match next {
                    Some(at) => rt::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
}

impl Shared {
    /// Looks at every connection; returns when to look again.
    fn tend(&self, known: &mut HashMap<u64, Known>, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut seen = Vec::new();
        for endpoint in self.endpoints().iter() {
            let members = endpoint.members();
            let mut replacing = false;
            for (i, member) in members.iter().enumerate().rev() {
                seen.push(member.id());
                let entry = known.entry(member.id()).or_insert_with(|| Known {
                    rest: None,
                    old_at: self.options.max_age.map(|age| now + self.jitter(age, 0.1)),
                });
                if self.is_outdated(member) {
                    entry.old_at.get_or_insert(now);
                    entry.old_at = entry.old_at.min(Some(now));
                }
                let first = i == 0;
                let old_at = entry.old_at.filter(|at| now < *at);
                for at in [self.tend_rest(endpoint, member, entry, first, now), old_at] {
                    next = next.into_iter().chain(at).min();
                }
                if entry.old_at.is_some_and(|at| at <= now) {
                    let least = self.options.max_age.map_or(REST, |age| REST.min(age / 4));
                    let rests = entry.rest.is_some_and(|(_, since)| now >= since + least);
                    replacing |= !self.replace(endpoint, member, rests);
                    let soon = now + self.options.dial_time.min(Duration::from_secs(1));
                    next = next.into_iter().chain([soon]).min();
                }
            }
            endpoint.replacing.store(replacing, Ordering::Release);
            if self.lacks(endpoint) {
                self.start_dial(endpoint);
            }
        }
        known.retain(|id, _| seen.contains(id));
        next
    }

    /// Closes a connection that has had no calls for long enough; returns when to look again.
    fn tend_rest(
        &self,
        endpoint: &Endpoint,
        member: &Arc<Handle>,
        known: &mut Known,
        first: bool,
        now: Instant,
    ) -> Option<Instant> {
        let count = endpoint.members().len() as u32;
        let spare = count > self.floor();
        // The youngest go first: calls fill the oldest.
        let patience = if first { self.options.idle_time } else { self.options.shrink_after };
        let patience = self.rest_at_most(patience, now);
        let reading = member.life().read();
        if reading.calls > 0 || !spare {
            known.rest = None;
            // Nobody rings when it comes to rest.
            return now.checked_add((patience / 4).max(LOOK_MIN)).filter(|_| spare);
        }
        let since = match known.rest {
            Some((epoch, since)) if epoch == reading.epoch => since,
            _ => known.rest.insert((reading.epoch, now)).1,
        };
        let due = since.checked_add(patience)?;
        if now < due {
            return Some(due);
        }
        if member.life().evict(reading.epoch) {
            tracing::debug!(connection = member.id(), "closed: no calls for {patience:?}");
            self.ledger.note(Count::Shrunk);
            endpoint.remove(member);
            member.goodbye();
            self.publish();
        }
        None
    }

    /// A connection has grown old: it takes no more calls once a younger one is ready. `false` while
    /// it stays.
    fn replace(&self, endpoint: &Endpoint, member: &Arc<Handle>, rests: bool) -> bool {
        let members = endpoint.members();
        let younger = members.iter().any(|other| other.id() > member.id() && other.is_ready());
        if younger {
            tracing::debug!(connection = member.id(), "replaced: it has grown old");
            self.ledger.note(Count::Replaced);
        } else if !rests || self.floor() > 0 {
            return false;
        }
        // Without a younger one nobody uses it: the next call dials anew.
        endpoint.remove(member);
        member.goodbye();
        self.publish();
        true
    }
}
