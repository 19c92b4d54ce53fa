//! What a pool publishes through the `metrics` facade, and the table of it.
//!
//! The maintenance task copies the pool's counters to handles. These are created once per pool, when
//! the channel is first used: install a recorder before that. Rare events with labels of their own
//! are published immediately. Names are gRPC's if gRPC has one (gRFC A94, A96, A118).
//!
//! Channels to one target add up: counters are incremented, and a gauge shows the sum of the channels of
//! this process. A channel that is gone counts 0.

mod meter;

use crate::pool::counters::Count;
use metrics::Unit;

pub(crate) use meter::{Levels, Meter};

/// What a metric's value does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It is as it is now.
    Gauge,
    /// Each value is recorded.
    Histogram,
}

/// One metric. Each also has the label `grpc.target`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What its value does.
    pub kind: MetricKind,
    /// What its value is.
    pub unit: Unit,
    /// Labels beside `grpc.target`.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit: Unit::Count, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, unit: Unit::Count, labels, help }
}

const fn histogram(
    name: &'static str,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Histogram, unit, labels, help }
}

const RESULT: &str = "grpc.tls.handshake.result";
const RESUMED: &str = "grpc.tls.handshake.resumed";
const DISCONNECT: &str = "grpc.disconnect_error";

/// Every metric of a channel.
pub const METRICS: [Metric; 37] = [
    counter("framewire.calls.ended", &[], "calls that ended on a connection"),
    gauge("framewire.calls.active", &[], "calls in flight on connections"),
    gauge("framewire.calls.waiting", &[], "calls that wait for a permit of a connection"),
    counter("framewire.calls.waited", &[], "calls that had to wait for a permit"),
    histogram(
        "framewire.calls.wait",
        Unit::Seconds,
        &[],
        "how long the calls that got a permit had waited",
    ),
    counter("framewire.calls.refused", &["reason"], "calls refused immediately: `queue_full`"),
    counter("framewire.calls.expired", &[], "calls whose deadline passed while they waited"),
    counter(
        "framewire.calls.moved",
        &[],
        "calls that the peer definitely had not processed and that were replayed on another connection",
    ),
    counter("framewire.calls.retried", &[], "further attempts by retry policies"),
    counter("framewire.calls.hedged", &[], "further attempts by hedging policies"),
    histogram("grpc.client.call.retries", Unit::Count, &[], "retries of a call that was retried"),
    histogram("grpc.client.call.hedges", Unit::Count, &[], "hedges of a call that was hedged"),
    histogram(
        "grpc.client.call.retry_delay",
        Unit::Seconds,
        &[],
        "time between the attempts of a call that was retried, in all",
    ),
    gauge("framewire.places", &[], "calls that the open connections can carry concurrently"),
    gauge(
        "framewire.connections",
        &["state"],
        "connections that are `dialing`, `handshaking`, `active` or `draining`",
    ),
    gauge("grpc.subchannel.open_connections", &[], "connections that are open, draining included"),
    counter(
        "grpc.subchannel.connection_attempts_succeeded",
        &[],
        "dials that brought a connection",
    ),
    counter("grpc.subchannel.connection_attempts_failed", &[], "dials that failed"),
    counter("framewire.dials.put_off", &[], "times that a cap delayed a dial"),
    histogram("framewire.dials.duration", Unit::Seconds, &[], "dials that succeeded, TLS included"),
    counter("grpc.subchannel.disconnections", &[DISCONNECT], "connections that ended, and why"),
    counter("grpc.client.tls.handshakes", &[RESULT, RESUMED], "TLS handshakes"),
    histogram(
        "framewire.tls.handshakes.duration",
        Unit::Seconds,
        &[RESUMED],
        "TLS handshakes that succeeded",
    ),
    counter(
        "framewire.target.lost_http2",
        &[],
        "times that the target was found to speak no HTTP/2",
    ),
    counter("framewire.connections.goaways", &[], "GOAWAYs received"),
    counter("framewire.connections.too_many_pings", &[], "GOAWAYs that complained of PINGs"),
    counter("framewire.connections.pings", &[], "PINGs sent, whatever for"),
    counter("framewire.connections.probes", &[], "times that calls waited behind a PING"),
    counter("framewire.connections.probes_failed", &[], "probes that were not answered in time"),
    counter("framewire.connections.silent_deaths", &[], "connections that died without FIN or RST"),
    counter("framewire.connections.shrunk", &[], "connections closed because they had no calls"),
    counter("framewire.connections.replaced", &[], "connections replaced by younger ones"),
    counter("framewire.flow.stream_stalls", &[], "times that DATA waited for a stream's window"),
    counter(
        "framewire.flow.connection_stalled_ms",
        &[],
        "milliseconds in which DATA waited for a connection's window",
    ),
    counter("framewire.limits.tripped", &[], "times that a limit of this side ended something"),
    counter("framewire.calls.leaked", &[], "calls that are held and not polled"),
    counter("framewire.exhaustion.warnings", &[], "warnings that capacity runs out"),
];

/// Tells the recorder of this process what each metric is. Once, after it was installed.
pub fn describe() {
    for metric in METRICS {
        let (name, unit, help) = (metric.name, metric.unit, metric.help);
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(name, unit, help),
            MetricKind::Gauge => metrics::describe_gauge!(name, unit, help),
            MetricKind::Histogram => metrics::describe_histogram!(name, unit, help),
        }
    }
}

/// The counter that shows a count, with its label; none for what is published where it happens.
const fn published(count: Count) -> Option<(&'static str, Option<(&'static str, &'static str)>)> {
    Some(match count {
        Count::Ended => ("framewire.calls.ended", None),
        Count::Waited => ("framewire.calls.waited", None),
        Count::RefusedFull => ("framewire.calls.refused", Some(("reason", "queue_full"))),
        Count::Expired => ("framewire.calls.expired", None),
        Count::Moved => ("framewire.calls.moved", None),
        Count::Retried => ("framewire.calls.retried", None),
        Count::Hedged => ("framewire.calls.hedged", None),
        Count::DialsSucceeded => ("grpc.subchannel.connection_attempts_succeeded", None),
        Count::DialsFailed => ("grpc.subchannel.connection_attempts_failed", None),
        Count::DialsPutOff => ("framewire.dials.put_off", None),
        Count::LostHttp2 => ("framewire.target.lost_http2", None),
        Count::Goaways => ("framewire.connections.goaways", None),
        Count::TooManyPings => ("framewire.connections.too_many_pings", None),
        Count::Pings => ("framewire.connections.pings", None),
        Count::Probes => ("framewire.connections.probes", None),
        Count::ProbesFailed => ("framewire.connections.probes_failed", None),
        Count::SilentDeaths => ("framewire.connections.silent_deaths", None),
        Count::Shrunk => ("framewire.connections.shrunk", None),
        Count::Replaced => ("framewire.connections.replaced", None),
        Count::StreamStalls => ("framewire.flow.stream_stalls", None),
        Count::ConnectionStalled => ("framewire.flow.connection_stalled_ms", None),
        Count::Tripped => ("framewire.limits.tripped", None),
        Count::Leaks => ("framewire.calls.leaked", None),
        Count::Exhaustion => ("framewire.exhaustion.warnings", None),
        Count::TlsFull | Count::TlsResumed | Count::TlsFailed | Count::Disconnections => {
            return None;
        }
    })
}
