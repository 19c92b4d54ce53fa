//! How a connection stays alive, or is found dead: presets for known paths, and a planner of PINGs.
//!
//! Three clocks run against a quiet connection: the path forgets it (NAT, load balancers), the peer
//! may die without a word, and the peer's patience with PINGs is short. So we close before the path
//! forgets, ask only when an answer is owed, and prove an old connection before a call depends on
//! it, instead of pinging by the clock.
//!
//! Data and pure state machines: nothing here reads a clock or touches a socket.

mod path;
mod planner;
mod strikes;
#[cfg(test)]
mod tests;

pub(crate) use planner::PATIENCE_MIN;

pub use path::{EVIDENCE_AGE, PathLimit, SHORTEST_LIMIT};
pub use planner::{INTERVAL_MAX, KEEPALIVE_FLOOR, Ping, Planner, Pulse, Reason, Reuse};
pub use strikes::{STRIKES, Strikes};

use crate::transport::tcp::SocketOptions;
use std::time::Duration;

/// Idle time after which a connection on a path of unknown limits is closed: 5 minutes. Below the
/// 350 s of AWS's load balancers and NAT gateways, the shortest silent limit that is common; paths
/// that are shorter still (Azure's 240 s) see our TCP keepalive every 10 s, and a probe after 60 s.
const CLOSE_IDLE: Duration = Duration::from_secs(300);

/// The longest that a connection is kept without calls: 30 minutes, after which gRPC channels
/// everywhere go IDLE.
const CLOSE_IDLE_MAX: Duration = Duration::from_secs(1800);

/// Age of idleness from which a connection is proved before a call depends on it: 60 s, the
/// shortest limit that any common middlebox has by default.
pub(crate) const PROBE_AFTER: Duration = Duration::from_secs(60);

/// A PING interval that fits between what a default gRPC server tolerates (300 s, and 1 % for its
/// clock) and what an AWS load balancer remembers (350 s, less our margin).
const FITTING_INTERVAL: Duration = Duration::from_secs(320);

/// What a server puts up with: the least time between PINGs before it counts a strike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PingRule {
    /// With calls open.
    pub with_calls: Duration,
    /// Without.
    pub without_calls: Duration,
    /// HEADERS or DATA that the server sends wipe its strikes out, and make one PING free.
    pub answers_forgive: bool,
}

impl PingRule {
    /// gRPC's default, as grpc-go, grpc-java and C-core enforce it: 5 minutes, 2 hours without calls,
    /// the third strike ends the connection. What is assumed of a server nothing is known about.
    pub const GRPC: Self = Self {
        with_calls: Duration::from_secs(300),
        without_calls: Duration::from_secs(7200),
        answers_forgive: true,
    };

    /// Our own server's: 9 s in either case, one less than the least keepalive that gRPC clients
    /// can be set to, so that their timers may be early.
    pub const FRAMEWIRE: Self = Self {
        with_calls: Duration::from_secs(9),
        without_calls: Duration::from_secs(9),
        answers_forgive: true,
    };
}

impl Default for PingRule {
    fn default() -> Self {
        Self::GRPC
    }
}

/// When silence is doubted. The default finds a dead peer within 20 s of the fault and, since at
/// most one such PING falls into a gap between answers, never offends a default gRPC server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Doubt {
    /// Silence, while a call waits, after which one PING is sent. Default 10 s.
    pub after: Duration,
    /// Time for its answer; then the connection is dead. Default 10 s.
    pub answer: Duration,
}

impl Default for Doubt {
    fn default() -> Self {
        Self { after: Duration::from_secs(10), answer: Duration::from_secs(10) }
    }
}

/// Settings for a known environment, each with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What the environment is called.
    pub name: &'static str,
    /// Idle time after which something on the path ends or forgets a connection, if known.
    pub path_limit: Option<Duration>,
    /// Idle time after which we close a connection without calls.
    pub close_idle: Duration,
    /// Silence after which a PING is sent while calls are open; `None` sends none.
    pub keepalive: Option<Duration>,
    /// When silence is doubted.
    pub doubt: Doubt,
    /// TCP keepalive, and TCP_USER_TIMEOUT where it is set.
    pub socket: SocketOptions,
    /// Idle time from which a connection is proved before it carries a call.
    pub probe_after: Duration,
    /// Pairs of a field and the reason of its value.
    pub why: &'static [(&'static str, &'static str)],
}

/// What is the same everywhere.
const SOCKET_WHY: (&str, &str) = (
    "socket",
    "keepalive after 10 s, each 3 s, 3 times: the system finds a dead peer within 20 s while no \
     bytes are unacknowledged; while some are, the PING in doubt does. No user timeout: it would end \
     connections to a live peer whose window stays closed. Keepalive also refreshes boxes on layer 4",
);
const DOUBT_WHY: (&str, &str) = (
    "doubt",
    "one PING when a call has heard nothing for 10 s, 10 s for the answer; it is the only check \
     that passes through proxies which answer TCP themselves",
);

impl Preset {
    /// Nothing is known of the path.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            name: "plain",
            path_limit: None,
            close_idle: CLOSE_IDLE,
            keepalive: None,
            doubt: Doubt::default(),
            socket: SocketOptions::default(),
            probe_after: PROBE_AFTER,
            why: &[
                ("path_limit", "unknown; it is learned from connections that die in silence"),
                ("close_idle", "5 min: below 350 s, the shortest common limit that drops silently"),
                ("keepalive", "off: default gRPC servers allow one PING in 5 min, then hang up"),
                ("probe_after", "60 s: the shortest default of any common middlebox"),
                DOUBT_WHY,
                SOCKET_WHY,
            ],
        }
    }

    /// Behind an AWS Network Load Balancer or NAT gateway.
    ///
    /// A TCP listener's timer can be set from 60 to 6000 s ([`Preset::cloud`] takes another value);
    /// a TLS listener's and a NAT gateway's is 350 s.
    #[must_use]
    pub fn aws_nlb() -> Self {
        Self {
            name: "AWS NLB",
            why: &[
                (
                    "path_limit",
                    "350 s; then the flow is forgotten without FIN, and what comes later \
                                is answered by RST or by nothing",
                ),
                ("close_idle", "350 s less a margin: below 340 s"),
                (
                    "keepalive",
                    "320 s while calls are open: above the 300 s of default gRPC servers, \
                               below 340 s, so that a silent stream outlives the timer",
                ),
                ("probe_after", "60 s: well before the limit, and the limit may be set to 60 s"),
                DOUBT_WHY,
                SOCKET_WHY,
            ],
            ..Self::within(Duration::from_secs(350))
        }
    }

    /// Behind an AWS Application Load Balancer with its default of 60 s.
    ///
    /// It ends HTTP/2 itself: it carries at most 128 calls at once on a connection, answers PING
    /// without asking the target, and sends GOAWAY when a connection is an hour old.
    #[must_use]
    pub fn aws_alb() -> Self {
        Self {
            name: "AWS ALB",
            why: &[
                (
                    "path_limit",
                    "60 s without data by default (1 to 4000 s); TCP keepalive is no \
                                data, and a PING stops at the balancer",
                ),
                ("close_idle", "60 s less a margin: below 55 s, so that no call meets the closing"),
                (
                    "keepalive",
                    "off: it would say nothing of the target and need not count as data; \
                               a stream silent for a minute needs messages of its own, or a higher \
                               idle timeout on the balancer",
                ),
                ("probe_after", "45 s: three quarters of the limit"),
                (
                    "doubt",
                    "one PING when a call has heard nothing for 10 s, 10 s for the answer; \
                           here it proves the way to the balancer, no further",
                ),
                SOCKET_WHY,
            ],
            ..Self::within(Duration::from_secs(60))
        }
    }

    /// Behind a load balancer, NAT or firewall whose idle limit is known: give the *least* that the
    /// path may have. Azure's load balancer has 240 s, Google's connection tracking 600 s.
    ///
    /// A limit stated as a range counts with its lower end: an interval of 90 s does not suit a path
    /// of "60 to 120 s".
    #[must_use]
    pub fn cloud(limit: Duration) -> Self {
        Self {
            name: "cloud load balancer",
            why: &[
                ("path_limit", "the least of the path, as given"),
                ("close_idle", "the limit less 6 s or 3 %, at most 30 min, when gRPC goes IDLE"),
                (
                    "keepalive",
                    "320 s while calls are open if the limit leaves room above the 300 s of \
                               default gRPC servers, else off: TCP keepalive refreshes layer 4, and \
                               on layer 7 silent streams need messages of their own",
                ),
                ("probe_after", "60 s or three quarters of the limit, whichever is less"),
                DOUBT_WHY,
                SOCKET_WHY,
            ],
            ..Self::within(limit)
        }
    }

    /// Inside a Kubernetes cluster, through a Service.
    #[must_use]
    pub fn kubernetes() -> Self {
        Self {
            name: "Kubernetes",
            close_idle: CLOSE_IDLE,
            keepalive: None,
            why: &[
                (
                    "path_limit",
                    "15 min: the kernel's timer when kube-proxy uses IPVS; with iptables \
                                kube-proxy sets connection tracking to 24 h",
                ),
                (
                    "close_idle",
                    "5 min: below either; a Service balances connections, not calls, and \
                                new ones find new pods",
                ),
                (
                    "keepalive",
                    "off: a stream through IPVS is held by TCP keepalive, and default gRPC \
                               servers allow one PING in 5 min",
                ),
                ("probe_after", "60 s: a pod lost with its node sends no FIN"),
                DOUBT_WHY,
                SOCKET_WHY,
            ],
            ..Self::within(Duration::from_secs(900))
        }
    }

    /// All that are named, [`Preset::cloud`] apart.
    #[must_use]
    pub fn all() -> [Self; 4] {
        [Self::plain(), Self::aws_nlb(), Self::aws_alb(), Self::kubernetes()]
    }

    /// The numbers that follow from a path's limit.
    fn within(limit: Duration) -> Self {
        let safe = below(limit);
        Self {
            path_limit: Some(limit),
            close_idle: safe.min(CLOSE_IDLE_MAX),
            keepalive: (safe > FITTING_INTERVAL).then_some(FITTING_INTERVAL),
            probe_after: PROBE_AFTER.min(three_quarters(limit)),
            ..Self::plain()
        }
    }
}

/// What is safely below a limit: less by 3 %, since long timers are kept coarsely, and by at least
/// 6 s, so that a call which leaves at the last moment and is lost twice (sent again after 1 s and
/// after 2 s more) still passes in time. Never less than half of the limit.
#[must_use]
pub fn below(limit: Duration) -> Duration {
    let margin = (limit * 3 / 100).max(Duration::from_secs(6));
    limit - margin.min(limit / 2)
}

/// Three quarters of a limit: the age at which a connection is proved.
fn three_quarters(limit: Duration) -> Duration {
    limit / 4 * 3
}
