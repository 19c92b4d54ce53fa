//! Two channels to one target: what a recorder holds is the sum of what they did and have, at any time
//! and after their ends. And recorders and subscribers that panic.

use crate::network::{Network, addr};
use crate::recorder::{Recorder, silently};
use crate::{WORK, ms, options, raw, router};
use framewire::client::metrics::{METRICS, MetricKind};
use framewire::client::{Channel, Count};
use framewire::error::Error;
use framewire::unstable::connection::options::ConnectionOptions;
use framewire::unstable::grpc::{Raw, Request, Response};
use framewire::unstable::http2::Role;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The count behind each counter that is not published where it happens.
const COUNTS: [(Count, &str); 23] = [
    (Count::Ended, "framewire.calls.ended"),
    (Count::Waited, "framewire.calls.waited"),
    (Count::RefusedFull, "framewire.calls.refused"),
    (Count::Expired, "framewire.calls.expired"),
    (Count::Moved, "framewire.calls.moved"),
    (Count::Retried, "framewire.calls.retried"),
    (Count::Hedged, "framewire.calls.hedged"),
    (Count::DialsSucceeded, "grpc.subchannel.connection_attempts_succeeded"),
    (Count::DialsFailed, "grpc.subchannel.connection_attempts_failed"),
    (Count::DialsPutOff, "framewire.dials.put_off"),
    (Count::LostHttp2, "framewire.target.lost_http2"),
    (Count::Goaways, "framewire.connections.goaways"),
    (Count::TooManyPings, "framewire.connections.too_many_pings"),
    (Count::Pings, "framewire.connections.pings"),
    (Count::Probes, "framewire.connections.probes"),
    (Count::ProbesFailed, "framewire.connections.probes_failed"),
    (Count::SilentDeaths, "framewire.connections.silent_deaths"),
    (Count::Shrunk, "framewire.connections.shrunk"),
    (Count::Replaced, "framewire.connections.replaced"),
    (Count::StreamStalls, "framewire.flow.stream_stalls"),
    (Count::Tripped, "framewire.limits.tripped"),
    (Count::Leaks, "framewire.calls.leaked"),
    (Count::Exhaustion, "framewire.exhaustion.warnings"),
];

fn channel(network: &Network, target: &str) -> Channel {
    let mut options = options();
    (options.max_connections, options.max_waiting) = (1, 2);
    let builder = Channel::builder(target).connector(network.clone()).unstable_pool(options);
    builder.build().unwrap()
}

fn serve(network: &Network) -> framewire::server::Server {
    let mut allowing = ConnectionOptions::new(Role::Server);
    allowing.limits.concurrent_streams = 2;
    network.serve(addr(1), router(), allowing)
}

/// Fails a test that hangs. Time is virtual: the pools' timers would fire as fast as the processor allows,
/// for as long as the harness runs.
async fn bounded(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(600), test).await.expect("the test hangs");
}

type Call = JoinHandle<Result<Response<Raw>, Error>>;

/// A call that lasts so many times 10 ms.
fn begin(channel: &Channel, tens: u8, timeout: Option<u64>) -> Call {
    let channel = channel.clone();
    let request = Request::new(raw(&[tens]));
    let request = match timeout {
        Some(timeout) => request.with_timeout(Duration::from_millis(timeout)),
        None => request,
    };
    tokio::spawn(async move { channel.unary(&WORK, request).await })
}

/// What the recorder holds of a target: the sum of each series without labels, and each state.
struct Seen<'a>(&'a Recorder, &'a str);

impl Seen<'_> {
    fn of(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        self.0.sum_of(self.1, name, label)
    }

    fn levels(&self) -> [f64; 8] {
        let gauges = [
            "framewire.calls.active",
            "framewire.calls.waiting",
            "framewire.places",
            "grpc.subchannel.open_connections",
        ];
        let state = |state| self.of("framewire.connections", Some(("state", state)));
        let [a, b, c, d] = gauges.map(|gauge| self.of(gauge, None));
        let [e, f, g, h] = ["dialing", "handshaking", "active", "draining"].map(state);
        [a, b, c, d, e, f, g, h]
    }

    fn counters_are(&self, truth: &BTreeMap<&str, u64>) {
        for (name, expected) in truth {
            assert_eq!(self.of(name, None), *expected as f64, "{name}");
        }
    }
}

fn add_up(truth: &mut BTreeMap<&'static str, u64>, channel: &Channel) {
    let stats = channel.stats();
    for (count, name) in COUNTS {
        *truth.entry(name).or_default() += stats.counted(count);
    }
}

#[tokio::test(start_paused = true)]
async fn two_channels_to_one_target_add_up_and_end_at_nothing() {
    bounded(twins()).await;
}

async fn twins() {
    let recorder = Recorder::install();
    let network = Network::new();
    let _server = serve(&network);
    let target = "http://twins.test:80";
    let seen = Seen(&recorder, target);
    let [one, two] = [channel(&network, target), channel(&network, target)];
    // Both use their connection, one of them to its limit and beyond.
    for channel in [&one, &two, &one] {
        begin(channel, 0, None).await.unwrap().unwrap();
    }
    let mut calls: Vec<_> = (0..2).map(|_| begin(&one, 200, None)).collect();
    ms(1).await;
    let late = begin(&one, 0, Some(1500));
    calls.push(begin(&one, 0, None));
    ms(1).await;
    let refused = begin(&one, 0, None);
    calls.push(begin(&two, 200, None));
    ms(1100).await;
    assert!(refused.await.unwrap().is_err());
    assert_eq!(seen.levels(), [3.0, 2.0, 4.0, 2.0, 0.0, 0.0, 2.0, 0.0]);
    assert!(late.await.unwrap().is_err());
    for call in calls {
        call.await.unwrap().unwrap();
    }
    ms(1100).await;
    let mut truth = BTreeMap::new();
    add_up(&mut truth, &one);
    add_up(&mut truth, &two);
    let facts = [truth["framewire.calls.ended"], truth["framewire.calls.waited"]];
    assert_eq!((facts, truth["framewire.calls.refused"]), ([7, 3], 1));
    assert_eq!((truth["framewire.calls.expired"], truth["framewire.connections.shrunk"]), (1, 0));
    seen.counters_are(&truth);
    assert_eq!(seen.of("framewire.calls.wait", None), 3.0);
    assert_eq!(seen.of("framewire.dials.duration", None), 2.0);
    // One is dropped with its last call just ended; the other continues.
    begin(&one, 0, None).await.unwrap().unwrap();
    drop(one);
    ms(50).await;
    *truth.get_mut("framewire.calls.ended").unwrap() += 1;
    seen.counters_are(&truth);
    assert_eq!(seen.levels(), [0.0, 0.0, 2.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
    // The other with a call in flight.
    let cancelled = begin(&two, 200, None);
    ms(1100).await;
    assert_eq!(seen.levels(), [1.0, 0.0, 2.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
    drop(two);
    cancelled.abort();
    ms(50).await;
    *truth.get_mut("framewire.calls.ended").unwrap() += 1;
    seen.counters_are(&truth);
    assert_eq!(seen.levels(), [0.0; 8]);
    let why = ("grpc.disconnect_error", "subchannel shutdown");
    assert_eq!(seen.of("grpc.subchannel.disconnections", Some(why)), 2.0);
    // No series was left out.
    for metric in METRICS.iter().filter(|metric| metric.kind == MetricKind::Counter) {
        let known = truth.contains_key(metric.name);
        let apart = ["grpc.subchannel.disconnections", "grpc.client.tls.handshakes"];
        let time = metric.name == "framewire.flow.connection_stalled_ms";
        assert!(known || time || apart.contains(&metric.name), "{}", metric.name);
    }
}

/// A recorder that panics, when it registers or when it records, ends no call and no connection.
#[tokio::test(start_paused = true)]
async fn a_recorder_that_panics_is_contained() {
    bounded(recorder_panics()).await;
}

async fn recorder_panics() {
    Recorder::install();
    for target in ["http://panics-at-once.test:80", "http://panics-later.test:80"] {
        let network = Network::new();
        let server = serve(&network);
        let channel = channel(&network, target);
        begin(&channel, 0, None).await.unwrap().unwrap();
        for _ in 0..3 {
            let calls: Vec<_> = (0..4).map(|_| begin(&channel, 1, None)).collect();
            for call in calls {
                call.await.unwrap().unwrap();
            }
            ms(1500).await;
        }
        assert_eq!(channel.stats().counted(Count::DialsSucceeded), 1, "{target}");
        assert!(channel.stats().counted(Count::Waited) > 0);
        server.shutdown(Duration::from_secs(1)).await;
        assert!(channel.connections().is_empty());
    }
}

/// A subscriber that panics at each event.
struct Panics;

impl tracing::Subscriber for Panics {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().target().starts_with("framewire") {
            silently();
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// So does a subscriber.
#[tokio::test(start_paused = true)]
async fn a_subscriber_that_panics_is_contained() {
    bounded(subscriber_panics()).await;
}

async fn subscriber_panics() {
    let _guard = tracing::subscriber::set_default(Panics);
    let network = Network::new();
    let server = serve(&network);
    let channel = channel(&network, "http://traced.test:80");
    begin(&channel, 0, None).await.unwrap().unwrap();
    for _ in 0..2 {
        let calls: Vec<_> = (0..4).map(|_| begin(&channel, 1, None)).collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
    assert_eq!(channel.stats().counted(Count::DialsSucceeded), 1);
    // GOAWAY, the end of the connection, and another one: each is logged.
    server.shutdown(Duration::from_secs(1)).await;
    assert!(channel.connections().is_empty());
    let _server = serve(&network);
    begin(&channel, 0, None).await.unwrap().unwrap();
}
