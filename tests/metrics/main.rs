//! What a recorder sees of a channel: every metric of the table, with the labels that it names and
//! no others, and the numbers that `Channel::stats` gives without a recorder.
#![cfg(all(feature = "client", feature = "server", feature = "tls-ring"))]
#![allow(
    unreachable_pub,
    dead_code,
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../support/identity.rs"]
mod identity;
#[path = "../support/network.rs"]
mod network;
mod recorder;
mod twins;

use framewire::client::metrics::{METRICS, MetricKind};
use framewire::client::{Cap, Channel, Count, HedgePolicy, RetryPolicy};
use framewire::server::{Router, Server};
use framewire::tls::{ClientTls, ServerTls};
use framewire::transport::{Connect, ConnectFuture, Target};
use framewire::unstable::connection::options::ConnectionOptions;
use framewire::unstable::grpc::{Code, Method, Raw, Request, Response, Status};
use framewire::unstable::http2::Role;
use framewire::unstable::pool::PoolOptions;
use identity::Identity;
use network::{Network, addr};
use recorder::{Recorder, Value};
use std::collections::BTreeSet;
use std::time::Duration;

const WORK: Method<Raw, Raw> = Method::new("/test.Work/Do");
const FLAKY: Method<Raw, Raw> = Method::new("/test.Work/Flaky");
const SLOW: Method<Raw, Raw> = Method::new("/test.Work/Slow");

fn raw(bytes: &[u8]) -> Raw {
    Raw(bytes::Bytes::copy_from_slice(bytes))
}

async fn ms(time: u64) {
    tokio::time::sleep(Duration::from_millis(time)).await;
}

fn router() -> Router {
    Router::new()
        .unary(&WORK, |_, request: Raw| async move {
            let time = u64::from(request.0.first().copied().unwrap_or(0)) * 10;
            ms(time).await;
            Ok(Response::new(request))
        })
        .unary(&FLAKY, |context, request: Raw| async move {
            match context.metadata().get("grpc-previous-rpc-attempts") {
                None => Err(Status::new(Code::Unavailable, "not yet")),
                Some(_) => Ok(Response::new(request)),
            }
        })
        .unary(&SLOW, |context, request: Raw| async move {
            if context.metadata().get("grpc-previous-rpc-attempts").is_none() {
                ms(500).await;
            }
            Ok(Response::new(request))
        })
}

fn options() -> PoolOptions {
    let mut options = PoolOptions::new();
    options.seed = Some(5);
    options.cap = Some(Cap::new(64, 64));
    options
}

struct Tls {
    network: Network,
    server: Option<Server>,
    identity: Identity,
    channel: Channel,
}

fn server_tls(identity: &Identity) -> ServerTls {
    let tls = ServerTls::builder().identity_pem(&identity.chain, identity.key_pem());
    tls.build().unwrap()
}

/// A channel over TLS, to a server that allows two calls a connection.
fn tls() -> Tls {
    let network = Network::new();
    let identity = Identity::new("secure.test");
    let mut allowing = ConnectionOptions::new(Role::Server);
    allowing.limits.concurrent_streams = 2;
    let server = Server::builder(router()).unstable_connection(allowing).tls(server_tls(&identity));
    let server = Some(server.serve(network.patient(addr(1))).unwrap());
    let tls = ClientTls::builder().roots_pem(&identity.root).build().unwrap();
    let mut options = options();
    options.max_connections = 1;
    options.max_waiting = 3;
    let channel = Channel::builder("https://secure.test").connector(network.clone()).tls(tls);
    let channel = channel
        .unstable_pool(options)
        .retry_for("/test.Work/Flaky", RetryPolicy::new(3))
        .hedge_for("/test.Work/Slow", HedgePolicy::new(2, Duration::from_millis(20)))
        .build()
        .unwrap();
    Tls { network, server, identity, channel }
}

/// Calls that wait, are refused, expire, are retried and hedged; handshakes full and resumed;
/// connections that end.
async fn exercise(tls: &mut Tls) {
    let channel = tls.channel.clone();
    let begin = |tens: u8, timeout: Option<u64>| {
        let channel = channel.clone();
        tokio::spawn(async move {
            let mut request = Request::new(raw(&[tens]));
            if let Some(timeout) = timeout {
                request = request.with_timeout(Duration::from_millis(timeout));
            }
            channel.unary(&WORK, request).await.map(drop)
        })
    };
    begin(0, None).await.unwrap().unwrap();
    let mut calls: Vec<_> = (0..4).map(|_| begin(10, None)).collect();
    calls.push(begin(0, Some(20)));
    ms(1).await;
    let refused = begin(0, None).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    for call in calls {
        drop(call.await.unwrap());
    }
    channel.unary(&FLAKY, raw(b"x")).await.unwrap();
    channel.unary(&SLOW, raw(b"x")).await.unwrap();
    ms(2_000).await;
    // A second connection resumes the first one's session.
    channel.unstable_handles()[0].goodbye();
    ms(100).await;
    begin(0, None).await.unwrap().unwrap();
    ms(2_000).await;
    // The server goes away, and its address then speaks TLS without HTTP/2.
    tls.server.take().unwrap().shutdown(Duration::from_secs(1)).await;
    tls.network.silence(addr(1));
    drop(begin(0, None).await.unwrap());
    ms(10_000).await;
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(tls.identity.parts().0, tls.identity.parts().1)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut listener = tls.network.listen(addr(1));
    tls.channel.reset_connect_backoff();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let other = tokio::spawn(async move {
        while let Ok(connected) = framewire::transport::Accept::accept(&mut listener).await {
            drop(acceptor.accept(connected.io).await);
        }
    });
    ms(100).await;
    for _ in 0..2 {
        let error = begin(0, None).await.unwrap().unwrap_err();
        assert!(error.to_string().contains("ALPN"), "{error}");
        ms(10_000).await;
    }
    // The counts are published once in 8 s when there are no calls.
    ms(8_000).await;
    other.abort();
}

#[tokio::test(start_paused = true)]
async fn every_metric_of_the_table_is_published_with_its_labels() {
    let recorder = Recorder::install();
    framewire::client::metrics::describe();
    let mut tls = tls();
    exercise(&mut tls).await;
    let seen = recorder.values();
    let table: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    let names: BTreeSet<&str> = seen.keys().map(|key| key.name.as_str()).collect();
    assert_eq!(names, table, "published, and in the table");
    assert_eq!(recorder.described(), table.iter().map(ToString::to_string).collect());
    for (key, value) in &seen {
        let metric = METRICS.iter().find(|metric| metric.name == key.name).unwrap();
        let mut labels: BTreeSet<&str> = metric.labels.iter().copied().collect();
        labels.insert("grpc.target");
        let told: BTreeSet<&str> = key.labels.keys().map(String::as_str).collect();
        assert_eq!(told, labels, "{key:?}");
        assert_eq!(key.labels["grpc.target"], "https://secure.test:443", "{key:?}");
        let kind = match value {
            Value::Counter(_) => MetricKind::Counter,
            Value::Gauge(_) => MetricKind::Gauge,
            Value::Histogram(_) => MetricKind::Histogram,
        };
        assert_eq!(kind, metric.kind, "{key:?}");
    }
    numbers(&recorder, &tls.channel);
}

/// The recorder's numbers are those of the stats, and what happened.
fn numbers(recorder: &Recorder, channel: &Channel) {
    let stats = channel.stats();
    let of = |name: &str, label: Option<(&str, &str)>| recorder.sum(name, label);
    let pairs = [
        (Count::Ended, "framewire.calls.ended", None),
        (Count::Waited, "framewire.calls.waited", None),
        (Count::RefusedFull, "framewire.calls.refused", Some(("reason", "queue_full"))),
        (Count::Expired, "framewire.calls.expired", None),
        (Count::Retried, "framewire.calls.retried", None),
        (Count::Hedged, "framewire.calls.hedged", None),
        (Count::DialsSucceeded, "grpc.subchannel.connection_attempts_succeeded", None),
        (Count::DialsFailed, "grpc.subchannel.connection_attempts_failed", None),
        (Count::Disconnections, "grpc.subchannel.disconnections", None),
        (
            Count::TlsFull,
            "grpc.client.tls.handshakes",
            Some(("grpc.tls.handshake.result", "SUCCESS")),
        ),
        (Count::LostHttp2, "framewire.target.lost_http2", None),
        (Count::Goaways, "framewire.connections.goaways", None),
        (Count::Shrunk, "framewire.connections.shrunk", None),
    ];
    for (count, name, label) in pairs {
        let mut expected = stats.counted(count);
        if count == Count::TlsFull {
            expected += stats.counted(Count::TlsResumed);
        }
        assert_eq!(of(name, label), expected as f64, "{count:?}");
    }
    for (count, at_least) in [
        (Count::Waited, 3),
        (Count::RefusedFull, 1),
        (Count::Expired, 1),
        (Count::Retried, 1),
        (Count::Hedged, 1),
        (Count::DialsSucceeded, 2),
        (Count::DialsFailed, 2),
        (Count::TlsFull, 1),
        (Count::TlsResumed, 1),
        (Count::TlsFailed, 2),
        (Count::Goaways, 1),
        (Count::Disconnections, 2),
    ] {
        assert!(stats.counted(count) >= at_least, "{count:?}: {}", stats.counted(count));
    }
    assert_eq!(stats.counted(Count::LostHttp2), 1, "one event, however many dials");
    let why = ("grpc.disconnect_error", "GOAWAY NO_ERROR");
    assert_eq!(of("grpc.subchannel.disconnections", Some(why)), 1.0);
    let alpn = ("grpc.tls.handshake.result", "NO_APPLICATION_PROTOCOL");
    assert_eq!(
        of("grpc.client.tls.handshakes", Some(alpn)),
        stats.counted(Count::TlsFailed) as f64
    );
    assert_eq!(of("framewire.calls.wait", None), stats.counted(Count::Waited) as f64);
    assert_eq!(of("grpc.client.call.retries", None), 1.0, "one call was retried");
    assert_eq!(of("grpc.subchannel.open_connections", None), 0.0);
    assert_eq!(stats.endpoints[0].http2, Some(false));
    assert!(stats.to_string().contains("speaks no HTTP/2"), "{stats}");
}

/// The page on the pool shows each metric.
#[test]
fn the_page_shows_every_metric() {
    let page = include_str!("../../src/client/pool.md");
    for metric in METRICS {
        assert!(page.contains(&format!("`{}`", metric.name)), "{} is missing", metric.name);
        for label in metric.labels {
            assert!(page.contains(label), "{} of {} is missing", label, metric.name);
        }
    }
}

/// And each default, as it is.
#[test]
fn the_page_shows_the_defaults() {
    let page = include_str!("../../src/client/pool.md");
    let options = PoolOptions::new();
    let driver = &options.driver;
    let off =
        |time: Option<Duration>| time.map_or_else(|| "off".to_owned(), |time| format!("{time:?}"));
    let sizing = if options.sizing.is_none() { "off" } else { "on" };
    let values = [
        ("min_connections", options.min_connections.to_string()),
        ("max_connections", options.max_connections.to_string()),
        ("max_queued_calls", options.max_waiting.to_string()),
        ("connect_timeout", format!("{:?}", options.dial_time)),
        ("idle_timeout", format!("{:?}", options.idle_time)),
        ("max_connection_age", off(options.max_age)),
        ("backoff", format!("{:?}, {:?}", options.backoff, options.backoff_max)),
        ("keepalive_time", off(driver.keepalive)),
        ("keepalive_timeout", format!("{:?}", driver.keepalive_timeout)),
        ("Advanced::max_calls_per_connection", options.max_calls.to_string()),
        ("Advanced::fill_percent", options.fill_percent.to_string()),
        ("Advanced::write_queue_bytes", options.write_queue_bytes.to_string()),
        ("Advanced::pick_wait", format!("{:?}", options.pick_wait)),
        ("Advanced::shrink_after", format!("{:?}", options.shrink_after)),
        ("Advanced::max_transparent_attempts", options.attempts.to_string()),
        ("Advanced::replay_bytes", options.keep_bytes.to_string()),
        ("Advanced::replay_total_bytes", options.keep_total_bytes.to_string()),
        ("Advanced::resolve_interval", format!("{:?}", options.resolve_interval)),
        ("Advanced::sizing", sizing.to_owned()),
        ("Advanced::settings_timeout", format!("{:?}", driver.settings_time)),
        ("Advanced::probe_after", off(driver.probe_after)),
        ("Advanced::leak_after", off(driver.leak_after)),
        ("Advanced::doubt", format!("{:?}, {:?}", driver.doubt.after, driver.doubt.answer)),
        ("Advanced::write_stall_timeout", off(driver.write_stall_time)),
        ("Advanced::stream_stall_timeout", off(driver.stream_stall_time)),
    ];
    for (name, value) in values {
        let row = format!("| `{name}` | {value} | ");
        assert!(page.contains(&row), "the page does not say {row}");
    }
    let cap = Cap::process();
    assert!(page.contains(&format!("{} sockets and 256 dials per second", cap.sockets())));
}

/// A dial says how far it has come.
struct Steps(Network);

impl Connect for Steps {
    fn connect(&self, target: Target) -> ConnectFuture {
        let network = self.0.clone();
        Box::pin(async move {
            for phase in [
                framewire::transport::ConnectPhase::Resolve,
                framewire::transport::ConnectPhase::Socket,
                framewire::transport::ConnectPhase::Tls,
            ] {
                target.enter(phase);
                ms(100).await;
            }
            network.connect(target).await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_is_shown_with_its_step() {
    let network = Network::new();
    let _server = network.serve(addr(1), router(), ConnectionOptions::new(Role::Server));
    let channel =
        Channel::builder("http://test").connector(Steps(network)).unstable_pool(options());
    let channel = channel.build().unwrap();
    channel.connect();
    let mut seen = Vec::new();
    for _ in 0..3 {
        ms(50).await;
        let stats = channel.stats();
        let (phase, time) = stats.endpoints[0].dial.unwrap();
        seen.push(format!("{phase:?} {}", time.as_millis()));
        ms(50).await;
    }
    assert_eq!(seen, ["Resolve 50", "Socket 150", "Tls 250"]);
    ms(10).await;
    assert!(channel.stats().endpoints[0].dial.is_none());
}
