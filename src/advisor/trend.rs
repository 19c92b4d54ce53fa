//! Detects slow exhaustion of a pool before the first refused call, and names the values that changed.
//!
//! Leaked streams, calls without a deadline, or a peer that becomes slower each hour fill the slots slowly
//! while everything still works. The detector keeps the means of short intervals over three windows and
//! fits a line that a few outliers do not change. It warns if that line reaches the cap soon. It does not
//! warn about noise, bursts, daily cycles, or a step that settles.
//!
//! It reads no clock: the caller passes samples and instants. Its memory is fixed.

mod fit;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::time::{Duration, Instant};
use window::{Interval, Window};

/// The number of values of a sample, one for each [`What`].
const VALUES: usize = What::ALL.len();

/// A value that the detector watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum What {
    /// Slots in use: calls that are on a stream or wait for one.
    SlotsInUse,
    /// Calls that wait.
    Waiters,
    /// Mean wait, in seconds.
    Wait,
    /// Dials per second.
    Dials,
    /// Open connections.
    Open,
}

impl What {
    /// All values, in the order of a sample.
    pub const ALL: [Self; 5] =
        [Self::SlotsInUse, Self::Waiters, Self::Wait, Self::Dials, Self::Open];

    /// Returns the smallest change that a warning names: 1 of a counted value, 1 ms of wait (at which the
    /// pool considers a connection loaded), one dial per 10 s.
    const fn least(self) -> f64 {
        match self {
            Self::SlotsInUse | Self::Waiters | Self::Open => 1.0,
            Self::Wait => 0.001,
            Self::Dials => 0.1,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::SlotsInUse => "slots in use",
            Self::Waiters => "waiters",
            Self::Wait => "wait",
            Self::Dials => "dials per second",
            Self::Open => "open connections",
        }
    }
}

/// The state of a pool at one instant.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Sample {
    /// Slots in use.
    pub slots_in_use: u32,
    /// Calls that wait.
    pub waiters: u32,
    /// Mean wait since the last sample.
    pub wait: Duration,
    /// Dials per second since the last sample.
    pub dials: f64,
    /// Open connections.
    pub open: u32,
    /// Slots of the pool with all connections open.
    pub cap: u32,
}

impl Sample {
    fn values(&self) -> [f64; VALUES] {
        [
            f64::from(self.slots_in_use),
            f64::from(self.waiters),
            self.wait.as_secs_f64(),
            if self.dials.is_finite() { self.dials } else { 0.0 },
            f64::from(self.open),
        ]
    }
}

/// A value that changed between the first and the last third of the window.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Signal {
    /// The value.
    pub what: What,
    /// Its median in the first third.
    pub from: f64,
    /// Its median in the last third.
    pub to: f64,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, from, to } = self;
        match what {
            What::Wait => write!(f, "{} {:.1} -> {:.1} ms", what.words(), from * 1e3, to * 1e3),
            What::Dials => write!(f, "{} {from:.2} -> {to:.2}", what.words()),
            _ => write!(f, "{} {from:.0} -> {to:.0}", what.words()),
        }
    }
}

/// A warning: the slots will run out if the rise continues.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Warning {
    /// Time until the line reaches the cap.
    pub in_time: Duration,
    /// Slots added per second.
    pub per_second: f64,
    /// Duration of the observed rise.
    pub over: Duration,
    /// The values that changed, slots first.
    pub signals: Vec<Signal>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "slots run out in about {} s ({:+.2} per second over {} s)",
            self.in_time.as_secs(),
            self.per_second,
            self.over.as_secs()
        )?;
        for (i, signal) in self.signals.iter().enumerate() {
            f.write_str(if i == 0 { ": " } else { ", " })?;
            signal.fmt(f)?;
        }
        Ok(())
    }
}

/// The parameters of one window.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scale {
    /// Length of an interval. A window has [`INTERVALS`] of them.
    pub interval: Duration,
    /// How far ahead the window warns.
    pub horizon: Duration,
    /// How long the rise must persist before the window warns.
    pub confirmed: Duration,
    /// The smallest significant rise over the window, in square roots of the slots in use. One root is the
    /// standard deviation of the number of independent calls.
    pub roots: f64,
    /// The smallest share of the rise that falls between the medians of the first and the second third; it
    /// is a third for a steady rise. A larger value rejects more steps and settling loads.
    pub early: f64,
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The intervals of a window: enough for a robust median of a third of them, and few enough to compare all
/// 1770 pairs once per interval.
pub const INTERVALS: usize = 60;

/// The three windows: 2, 6 and 20 minutes. Each looks ahead three to five times its length.
///
/// The first detects a leak of 0.1 % of the cap per second, the last one of a tenth of that. Daily cycles do
/// not trigger a warning: the line of a daily sine between 10 % and 90 % is never closer than 2.8 hours to the
/// cap.
///
/// The rise in the shortest window must persist for 50 s. Together with its two minutes this is longer than
/// bursts and most settling loads, and shorter than the quarter of an hour in which a leak of 0.1 % per second
/// fills a pool. In the other windows it must persist for a quarter of their length.
pub const SCALES: [Scale; 3] = [
    Scale {
        interval: secs(2),
        horizon: secs(600),
        confirmed: secs(50),
        roots: 3.0,
        early: 1.0 / 6.0,
    },
    Scale {
        interval: secs(6),
        horizon: secs(1800),
        confirmed: secs(90),
        roots: 4.0,
        early: 2.0 / 9.0,
    },
    Scale {
        interval: secs(20),
        horizon: secs(3600),
        confirmed: secs(300),
        roots: 4.0,
        early: 2.0 / 9.0,
    },
];

/// The intervals of the longest window that must precede a shorter one, 5 minutes in total: the detector
/// must know the normal level first.
const HISTORY: usize = 15;

/// A detector of slow exhaustion for one pool. It takes about 10 KiB.
///
/// Pass a sample every second or two. A sample costs a few additions, the end of an interval three medians,
/// and a line is fitted only to a likely rise.
///
/// It does not detect a rise that fills the free slots within about three minutes, or a leak that is smaller
/// than the normal variation of the load. It may mistake a load that takes longer than a minute to settle
/// for a leak.
///
/// ```
/// use framewire::unstable::advisor::trend::{Detector, Sample};
/// use std::time::{Duration, Instant};
///
/// let mut detector = Detector::new();
/// let begin = Instant::now();
/// // 300 slots in use for 20 minutes, then a leak of one slot per second; the cap is 1000.
/// let warning = (0..2000_u32).find_map(|second| {
///     let slots_in_use = 300 + second.saturating_sub(1200);
///     let sample = Sample { slots_in_use, cap: 1000, ..Sample::default() };
///     detector.observe(begin + Duration::from_secs(second.into()), &sample)
/// });
/// let warning = warning.expect("the leak is detected before slots run out");
/// assert!(warning.per_second > 0.9 && warning.per_second < 1.1);
/// ```
#[derive(Clone, Debug)]
pub struct Detector {
    windows: [Window; SCALES.len()],
    /// How long the rise has persisted in each window.
    agreed: [Duration; SCALES.len()],
    /// When the last warning was given, and the time that it predicted.
    warned: Option<(Instant, Duration)>,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    /// Creates a detector without samples.
    #[must_use]
    pub fn new() -> Self {
        Self {
            windows: SCALES.map(Window::new),
            agreed: [Duration::ZERO; SCALES.len()],
            warned: None,
        }
    }

    /// Adds a sample, and returns a warning if one is due.
    ///
    /// A warning is repeated when half of the predicted time has passed, or when exhaustion is twice as near
    /// as predicted. A sample older than the last one is dropped. After a gap of a quarter of a window, that
    /// window starts again.
    pub fn observe(&mut self, now: Instant, sample: &Sample) -> Option<Warning> {
        let values = sample.values();
        let mut found = None;
        for (at, scale) in SCALES.iter().enumerate() {
            let Some(closed) = self.windows[at].push(now, values) else { continue };
            let warning = closed.then(|| self.judge(at, now, sample)).flatten();
            // An interval without a rise counts half, because noise interrupts the rise of a leak.
            let agreed = self.agreed[at];
            self.agreed[at] = match warning {
                Some(_) => (agreed + scale.interval).min(scale.confirmed),
                None => agreed.saturating_sub(scale.interval / 2),
            };
            if self.agreed[at] == scale.confirmed {
                found = sooner(found, warning);
            }
        }
        let warning = found?;
        if self.said(now, &warning) {
            return None;
        }
        self.warned = Some((now, warning.in_time));
        Some(warning)
    }

    /// Returns whether the last warning still holds: less than half of its time has passed, and exhaustion is
    /// not twice as near as predicted.
    fn said(&self, now: Instant, warning: &Warning) -> bool {
        self.warned.is_some_and(|(at, left)| {
            let gone = now.saturating_duration_since(at);
            gone < left / 2 && warning.in_time >= (left - gone) / 2
        })
    }

    /// Returns a warning if the line of this window reaches the cap within its horizon.
    fn judge(&self, at: usize, now: Instant, sample: &Sample) -> Option<Warning> {
        let window = &self.windows[at];
        let began = window.began()?;
        let line = self.unusual_rise(at, began)?;
        let left = (f64::from(sample.cap) - line.level).max(0.0) / line.slope;
        let in_time = Duration::try_from_secs_f64(left).ok()?;
        (in_time <= SCALES[at].horizon).then(|| Warning {
            in_time,
            per_second: line.slope,
            over: now.saturating_duration_since(began),
            signals: signals(window),
        })
    }

    /// Returns the line of a steady rise to a level that was not reached before, larger than the variation.
    ///
    /// The difference of two levels of independent calls has a standard deviation of 1.4 roots; four roots are
    /// nearly three standard deviations. Three roots are enough for the shortest window, because long calls
    /// vary little in it. The rise must also be four times the scatter of the past around its line, as far as
    /// the longest window knows the past.
    fn unusual_rise(&self, at: usize, began: Instant) -> Option<fit::Line> {
        let last = SCALES.len() - 1;
        let least = |level: f64| SCALES[at].roots * level.max(1.0).sqrt();
        let line = fit::steady_rise(&self.windows[at], SCALES[at].early, least)?;
        if at == last {
            return Some(line);
        }
        let past = self.windows[last].points_before(began);
        if past.len() < HISTORY {
            return None;
        }
        // Bursts and daily cycles return: a level that was reached before is normal.
        let scatter = fit::scatter_round_line(&past);
        let reached = past.iter().fold(0.0, |top: f64, (_, y)| top.max(*y));
        let rise = line.slope * SCALES[at].interval.as_secs_f64() * INTERVALS as f64;
        (line.level >= reached + scatter && rise >= 4.0 * scatter).then_some(line)
    }
}

fn sooner(one: Option<Warning>, other: Option<Warning>) -> Option<Warning> {
    match (one, other) {
        (Some(one), Some(other)) if one.in_time <= other.in_time => Some(one),
        (one, None) => one,
        (_, other) => other,
    }
}

/// Returns the values that changed between the first and the last third by more than their scatter.
fn signals(window: &Window) -> Vec<Signal> {
    let mut found = Vec::new();
    for (at, what) in What::ALL.into_iter().enumerate() {
        let series: Vec<f64> =
            window.iter().map(|interval: &Interval| interval.values[at]).collect();
        let third = series.len() / 3;
        let (first, last) = (&series[..third], &series[series.len() - third..]);
        let (from, to) = (fit::median(first), fit::median(last));
        let scatter = fit::scatter(first).max(fit::scatter(last));
        let moved = (to - from).abs();
        if moved >= what.least() && moved > 2.0 * scatter || what == What::SlotsInUse {
            found.push(Signal { what, from, to });
        }
    }
    found
}
