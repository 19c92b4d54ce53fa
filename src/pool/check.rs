//! Options that contradict each other or will hurt, found before they do.
//!
//! A pure function over the options. An error is what cannot be meant; a warning works, but not as
//! whoever wrote it would expect. Defaults that an option overtakes are no finding, unless the
//! outcome surprises.

use crate::call::messages::MessageLimits;
use crate::connection::keepalive::{KEEPALIVE_MIN, PingRule, Preset};
use crate::grpc::message::PREFIX;
use crate::http2::settings::{MAX_FRAME_SIZE, MAX_WINDOW, MIN_FRAME_SIZE};
use crate::pool::cap::Cap;
use crate::pool::options::PoolOptions;
use std::fmt;
use std::time::Duration;

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Severity {
    /// It works, though not as it reads.
    Warning,
    /// It cannot be meant: the channel is not built.
    Error,
}

/// Something about a channel's options.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// Whether the channel is built all the same.
    pub severity: Severity,
    /// The options and their values.
    pub what: String,
    /// What would come of it.
    pub why: String,
    /// What to set.
    pub instead: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, what, why, instead } = self;
        let severity = match severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {what}: {why}; instead: {instead}")
    }
}

/// Looks through a channel's options. `path` is what is known of the way to the server; without it
/// times are not compared with what middleboxes do.
#[must_use]
pub fn check(options: &PoolOptions, limits: &MessageLimits, path: Option<&Preset>) -> Vec<Finding> {
    let mut found = Findings(Vec::new());
    found.connections(options);
    found.calls(options);
    found.rest(options);
    found.age(options);
    found.dials(options);
    found.pings(options, path);
    found.windows(options, limits);
    found.frames(options);
    found.size(options);
    found.servers_only(options);
    found.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, what: String, why: &str, instead: String) {
        self.0.push(Finding { severity, what, why: why.to_owned(), instead });
    }

    fn error(&mut self, what: String, why: &str, instead: impl Into<String>) {
        self.add(Severity::Error, what, why, instead.into());
    }

    fn warn(&mut self, what: String, why: &str, instead: impl Into<String>) {
        self.add(Severity::Warning, what, why, instead.into());
    }

    /// How many connections.
    fn connections(&mut self, options: &PoolOptions) {
        let (min, max) = (options.min_connections, options.max_connections);
        let sockets = options.cap.as_ref().map_or_else(|| Cap::process().most(), |cap| cap.most());
        if max == 0 {
            self.error(
                "max_connections is 0".into(),
                "a channel without connections carries no calls, and there is no value for \
                 \"without bound\"",
                "max_connections of at least 1; the default is 4",
            );
        } else if min > max {
            self.error(
                format!("min_connections {min} is above max_connections {max}"),
                "so many can be neither opened nor kept",
                format!("min_connections of at most {max}, or max_connections of at least {min}"),
            );
        } else if min > sockets {
            self.error(
                format!("min_connections {min} is above the {sockets} sockets of the Cap"),
                "the floor is never reached, and dialling never ends",
                format!("min_connections of at most {sockets}, or a larger Cap"),
            );
        } else if max > sockets {
            self.warn(
                format!("max_connections {max} is above the {sockets} sockets of the Cap"),
                "dials beyond the Cap are put off, while calls wait that the pool would serve",
                format!("max_connections of at most {sockets}, or a larger Cap"),
            );
        }
    }

    /// How calls find a place.
    fn calls(&mut self, options: &PoolOptions) {
        let percent = options.fill_percent;
        if percent == 0 {
            self.error(
                "fill_percent is 0".into(),
                "every connection is full before its first call, so that each call asks for one \
                 more",
                "fill_percent from 1 to 100; the default is 75",
            );
        } else if percent > 100 {
            self.error(
                format!("fill_percent is {percent}"),
                "a connection takes no more calls than its peer allows, which is 100",
                "fill_percent of 100 to grow only when calls wait; the default is 75",
            );
        }
        if options.max_waiting == 0 {
            self.error(
                "max_waiting is 0".into(),
                "a call that finds no connection is refused before one is dialled, so that a \
                 channel which opens nothing in advance never opens anything",
                "max_waiting of at least 1; to shed load early give calls a deadline",
            );
        }
        if options.attempts == 0 {
            self.error(
                "attempts is 0".into(),
                "no call may be tried on any connection",
                "attempts of 1 to try once; the default is 8",
            );
        }
        let (call, all) = (options.keep_bytes, options.keep_total_bytes);
        if call > all {
            self.warn(
                format!("keep_bytes {call} is above keep_total_bytes {all}"),
                "one stream reaches the bound of all calls before its own, and then no other one \
                 moves to another connection",
                format!("keep_total_bytes of many times {call}; the default is 16 MiB"),
            );
        }
    }

    /// How long connections without calls stay. One finding, the plainest: the three overlap.
    fn rest(&mut self, options: &PoolOptions) {
        let PoolOptions { idle_time: idle, shrink_after: shrink, dial_time: dial, .. } = options;
        if idle < dial {
            self.warn(
                format!("idle_time {idle:?} is below dial_time {dial:?}"),
                "a connection may be dialled for longer than it is then kept, and calls wait for \
                 the next dial",
                format!("idle_time of at least {dial:?}, or a shorter dial_time"),
            );
        } else if shrink > idle {
            self.warn(
                format!("shrink_after {shrink:?} is above idle_time {idle:?}"),
                "the first connection closes before those that were added to it, and the channel \
                 keeps the spares",
                format!("shrink_after of at most {idle:?}"),
            );
        } else if shrink < dial {
            self.warn(
                format!("shrink_after {shrink:?} is below dial_time {dial:?}"),
                "connections that a burst brought are closed before the next burst, and dialled \
                 again in it",
                format!("shrink_after of at least {dial:?}"),
            );
        }
    }

    /// How old connections grow.
    fn age(&mut self, options: &PoolOptions) {
        let Some(age) = options.max_age else { return };
        let (idle, dial) = (options.idle_time, options.dial_time);
        if age <= dial {
            self.warn(
                format!("max_age {age:?} is not above dial_time {dial:?}"),
                "a connection is old before the one that replaces it need be there",
                format!("max_age well above {dial:?}, minutes rather than seconds"),
            );
        } else if age < idle && idle != PoolOptions::new().idle_time {
            self.warn(
                format!("max_age {age:?} is below idle_time {idle:?}"),
                "a connection without calls is closed for its age, so that idle_time never comes",
                format!("idle_time of at most {age:?}"),
            );
        }
    }

    /// How connections are made.
    fn dials(&mut self, options: &PoolOptions) {
        let (dial, settings) = (options.dial_time, options.driver.settings_time);
        if dial.is_zero() {
            self.error(
                "dial_time is 0".into(),
                "every dial fails",
                "dial_time of some seconds; the default is 20 s",
            );
        } else if settings.is_zero() {
            self.error(
                "settings_time is 0".into(),
                "every connection ends before its peer's SETTINGS can come",
                "settings_time of some seconds, at most dial_time",
            );
        } else if settings > dial {
            self.warn(
                format!("settings_time {settings:?} is above dial_time {dial:?}"),
                "a peer that accepts and says nothing holds calls for longer than one that does \
                 not answer at all",
                format!("driver.settings_time of at most {dial:?}"),
            );
        }
        let (first, last) = (options.backoff, options.backoff_max);
        if first > last {
            self.error(
                format!("backoff {first:?} is above backoff_max {last:?}"),
                "the pause cannot begin above its own bound",
                format!("backoff of at most {last:?}"),
            );
        } else if first.is_zero() {
            self.warn(
                "backoff is 0".into(),
                "a server that is down is dialled as fast as the Cap allows",
                "backoff of at least 100 ms; the default is 1 s",
            );
        }
    }

    /// PINGs, and what the path remembers.
    fn pings(&mut self, options: &PoolOptions, path: Option<&Preset>) {
        let rule = PingRule::GRPC.with_calls;
        let known = path.and_then(|path| path.path_limit.map(|limit| (path, limit)));
        if let Some(interval) = options.driver.keepalive {
            if interval < KEEPALIVE_MIN {
                self.warn(
                    format!("keepalive {interval:?} is below {KEEPALIVE_MIN:?}"),
                    "it counts as 10 s, and a default gRPC server ends connections that ping more \
                     often than every 5 min (too_many_pings)",
                    "no keepalive: silence is doubted after doubt_time; else 5 min or more",
                );
            } else if interval < rule {
                self.warn(
                    format!("keepalive {interval:?} is below {rule:?}"),
                    "a default gRPC server ends connections that ping more often than every 5 min \
                     (too_many_pings)",
                    "no keepalive: silence is doubted after doubt_time; else 5 min or more, unless \
                     the server's enforcement policy permits less",
                );
            }
            if let Some((path, limit)) = known.filter(|(_, limit)| interval >= *limit) {
                self.warn(
                    format!("keepalive {interval:?}, on a path ({}) of {limit:?}", path.name),
                    "the path forgets a silent connection before the PING that would hold it",
                    match path.keepalive {
                        Some(fits) => format!("keepalive of {fits:?}"),
                        None => "no keepalive, and messages of its own on a silent stream".into(),
                    },
                );
            }
        }
        let idle = options.idle_time;
        if let Some((path, limit)) = known.filter(|(_, limit)| idle >= *limit) {
            self.warn(
                format!("idle_time {idle:?}, on a path ({}) of {limit:?}", path.name),
                "the path forgets the connection first, and the next call finds it dead",
                format!("idle_time of at most {:?}", path.close_idle),
            );
        }
        let quiet = options.driver.quiet_time;
        if quiet > idle && idle >= options.dial_time {
            self.warn(
                format!("quiet_time {quiet:?} is above idle_time {idle:?}"),
                "buffers of quiet connections are kept until they close",
                "driver.quiet_time of a second or less; the default is 500 ms",
            );
        }
    }

    /// Windows, messages and the bytes that are there for them.
    fn windows(&mut self, options: &PoolOptions, messages: &MessageLimits) {
        let limits = &options.driver.limits;
        let (stream, stream_max) = (limits.stream_window, limits.stream_window_max);
        let (whole, whole_max) = (limits.connection_window, limits.connection_window_max);
        let pairs =
            [("stream_window", stream, stream_max), ("connection_window", whole, whole_max)];
        for (name, window, max) in pairs {
            if window.max(max) > MAX_WINDOW {
                self.error(
                    format!("{name} is {window}, {name}_max {max}"),
                    "no window may exceed 2^31-1 bytes: peers end the connection",
                    format!("{name} and {name}_max of at most {MAX_WINDOW}"),
                );
            } else if max < window {
                self.error(
                    format!("{name}_max {max} is below {name} {window}"),
                    "the window begins above what it may grow to",
                    format!("{name}_max of at least {window}"),
                );
            }
        }
        if whole < stream {
            self.warn(
                format!("connection_window {whole} is below stream_window {stream}"),
                "one stream whose reader is slow stops all others, and no stream can use its window",
                format!("connection_window of at least {stream}, better several times that"),
            );
        }
        let message = messages.receive.saturating_add(PREFIX);
        if (stream_max as usize) < message && stream <= stream_max {
            let receive = messages.receive;
            self.warn(
                format!("max_receive_message {receive} is above stream_window_max {stream_max}"),
                "a message may be larger than its stream's window; the window opens ahead of it \
                 only up to stream_window_max, and each window more costs a round trip",
                format!(
                    "stream_window_max of at least {message}, or a smaller max_receive_message"
                ),
            );
        }
        let budget = options.driver.budget.as_ref().map(|budget| budget.limit());
        if let Some(bytes) = budget.filter(|bytes| *bytes < u64::from(whole)) {
            self.warn(
                format!("the budget of {bytes} bytes is below connection_window {whole}"),
                "it does not last for one connection: all begin with windows of 64 KiB",
                format!("a Budget of several times {whole}, or a smaller connection_window"),
            );
        }
    }

    /// What is announced to the peer and would end the connection.
    fn frames(&mut self, options: &PoolOptions) {
        let bytes = options.driver.limits.frame_bytes;
        if !(MIN_FRAME_SIZE..=MAX_FRAME_SIZE).contains(&bytes) {
            self.error(
                format!("frame_bytes is {bytes}"),
                "no such SETTINGS_MAX_FRAME_SIZE may be announced: peers end the connection",
                format!("frame_bytes from {MIN_FRAME_SIZE} to {MAX_FRAME_SIZE}"),
            );
        }
    }

    /// The controller's goal.
    fn size(&mut self, options: &PoolOptions) {
        let Some(goal) = options.sizing.map(|sizing| sizing.goal) else { return };
        let most = options.max_connections;
        if goal.min > goal.max || goal.min > most {
            self.error(
                format!("sizing.goal.min is {}, of at most {}", goal.min, goal.max.min(most)),
                "the controller is to keep more connections than there may be",
                format!("sizing.goal.min of at most {}", goal.max.min(most)),
            );
        } else if !(0.0..=0.9).contains(&goal.headroom) {
            self.error(
                format!("sizing.goal.headroom is {}", goal.headroom),
                "no load can be sized for, and the controller never acts",
                "sizing.goal.headroom from 0 to 0.9; the default is 0.25",
            );
        } else if most == 1 {
            self.warn(
                "sizing is on and max_connections is 1".into(),
                "the controller has nothing to choose",
                "max_connections of several, or no sizing",
            );
        }
    }

    /// What only a server heeds.
    fn servers_only(&mut self, options: &PoolOptions) {
        let driver = &options.driver;
        let why = "only a server heeds it; a channel's connections are looked after by the pool";
        let fields: [(&str, Option<Duration>, &str); 3] = [
            ("max_age", driver.max_age, "PoolOptions::max_age"),
            ("max_age_grace", driver.max_age_grace, "nothing: calls under way end by themselves"),
            ("max_idle", driver.max_idle, "PoolOptions::idle_time"),
        ];
        for (name, time, instead) in fields {
            if let Some(time) = time {
                self.warn(format!("driver.{name} is {time:?} on a channel"), why, instead);
            }
        }
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests;
