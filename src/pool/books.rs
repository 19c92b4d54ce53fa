//! What a pool counts and shows. Its connections own it as well, so that those that close after the
//! channel is gone are counted, and gauges end at 0.

use crate::connection::handle::{DisconnectReason, Handle};
use crate::http2::ErrorCode;
use crate::pool::counters::{Count, Counts, PoolCounters};
use crate::pool::metrics::{Levels, Meter};
use crate::pool::{Candidate, Pool, Shared};
use crate::rt::sync::{AtomicU64, Mutex, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The books of a pool.
pub(super) struct Books {
    target: String,
    pub(super) counters: PoolCounters,
    /// Connections that are not closed.
    pub(super) live: Mutex<Vec<Arc<Handle>>>,
    /// Microseconds that calls have waited, all together.
    pub(super) waited_micros: AtomicU64,
    meter: OnceLock<Box<Meter>>,
}

impl Books {
    pub(super) fn new(target: String) -> Arc<Self> {
        Arc::new(Self {
            target,
            counters: PoolCounters::default(),
            live: Mutex::new(Vec::new()),
            waited_micros: AtomicU64::new(0),
            meter: OnceLock::new(),
        })
    }

    /// The handles, made when they are first needed.
    pub(super) fn meter(&self) -> &Meter {
        if let Some(meter) = self.meter.get() {
            return meter;
        }
        // Not within `get_or_init`: a recorder may use this channel.
        let meter = Box::new(Meter::new(&self.target));
        self.meter.get_or_init(|| meter)
    }

    /// What was counted since the pool was made.
    pub(super) fn counts(&self) -> Counts {
        let live = self.live.lock();
        let tallies = live
            .iter()
            .map(|handle| (handle.tally().read(), handle.connection_stalled().as_millis() as u64));
        self.counters.read(tallies)
    }

    /// Publishes the present state; the pool adds its calls that wait and its dials.
    pub(super) fn publish(&self, waiting: u32, dialing: u32) {
        let mut levels = Levels { waiting, dialing, ..Levels::default() };
        for handle in self.live.lock().iter() {
            let reading = handle.life().read();
            levels.active += u64::from(reading.calls);
            match (reading.open, handle.is_ready()) {
                (false, _) => levels.draining += 1,
                (true, false) => levels.handshaking += 1,
                (true, true) => {
                    levels.ready += 1;
                    levels.capacity = levels.capacity.saturating_add(handle.limit().into());
                }
            }
        }
        self.meter().publish(&self.counts(), &levels);
    }

    /// A call has a permit after it waited for `time`.
    pub(super) fn note_waited(&self, time: Duration) {
        self.counters.note(Count::Waited);
        self.waited_micros
            .fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.meter().waited(time);
    }

    /// A call has ended for which a policy made further attempts: `hedged` or retried, after pauses
    /// of `paused` in all.
    pub(super) fn note_attempts(&self, hedged: bool, further: u32, paused: Duration) {
        let count = if hedged { Count::Hedged } else { Count::Retried };
        self.counters.add(count, further.into());
        self.meter().attempts(hedged, further, paused);
    }

    /// A connection is closed. `goaway` is its first GOAWAY if it was ever ready.
    pub(super) fn closed(
        &self,
        handle: &Handle,
        goaway: Option<Option<ErrorCode>>,
        reason: DisconnectReason,
    ) {
        {
            // Its counts move from the list to the sums in one step.
            let mut live = self.live.lock();
            live.retain(|other| other.id() != handle.id());
            let stalled = handle.connection_stalled().as_millis() as u64;
            self.counters.close(&handle.tally().read(), stalled);
        }
        if let Some(goaway) = goaway {
            self.counters.note(Count::Disconnections);
            let why = goaway.map_or_else(|| reason.words().to_owned(), |c| format!("GOAWAY {c}"));
            self.meter().disconnected(why);
        }
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        if let Some(meter) = self.meter.get() {
            meter.publish(&self.counts(), &Levels::default());
        }
    }
}

impl Shared {
    /// Copies the present state to the handles.
    pub(super) fn publish_metrics(&self) {
        let candidates = self.candidates();
        let dialing = |one: &&Candidate| one.subchannel.is_dialing();
        self.books.publish(self.queue.len(), candidates.iter().filter(dialing).count() as u32);
    }
}

impl Pool {
    /// A call has ended for which a policy made further attempts: `hedged` or retried, after pauses
    /// of `paused` in all.
    pub fn note_attempts(&self, hedged: bool, further: u32, paused: Duration) {
        self.shared.note_attempts(hedged, further, paused);
    }
}
