//! Reports calls that are held and not polled: a response that is not read to its end, a sender that was
//! forgotten. Each counts against the peer's stream limit.
//!
//! A stream that is silent for days is no leak while its next message is awaited.

use crate::call::state::CallState;
use crate::connection::driver::Core;
use crate::connection::handle::{ConnectionEvent, Leak};
use crate::http2::Role;
use std::time::{Duration, Instant};

/// The result of a stream's last check.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Watch {
    /// Its caller waits for it, or it moves.
    #[default]
    Fresh,
    /// Since this time nobody waits, and the mark has not changed.
    Still(u64, Instant),
    /// It was reported.
    Reported,
}

/// Returns a number that changes when anything moves on the call.
fn mark(x: &CallState) -> u64 {
    let bytes = x.recv().body().len() as u64 + x.send().queued() as u64;
    (x.timeline().total().as_nanos() as u64).wrapping_mul(31).wrapping_add(bytes)
}

impl Core {
    /// Returns the time of the next check.
    pub(super) fn next_leak_check(&self) -> Option<Instant> {
        self.leak_check
    }

    /// Checks all streams, four times within `leak_after`.
    pub(super) fn check_leaks(&mut self) {
        let Some(after) = self.options.leak_after.filter(|_| self.conn.role() == Role::Client)
        else {
            return;
        };
        if self.conn.streams() == 0 {
            self.leak_check = None;
            return;
        }
        let next = *self.leak_check.get_or_insert(self.now + after / 4);
        if self.now < next {
            return;
        }
        self.leak_check = Some(self.now + after / 4);
        for key in self.conn.keys() {
            let now = self.now;
            let Some(entry) = self.conn.user_mut(key) else { continue };
            let Some(call) = entry.call.clone() else { continue };
            let x = call.lock();
            let seen = mark(&x);
            match entry.watch {
                Watch::Reported => {}
                _ if x.is_awaited() => entry.watch = Watch::Fresh,
                Watch::Still(before, since) if before == seen => {
                    let still = now.saturating_duration_since(since);
                    if still < after {
                        continue;
                    }
                    entry.watch = Watch::Reported;
                    let leak = leak(&x, still, now, self.handle.id());
                    drop(x);
                    self.tell_owner(ConnectionEvent::Leaked(leak));
                }
                Watch::Fresh | Watch::Still(..) => entry.watch = Watch::Still(seen, now),
            }
        }
    }
}

fn leak(x: &CallState, still: Duration, now: Instant, connection: u64) -> Leak {
    let path = x.send().template().and_then(|template| template.fields().get(":path"));
    Leak {
        method: path.map(|path| String::from_utf8_lossy(path).into_owned()),
        site: x.spec().site,
        age: now.saturating_duration_since(x.timeline().started()),
        still,
        phase: x.timeline().phase(),
        connection,
    }
}
