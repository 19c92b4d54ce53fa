//! The measurements of the maintenance task, once a second while there are calls: the load, and from
//! it the advice, the size of the pool, the trend and the metrics.

use crate::advisor::sizing::{Advice, Controller, Link, Load, Observation, Way};
use crate::advisor::trend::{Detector, Sample};
use crate::connection::counters::ConnectionTotals;
use crate::connection::handle::STREAMS_UNNAMED;
use crate::pool::counters::Count;
use crate::pool::{Candidate, Shared};
use crate::rt;
use crate::rt::sync::Ordering;
use std::time::{Duration, Instant};

/// Time between two looks while there are calls.
const TICK: Duration = Duration::from_secs(1);
/// The longest while there are none.
const TICK_MAX: Duration = Duration::from_secs(8);
/// What was measured counts for half after this time, in seconds.
const HALF_LIFE: f64 = 10.0;
/// Calls in flight from which on the trend is watched: with fewer, nothing runs out.
const WATCHED: u64 = 8;

/// Sums whose older parts count less and less.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    seconds: f64,
    ended: f64,
    measured: f64,
    time: f64,
    squares: f64,
    waited: f64,
    wait: f64,
    sent: f64,
    received: f64,
    /// Calls at work × seconds.
    work: f64,
}

impl Sums {
    fn fade(&mut self, seconds: f64) {
        let factor = (-seconds / HALF_LIFE).exp2();
        let Self { seconds, ended, measured, time, squares, waited, wait, sent, received, work } =
            self;
        for sum in [seconds, ended, measured, time, squares, waited, wait, sent, received, work] {
            *sum *= factor;
        }
    }

    fn add(&mut self, before: &ConnectionTotals, now: &ConnectionTotals) {
        self.ended += now.ended.wrapping_sub(before.ended) as f64;
        self.measured += f64::from(now.measured.wrapping_sub(before.measured));
        self.time += now.time - before.time;
        self.squares += now.squares - before.squares;
        self.sent += now.sent.saturating_sub(before.sent) as f64;
        self.received += now.received.saturating_sub(before.received) as f64;
    }

    /// Rate, mean and variance. Calls that last long have not ended and are not measured: if many
    /// more are at work than those that end account for, Little's law gives the mean.
    fn load(&self) -> Option<Load> {
        if self.seconds <= 0.0 {
            return None;
        }
        let rate = self.ended / self.seconds;
        let at_work = self.work / self.seconds;
        let mean = if self.measured > 0.0 { self.time / self.measured } else { 0.0 };
        if at_work > rate * mean * 1.5 + 1.0 {
            // At least one an hour ends, so that the mean is a number.
            let rate = rate.max(1.0 / 3600.0);
            return Some(Load::new(rate, Duration::try_from_secs_f64(at_work / rate).ok()?));
        }
        let square = if self.measured > 0.0 { self.squares / self.measured } else { 0.0 };
        let load = Load::new(rate, Duration::try_from_secs_f64(mean).ok()?);
        Some(load.with_variance((square - mean * mean).max(0.0)))
    }
}

/// What is known of the load at the last look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) load: Load,
    pub(super) streams: u32,
    pub(super) link: Option<Link>,
    pub(super) waited: f64,
    pub(super) mean_wait: Duration,
}

/// What the maintenance task keeps between two measurements.
pub(super) struct Observer {
    last: Instant,
    next: Instant,
    pause: Duration,
    seen: Vec<(u64, ConnectionTotals)>,
    sums: Sums,
    waited: (u64, u64),
    dials: u64,
    detector: Option<Box<Detector>>,
    controller: Option<Box<Controller>>,
}

impl Observer {
    pub(super) fn new(shared: &Shared, now: Instant) -> Self {
        let controller = shared.options.sizing.map(|options| Box::new(Controller::new(options)));
        Self {
            last: now,
            next: now + TICK,
            pause: TICK,
            seen: Vec::new(),
            sums: Sums::default(),
            waited: (0, 0),
            dials: 0,
            detector: None,
            controller,
        }
    }

    /// Looks if it is time to; returns when the next look is due.
    pub(super) fn look(&mut self, shared: &Shared, now: Instant) -> Instant {
        if now < self.next {
            return self.next;
        }
        let busy = self.measure(shared, now);
        self.pause = if busy { TICK } else { (self.pause * 2).min(TICK_MAX) };
        self.next = now + self.pause;
        shared.doubt_refusals(now);
        shared.publish_metrics();
        self.next
    }

    /// Adds up what has happened since the last look; whether anything has.
    fn measure(&mut self, shared: &Shared, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
        let before = self.sums.ended;
        self.sums.fade(passed);
        let faded = self.sums.ended;
        self.sums.seconds += passed;
        let view = View::of(shared);
        for (id, tallied) in &view.tallies {
            let last = self.seen.iter().find(|(seen, _)| seen == id);
            self.sums.add(&last.map(|(_, tallied)| *tallied).unwrap_or_default(), tallied);
        }
        self.seen.clone_from(&view.tallies);
        let ended = self.sums.ended > faded;
        self.sums.work += view.calls as f64 * passed;
        let waited = shared.counters.get(Count::Waited);
        let micros = shared.waited_micros.load(Ordering::Relaxed);
        let new = (waited - self.waited.0, micros.saturating_sub(self.waited.1));
        self.waited = (waited, micros);
        self.sums.waited += new.0 as f64;
        self.sums.wait += new.1 as f64 / 1e6;
        let busy = ended || view.calls > 0 || view.waiting > 0;
        if busy || before > 0.0 {
            self.store(shared, &view);
        }
        self.watch(shared, &view, new, passed, now);
        self.steer(shared, &view, now);
        busy
    }

    /// Stores what was measured for `Pool::advice`.
    fn store(&self, shared: &Shared, view: &View) {
        let Some(load) = self.sums.load() else { return };
        let ended = self.sums.ended.max(1.0);
        let way = |bytes: f64, window: u64| Way { bytes: bytes / ended, window };
        let window = shared.options.driver.window_bound();
        let link = (!view.rtt.is_zero()).then(|| Link {
            bandwidth: None,
            rtt: view.rtt,
            // Only the peer knows how far its window would open.
            up: way(self.sums.sent, u64::MAX),
            down: way(self.sums.received, window),
        });
        let measured = Measured {
            load,
            streams: view.streams,
            link,
            waited: (self.sums.waited / ended).min(1.0),
            mean_wait: Duration::try_from_secs_f64(self.sums.wait / ended).unwrap_or_default(),
        };
        *shared.measured.lock() = Some(Box::new(measured));
    }

    /// Feeds the trend detector.
    fn watch(
        &mut self,
        shared: &Shared,
        view: &View,
        waits: (u64, u64),
        passed: f64,
        now: Instant,
    ) {
        let in_use = view.calls + u64::from(view.waiting);
        if self.detector.is_none() && in_use < WATCHED {
            return;
        }
        let dials =
            shared.counters.get(Count::DialsSucceeded) + shared.counters.get(Count::DialsFailed);
        let new = dials.saturating_sub(self.dials);
        self.dials = dials;
        let sample = Sample {
            slots_in_use: u32::try_from(in_use).unwrap_or(u32::MAX),
            waiters: view.waiting,
            wait: Duration::from_micros(waits.1.checked_div(waits.0).unwrap_or(0)),
            dials: new as f64 / passed.max(0.001),
            open: view.open,
            cap: view.cap,
        };
        let detector = self.detector.get_or_insert_with(Box::default);
        if let Some(warning) = detector.observe(now, &sample) {
            shared.counters.note(Count::Exhaustion);
            crate::rt::log!(warn, target = %shared.target, %warning, "capacity runs out");
            shared.events.lock().exhaustion = Some(Box::new((now, warning)));
        }
    }

    /// Follows the size controller, if there is one.
    fn steer(&mut self, shared: &Shared, view: &View, now: Instant) {
        let Some(controller) = &mut self.controller else { return };
        let Some(measured) = shared.measured.lock().as_deref().copied() else { return };
        let observation = Observation {
            load: measured.load,
            streams: measured.streams,
            link: measured.link,
            waited: measured.waited,
            mean_wait: measured.mean_wait,
            connections: view.open,
        };
        let advice = controller.observe(now, &observation);
        shared.follow(advice, view.open, view.endpoints);
    }
}

/// The pool at a look.
struct View {
    tallies: Vec<(u64, ConnectionTotals)>,
    calls: u64,
    waiting: u32,
    /// Connections that take calls or are being dialled.
    open: u32,
    /// Calls that a connection carries.
    streams: u32,
    /// Calls that all connections could carry, were there as many as may be.
    cap: u32,
    /// Endpoints in use.
    endpoints: u32,
    rtt: Duration,
}

impl View {
    fn of(shared: &Shared) -> Self {
        let live = shared.live.lock().clone();
        let (mut streams, mut limit) = (None, None);
        let (mut calls, mut rtt) = (0, Duration::ZERO);
        let mut tallies = Vec::with_capacity(live.len());
        for handle in &live {
            let tallied = handle.tally().read();
            calls += u64::from(handle.life().read().calls);
            rtt = rtt.max(tallied.rtt);
            if handle.is_ready() {
                let least = |found: Option<u32>, next: u32| Some(found.unwrap_or(next).min(next));
                streams = least(streams, handle.soft_limit());
                limit = least(limit, handle.limit());
            }
            tallies.push((handle.id(), tallied));
        }
        let streams = streams.unwrap_or(STREAMS_UNNAMED).max(1);
        let candidates = shared.candidates();
        let open = |one: &Candidate| one.subchannel.lifecycle().open();
        let open: Vec<_> = candidates.iter().map(open).collect();
        let used = open.iter().filter(|open| **open > 0).count().max(1);
        let most = shared.options.max_connections.max(1).saturating_mul(used as u32);
        Self {
            tallies,
            calls,
            waiting: shared.queue.len(),
            open: open.iter().sum(),
            streams,
            cap: limit.unwrap_or(streams).max(streams).saturating_mul(most),
            endpoints: used as u32,
            rtt,
        }
    }
}

impl Shared {
    /// Makes the pool as large as the controller says.
    fn follow(&self, advice: Advice, open: u32, endpoints: u32) {
        let (total, spare) = match advice {
            Advice::Stay => return,
            Advice::Grow(more) => (open + more, 0),
            Advice::Shrink(less) => (open.saturating_sub(less), less),
        };
        let each = total.div_ceil(endpoints.max(1)).min(self.options.max_connections);
        crate::rt::log!(debug, target = %self.target, ?advice, each, "size");
        // With calls there is always one, so one is no minimum: the last connection may become idle.
        self.sized.store(if each > 1 { each } else { 0 }, Ordering::Relaxed);
        if spare > 0 {
            self.drain_youngest(each, spare);
        }
        self.maintenance.notify_one();
    }

    /// Drains up to `spare` connections beyond `each` per endpoint, the youngest first.
    fn drain_youngest(&self, each: u32, spare: u32) {
        let min = each.max(self.min_connections()).max(1) as usize;
        let mut closing = Vec::new();
        for candidate in self.candidates().iter() {
            let mut lifecycle = candidate.subchannel.lifecycle();
            let left = (spare as usize).saturating_sub(closing.len());
            let beyond = lifecycle.handles().skip(min).cloned().collect::<Vec<_>>();
            for connection in beyond.into_iter().rev().take(left) {
                lifecycle.drain(&connection);
                self.counters.note(Count::Shrunk);
                closing.push(connection);
            }
        }
        self.publish();
        closing.iter().for_each(|connection| connection.goodbye());
    }
}

/// How many connections the load of the last seconds wants, beside how many there are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolAdvice {
    /// The arithmetic.
    pub sizing: crate::advisor::sizing::Sizing,
    /// Connections that take calls or are being dialled.
    pub connections: u32,
    /// Most that there may be.
    pub max: u32,
    /// Share of the calls that waited for a permit, 0 to 1.
    pub waited: f64,
}

impl std::fmt::Display for PoolAdvice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sizing, connections, max, waited } = self;
        let verdict = match sizing.connections.cmp(connections) {
            std::cmp::Ordering::Greater if sizing.connections > *max => "raise max_connections",
            std::cmp::Ordering::Greater => "more are wanted",
            std::cmp::Ordering::Equal => "as many as wanted",
            std::cmp::Ordering::Less => "fewer would do",
        };
        writeln!(
            f,
            "{connections} of at most {max} open, {} wanted: {verdict}; {:.1} % of the calls waited",
            sizing.connections,
            waited * 100.0
        )?;
        sizing.fmt(f)
    }
}

impl crate::pool::Pool {
    /// How many connections the load of the last half minute or so wants, by Erlang's formula, with
    /// the arithmetic: rate, mean and variance of the time that calls hold a stream, measured on
    /// one call in 16; the peer's stream limit; bytes a call against the windows and the round
    /// trip. `None` before anything was measured, a second after the first call.
    #[must_use]
    pub fn advice(&self) -> Option<PoolAdvice> {
        let shared = &self.shared;
        let measured = *shared.measured.lock().as_deref()?;
        let options = shared.options.sizing.unwrap_or_default();
        let sizing = crate::advisor::sizing::Sizing::new(
            measured.load,
            measured.streams,
            measured.link,
            options.goal,
        );
        let view = View::of(shared);
        let max = shared.options.max_connections.max(1).saturating_mul(view.endpoints);
        Some(PoolAdvice {
            sizing: sizing.ok()?,
            connections: view.open,
            max,
            waited: measured.waited,
        })
    }
}

/// The last warnings.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) exhaustion: Option<Box<(Instant, crate::advisor::trend::Warning)>>,
    pub(super) leak: Option<Box<(Instant, crate::connection::handle::Leak)>>,
}

impl Shared {
    /// Notes a call that is held and not polled.
    pub(super) fn leaked(&self, leak: crate::connection::handle::Leak) {
        self.counters.note(Count::Leaks);
        match self.leaks.allows(rt::now()) {
            Some(more) => crate::rt::log!(warn, target = %self.target, %leak, more, "leak"),
            None => crate::rt::log!(debug, target = %self.target, %leak, "leak"),
        }
        self.events.lock().leak = Some(Box::new((rt::now(), leak)));
    }
}
