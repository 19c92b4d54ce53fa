//! The connections of a server that are in their handshakes, so that the one that takes longest can make way
//! for a new one: it may have said nothing at all.

use crate::connection::driver::{Drain, SILENT_MIN};
use crate::rt;
use crate::rt::sync::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// One handshake.
#[derive(Debug)]
struct Handshake {
    since: Instant,
    cut: Notify,
}

/// The handshakes of a server, oldest first.
#[derive(Debug, Default)]
pub(super) struct Handshakes(Mutex<VecDeque<Arc<Handshake>>>);

impl Handshakes {
    /// Returns what a handshake returns, or why it ended before: its time has passed, or it made way for another
    /// connection.
    pub(super) async fn within<R>(
        &self,
        time: Duration,
        handshake: impl Future<Output = R>,
    ) -> Result<R, &'static str> {
        let this = Arc::new(Handshake { since: rt::now(), cut: Notify::new() });
        self.0.lock().push_back(Arc::clone(&this));
        let _listed = Listed { all: self, this: &this };
        tokio::select! {
            biased;
            result = rt::timeout(time, handshake) => result.map_err(|_| "its time has passed"),
            () = this.cut.notified() => Err("it made way for another connection: max_connections"),
        }
    }

    /// Asks the connection without streams that has been silent for longest, and for a second at least, to
    /// close. A handshake counts as silence. Returns whether there is one.
    pub(super) fn close_longest_silent(&self, drain: &Drain) -> bool {
        let now = rt::now();
        let long = |since: &Instant| now.saturating_duration_since(*since) >= SILENT_MIN;
        let silent = drain.longest_silent().filter(|(since, _)| long(since));
        let mut all = self.0.lock();
        let oldest = all.front().map(|handshake| handshake.since).filter(long);
        match (silent, oldest) {
            (Some((since, silent)), other) if other.is_none_or(|other| since <= other) => {
                drop(all);
                silent.make_way();
                true
            }
            (_, Some(_)) => {
                let oldest = all.pop_front();
                drop(all);
                oldest.map(|handshake| handshake.cut.notify_one()).is_some()
            }
            (_, None) => false,
        }
    }
}

/// A handshake in the list. Dropped, it is over.
struct Listed<'a> {
    all: &'a Handshakes,
    this: &'a Arc<Handshake>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.all.0.lock().retain(|other| !Arc::ptr_eq(other, self.this));
    }
}
