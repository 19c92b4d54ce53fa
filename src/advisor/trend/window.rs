//! A ring of intervals with the mean of their samples.

use crate::advisor::trend::{INTERVALS, Scale, VALUES};
use std::time::{Duration, Instant};

/// The means of one interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub(super) at: Instant,
    pub(super) values: [f64; VALUES],
}

/// The last [`INTERVALS`] intervals that had samples, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Window {
    interval: Duration,
    ring: Vec<Interval>,
    next: usize,
    /// The current interval: its begin, sums and number of samples.
    open: Option<(Instant, [f64; VALUES], u32)>,
    last: Option<Instant>,
}

impl Window {
    pub(super) fn new(scale: Scale) -> Self {
        Self {
            interval: scale.interval,
            ring: Vec::with_capacity(INTERVALS),
            next: 0,
            open: None,
            last: None,
        }
    }

    pub(super) const fn length(&self) -> Duration {
        self.interval.saturating_mul(INTERVALS as u32)
    }

    /// Adds a sample. Returns `Some` if it closed an interval, and whether the ring then spans the window.
    pub(super) fn push(&mut self, now: Instant, values: [f64; VALUES]) -> Option<bool> {
        if self.last.is_some_and(|last| now < last) {
            return None;
        }
        let gap = self.last.replace(now).map(|last| now - last);
        if gap.is_some_and(|gap| gap > self.length() / 4) {
            self.ring.clear();
            self.next = 0;
            self.open = None;
        }
        let Some((begun, sums, count)) = &mut self.open else {
            self.open = Some((now, values, 1));
            return None;
        };
        if now.duration_since(*begun) < self.interval {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            *count += 1;
            return None;
        }
        let n = f64::from(*count);
        let closed = Interval { at: *begun, values: sums.map(|sum| sum / n) };
        self.open = Some((now, values, 1));
        if self.ring.len() < INTERVALS {
            self.ring.push(closed);
        } else {
            self.ring[self.next] = closed;
            self.next = (self.next + 1) % INTERVALS;
        }
        Some(self.is_full())
    }

    /// Returns whether the ring spans nine tenths of the window with at least twenty intervals. There are
    /// fewer intervals if samples are rarer than one per interval.
    fn is_full(&self) -> bool {
        let span = self.began().zip(self.last).map_or(Duration::ZERO, |(from, to)| to - from);
        self.ring.len() >= INTERVALS / 3 && span >= self.length() * 9 / 10
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Interval> {
        let (newer, older) = self.ring.split_at(self.next.min(self.ring.len()));
        older.iter().chain(newer)
    }

    /// Returns the begin of the oldest interval.
    pub(super) fn began(&self) -> Option<Instant> {
        self.iter().next().map(|interval| interval.at)
    }

    /// Returns the points: seconds since the begin, and slots in use.
    pub(super) fn points(&self) -> Vec<(f64, f64)> {
        let began = self.began();
        let since = |at| began.map_or(0.0, |began| seconds(began, at));
        self.iter().map(|interval| (since(interval.at), interval.values[0])).collect()
    }

    /// Returns the points before `when`.
    pub(super) fn points_before(&self, when: Instant) -> Vec<(f64, f64)> {
        let known = self.iter().take_while(|interval| interval.at < when).count();
        let mut points = self.points();
        points.truncate(known);
        points
    }
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}
