//! Keepalive: presets for known environments, the limit on PINGs that servers enforce, and the idle
//! limit of the network path.
//!
//! Three things threaten an idle connection. A NAT or load balancer drops its state, the peer dies
//! without FIN or RST, and a server ends a connection that sends too many PINGs. Therefore the pool
//! closes a connection before the path drops it, the driver sends a PING only when a call waits for
//! an answer, and it probes a connection that was silent for long before a call uses it.
//!
//! This module holds data and pure state machines: nothing here reads a clock or touches a socket.
//! `connection/driver/timers.rs` and `connection/driver/probe.rs` send the PINGs; `pool/path.rs`
//! keeps what is learned of the path.

pub(crate) mod liveness;
mod path;
mod strikes;
#[cfg(test)]
mod tests;

pub use path::PathLimit;
pub use strikes::{STRIKES, Strikes};

use crate::transport::tcp::SocketOptions;
use std::time::Duration;

/// The shortest keepalive interval: 10 s, as in gRFC A8. Shorter configured intervals are raised to it.
pub const KEEPALIVE_MIN: Duration = Duration::from_secs(10);

/// The shortest time that a call waits for the answer to a probe: 20 ms, so that a delay of the
/// scheduler does not look like a dead peer.
pub(crate) const PROBE_TIMEOUT_MIN: Duration = Duration::from_millis(20);

/// Idle time after which a connection on a path of unknown limits is closed: 5 minutes. This is
/// below the 350 s of AWS's load balancers and NAT gateways, the shortest common limit that drops
/// connections silently. Paths with a shorter limit (Azure's 240 s) see TCP keepalive every 10 s,
/// and a probe after 60 s.
const CLOSE_IDLE: Duration = Duration::from_secs(300);

/// The longest time that a connection is kept without calls: 30 minutes, after which gRPC channels
/// of all implementations go IDLE.
const CLOSE_IDLE_MAX: Duration = Duration::from_secs(1800);

/// Silence after which a connection is probed before a call uses it: 60 s, the shortest default
/// limit of a common middlebox.
pub(crate) const PROBE_AFTER: Duration = Duration::from_secs(60);

/// A PING interval between what a default gRPC server allows (300 s, and 1 % for its clock) and the
/// limit of an AWS load balancer (350 s, less the margin of [`below`]).
const FITTING_INTERVAL: Duration = Duration::from_secs(320);

/// The shortest time between two PINGs that a server allows; a shorter one is a strike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PingRule {
    /// While calls are in flight.
    pub with_calls: Duration,
    /// While no call is in flight.
    pub without_calls: Duration,
}

impl PingRule {
    /// The default of grpc-go, grpc-java and C-core: 5 minutes with calls in flight, 2 hours
    /// without; the third strike ends the connection. The driver assumes it of every server.
    pub const GRPC: Self =
        Self { with_calls: Duration::from_secs(300), without_calls: Duration::from_secs(7200) };
}

/// When a client checks with a PING whether a silent peer is alive. At most one such PING is sent between
/// two responses of the peer, so a default gRPC server never ends the connection for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Doubt {
    /// Silence, while a call is in flight, after which one PING is sent. Default 10 s.
    pub after: Duration,
    /// Time for its answer. Without one, the connection takes no new calls and another one is dialled.
    /// Calls in flight continue: a slow peer is not dead. Default 10 s.
    pub answer: Duration,
}

impl Doubt {
    pub(crate) const fn new() -> Self {
        Self { after: Duration::from_secs(10), answer: Duration::from_secs(10) }
    }
}

impl Default for Doubt {
    fn default() -> Self {
        Self::new()
    }
}

/// Keepalive settings for a known environment, each with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preset {
    /// The name of the environment.
    pub name: &'static str,
    /// Idle time after which a middlebox closes or drops a connection, if known.
    pub path_limit: Option<Duration>,
    /// Idle time after which the pool closes a connection without calls.
    pub close_idle: Duration,
    /// Silence after which a PING is sent while calls are in flight; `None` sends none.
    pub keepalive: Option<Duration>,
    /// When one PING checks a peer that is silent while a call is in flight.
    pub doubt: Doubt,
    /// TCP keepalive; TCP_USER_TIMEOUT where it is set.
    pub socket: SocketOptions,
    /// Silence after which a connection is probed before it carries a call.
    pub probe_after: Duration,
    /// Pairs of a field's name and the reason for its value.
    pub why: &'static [(&'static str, &'static str)],
}

/// The reasons that are the same in every preset.
const SOCKET_WHY: (&str, &str) = (
    "socket",
    "keepalive after 10 s, each 2 s, 5 times: the system finds a dead peer within 20 s while no \
     bytes are unacknowledged; while some are, its retransmissions do. No user timeout: it would end \
     connections to a live peer whose window stays closed. Keepalive also refreshes boxes on layer 4",
);
const DOUBT_WHY: (&str, &str) = (
    "doubt",
    "one PING when a call has heard nothing for 10 s, 10 s for the answer; it is the only check \
     that passes through proxies which answer TCP themselves",
);

impl Preset {
    /// Returns the preset for a path of which nothing is known.
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

    /// Returns the preset for a path through an AWS Network Load Balancer or NAT gateway.
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

    /// Returns the preset for a path through an AWS Application Load Balancer with its default of
    /// 60 s.
    ///
    /// The balancer terminates HTTP/2: it carries at most 128 calls at once per connection, answers
    /// PING without asking the target, and sends GOAWAY when a connection is an hour old.
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

    /// Returns the preset for a path through a load balancer, NAT or firewall with this idle limit.
    /// Azure's load balancer has 240 s, Google's connection tracking 600 s.
    ///
    /// If the path has several limits, or its limit is stated as a range, give the lowest: for "60
    /// to 120 s" give 60 s.
    #[must_use]
    pub fn cloud(limit: Duration) -> Self {
        Self {
            name: "cloud load balancer",
            why: &[
                ("path_limit", "the least of the path, as given"),
                ("close_idle", "the limit less 6 s or 3 %, at most 30 min, when gRPC goes IDLE"),
                (
                    "keepalive",
                    "320 s while calls are open if the limit is far enough above the 300 s of \
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

    /// Returns the preset for a path inside a Kubernetes cluster, through a Service.
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

    /// Returns all presets except [`Preset::cloud`].
    #[must_use]
    pub fn all() -> [Self; 4] {
        [Self::plain(), Self::aws_nlb(), Self::aws_alb(), Self::kubernetes()]
    }

    /// Returns the numbers that follow from a path's idle limit.
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

/// Returns a time that is safely below an idle limit: lower by 3 %, because long timers are coarse,
/// and by at least 6 s, so that a segment that is sent at the last moment and lost twice (sent again
/// after 1 s and after 2 s more) still arrives in time. It is never less than half of the limit.
#[must_use]
pub fn below(limit: Duration) -> Duration {
    let margin = (limit / 100 * 3).max(Duration::from_secs(6));
    limit - margin.min(limit / 2)
}

/// Returns three quarters of a limit: the silence after which a connection is probed.
pub(crate) fn three_quarters(limit: Duration) -> Duration {
    limit / 4 * 3
}
