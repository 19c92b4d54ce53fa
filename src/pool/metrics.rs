//! What a pool publishes through the `metrics` facade, and the table of it.
//!
//! The maintenance task copies the pool's counters to handles. These are created once per pool, when
//! the channel is first used: install a recorder before that. Rare events with labels of their own
//! are published immediately. Names are gRPC's if gRPC has one (gRFC A94, A96, A118).

use crate::pool::counters::{Count, Counts};
use crate::rt::sync::Ordering;
use crate::transport::connect::ConnectErrorKind;
use metrics::{Counter, Gauge, Histogram, SharedString, Unit};
use std::time::Duration;

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

/// What a pool shows of the present instant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Levels {
    pub(super) active: u64,
    pub(super) waiting: u32,
    pub(super) capacity: u64,
    pub(super) dialing: u32,
    pub(super) handshaking: usize,
    pub(super) ready: usize,
    pub(super) draining: usize,
}

/// A pool's handles.
pub(super) struct Meter {
    target: SharedString,
    /// In the order of [`Count::ALL`], those that are published here.
    counters: Box<[Counter]>,
    gauges: [Gauge; 4],
    states: [Gauge; 4],
    wait: Histogram,
}

impl Meter {
    pub(super) fn new(target: &str) -> Self {
        let target: SharedString = target.to_owned().into();
        let counters = Count::ALL.into_iter().filter_map(|count| {
            let (name, label) = published(count)?;
            let mut labels = vec![metrics::Label::new("grpc.target", target.clone())];
            labels.extend(label.map(|(key, value)| metrics::Label::new(key, value)));
            Some(metrics::counter!(name, labels))
        });
        let gauge = |name: &'static str| metrics::gauge!(name, "grpc.target" => target.clone());
        let state = |state: &'static str| {
            let target = target.clone();
            metrics::gauge!("framewire.connections", "grpc.target" => target, "state" => state)
        };
        Self {
            counters: counters.collect(),
            gauges: [
                "framewire.calls.active",
                "framewire.calls.waiting",
                "framewire.places",
                "grpc.subchannel.open_connections",
            ]
            .map(gauge),
            states: ["dialing", "handshaking", "active", "draining"].map(state),
            wait: metrics::histogram!("framewire.calls.wait", "grpc.target" => target.clone()),
            target,
        }
    }

    pub(super) fn publish(&self, counts: &Counts, levels: &Levels) {
        let values = counts.iter().filter(|(count, _)| published(*count).is_some());
        self.counters.iter().zip(values).for_each(|(counter, (_, n))| counter.absolute(n));
        let open = levels.handshaking + levels.ready + levels.draining;
        let values =
            [levels.active as f64, f64::from(levels.waiting), levels.capacity as f64, open as f64];
        self.gauges.iter().zip(values).for_each(|(gauge, value)| gauge.set(value));
        let states = [
            f64::from(levels.dialing),
            levels.handshaking as f64,
            levels.ready as f64,
            levels.draining as f64,
        ];
        self.states.iter().zip(states).for_each(|(gauge, value)| gauge.set(value));
    }

    /// A call that waited has a permit.
    pub(super) fn waited(&self, time: Duration) {
        self.wait.record(time);
    }

    pub(super) fn dialed(&self, took: Duration) {
        let target = self.target.clone();
        metrics::histogram!("framewire.dials.duration", "grpc.target" => target).record(took);
    }

    pub(super) fn disconnected(&self, why: String) {
        let target = self.target.clone();
        metrics::counter!(
            "grpc.subchannel.disconnections", "grpc.target" => target, DISCONNECT => why
        )
        .increment(1);
    }

    pub(super) fn handshake(&self, resumed: bool, took: Duration) {
        let target = self.target.clone();
        let kind = if resumed { "RESUMED_HANDSHAKE" } else { "FULL_HANDSHAKE" };
        self.count_handshake("SUCCESS", kind);
        metrics::histogram!(
            "framewire.tls.handshakes.duration", "grpc.target" => target, RESUMED => kind
        )
        .record(took);
    }

    pub(super) fn handshake_failed(&self, kind: ConnectErrorKind) {
        let result = match kind {
            ConnectErrorKind::AlpnHttp11
            | ConnectErrorKind::AlpnNone
            | ConnectErrorKind::AlpnOther
            | ConnectErrorKind::AlpnRefused => "NO_APPLICATION_PROTOCOL",
            ConnectErrorKind::CertificateExpired => "CERTIFICATE_EXPIRED",
            ConnectErrorKind::CertificateName | ConnectErrorKind::CertificateInvalid => {
                "BAD_CERTIFICATE"
            }
            ConnectErrorKind::CertificateUntrusted => "UNKNOWN_CA",
            ConnectErrorKind::ClientCertificate => "CERTIFICATE_REQUIRED",
            ConnectErrorKind::TimedOut => "HANDSHAKE_TIMEOUT",
            ConnectErrorKind::Closed => "CONNECTION_CLOSED",
            _ => "UNKNOWN",
        };
        self.count_handshake(result, "FULL_HANDSHAKE");
    }

    fn count_handshake(&self, result: &'static str, resumed: &'static str) {
        let target = self.target.clone();
        metrics::counter!(
            "grpc.client.tls.handshakes", "grpc.target" => target, RESULT => result,
            RESUMED => resumed
        )
        .increment(1);
    }

    /// A call has ended that its policy tried more than once.
    pub(super) fn attempts(&self, hedged: bool, further: u32, paused: Duration) {
        let name = if hedged { "grpc.client.call.hedges" } else { "grpc.client.call.retries" };
        let target = self.target.clone();
        metrics::histogram!(name, "grpc.target" => target.clone()).record(f64::from(further));
        if !hedged {
            metrics::histogram!("grpc.client.call.retry_delay", "grpc.target" => target)
                .record(paused);
        }
    }
}

impl crate::pool::Shared {
    /// The handles, made when they are first needed.
    pub(super) fn meter(&self) -> &Meter {
        self.meter.get_or_init(|| Box::new(Meter::new(&self.target.to_string())))
    }

    /// What was counted since the pool was made.
    pub(super) fn counts(&self) -> Counts {
        let live = self.live.lock();
        let tallies = live
            .iter()
            .map(|handle| (handle.tally().read(), handle.connection_stalled().as_millis() as u64));
        self.counters.read(tallies)
    }

    /// Copies the present state to the handles.
    pub(super) fn publish_metrics(&self) {
        let mut levels = Levels { waiting: self.queue.len(), ..Levels::default() };
        for handle in self.live.lock().iter() {
            let reading = handle.life().read();
            levels.active += u64::from(reading.calls);
            match (reading.open, handle.is_ready()) {
                (false, _) => levels.draining += 1,
                (true, false) => levels.handshaking += 1,
                (true, true) => {
                    levels.ready += 1;
                    levels.capacity = levels.capacity.saturating_add(handle.limit().into());
                }
            }
        }
        for candidate in self.candidates().iter() {
            levels.dialing += u32::from(candidate.subchannel.is_dialing());
        }
        self.meter().publish(&self.counts(), &levels);
    }

    /// A call has a permit after it waited for `time`.
    pub(super) fn note_waited(&self, time: Duration) {
        self.counters.note(Count::Waited);
        self.waited_micros
            .fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.meter().waited(time);
    }
}

impl crate::pool::Pool {
    /// A call has ended for which a policy made further attempts: `hedged` or retried, after pauses
    /// of `paused` in all.
    pub fn note_attempts(&self, hedged: bool, further: u32, paused: Duration) {
        let count = if hedged { Count::Hedged } else { Count::Retried };
        self.shared.counters.add(count, further.into());
        self.shared.meter().attempts(hedged, further, paused);
    }
}
