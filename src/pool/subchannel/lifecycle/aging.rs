//! Which connections of a subchannel close because they are idle or old.

use crate::connection::handle::Handle;
use crate::pool::counters::Count;
use crate::pool::subchannel::lifecycle::{Connection, Lifecycle};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The shortest pause between two inspections of an idle time.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// When idle and old connections are closed.
pub(crate) struct Limits {
    /// Connections that stay.
    pub(crate) min: u32,
    /// Idle time of the oldest connection, and of each other one.
    pub(crate) idle: [Duration; 2],
    /// Idle time after which an old connection closes without a replacement.
    pub(crate) old_idle: Duration,
    /// Pause until an old connection that could not be closed is inspected again.
    pub(crate) retry: Duration,
}

/// The result of an inspection.
#[derive(Default)]
pub(crate) struct Inspection {
    /// Connections that are to be closed, each with its reason if that is counted.
    pub(crate) close: Vec<(Arc<Handle>, Option<Count>)>,
    /// When to inspect again for an idle time or an age.
    pub(crate) again: Option<Instant>,
}

impl Lifecycle {
    /// Finds connections that are idle or old, the youngest first, as calls fill the oldest. They
    /// take no more calls.
    pub(crate) fn inspect(
        &mut self,
        limits: &Limits,
        is_outdated: impl Fn(&Handle) -> bool,
        now: Instant,
    ) -> Inspection {
        let mut found = Inspection::default();
        let look = |found: &mut Inspection, at: Option<Instant>| {
            found.again = found.again.into_iter().chain(at).min();
        };
        self.replacing = false;
        let mut handles: Vec<_> = self.handles().cloned().collect();
        while let Some(handle) = handles.pop() {
            // What is to replace an older connection is no spare.
            let replaces = |one: &Connection| {
                let old = one.replace_at.is_some_and(|at| at <= now) || is_outdated(&one.handle);
                old && one.handle.id() < handle.id()
            };
            let spare = self.count() > limits.min && !self.accepting().any(replaces);
            let limit = limits.idle[usize::from(!handles.is_empty())];
            let younger = self.accepting().any(|one| one.handle.id() > handle.id());
            let Some(connection) = self.find(&handle) else { continue };
            if is_outdated(&handle) {
                connection.replace_at = Some(connection.replace_at.map_or(now, |at| at.min(now)));
            }
            let idle = connection.idle_until(limit, spare, now);
            let old = connection.replace_at.filter(|at| *at <= now);
            let long_idle =
                connection.idle.is_some_and(|(_, since)| now >= since + limits.old_idle);
            look(&mut found, connection.replace_at.filter(|at| *at > now));
            match idle {
                Idle::Closed => {
                    self.drain(&handle);
                    found.close.push((handle, Some(Count::Shrunk)));
                    continue;
                }
                Idle::Until(at) => look(&mut found, at),
            }
            // A replacement is ready; or none is needed, because the next call dials.
            if old.is_some() && (younger || (long_idle && limits.min == 0)) {
                self.drain(&handle);
                found.close.push((handle, younger.then_some(Count::Replaced)));
            } else if old.is_some() {
                self.replacing = true;
                look(&mut found, now.checked_add(limits.retry));
            }
        }
        found
    }
}

impl Lifecycle {
    /// The connection that has had no calls for longest, and since when.
    pub(crate) fn longest_idle(&self, min: u32, now: Instant) -> Option<LongIdle> {
        let kept = self.count() <= min;
        let idle = self.accepting().filter_map(|one| {
            let reading = one.handle.life().read();
            let known = one.idle.filter(|(epoch, _)| *epoch == reading.epoch);
            let since = known.map_or(now, |(_, since)| since);
            let (handle, epoch) = (Arc::clone(&one.handle), reading.epoch);
            (reading.calls == 0).then_some(LongIdle { kept, since, handle, epoch })
        });
        idle.min_by_key(|one| one.since)
    }

    /// Closes this connection for calls, because a dial waits for its socket. Returns `false` if it has
    /// been used meanwhile.
    pub(crate) fn give_up(&mut self, idle: &LongIdle) -> bool {
        let Some(connection) = self.find(&idle.handle).filter(|one| one.accepting) else {
            return false;
        };
        if !idle.handle.life().evict(idle.epoch) {
            return false;
        }
        connection.socket.close_for_another();
        self.drain(&idle.handle)
    }
}

/// A connection without calls.
pub(crate) struct LongIdle {
    /// It is one of those that are kept open.
    pub(crate) kept: bool,
    pub(crate) since: Instant,
    pub(crate) handle: Arc<Handle>,
    epoch: u32,
}

/// How long a connection may stay idle.
enum Idle {
    /// It was idle for the limit and is closed for calls.
    Closed,
    /// When to look again.
    Until(Option<Instant>),
}

impl Connection {
    /// Closes the connection for calls if it has had none for `limit` and others can `spare` it.
    fn idle_until(&mut self, limit: Duration, spare: bool, now: Instant) -> Idle {
        let reading = self.handle.life().read();
        if reading.calls > 0 || !spare {
            self.idle = None;
            // Nothing reports when it becomes idle.
            let pause = (limit / 4).max(PAUSE_MIN);
            return Idle::Until(now.checked_add(pause).filter(|_| spare));
        }
        let since = match self.idle {
            Some((epoch, since)) if epoch == reading.epoch => since,
            _ => self.idle.insert((reading.epoch, now)).1,
        };
        match since.checked_add(limit) {
            Some(due) if due <= now && self.handle.life().evict(reading.epoch) => Idle::Closed,
            Some(due) if due <= now => Idle::Until(None),
            due => Idle::Until(due),
        }
    }
}
