//! A controller for the number of connections: it grows immediately, shrinks late, and does not oscillate.

use crate::advisor::sizing::{Goal, Link, Load, Sizing, SizingError, Wait};
use std::time::{Duration, Instant};

/// The options of a [`Controller`].
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct ControllerOptions {
    /// The goal of the size, and its limits.
    pub goal: Goal,
    /// Shrinks only to a size that carries the load divided by this number. Default: 0.7, so that the load
    /// may rise by 43 % after shrinking before a dial is needed. A rate measured over some seconds varies
    /// less than that.
    pub shrink_below: f64,
    /// How long a smaller size must be enough before the controller shrinks. Default: 60 s, longer than the
    /// usual periods of batches and scrapes.
    pub hold: Duration,
    /// Time after growing because of measured waits before the controller does so again. Default: 2 s,
    /// enough for a dial with TLS and for its effect to be measured.
    pub settle: Duration,
}

impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            goal: Goal::default(),
            shrink_below: 0.7,
            hold: Duration::from_secs(60),
            settle: Duration::from_secs(2),
        }
    }
}

/// Measurements since the last observation, and the present state.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Observation {
    /// The measured load: rate, mean and variance.
    pub load: Load,
    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS.
    pub streams: u32,
    /// The capacity of a connection, if measured.
    pub link: Option<Link>,
    /// Share of the calls that waited for a stream, 0 to 1.
    pub waited: f64,
    /// Mean wait over all calls.
    pub mean_wait: Duration,
    /// Connections, including dials in flight, without draining ones.
    pub connections: u32,
}

/// The advice of a [`Controller`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Advice {
    /// Keep the number of connections.
    Stay,
    /// Dial this many more.
    Grow(u32),
    /// Drain this many.
    Shrink(u32),
}

/// A controller that advises to grow, to shrink or to stay, from observations. It reads no clock.
///
/// - It grows immediately if [`Sizing`] needs more connections than there are.
/// - It grows by one if more calls wait than the goal allows although [`Sizing`] finds enough connections,
///   because the measured load may be lower than what calls experience.
/// - It shrinks if, for the time [`ControllerOptions::hold`], even the load divided by
///   [`ControllerOptions::shrink_below`] needed fewer, and then to the most that it needed in that time.
///
/// Under constant load it changes direction at most once.
///
/// ```
/// use framewire::unstable::advisor::sizing::*;
/// use std::time::{Duration, Instant};
///
/// let mut controller = Controller::new(ControllerOptions::default());
/// let seen = Observation {
///     load: Load::new(2000.0, Duration::from_millis(150)),
///     streams: 100,
///     link: None,
///     waited: 0.0,
///     mean_wait: Duration::ZERO,
///     connections: 2,
/// };
/// assert_eq!(controller.observe(Instant::now(), &seen), Advice::Grow(3));
/// ```
#[derive(Clone, Debug)]
pub struct Controller {
    options: ControllerOptions,
    /// Since when a smaller size has been enough, and the largest size needed since then.
    spare: Option<(Instant, u32)>,
    seen: Option<Instant>,
    /// The size that measured waits made necessary, and the offered load at that time.
    learned: Option<(u32, f64)>,
    grown_by_waits: Option<Instant>,
    last: Option<Sizing>,
}

impl Controller {
    /// Creates a controller without observations.
    #[must_use]
    pub const fn new(options: ControllerOptions) -> Self {
        Self { options, spare: None, seen: None, learned: None, grown_by_waits: None, last: None }
    }

    /// Returns the calculation behind the last advice.
    #[must_use]
    pub const fn last(&self) -> Option<&Sizing> {
        self.last.as_ref()
    }

    /// Returns the advice for an observation. It never leads out of the goal's `min..=max`.
    ///
    /// An invalid observation, such as a rate that is not a number, leads to [`Advice::Stay`] within these
    /// limits.
    pub fn observe(&mut self, now: Instant, seen: &Observation) -> Advice {
        let goal = self.options.goal;
        let have = seen.connections;
        let gap = self.seen.replace(now).map(|last| now.saturating_duration_since(last));
        // Nothing was observed during the gap, so the time before it does not count.
        if gap.is_some_and(|gap| gap > self.options.hold) {
            self.spare = None;
        }
        if have < goal.min || have > goal.max {
            self.spare = None;
            return advice(have, have.clamp(goal.min, goal.max.max(goal.min)));
        }
        let Some((wanted, with_margin)) = self.reckon(seen) else { return Advice::Stay };
        let least = self.least_by_waits(now, seen, wanted);
        let (wanted, with_margin) = (wanted.max(least), with_margin.max(least));
        if wanted > have {
            self.spare = None;
            return advice(have, wanted);
        }
        if with_margin >= have {
            self.spare = None;
            return Advice::Stay;
        }
        let (since, most) = self.spare.unwrap_or((now, with_margin));
        let most = most.max(with_margin);
        self.spare = Some((since, most));
        if now.saturating_duration_since(since) < self.options.hold {
            return Advice::Stay;
        }
        self.spare = None;
        advice(have, most)
    }

    /// Returns the connections for the load, and for the load divided by `shrink_below`.
    fn reckon(&mut self, seen: &Observation) -> Option<(u32, u32)> {
        let goal = self.options.goal;
        let size = |load| Sizing::new(load, seen.streams, seen.link, goal);
        let sizing = match size(seen.load) {
            Ok(sizing) => sizing,
            Err(SizingError::TooLarge) => return Some((goal.max, goal.max)),
            Err(SizingError::Input(_)) => return None,
        };
        let more = Load { rate: seen.load.rate / self.margin(), ..seen.load };
        let with_margin = size(more).map_or(goal.max, |sizing| sizing.connections);
        self.last = Some(sizing);
        // A larger load never needs fewer connections; this corrects rounding.
        Some((sizing.connections, with_margin.max(sizing.connections)))
    }

    const fn margin(&self) -> f64 {
        self.options.shrink_below.clamp(0.1, 1.0)
    }

    /// Returns the size below which calls waited too long at this load; one more than the present size if
    /// more calls wait now than the goal allows.
    fn least_by_waits(&mut self, now: Instant, seen: &Observation, wanted: u32) -> u32 {
        let goal = self.options.goal;
        let offered = self.last.map_or(0.0, |sizing| sizing.offered);
        // At a much lower load the size is no longer valid. The factor is the one of shrinking, so that a
        // slightly varying load does not drop and learn it again and again.
        let margin = self.margin();
        self.learned = self.learned.filter(|(_, at)| offered >= at * margin);
        let too_long = match goal.wait {
            Wait::Share(most) => seen.waited > most,
            Wait::Mean(most) => seen.mean_wait > most,
            // The quantile is not measured; the share of calls that wait is.
            Wait::Quantile(share, most) => seen.waited > 1.0 - share && seen.mean_wait > most,
        };
        let settled = self
            .grown_by_waits
            .is_none_or(|at| now.saturating_duration_since(at) >= self.options.settle);
        if too_long && settled && wanted <= seen.connections && seen.connections < goal.max {
            self.grown_by_waits = Some(now);
            let at = self.learned.map_or(offered, |(_, at)| at.max(offered));
            self.learned = Some((seen.connections + 1, at));
        }
        self.learned.map_or(goal.min, |(connections, _)| connections.min(goal.max))
    }
}

const fn advice(have: u32, want: u32) -> Advice {
    if want > have {
        Advice::Grow(want - have)
    } else if want < have {
        Advice::Shrink(have - want)
    } else {
        Advice::Stay
    }
}
