//! Options that contradict each other or will hurt, found before they do.
//!
//! A pure function of the options. The texts name the setters of `client::ChannelBuilder` and
//! `client::Advanced`. A default that another option overrides is no finding, unless the outcome is
//! surprising.

pub use crate::connection::check::{Finding, Severity};

use crate::call::messages::MessageLimits;
use crate::connection::check::Findings;
use crate::connection::keepalive::{KEEPALIVE_MIN, PingRule, Preset};
use crate::grpc::message::PREFIX;
use crate::pool::cap::Cap;
use crate::pool::options::PoolOptions;

/// Looks through a channel's options. `path` is what is known of the way to the server; without it
/// times are not compared with what middleboxes do.
#[must_use]
pub fn check(options: &PoolOptions, limits: &MessageLimits, path: Option<&Preset>) -> Vec<Finding> {
    let mut found = Findings::default();
    found.connections(options);
    found.calls(options);
    found.rest(options);
    found.age(options);
    found.dials(options);
    found.pings(options, path);
    found.connection(&options.driver);
    found.messages(options, limits);
    found.size(options);
    found.into_vec()
}

/// The findings about a pool's options.
impl Findings {
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
                "the pool can neither open nor keep that many",
                format!("min_connections of at most {max}, or max_connections of at least {min}"),
            );
        } else if min > sockets {
            self.error(
                format!("min_connections {min} is above the {sockets} sockets of the Cap"),
                "the minimum is never reached, and dialling never ends",
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
                "Advanced::fill_percent is 0".into(),
                "every connection is full before its first call, so that each call asks for one \
                 more",
                "fill_percent from 1 to 100; the default is 75",
            );
        } else if percent > 100 {
            self.error(
                format!("Advanced::fill_percent is {percent}"),
                "a connection takes no more calls than its peer allows, which is 100",
                "fill_percent of 100 to grow only when calls wait; the default is 75",
            );
        }
        if options.max_waiting == 0 {
            self.error(
                "max_queued_calls is 0".into(),
                "a call that finds no connection is refused before one is dialled, so that a \
                 channel which opens nothing in advance never opens anything",
                "max_queued_calls of at least 1; to shed load early give calls a deadline",
            );
        }
        if options.max_calls == 0 {
            self.error(
                "Advanced::max_calls_per_connection is 0".into(),
                "no connection may carry a call",
                "max_calls_per_connection of at least 1; the default is 16384",
            );
        }
        if options.attempts == 0 {
            self.error(
                "Advanced::max_transparent_attempts is 0".into(),
                "no call may be tried on any connection",
                "max_transparent_attempts of 1 to try once; the default is 3",
            );
        }
        let (call, all) = (options.keep_bytes, options.keep_total_bytes);
        if call > all {
            self.warn(
                format!("Advanced::replay_bytes {call} is above replay_total_bytes {all}"),
                "one stream reaches the bound of all calls before its own, and then no other one \
                 moves to another connection",
                format!("replay_total_bytes of many times {call}; the default is 16 MiB"),
            );
        }
    }

    /// How long connections without calls stay. One finding, the plainest: the three overlap.
    fn rest(&mut self, options: &PoolOptions) {
        let PoolOptions { idle_time: idle, shrink_after: shrink, dial_time: dial, .. } = options;
        if idle < dial {
            self.warn(
                format!("idle_timeout {idle:?} is below connect_timeout {dial:?}"),
                "a connection may be dialled for longer than it is then kept, and calls wait for \
                 the next dial",
                format!("idle_timeout of at least {dial:?}, or a shorter connect_timeout"),
            );
        } else if shrink > idle {
            self.warn(
                format!("Advanced::shrink_after {shrink:?} is above idle_timeout {idle:?}"),
                "the first connection closes before those that were added to it, and the channel \
                 keeps the spares",
                format!("shrink_after of at most {idle:?}"),
            );
        } else if shrink < dial {
            self.warn(
                format!("Advanced::shrink_after {shrink:?} is below connect_timeout {dial:?}"),
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
                format!("max_connection_age {age:?} is not above connect_timeout {dial:?}"),
                "a connection may reach its age before its replacement is ready",
                format!("max_connection_age well above {dial:?}, minutes rather than seconds"),
            );
        } else if age < idle && idle != PoolOptions::new().idle_time {
            self.warn(
                format!("max_connection_age {age:?} is below idle_timeout {idle:?}"),
                "a connection without calls is closed for its age, so that idle_timeout never passes",
                format!("idle_timeout of at most {age:?}"),
            );
        }
    }

    /// How connections are made.
    fn dials(&mut self, options: &PoolOptions) {
        let (dial, settings) = (options.dial_time, options.driver.settings_time);
        if dial.is_zero() {
            self.error(
                "connect_timeout is 0".into(),
                "every dial fails",
                "connect_timeout of some seconds; the default is 20 s",
            );
        } else if settings > dial {
            self.warn(
                format!(
                    "Advanced::settings_timeout {settings:?} is above connect_timeout {dial:?}"
                ),
                "a peer that accepts and says nothing holds calls for longer than one that does \
                 not answer at all",
                format!("settings_timeout of at most {dial:?}"),
            );
        }
        let (first, last) = (options.backoff, options.backoff_max);
        if first > last {
            self.error(
                format!("backoff: initial {first:?} is above max {last:?}"),
                "the backoff cannot begin above its own maximum",
                format!("an initial backoff of at most {last:?}"),
            );
        } else if first.is_zero() {
            self.warn(
                "backoff: initial is 0".into(),
                "a server that is down is dialled as fast as the Cap allows",
                "an initial backoff of at least 100 ms; the default is 1 s",
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
                    format!("keepalive_time {interval:?} is below {KEEPALIVE_MIN:?}"),
                    "it counts as 10 s, and a default gRPC server ends connections that ping more \
                     often than every 5 min (too_many_pings)",
                    "no keepalive_time: dead peers are found while calls wait; else 5 min or more",
                );
            } else if interval < rule {
                self.warn(
                    format!("keepalive_time {interval:?} is below {rule:?}"),
                    "a default gRPC server ends connections that ping more often than every 5 min \
                     (too_many_pings)",
                    "no keepalive_time: dead peers are found while calls wait; else 5 min or more, unless \
                     the server's enforcement policy permits less",
                );
            }
            if let Some((path, limit)) = known.filter(|(_, limit)| interval >= *limit) {
                self.warn(
                    format!("keepalive_time {interval:?}, on a path ({}) of {limit:?}", path.name),
                    "the path forgets a silent connection before the PING that would hold it",
                    match path.keepalive {
                        Some(fits) => format!("keepalive_time of {fits:?}"),
                        None => {
                            "no keepalive_time, and messages of its own on a silent stream".into()
                        }
                    },
                );
            }
        }
        let idle = options.idle_time;
        if let Some((path, limit)) = known.filter(|(_, limit)| idle >= *limit) {
            self.warn(
                format!("idle_timeout {idle:?}, on a path ({}) of {limit:?}", path.name),
                "the path forgets the connection first, and the next call finds it dead",
                format!("idle_timeout of at most {:?}", path.close_idle),
            );
        }
    }

    /// Messages beside the windows that carry them.
    fn messages(&mut self, options: &PoolOptions, messages: &MessageLimits) {
        let limits = &options.driver.limits;
        let (stream, stream_max) = (limits.stream_window, limits.stream_window_max);
        let message = messages.receive.saturating_add(PREFIX);
        if (stream_max as usize) < message && stream <= stream_max {
            let receive = messages.receive;
            self.warn(
                format!(
                    "max_receive_message {receive} is above Limits::stream_window_max {stream_max}"
                ),
                "a message may be larger than its stream's window; the window opens ahead of it \
                 only up to stream_window_max, and each window more costs a round trip",
                format!(
                    "stream_window_max of at least {message}, or a smaller max_receive_message"
                ),
            );
        }
    }

    /// The controller's goal.
    fn size(&mut self, options: &PoolOptions) {
        let Some(goal) = options.sizing.map(|sizing| sizing.goal) else { return };
        let most = options.max_connections;
        if goal.min > goal.max || goal.min > most {
            self.error(
                format!(
                    "Advanced::sizing: goal.min is {}, of at most {}",
                    goal.min,
                    goal.max.min(most)
                ),
                "the controller would keep more connections than are allowed",
                format!("goal.min of at most {}", goal.max.min(most)),
            );
        } else if !(0.0..=0.9).contains(&goal.headroom) {
            self.error(
                format!("Advanced::sizing: goal.headroom is {}", goal.headroom),
                "no load can be sized for, and the controller never acts",
                "goal.headroom from 0 to 0.9; the default is 0.25",
            );
        } else if most == 1 {
            self.warn(
                "Advanced::sizing is on and max_connections is 1".into(),
                "the controller has nothing to choose",
                "max_connections of several, or no sizing",
            );
        }
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests;
