//! How many connections a load needs, with every step of the calculation.
//!
//! A call occupies a stream until its response ends. So the streams of all connections are the servers of
//! a queue, and Erlang's formula gives the share of calls that find no free stream. The formula needs the
//! *mean* service time; with the 99th percentile the size is 4.6 times too large for exponential times.

mod controller;
pub mod erlang;
#[cfg(test)]
mod tests;
mod text;

pub use controller::{Advice, Controller, ControllerOptions, Observation};

use std::fmt;
use std::time::Duration;

/// The load on the connections, measured or expected.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Load {
    /// Calls that begin per second.
    pub rate: f64,
    /// Mean time of a call on its stream. The wait for a stream does not count.
    pub mean: Duration,
    /// Variance of that time, in seconds squared: `mean²` for exponential times, 0 for constant ones.
    pub variance: f64,
    /// Squared coefficient of variation of the times between arrivals: 1 for independent calls, which is
    /// the usual assumption, and more if calls come in bursts.
    pub burstiness: f64,
}

impl Load {
    /// Creates the load of an M/M/c queue: independent arrivals, exponential service times.
    #[must_use]
    pub fn new(rate: f64, mean: Duration) -> Self {
        Self { rate, mean, variance: mean.as_secs_f64().powi(2), burstiness: 1.0 }
    }

    /// Sets the variance, in seconds squared. Default: `mean²`.
    #[must_use]
    pub const fn with_variance(mut self, variance: f64) -> Self {
        self.variance = variance;
        self
    }
}

/// The bytes of the calls in one direction, and the window that limits them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Way {
    /// Bytes of a call, including head and framing. 0 ignores the direction.
    pub bytes: f64,
    /// Receive window of the connection, in bytes: one window passes per round trip. It is 65,535 until
    /// the receiver raises it (RFC 9113 §6.9.2). `u64::MAX` if nobody knows: then the window is no limit.
    pub window: u64,
}

impl Way {
    /// Creates a direction with `bytes` per call and the initial window, 65,535 bytes.
    #[must_use]
    pub const fn new(bytes: f64) -> Self {
        Self { bytes, window: 65_535 }
    }
}

/// The capacity of one connection.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Link {
    /// Bytes per second in each direction; `None` if only the round trip limits.
    pub bandwidth: Option<f64>,
    /// Round-trip time. Zero ignores the window.
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
    /// At most this share of the calls waits at all, 0 to 1.
    Share(f64),
    /// The mean over all calls is at most this.
    Mean(Duration),
    /// This share of the calls, such as 0.99, waits at most this long.
    Quantile(f64, Duration),
}

/// The goal that a number of connections must meet.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Goal {
    /// Default: at most one call in a hundred waits, so the 99th percentile does not wait.
    pub wait: Wait,
    /// Share of each connection that stays free, for growth while a dial is in flight and for a peer that
    /// lowers its limit. Default: 0.25, because the pool fills a connection to three quarters before it
    /// uses the next one.
    pub headroom: f64,
    /// Fewest connections. Default: 1. With 2, calls continue without a dial if one is lost.
    pub min: u32,
    /// Most connections. Default: 10, as in gRFC A105. The servers must carry the product of clients, this
    /// limit and the peer's stream limit.
    pub max: u32,
}

impl Default for Goal {
    fn default() -> Self {
        Self { wait: Wait::Share(0.01), headroom: 0.25, min: 1, max: 10 }
    }
}

/// The reason for the number of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Bound {
    /// Calls in flight, and the peer's SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 §5.1.2).
    Streams,
    /// Bytes of requests, and the capacity of a connection.
    Up,
    /// Bytes of responses, and the capacity of a connection.
    Down,
    /// [`Goal::min`]: the load needs less.
    Min,
    /// [`Goal::max`]: the load needs more.
    Max,
}

/// The error of an input that is not valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SizingError {
    /// The named input is negative, infinite, not a number, or out of its range.
    Input(&'static str),
    /// The load needs more streams than [`erlang::SERVERS_MAX`].
    TooLarge,
}

impl fmt::Display for SizingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(name) => write!(f, "the input is out of range: {name}"),
            Self::TooLarge => {
                write!(f, "the load needs more than {} streams", erlang::SERVERS_MAX)
            }
        }
    }
}

impl std::error::Error for SizingError {}

/// A number of connections, with every step of its calculation. `Display` prints the steps.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Sizing {
    /// The number of connections, within `min..=max` of the goal.
    pub connections: u32,
    /// What determined it.
    pub bound: Bound,
    /// The load.
    pub load: Load,
    /// The goal.
    pub goal: Goal,
    /// Streams that the peer allows per connection.
    pub streams_per_connection: u32,
    /// Mean number of calls in flight: rate × mean (Little's law).
    pub offered: f64,
    /// Fewest streams that meet [`Goal::wait`].
    pub streams_needed: u64,
    /// Streams with the headroom, rounded up.
    pub streams_wanted: u64,
    /// Connections for these streams.
    pub for_streams: u64,
    /// Bytes per second of requests that one connection carries: the smaller of bandwidth and window ÷
    /// RTT. Infinite if neither is known.
    pub rate_up: f64,
    /// Bytes per second of responses that one connection carries.
    pub rate_down: f64,
    /// Connections for the bytes of requests, with the headroom.
    pub for_up: u64,
    /// Connections for the bytes of responses, with the headroom.
    pub for_down: u64,
    /// Streams of all [`Sizing::connections`]; the values below use it.
    pub servers: u64,
    /// [`Sizing::offered`] ÷ servers. At 1 and above, the queue grows without end.
    pub utilisation: f64,
    /// The share of calls that waits for a stream (Erlang C).
    pub waits: f64,
    /// The Allen–Cunneen correction for variance: half of the sum of the squared coefficients of variation
    /// of arrivals and service times. 1 for M/M/c, where it is exact.
    pub variability: f64,
    /// Mean wait over all calls; `None` if the queue grows without end.
    pub mean_wait: Option<Duration>,
}

impl Sizing {
    /// Calculates how many connections `load` needs to a peer that allows `streams` on each.
    ///
    /// # Errors
    ///
    /// [`SizingError::Input`] names an invalid input; [`SizingError::TooLarge`] if the load is too large.
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
        // Rounds up to whole streams; the epsilon absorbs errors of floating-point arithmetic.
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
    /// Returns the bytes per second that one connection carries in this direction.
    fn carries(&self, way: Way) -> f64 {
        let rtt = self.rtt.as_secs_f64();
        let is_limit = rtt > 0.0 && way.window < u64::MAX;
        let window = if is_limit { way.window as f64 / rtt } else { f64::INFINITY };
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
                // The waits of calls that wait are exponential with the mean below: exact for M/M/c,
                // the usual approximation for other queues.
                let waiting = mean * variability / (servers as f64 - offered);
                let rest = 1.0 - share;
                waits <= rest || waiting * (waits / rest).ln() <= most.as_secs_f64()
            }
        }
    }
}

/// Returns the mean wait over all calls, in seconds.
fn mean_wait(servers: u64, waits: f64, offered: f64, mean: f64, variability: f64) -> Option<f64> {
    let free = servers as f64 - offered;
    (free > 0.0).then(|| waits * mean * variability / free)
}

fn variability(load: &Load) -> f64 {
    let mean = load.mean.as_secs_f64();
    let service = if mean > 0.0 { load.variance / (mean * mean) } else { 0.0 };
    (load.burstiness + service) / 2.0
}

/// Returns the largest of the three; of equal ones, streams, which a user knows best.
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
