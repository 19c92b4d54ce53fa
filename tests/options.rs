//! Every option at its extremes: a channel or server that is built carries a call, one that is not
//! names the setter, and nothing panics.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use framewire::client::{self, Balance, Cap, Channel, ChannelBuilder, ControllerOptions, Preset};
use framewire::server::{self, Router, Server, ServerBuilder};
use framewire::transport::in_memory;
use framewire::{Budget, Code, Engine, Limits, Method, Raw, Request, Response, Status};
use std::time::Duration;

const ECHO: Method<Raw, Raw> = Method::new("/test.Echo/Echo");
const TIMES: [Duration; 4] =
    [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::MAX), Duration::MAX];
const COUNTS: [u32; 4] = [0, 1, i32::MAX as u32, u32::MAX];

fn router() -> Router {
    Router::new().unary(&ECHO, |_context, request| async move { Ok(Response::new(request)) })
}

/// What came of one setting.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Built, and a call was made; whether it succeeded depends on the option.
    Called(bool),
    /// Not built; what was found.
    Refused(Vec<String>),
}

/// One call to `server` over `channel`, in memory.
async fn run(
    channel: impl FnOnce(ChannelBuilder) -> ChannelBuilder,
    server: impl FnOnce(ServerBuilder) -> ServerBuilder,
) -> Outcome {
    let (connector, listener) = in_memory(64 * 1024);
    let words = |findings: Vec<client::Finding>| findings.into_iter().map(|one| one.what).collect();
    let server = match server(Server::builder(router())).serve(listener) {
        Ok(server) => server,
        Err(server::BuildError::Options(findings)) => return Outcome::Refused(words(findings)),
        Err(other) => panic!("{other}"),
    };
    let cap = client::Advanced::default().cap(Cap::new(1024, 1 << 20));
    let builder = Channel::builder("http://test").connector(connector).advanced(cap);
    let outcome = match channel(builder).build() {
        Ok(channel) => {
            let request = Request::new(Raw(vec![7; 100].into()));
            let request = request.with_timeout(Duration::from_secs(5));
            let called = channel.unary(&ECHO, request).await.is_ok();
            // The pool's own task and the connection's timers look at the options, too.
            tokio::time::sleep(Duration::from_secs(700)).await;
            let request = Request::new(Raw::default()).with_timeout(Duration::from_secs(5));
            let _ = channel.unary(&ECHO, request).await;
            let _ = (channel.stats().to_string(), channel.advice());
            Outcome::Called(called)
        }
        Err(client::BuildError::Options(findings)) => Outcome::Refused(words(findings)),
        Err(other) => panic!("{other}"),
    };
    server.shutdown(Duration::MAX).await;
    outcome
}

async fn channel(set: impl FnOnce(ChannelBuilder) -> ChannelBuilder) -> Outcome {
    run(set, |server| server).await
}

async fn server(set: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Outcome {
    run(|channel| channel, set).await
}

fn advanced() -> client::Advanced {
    client::Advanced::default().cap(Cap::new(1024, 1 << 20))
}

type OnTime<B> = (&'static str, fn(B, Duration) -> B, bool);
type OnCount<B> = (&'static str, fn(B, u32) -> B, bool);

/// The name that errors use, the setter, and whether zero is an error.
const CHANNEL_TIMES: [OnTime<ChannelBuilder>; 13] = [
    ("connect_timeout", |b, t| b.connect_timeout(t), true),
    ("keepalive_time", |b, t| b.keepalive_time(t), false),
    ("keepalive_timeout", |b, t| b.keepalive_timeout(t), true),
    ("idle_timeout", |b, t| b.idle_timeout(t), false),
    ("max_connection_age", |b, t| b.max_connection_age(t), false),
    ("backoff", |b, t| b.backoff(t, Duration::MAX), false),
    ("Advanced::settings_timeout", |b, t| b.advanced(advanced().settings_timeout(t)), true),
    ("Advanced::write_stall_timeout", |b, t| b.advanced(advanced().write_stall_timeout(t)), true),
    ("Advanced::stream_stall", |b, t| b.advanced(advanced().stream_stall_timeout(t)), false),
    ("Advanced::probe_after", |b, t| b.advanced(advanced().probe_after(t)), false),
    ("Advanced::leak_after", |b, t| b.advanced(advanced().leak_after(t)), false),
    ("Advanced::shrink_after", |b, t| b.advanced(advanced().shrink_after(t)), false),
    ("Advanced::pick_wait", |b, t| b.advanced(advanced().pick_wait(t)), false),
];

const CHANNEL_COUNTS: [OnCount<ChannelBuilder>; 11] = [
    ("max_connections", |b, n| b.max_connections(n), true),
    ("min_connections", |b, n| b.min_connections(n), false),
    ("max_queued_calls", |b, n| b.max_queued_calls(n), true),
    ("stream_window", |b, n| b.stream_window(n), true),
    ("connection_window", |b, n| b.connection_window(n), true),
    ("Advanced::fill_percent", |b, n| b.advanced(advanced().fill_percent(n)), true),
    ("Advanced::write_queue_bytes", |b, n| b.advanced(advanced().write_queue_bytes(n)), false),
    (
        "Advanced::max_transparent_attempts",
        |b, n| b.advanced(advanced().max_transparent_attempts(n)),
        true,
    ),
    ("Advanced::replay_bytes", |b, n| b.advanced(advanced().replay_bytes(n)), false),
    ("Advanced::replay_total_bytes", |b, n| b.advanced(advanced().replay_total_bytes(n)), false),
    ("budget", |b, n| b.budget(Budget::new(u64::from(n) * u64::from(n))), false),
];

const SERVER_TIMES: [OnTime<ServerBuilder>; 9] = [
    ("handshake_timeout", |b, t| b.handshake_timeout(t), true),
    ("keepalive_time", |b, t| b.keepalive_time(t), false),
    ("keepalive_timeout", |b, t| b.keepalive_timeout(t), true),
    ("max_connection_age", |b, t| b.max_connection_age(t), false),
    (
        "max_connection_age_grace",
        |b, t| b.max_connection_age(Duration::from_secs(60)).max_connection_age_grace(t),
        false,
    ),
    ("max_connection_idle", |b, t| b.max_connection_idle(t), false),
    (
        "Advanced::settings_timeout",
        |b, t| b.advanced(server::Advanced::default().settings_timeout(t)),
        true,
    ),
    (
        "Advanced::write_stall_timeout",
        |b, t| b.advanced(server::Advanced::default().write_stall_timeout(t)),
        true,
    ),
    (
        "Advanced::stream_stall_timeout",
        |b, t| b.advanced(server::Advanced::default().stream_stall_timeout(t)),
        false,
    ),
];

const SERVER_COUNTS: [OnCount<ServerBuilder>; 5] = [
    ("max_connections", |b, n| b.max_connections(n as usize), true),
    ("max_concurrent_streams", |b, n| b.max_concurrent_streams(n), true),
    ("stream_window", |b, n| b.stream_window(n), true),
    ("connection_window", |b, n| b.connection_window(n), true),
    ("budget", |b, n| b.budget(Budget::new(u64::from(n))), false),
];

/// Zero is refused where it cannot be meant, by the name of its setter; the largest value is built
/// and works as one without a limit.
fn judge(name: &str, zero: bool, largest: bool, refuses_zero: bool, outcome: &Outcome) {
    match outcome {
        Outcome::Refused(whats) => {
            assert!(whats.iter().any(|what| what.contains(name)), "{name}: {whats:?}");
            assert!(!zero || refuses_zero, "{name}: {whats:?}");
        }
        Outcome::Called(ok) => {
            assert!(!(zero && refuses_zero), "{name} of zero was built");
            assert!(*ok || !largest, "{name} at its largest: the call failed");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn times_of_a_channel() {
    for (name, set, refuses) in CHANNEL_TIMES {
        for time in TIMES {
            let outcome = channel(|builder| set(builder, time)).await;
            judge(name, time.is_zero(), time == Duration::MAX, refuses, &outcome);
        }
    }
    // The next attempt after a failed dial is where backoff is added to the clock.
    for time in TIMES {
        let refused = Channel::builder("http://127.0.0.1:1").backoff(time, Duration::MAX);
        let refused = refused.connector(in_memory(1).0).build().unwrap();
        let request = Request::new(Raw::default()).with_timeout(Duration::from_secs(5));
        refused.unary(&ECHO, request).await.unwrap_err();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    for time in TIMES {
        let outcome = channel(|b| b.advanced(advanced().resolve_interval(time))).await;
        judge("Advanced::resolve_interval", time.is_zero(), true, false, &outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn counts_of_a_channel() {
    for (name, set, refuses) in CHANNEL_COUNTS {
        for count in COUNTS {
            let outcome = channel(|builder| set(builder, count)).await;
            judge(name, count == 0, count == u32::MAX, refuses, &outcome);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn times_of_a_server() {
    for (name, set, refuses) in SERVER_TIMES {
        for time in TIMES {
            let outcome = server(|builder| set(builder, time)).await;
            judge(name, time.is_zero(), time == Duration::MAX, refuses, &outcome);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn counts_of_a_server() {
    for (name, set, refuses) in SERVER_COUNTS {
        for count in COUNTS {
            let outcome = server(|builder| set(builder, count)).await;
            judge(name, count == 0, count == u32::MAX, refuses, &outcome);
        }
    }
    let outcome = server(|builder| builder.max_connections(usize::MAX)).await;
    assert_eq!(outcome, Outcome::Called(true));
}

type OnLimits = fn(&mut Limits);

/// The limits of the engine at zero and at their largest: refused by name, or no panic.
#[tokio::test(start_paused = true)]
async fn limits_of_both() {
    let sets: [OnLimits; 16] = [
        |l| l.concurrent_streams = u32::MAX,
        |l| (l.streams_before_settings, l.continuation_frames) = (0, 0),
        |l| (l.streams_before_settings, l.continuation_frames) = (u32::MAX, u32::MAX),
        |l| (l.header_list_bytes, l.header_list_fields) = (0, 0),
        |l| (l.header_list_bytes, l.header_list_fields) = (usize::MAX, usize::MAX),
        |l| (l.header_table_bytes, l.settings_entries) = (0, 0),
        |l| (l.header_table_bytes, l.settings_entries) = (usize::MAX, usize::MAX),
        |l| l.field_block_time = Duration::MAX,
        |l| l.field_block_time = Duration::ZERO,
        |l| (l.premature_age, l.ping_interval_min) = (Duration::MAX, Duration::MAX),
        |l| (l.wasted_work, l.wasted_time) = (Duration::MAX, Duration::MAX),
        |l| (l.control_frames_queued, l.empty_frames) = (u32::MAX, u32::MAX),
        |l| (l.data_slice_bytes, l.recent_streams) = (usize::MAX, usize::MAX),
        |l| (l.data_slice_bytes, l.recent_streams) = (0, 0),
        |l| l.unread_free_bytes = u64::MAX,
        |l| l.ping_strikes = Some(u32::MAX),
    ];
    for set in sets {
        let (mut near, mut far) = (Limits::client(), Limits::server());
        set(&mut near);
        set(&mut far);
        let _ = channel(|b| b.advanced(advanced().limits(near))).await;
        let _ = server(|b| b.advanced(server::Advanced::default().limits(far))).await;
    }
    for bytes in [0, 1 << 24, u32::MAX] {
        let (mut near, mut far) = (Limits::client(), Limits::server());
        (near.frame_bytes, far.frame_bytes) = (bytes, bytes);
        let expected = Outcome::Refused(vec![format!("Limits::frame_bytes is {bytes}")]);
        assert_eq!(channel(|b| b.advanced(advanced().limits(near))).await, expected);
        let options = server::Advanced::default().limits(far);
        assert_eq!(server(|b| b.advanced(options)).await, expected);
    }
}

/// What a setter was given holds, whatever a preset says, before it or after it.
/// The longest backoff and a deadline: the call ends by its deadline, and nobody else notices.
#[tokio::test(start_paused = true)]
async fn the_longest_backoff_of_a_retry() {
    const DOWN: Method<Raw, Raw> = Method::new("/test.Echo/Down");
    for multiplier in [1.0, f64::INFINITY, f64::NAN] {
        let (connector, listener) = in_memory(64 * 1024);
        let router = router().unary(&DOWN, |_context, _request| async move {
            Err(Status::new(Code::Unavailable, "down"))
        });
        let _server = Server::builder(router).serve(listener).unwrap();
        let retry = client::RetryPolicy::new(3).backoff(Duration::MAX, multiplier, Duration::MAX);
        let builder = Channel::builder("http://test").connector(connector);
        let channel = builder.retry(retry).build().unwrap();
        let request = Request::new(Raw::default()).with_timeout(Duration::from_secs(20));
        let error = channel.unary(&DOWN, request).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        channel.unary(&ECHO, Raw::default()).await.unwrap();
        assert_eq!(channel.stats().connections.len(), 1, "the connection lives");
    }
}

#[test]
fn a_user_agent_is_one_line_of_ascii() {
    for name in ["a\r\nx: y", "a\nb", "a\0", "\u{fc}"] {
        let built = Channel::builder("http://test").user_agent(name).build();
        let Err(client::BuildError::Options(findings)) = built else { panic!("{name:?} is taken") };
        assert!(findings[0].what.starts_with("user_agent"), "{findings:?}");
    }
    assert!(Channel::builder("http://test").user_agent("billing/2.1 (blue)").build().is_ok());
}

#[tokio::test]
async fn a_setter_wins_over_a_preset() {
    let long = Duration::from_secs(1_000);
    let builder = || Channel::builder("http://test");
    let first = builder().idle_timeout(long).environment(Preset::aws_alb()).findings();
    let last = builder().environment(Preset::aws_alb()).idle_timeout(long).findings();
    assert_eq!(first, last);
    assert!(first.iter().any(|one| one.what.starts_with("idle_timeout 1000s, on a path")));
    assert_eq!(builder().environment(Preset::aws_alb()).findings(), []);
}

/// Setters of windows replace those in the limits, and raise their maximum.
#[tokio::test(start_paused = true)]
async fn windows_replace_those_of_the_limits() {
    let mut limits = Limits::client();
    limits.frame_bytes = 32 * 1024;
    let bytes = 64 * 1024 * 1024;
    let set = |b: ChannelBuilder| {
        let b = b.advanced(advanced().limits(limits));
        b.stream_window(bytes).connection_window(bytes).engine(Engine::builtin())
    };
    assert_eq!(channel(set).await, Outcome::Called(true));
    let outcome = channel(|b| b.stream_window(1 << 31)).await;
    let Outcome::Refused(whats) = outcome else { panic!("{outcome:?}") };
    assert!(whats[0].starts_with("stream_window is 2147483648"), "{whats:?}");
}

/// A server that is not built says why, by `bind` as by `serve`.
#[tokio::test]
async fn bind_reports_options() {
    let builder = Server::builder(router()).max_connections(0);
    let error = builder.bind(([127, 0, 0, 1], 0).into()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("max_connections is 0"), "{error}");
}

/// The rest of the setters, once.
#[tokio::test(start_paused = true)]
async fn the_others_work() {
    let set = |b: ChannelBuilder| {
        b.balance(Balance::LeastLoaded)
            .keepalive_without_calls(true)
            .keepalive_time(None)
            .max_receive_message(usize::MAX)
            .max_send_message(usize::MAX)
            .max_http_body(usize::MAX)
            .user_agent("test/1")
            .advanced(advanced().sizing(ControllerOptions::default()))
    };
    assert_eq!(channel(set).await, Outcome::Called(true));
}
