//! How many connections a load needs, with the arithmetic spelled out.
//!
//! A call occupies a stream from pick to end of response, so the streams of all connections are the
//! servers of a queue and Erlang's formula says how many calls find none free. What it wants is the
//! *mean* service time: a 99th percentile put in its place asks for several times too much (4.6
//! times, if times are exponential). Nothing here does I/O or reads a clock.

mod controller;
pub mod erlang;
#[cfg(test)]
mod tests;

pub use controller::{Advice, Controller, ControllerOptions, Observation};

use std::fmt;
use std::time::Duration;

/// What is asked of the connections, measured or foreseen.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Load {
    /// Calls that begin per second.
    pub rate: f64,
    /// Mean time from pick to end of response, waiting for a stream not included.
    pub mean: Duration,
    /// Variance of that time, in seconds squared. `mean²` for exponential times, 0 for constant.
    pub variance: f64,
    /// Squared coefficient of variation of the times between arrivals: 1 for calls that begin
    /// independently of each other, which is the right guess; more if they come in bursts.
    pub burstiness: f64,
}

impl Load {
    /// Independent arrivals and exponential service times: the plain M/M/c.
    #[must_use]
    pub fn new(rate: f64, mean: Duration) -> Self {
        Self { rate, mean, variance: mean.as_secs_f64().powi(2), burstiness: 1.0 }
    }

    /// With another variance, in seconds squared.
    #[must_use]
    pub const fn with_variance(mut self, variance: f64) -> Self {
        self.variance = variance;
        self
    }
}

/// What the calls of one direction carry, and the window that lets it through.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Way {
    /// Bytes of a call, head and framing included. 0 leaves the direction out.
    pub bytes: f64,
    /// Receive window of the connection at the receiver: it lets one window through per round trip.
    /// 65,535 bytes until the receiver raises it (RFC 9113 §6.9.2).
    pub window: u64,
}

impl Way {
    /// `bytes` a call, through the window every connection begins with.
    #[must_use]
    pub const fn new(bytes: f64) -> Self {
        Self { bytes, window: 65_535 }
    }
}

/// What one connection carries.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Link {
    /// Bytes per second of one connection each way; `None` leaves the round trip alone to decide.
    pub bandwidth: Option<f64>,
    /// Round trip time. Zero takes the window out of the reckoning.
    pub rtt: Duration,
    /// Requests.
    pub up: Way,
    /// Responses.
    pub down: Way,
}

/// How long calls may wait for a stream.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Wait {
    /// At most this share of the calls waits at all.
    Share(f64),
    /// The mean over all calls is at most this.
    Mean(Duration),
    /// This share of the calls, such as 0.99, waits at most so long.
    Quantile(f64, Duration),
}

/// What a size has to satisfy.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Goal {
    /// Default: at most one call in a hundred waits, so that the 99th percentile waits nothing.
    pub wait: Wait,
    /// Share of each connection left free, for growth while a dial is under way and for a peer
    /// that lowers its limit. Default 0.25: the pool fills a connection to three quarters before it
    /// takes the next, and a size that contradicted it would always grow once more.
    pub headroom: f64,
    /// Fewest connections. Default 1; 2 if the loss of one shall not stop calls for a dial.
    pub min: u32,
    /// Most connections. Default 10, the cap of gRFC A105: n clients × this × the peer's stream
    /// limit is what the servers must be able to carry.
    pub max: u32,
}

impl Default for Goal {
    fn default() -> Self {
        Self { wait: Wait::Share(0.01), headroom: 0.25, min: 1, max: 10 }
    }
}

/// What decided the number of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Bound {
    /// Streams: calls at once against the peer's SETTINGS_MAX_CONCURRENT_STREAMS.
    Streams,
    /// Bytes of requests against what a connection carries.
    Up,
    /// Bytes of responses against what a connection carries.
    Down,
    /// [`Goal::min`]: the load needs less.
    Min,
    /// [`Goal::max`]: the load needs more.
    Max,
}

/// An input that means nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SizingError {
    /// The named input is negative, infinite, no number, or out of its range.
    Input(&'static str),
    /// More streams would be needed than [`erlang::SERVERS_MAX`].
    TooLarge,
}

impl fmt::Display for SizingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(name) => write!(f, "{name} is out of range"),
            Self::TooLarge => {
                write!(f, "more than {} streams would be needed", erlang::SERVERS_MAX)
            }
        }
    }
}

impl std::error::Error for SizingError {}

/// The answer, with every step on the way. `Display` explains it in a few lines.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Sizing {
    /// Connections to have, within `min..=max`.
    pub connections: u32,
    /// What decided it.
    pub bound: Bound,
    /// What went in.
    pub load: Load,
    /// What was to be satisfied.
    pub goal: Goal,
    /// Streams that the peer allows on a connection.
    pub streams_per_connection: u32,
    /// Mean number of calls in flight, in erlangs: rate × mean (Little's law).
    pub offered: f64,
    /// Fewest streams that satisfy [`Goal::wait`].
    pub streams_needed: u64,
    /// The same with the headroom, rounded up.
    pub streams_wanted: u64,
    /// Connections for that many streams.
    pub for_streams: u64,
    /// Bytes per second that one connection carries up: the lesser of bandwidth and window ÷ RTT.
    /// Infinite if neither is known.
    pub rate_up: f64,
    /// The same for responses.
    pub rate_down: f64,
    /// Connections for the bytes up, headroom included.
    pub for_up: u64,
    /// Connections for the bytes down, headroom included.
    pub for_down: u64,
    /// Streams over all of [`Sizing::connections`]: the servers of the figures below.
    pub servers: u64,
    /// Offered load ÷ servers. From 1 on the queue only grows.
    pub utilisation: f64,
    /// Erlang C: the share of calls that waits for a stream.
    pub waits: f64,
    /// The correction for variance by Allen and Cunneen: half of the sum of both squared
    /// coefficients of variation, arrivals' and service times'. 1 for M/M/c, where it is exact.
    pub variability: f64,
    /// Mean wait over all calls; `None` when the queue only grows.
    pub mean_wait: Option<Duration>,
}

impl Sizing {
    /// How many connections `load` needs to a peer that allows `streams` on each.
    ///
    /// # Errors
    ///
    /// [`SizingError::Input`] names an input that is no sensible number; [`SizingError::TooLarge`].
    pub fn new(
        load: Load,
        streams: u32,
        link: Option<Link>,
        goal: Goal,
    ) -> Result<Self, SizingError> {
        check(&load, streams, link.as_ref(), &goal)?;
        let mean = load.mean.as_secs_f64();
        let offered = load.rate * mean;
        let variability = variability(&load);
        let streams_needed = erlang::search(offered, |n, waits| {
            goal.wait.holds(n, waits, offered, mean, variability)
        })
        .ok_or(SizingError::TooLarge)?;
        let usable = 1.0 - goal.headroom;
        // Headroom of whole streams, and never more rounding than a stream.
        let streams_wanted = (streams_needed as f64 / usable - 1e-9).ceil().max(0.0) as u64;
        let for_streams = streams_wanted.div_ceil(u64::from(streams));
        let way = |pick: fn(&Link) -> Way| {
            let carries = link.as_ref().map_or(f64::INFINITY, |link| link.carries(pick(link)));
            let bytes = link.as_ref().map_or(0.0, |link| load.rate * pick(link).bytes);
            (carries, (bytes / (carries * usable)).ceil() as u64)
        };
        let (rate_up, for_up) = way(|link| link.up);
        let (rate_down, for_down) = way(|link| link.down);
        let (wanted, bound) = largest(for_streams, for_up, for_down);
        let (connections, bound) = match u32::try_from(wanted) {
            Ok(wanted) if wanted < goal.min => (goal.min, Bound::Min),
            Ok(wanted) if wanted <= goal.max => (wanted, bound),
            _ => (goal.max, Bound::Max),
        };
        let servers = u64::from(connections) * u64::from(streams);
        let waits = erlang::waiting(offered, servers);
        let mean_wait = mean_wait(servers, waits, offered, mean, variability);
        Ok(Self {
            connections,
            bound,
            load,
            goal,
            streams_per_connection: streams,
            offered,
            streams_needed,
            streams_wanted,
            for_streams,
            rate_up,
            rate_down,
            for_up,
            for_down,
            servers,
            utilisation: offered / servers as f64,
            waits,
            variability,
            mean_wait: mean_wait.and_then(|wait| Duration::try_from_secs_f64(wait).ok()),
        })
    }
}

impl Link {
    /// Bytes per second that one connection carries in this direction.
    fn carries(&self, way: Way) -> f64 {
        let rtt = self.rtt.as_secs_f64();
        let window = if rtt > 0.0 { way.window as f64 / rtt } else { f64::INFINITY };
        self.bandwidth.unwrap_or(f64::INFINITY).min(window)
    }
}

impl Wait {
    fn holds(self, servers: u64, waits: f64, offered: f64, mean: f64, variability: f64) -> bool {
        match self {
            Self::Share(most) => waits <= most,
            Self::Mean(most) => mean_wait(servers, waits, offered, mean, variability)
                .is_some_and(|wait| wait <= most.as_secs_f64()),
            Self::Quantile(share, most) => {
                // Those who wait do so exponentially, with the mean below: exact for M/M/c, the
                // usual approximation beside it.
                let waiting = mean * variability / (servers as f64 - offered);
                let rest = 1.0 - share;
                waits <= rest || waiting * (waits / rest).ln() <= most.as_secs_f64()
            }
        }
    }
}

/// Mean wait over all calls, in seconds.
fn mean_wait(servers: u64, waits: f64, offered: f64, mean: f64, variability: f64) -> Option<f64> {
    let free = servers as f64 - offered;
    (free > 0.0).then(|| waits * mean * variability / free)
}

fn variability(load: &Load) -> f64 {
    let mean = load.mean.as_secs_f64();
    let service = if mean > 0.0 { load.variance / (mean * mean) } else { 0.0 };
    (load.burstiness + service) / 2.0
}

/// The largest of the three, streams first among equals: they are what a user can name.
const fn largest(streams: u64, up: u64, down: u64) -> (u64, Bound) {
    if streams >= up && streams >= down {
        (streams, Bound::Streams)
    } else if up >= down {
        (up, Bound::Up)
    } else {
        (down, Bound::Down)
    }
}

fn check(load: &Load, streams: u32, link: Option<&Link>, goal: &Goal) -> Result<(), SizingError> {
    let sane = |value: f64| value.is_finite() && value >= 0.0;
    let share = |value: f64| value > 0.0 && value < 1.0;
    let wait = match goal.wait {
        Wait::Share(most) => share(most),
        Wait::Mean(_) => true,
        Wait::Quantile(part, _) => share(part),
    };
    let link_sane = |link: &Link| {
        let windows = link.up.window > 0 && link.down.window > 0;
        let bandwidth = link.bandwidth.is_none_or(|b| b.is_finite() && b > 0.0);
        windows && bandwidth && sane(link.up.bytes) && sane(link.down.bytes)
    };
    let checks = [
        (sane(load.rate), "rate"),
        (sane(load.variance), "variance"),
        (sane(load.burstiness), "burstiness"),
        (streams > 0, "streams per connection"),
        (link.is_none_or(link_sane), "link"),
        (wait, "wait"),
        (goal.headroom >= 0.0 && goal.headroom <= 0.9, "headroom (0 to 0.9)"),
        (goal.min >= 1 && goal.min <= goal.max, "min and max"),
    ];
    match checks.iter().find(|(sane, _)| !sane) {
        Some((_, name)) => Err(SizingError::Input(name)),
        None => Ok(()),
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(most) => write!(f, "at most {:.3} % of the calls wait", most * 100.0),
            Self::Mean(most) => write!(f, "the mean wait is at most {most:.2?}"),
            Self::Quantile(share, most) => {
                write!(f, "{:.2} % of the calls wait at most {most:.2?}", share * 100.0)
            }
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Streams => "the streams decide",
            Self::Up => "the bytes of requests decide",
            Self::Down => "the bytes of responses decide",
            Self::Min => "the least allowed; the load needs no more",
            Self::Max => "the most allowed; the load needs more",
        })
    }
}

impl fmt::Display for Sizing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, bound, load, goal, .. } = self;
        writeln!(f, "connections: {connections} ({bound})")?;
        writeln!(
            f,
            "load: {:.1} calls/s x {:.2?} = {:.2} calls in flight",
            load.rate, load.mean, self.offered
        )?;
        writeln!(
            f,
            "streams: {} so that {}; {} with {:.0} % headroom; {} a connection: {}",
            self.streams_needed,
            goal.wait,
            self.streams_wanted,
            goal.headroom * 100.0,
            self.streams_per_connection,
            self.for_streams
        )?;
        for (name, rate, count) in
            [("up", self.rate_up, self.for_up), ("down", self.rate_down, self.for_down)]
        {
            if count > 0 {
                writeln!(f, "bytes {name}: {:.3} MB/s a connection: {count}", rate / 1e6)?;
            }
        }
        write!(
            f,
            "so: {} streams, {:.1} % in use, {:.3} % of the calls wait, ",
            self.servers,
            self.utilisation * 100.0,
            self.waits * 100.0
        )?;
        match self.mean_wait {
            Some(wait) => write!(f, "{wait:.2?} in the mean"),
            None => f.write_str("ever longer: the load does not fit"),
        }
    }
}
