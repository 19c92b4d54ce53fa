//! A live size: grows at once, shrinks late, and does not swing.

use crate::advisor::sizing::{Goal, Link, Load, Sizing, SizingError, Wait};
use std::time::{Duration, Instant};

/// How patient the controller is.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct ControllerOptions {
    /// What the size has to satisfy, and its bounds.
    pub goal: Goal,
    /// Shrinks only to what would carry the load divided by this. Default 0.7: after shrinking, the
    /// load may rise by 43 % before a dial is needed, more than a rate measured over some seconds
    /// strays.
    pub shrink_below: f64,
    /// How long less must have been enough before connections are given up. Default 60 s: longer
    /// than the usual batch and scrape periods, and a connection too many costs some kilobytes.
    pub hold: Duration,
    /// After growing because calls waited though the arithmetic saw room, time before doing so
    /// again. Default 2 s: a dial with TLS, and long enough for its effect to be measured.
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

/// What was measured since the last observation, and what there is now.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Observation {
    /// Rate, mean and variance.
    pub load: Load,
    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS.
    pub streams: u32,
    /// Bytes and what a connection carries, if measured.
    pub link: Option<Link>,
    /// Share of the calls that had to wait for a stream.
    pub waited: f64,
    /// Mean wait over all calls.
    pub mean_wait: Duration,
    /// Connections, with those being dialled and without those that drain.
    pub connections: u32,
}

/// What to do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Advice {
    /// Leave it.
    Stay,
    /// Dial so many more.
    Grow(u32),
    /// Let so many drain.
    Shrink(u32),
}

/// Fed with observations, says grow, shrink or stay. Opt-in, and pure: it reads no clock.
///
/// It grows at once when the arithmetic asks for more than there is, and one by one while more
/// calls wait than the goal allows although the arithmetic sees room (the measured load may hide
/// what calls meet). It shrinks when for [`ControllerOptions::hold`] even the load divided by
/// [`ControllerOptions::shrink_below`] would have needed less, and then to the most it needed in
/// that time. On constant load it therefore turns round at most once, and rests.
#[derive(Clone, Debug)]
pub struct Controller {
    options: ControllerOptions,
    /// Since when less has been enough, and the most that was needed since.
    spare: Option<(Instant, u32)>,
    seen: Option<Instant>,
    /// Connections found necessary by waits, and the offered load at which that was.
    learned: Option<(u32, f64)>,
    grown_by_waits: Option<Instant>,
    last: Option<Sizing>,
}

impl Controller {
    /// Knows nothing yet.
    #[must_use]
    pub const fn new(options: ControllerOptions) -> Self {
        Self { options, spare: None, seen: None, learned: None, grown_by_waits: None, last: None }
    }

    /// The arithmetic behind the last advice.
    #[must_use]
    pub const fn last(&self) -> Option<&Sizing> {
        self.last.as_ref()
    }

    /// What to do, given what was measured. Following the advice never leaves `min..=max`. An
    /// observation that means nothing (a rate that is no number) changes nothing beyond the bounds.
    pub fn observe(&mut self, now: Instant, seen: &Observation) -> Advice {
        let goal = self.options.goal;
        let have = seen.connections;
        let gap = self.seen.replace(now).map(|last| now.saturating_duration_since(last));
        // Nothing was seen meanwhile: what held before the gap proves nothing.
        if gap.is_some_and(|gap| gap > self.options.hold) {
            self.spare = None;
        }
        if have < goal.min || have > goal.max {
            self.spare = None;
            return advice(have, have.clamp(goal.min, goal.max.max(goal.min)));
        }
        let Some((wanted, with_margin)) = self.reckon(seen) else { return Advice::Stay };
        let floor = self.floor(now, seen, wanted);
        let (wanted, with_margin) = (wanted.max(floor), with_margin.max(floor));
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

    /// Connections for the load, and for the load with the margin of shrinking.
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
        // What a larger load needs is never less; rounding shall not say otherwise.
        Some((sizing.connections, with_margin.max(sizing.connections)))
    }

    const fn margin(&self) -> f64 {
        self.options.shrink_below.clamp(0.1, 1.0)
    }

    /// The number below which waits have taught not to go at this load, one higher if more calls
    /// than allowed wait now.
    fn floor(&mut self, now: Instant, seen: &Observation, wanted: u32) -> u32 {
        let goal = self.options.goal;
        let offered = self.last.map_or(0.0, |sizing| sizing.offered);
        // At a load well below the one it was learned at, the lesson is void. By the same factor as
        // shrinking, so that a load which merely trembles does not forget and learn in turn.
        let margin = self.margin();
        self.learned = self.learned.filter(|(_, at)| offered >= at * margin);
        let too_long = match goal.wait {
            Wait::Share(most) => seen.waited > most,
            Wait::Mean(most) => seen.mean_wait > most,
            // The quantile itself is not observed; that more wait than may is.
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
