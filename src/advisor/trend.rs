//! Finds slow exhaustion of a pool before the first refusal, and says what moved.
//!
//! A leaked stream, a call without deadline, a peer that grows slower by the hour: each fills the
//! slots little by little while everything still works. The detector keeps the means of short
//! intervals over three windows, fits a line that a few outliers cannot turn, and speaks when that
//! line meets the cap soon. It stays silent on what looks alike for a while: noise, bursts, the
//! tides of a day, a step that settles.
//!
//! Pure: samples and instants come in, no clock is read, memory is fixed.

mod fit;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::time::{Duration, Instant};
use window::{Interval, Window};

/// Values of a sample, [`What`] in its order.
const VALUES: usize = What::ALL.len();

/// What is watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum What {
    /// Slots in use: calls on a stream or waiting for one.
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
    /// Every one, in the order of its values.
    pub const ALL: [Self; 5] =
        [Self::SlotsInUse, Self::Waiters, Self::Wait, Self::Dials, Self::Open];

    /// The least change that is worth a word: one whole thing of what is counted, 1 ms of wait
    /// (what the pool itself takes for a sign of crowding), a dial each 10 s.
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

/// The state of a pool at an instant.
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
    /// Slots there can be at the most, all connections opened.
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

/// What moved, from the window's first third to its last.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Signal {
    /// What.
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

/// The slots run out if this goes on.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Warning {
    /// Time until the line meets the cap.
    pub in_time: Duration,
    /// Slots more each second.
    pub per_second: f64,
    /// How long this has been watched.
    pub over: Duration,
    /// What moved, the slots first.
    pub signals: Vec<Signal>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "slots run out in about {} s ({:+.2} a second over {} s)",
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

/// One window: how long an interval of it is, and how far ahead its line is believed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scale {
    /// Length of an interval; a window has [`INTERVALS`] of them.
    pub interval: Duration,
    /// Exhaustion further off than this is not spoken of.
    pub horizon: Duration,
    /// How long the window must agree with itself before it speaks.
    pub confirmed: Duration,
    /// The least rise over the window that is no chance, in roots of the slots in use: calls that
    /// come independently of each other make their number scatter by one.
    pub roots: f64,
    /// The least share of the rise, a third of it in a steady one, that falls between the middles of
    /// the first and second third: the larger, the less a step or a load that settles looks steady.
    pub early: f64,
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Intervals in a window: enough that a third of them is a sound median, few enough that all pairs
/// (1770) may be compared once an interval.
pub const INTERVALS: usize = 60;

/// 2, 6 and 20 minutes, each believed for three to five times its length: a line drawn further
/// than that is no forecast. The first finds 0.1 % of the cap a second, the last a tenth of it. The
/// tides of a day do not come within an hour of the cap on a line, unless they really nearly reach
/// it: a sine of a day between 10 % and 90 % stays 2.8 hours away.
///
/// The shortest must agree for 50 s: with its own two minutes that is longer than bursts last and most
/// loads take to settle, and short beside the quarter of an hour in which a leak of 0.1 % a second
/// fills a pool. The others for a quarter of their length.
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

/// Intervals of the longest window that must lie before a shorter one, 5 minutes: what is normal
/// must be known before anything is called unusual.
const HISTORY: usize = 15;

/// Watches one pool. Feed it each second or two: a sample is a few additions, the end of an interval
/// three medians, and only what looks like a rise is fitted. About 10 KiB.
///
/// Not foreseen: what fills the free slots within about three minutes, and a leak smaller than the
/// load wanders by itself meanwhile. A load that takes longer than a minute to settle may be taken
/// for a leak while it rises.
#[derive(Clone, Debug)]
pub struct Detector {
    windows: [Window; SCALES.len()],
    /// How long each window has agreed.
    agreed: [Duration; SCALES.len()],
    /// When the last warning was given, and the time it foretold.
    warned: Option<(Instant, Duration)>,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    /// Has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            windows: SCALES.map(Window::new),
            agreed: [Duration::ZERO; SCALES.len()],
            warned: None,
        }
    }

    /// Takes a sample; returns a warning when one is due.
    ///
    /// A warning comes once; again when half of the time it foretold has gone, or when the end has
    /// come twice as near as it said. Samples that go back in time are dropped. After a gap of a
    /// quarter of a window that window begins anew.
    pub fn observe(&mut self, now: Instant, sample: &Sample) -> Option<Warning> {
        let values = sample.values();
        let mut found = None;
        for (at, scale) in SCALES.iter().enumerate() {
            let Some(closed) = self.windows[at].push(now, values) else { continue };
            let warning = closed.then(|| self.judge(at, now, sample)).flatten();
            // Half a step back for one that disagrees: noise interrupts a leak now and then.
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

    /// Whether the last warning still says it: less than half of its time has gone, and the end has
    /// not come twice as near as it said.
    fn said(&self, now: Instant, warning: &Warning) -> bool {
        self.warned.is_some_and(|(at, left)| {
            let gone = now.saturating_duration_since(at);
            gone < left / 2 && warning.in_time >= (left - gone) / 2
        })
    }

    /// Whether this window's line meets the cap within its horizon.
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

    /// A steady rise to where the slots in use have not been before, and by more than they wander.
    ///
    /// The difference of two levels of independent calls scatters by 1.4 roots; four are nearly three
    /// standard deviations. Three roots will do for the shortest window, in which long calls
    /// cannot wander far. Where the longest window knows the past, a rise must also be four times
    /// what that past scattered round its own line.
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
        // Bursts and tides come back: what has been reached before without harm is no news.
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

/// What moved between the window's first and last third by more than it scatters.
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
