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
const CHANNEL_TIMES: [OnTime<ChannelBuilder>; 15] = [
    ("connect_timeout", |b, t| b.connect_timeout(t), true),
    ("keepalive_time", |b, t| b.keepalive_time(t), false),
    ("keepalive_timeout", |b, t| b.keepalive_timeout(t), true),
    ("idle_timeout", |b, t| b.idle_timeout(t), false),
    ("max_connection_age", |b, t| b.max_connection_age(t), false),
    ("backoff", |b, t| b.backoff(t, Duration::MAX), false),
    ("Advanced::settings_timeout", |b, t| b.advanced(advanced().settings_timeout(t)), true),
    ("Advanced::write_stall_timeout", |b, t| b.advanced(advanced().write_stall_timeout(t)), true),
    ("Advanced::doubt's time", |b, t| b.advanced(advanced().doubt(t, t)), true),
    (
        "Advanced::doubt's time for an answer",
        |b, t| b.advanced(advanced().doubt(Duration::from_secs(1), t)),
        true,
    ),
    ("Advanced::stream_stall", |b, t| b.advanced(advanced().stream_stall_timeout(t)), false),
    ("Advanced::probe_after", |b, t| b.advanced(advanced().probe_after(t)), false),
    ("Advanced::leak_after", |b, t| b.advanced(advanced().leak_after(t)), false),
    ("Advanced::shrink_after", |b, t| b.advanced(advanced().shrink_after(t)), false),
    ("Advanced::pick_wait", |b, t| b.advanced(advanced().pick_wait(t)), false),
];

const CHANNEL_COUNTS: [OnCount<ChannelBuilder>; 12] = [
    ("max_connections", |b, n| b.max_connections(n), true),
    ("min_connections", |b, n| b.min_connections(n), false),
    ("max_queued_calls", |b, n| b.max_queued_calls(n), true),
    ("stream_window", |b, n| b.stream_window(n), true),
    ("connection_window", |b, n| b.connection_window(n), true),
    (
        "Advanced::max_calls_per_connection",
        |b, n| b.advanced(advanced().max_calls_per_connection(n)),
        true,
    ),
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

type OnLimits = fn(&mut Limits, u64);

/// The field, how to set it, the ends of the range that is accepted, and values that are refused.
const LIMITS: [(&str, OnLimits, [u64; 2], &[u64]); 25] = [
    ("concurrent_streams", |l, n| l.concurrent_streams = n as u32, [1, U32], &[]),
    ("streams_before_settings", |l, n| l.streams_before_settings = n as u32, [0, U32], &[]),
    ("header_list_bytes", |l, n| l.header_list_bytes = n as usize, [1, U32 / 4], &[0, U32 / 4 + 1]),
    ("header_list_fields", |l, n| l.header_list_fields = n as usize, [1, U64], &[0]),
    ("continuation_frames", |l, n| l.continuation_frames = n as u32, [0, U32], &[]),
    ("field_block_time", |l, n| l.field_block_time = Duration::from_nanos(n), [1, U64], &[0]),
    ("frame_time", |l, n| l.frame_time = Duration::from_nanos(n), [1, U64], &[0]),
    ("header_table_bytes", |l, n| l.header_table_bytes = n as usize, [0, U32], &[U32 + 1, U64]),
    ("settings_entries", |l, n| l.settings_entries = n as usize, [6, U64], &[0, 5]),
    ("control_frames_queued", |l, n| l.control_frames_queued = n as u32, [16, U32], &[0, 15]),
    (
        "frame_bytes",
        |l, n| l.frame_bytes = n as u32,
        [1 << 14, FRAME],
        &[0, 16_383, FRAME + 1, U32],
    ),
    ("data_slice_bytes", |l, n| l.data_slice_bytes = n as usize, [1, U64], &[0]),
    ("stream_window", |l, n| l.stream_window = n as u32, [1, WINDOW], &[0, WINDOW + 1, U32]),
    (
        "connection_window",
        |l, n| l.connection_window = n as u32,
        [65_535, WINDOW],
        &[0, 65_534, U32],
    ),
    (
        "stream_window_max",
        |l, n| l.stream_window_max = n as u32,
        [1 << 20, WINDOW],
        &[1, WINDOW + 1],
    ),
    (
        "connection_window_max",
        |l, n| l.connection_window_max = n as u32,
        [4 << 20, WINDOW],
        &[1, WINDOW + 1],
    ),
    ("unread_free_bytes", |l, n| l.unread_free_bytes = n, [0, U64], &[]),
    (
        "wasted_work",
        |l, n| l.wasted_work = Duration::from_nanos(n),
        [1_000_000, U64],
        &[0, 999_999],
    ),
    ("wasted_time", |l, n| l.wasted_time = Duration::from_nanos(n), [0, U64], &[]),
    ("premature_age", |l, n| l.premature_age = Duration::from_nanos(n), [0, U64], &[]),
    ("empty_frames", |l, n| l.empty_frames = n as u32, [0, U32], &[]),
    ("ping_interval_min", |l, n| l.ping_interval_min = Duration::from_nanos(n), [0, U64], &[]),
    ("ping_strikes", |l, n| l.ping_strikes = Some(n as u32), [0, U32], &[]),
    ("informational_responses", |l, n| l.informational_responses = n as u32, [0, U32], &[]),
    ("recent_streams", |l, n| l.recent_streams = n as usize, [0, U64], &[]),
];

const U32: u64 = u32::MAX as u64;
const U64: u64 = u64::MAX;
const FRAME: u64 = (1 << 24) - 1;
const WINDOW: u64 = (1 << 31) - 1;

/// Each limit of the engine at the ends of its range is built on both sides, and nothing panics; beyond
/// them it is refused with its name, its value and the range.
#[tokio::test(start_paused = true)]
async fn limits_at_their_ends() {
    for (field, set, works, refused) in LIMITS {
        for value in works {
            let (mut near, mut far) = (Limits::client(), Limits::server());
            set(&mut near, value);
            set(&mut far, value);
            assert_eq!(near.errors(), [], "{field} {value}");
            assert_eq!(far.errors(), [], "{field} {value}");
            let near = channel(|b| b.advanced(advanced().limits(near))).await;
            let far = server(|b| b.advanced(server::Advanced::default().limits(far))).await;
            for outcome in [near, far] {
                assert!(matches!(outcome, Outcome::Called(_)), "{field} {value}: {outcome:?}");
            }
        }
        for value in refused {
            let mut limits = Limits::client();
            set(&mut limits, *value);
            let prefix = match field {
                "stream_window" | "connection_window" => "",
                _ => "Limits::",
            };
            let expected = Outcome::Refused(vec![format!("{prefix}{field} is {value}")]);
            let options = server::Advanced::default().limits(limits.clone());
            assert_eq!(server(|b| b.advanced(options)).await, expected);
            let [error] = &limits.errors()[..] else { panic!("{field} {value}") };
            assert_eq!((error.field, error.value), (field, *value));
            assert_eq!((error.min, error.max.min(works[1])), (works[0], works[1]), "{field}");
            let text =
                format!("Limits::{field} is {value}, allowed is {} to {}: ", error.min, error.max);
            assert!(error.to_string().starts_with(&text), "{error}");
            assert_eq!(channel(|b| b.advanced(advanced().limits(limits))).await, expected);
        }
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

/// Options of a call: a deadline of no time ends it, one without end never does.
#[tokio::test(start_paused = true)]
async fn times_of_a_call() {
    const NEVER: Method<Raw, Raw> = Method::new("/test.Echo/Never");
    let (connector, listener) = in_memory(64 * 1024);
    let router = router()
        .bidi(&NEVER, |_context, _requests, _replies| std::future::pending())
        .http("/plain", |_request| async { server::HttpReply::new(200) });
    let _server = Server::builder(router).serve(listener).unwrap();
    let channel = Channel::builder("http://test").connector(connector).build().unwrap();
    let day = Duration::from_secs(24 * 3600);
    for time in TIMES {
        let ended = time < Duration::from_secs(1);
        let fits = |failed: Option<Code>| {
            failed.is_none_or(|code| ended && code == Code::DeadlineExceeded)
        };
        for wait in [false, true] {
            let request = Request::new(Raw::default()).with_timeout(time).with_wait_for_ready(wait);
            // A nanosecond is enough where time stands still.
            let failed = channel.unary(&ECHO, request).await.err().map(|error| error.code());
            assert!(fits(failed), "{time:?}: {failed:?}");
        }
        let request = Request::new(()).with_timeout(time);
        let (sender, mut receiver) = channel.bidi(&NEVER, request).unwrap();
        let next = tokio::time::timeout(day, receiver.message()).await;
        assert_eq!(next.is_ok(), ended, "{time:?}");
        drop(sender);
        let request = client::HttpRequest::new("GET", "/plain").with_timeout(time);
        let failed = channel.http(request).await.err().map(|error| error.code());
        assert!(fits(failed), "{time:?}: {failed:?}");
    }
}

/// Policies at their ends: a call ends as its server says, or waits as long as the policy says.
#[tokio::test(start_paused = true)]
async fn policies() {
    let set: Vec<fn(ChannelBuilder) -> ChannelBuilder> = vec![
        |b| b.hedge(client::HedgePolicy::new(0, Duration::ZERO)),
        |b| b.hedge(client::HedgePolicy::new(u32::MAX, Duration::ZERO)),
        |b| b.hedge(client::HedgePolicy::new(5, Duration::MAX)),
        |b| b.hedge(client::HedgePolicy::new(5, Duration::from_secs(u64::MAX))),
        |b| b.retry(client::RetryPolicy::new(0)),
        |b| b.retry(client::RetryPolicy::new(u32::MAX)).retry_throttle(0, 0.0),
        |b| b.retry(client::RetryPolicy::new(2)).retry_throttle(u32::MAX, f64::INFINITY),
        |b| b.retry(client::RetryPolicy::new(2)).retry_throttle(1, -1.0),
        |b| b.retry(client::RetryPolicy::new(2)).retry_throttle(1, f64::NAN),
    ];
    for set in set {
        match channel(set).await {
            Outcome::Refused(whats) => {
                assert!(whats.iter().all(|what| what.starts_with("retry_throttle")), "{whats:?}");
            }
            outcome @ Outcome::Called(_) => assert_eq!(outcome, Outcome::Called(true)),
        }
    }
    for n in COUNTS {
        let share = client::Share::new().weight(n).max_calls(n).max_waiting(n);
        let (connector, listener) = in_memory(n.min(1 << 16) as usize);
        let _server = Server::builder(router()).serve(listener).unwrap();
        let channel = Channel::builder("http://test").connector(connector).build().unwrap();
        let tenant = channel.tenant("t", share);
        for _ in 0..3 {
            tenant.unary(&ECHO, Raw::default()).await.unwrap();
        }
        let channels = client::Channels::new(n as usize, n, n);
        channels.get(Channel::builder("http://test")).unwrap();
        let cap = Cap::inside(&Cap::new(n, n), n, n);
        assert_eq!((cap.sockets(), cap.open()), (n.max(1), 0));
        assert_eq!(
            Outcome::Called(true),
            self::channel(|b| {
                b.max_connections(1).advanced(client::Advanced::default().cap(cap))
            })
            .await
        );
    }
}

/// Numbers of the sizing that are none.
#[tokio::test(start_paused = true)]
async fn sizings() {
    let numbers =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1.0, f64::MAX, f64::MIN_POSITIVE];
    for number in numbers {
        let set: Vec<fn(&mut ControllerOptions, f64)> = vec![
            |o, n| o.goal.headroom = n,
            |o, n| o.shrink_below = n,
            |o, n| o.goal.wait = client::Wait::Share(n),
            |o, n| o.goal.wait = client::Wait::Quantile(n, Duration::MAX),
        ];
        for set in set {
            let mut options = ControllerOptions::default();
            set(&mut options, number);
            let outcome = channel(|b| b.advanced(advanced().sizing(options))).await;
            let named = |whats: &Vec<String>| whats.iter().all(|what| what.contains("sizing"));
            match &outcome {
                Outcome::Called(ok) => assert!(ok, "{options:?}"),
                Outcome::Refused(whats) => assert!(named(whats), "{options:?}: {whats:?}"),
            }
        }
    }
    for time in TIMES {
        let mut options = ControllerOptions::default();
        (options.hold, options.settle) = (time, time);
        assert_eq!(
            channel(|b| b.advanced(advanced().sizing(options))).await,
            Outcome::Called(true)
        );
        let mut options = ControllerOptions::default();
        options.goal.wait = client::Wait::Mean(time);
        assert_eq!(
            channel(|b| b.advanced(advanced().sizing(options))).await,
            Outcome::Called(true)
        );
    }
}

/// Times of a path that a program has put together itself.
#[tokio::test(start_paused = true)]
async fn presets() {
    for time in TIMES {
        let mut preset = Preset::cloud(time);
        channel(|b| b.environment(preset.clone())).await;
        preset.close_idle = time;
        preset.keepalive = Some(time);
        (preset.doubt.after, preset.doubt.answer) = (time, time);
        preset.probe_after = time;
        preset.path_limit = Some(time);
        channel(|b| b.path(preset.clone())).await;
        let outcome = channel(|b| b.environment(preset)).await;
        if time == Duration::MAX {
            assert_eq!(outcome, Outcome::Called(true));
        }
    }
}

/// Options of sockets at their ends, on real sockets: a connection is made, or the error names them.
#[tokio::test]
async fn sockets() {
    use framewire::transport::{SocketOptions, TcpConnector, TcpKeepalive};
    let server = Server::builder(router()).bind(([127, 0, 0, 1], 0).into()).unwrap();
    let target = format!("http://{}", server.local_addr().unwrap());
    for time in TIMES {
        for probes in COUNTS {
            let options = SocketOptions::new()
                .with_user_timeout(time)
                .with_keepalive(TcpKeepalive::new(time, time, probes));
            let connector = TcpConnector::with_options(options);
            let channel = Channel::builder(&target).connector(connector).build().unwrap();
            channel
                .unary(&ECHO, Raw::default())
                .await
                .unwrap_or_else(|error| panic!("{time:?} {probes}: {error}"));
        }
    }
    server.shutdown(Duration::ZERO).await;
}

/// Numbers of sessions and tickets at their ends.
#[cfg(feature = "tls-ring")]
#[tokio::test(start_paused = true)]
async fn tls() {
    use framewire::tls::{ClientTls, ServerTls};
    let own = rcgen::generate_simple_self_signed(vec!["test".to_owned()]).unwrap();
    let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    for tickets in [0, 1, u32::MAX as usize, usize::MAX] {
        for request in [None, Some((0, 0)), Some((255, 255))] {
            let server = ServerTls::builder().identity_pem(&chain, &key).max_tls13_tickets(tickets);
            let client = ClientTls::builder().roots_pem(&chain).session_capacity(tickets);
            let client = client.ticket_request(request).build().unwrap();
            let (connector, listener) = in_memory(1 << 20);
            let _server = Server::builder(router()).tls(server.build().unwrap()).serve(listener);
            for _ in 0..2 {
                let channel = Channel::builder("https://test").connector(connector.clone());
                let channel = channel.tls(client.clone()).build().unwrap();
                channel.unary(&ECHO, Raw::default()).await.unwrap();
            }
        }
    }
}

/// Limits of messages at their ends.
#[tokio::test(start_paused = true)]
async fn messages() {
    for bytes in [0, 1, usize::MAX] {
        let set = |b: ChannelBuilder| {
            b.max_receive_message(bytes).max_send_message(bytes).max_http_body(bytes)
        };
        assert_eq!(channel(set).await, Outcome::Called(bytes > 1));
        let (connector, listener) = in_memory(bytes);
        let router =
            router().max_receive_message(bytes).max_send_message(bytes).max_http_body(bytes);
        let _server = Server::builder(router).serve(listener).unwrap();
        let channel = Channel::builder("http://test").connector(connector).build().unwrap();
        let answer = channel.unary(&ECHO, Raw(vec![7; 100].into())).await;
        assert_eq!(answer.is_ok(), bytes > 1);
    }
}

/// A setter that takes a number or a time and is not in this file would not be tested at its extremes.
#[test]
fn every_setter_of_a_number_is_here() {
    let here = std::fs::read_to_string("tests/options.rs").unwrap();
    let files = [
        "src/client/options.rs",
        "src/client/advanced.rs",
        "src/client/builder.rs",
        "src/client/plain.rs",
        "src/client/policy.rs",
        "src/client/shards.rs",
        "src/grpc/envelope.rs",
        "src/pool/cap.rs",
        "src/pool/tenant.rs",
        "src/server/advanced.rs",
        "src/server/builder.rs",
        "src/server/router.rs",
        "src/transport/options.rs",
        "src/transport/tls/client.rs",
        "src/transport/tls/server.rs",
    ];
    let mut seen = 0;
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        for part in text.split("    pub ").skip(1) {
            let Some((_, part)) = part.split_once("fn ") else { continue };
            let Some((name, rest)) = part.split_once('(') else { continue };
            let (parameters, after) = rest.split_once(')').unwrap_or_default();
            let makes = after.trim_start().starts_with("-> Self");
            let numbers = ["Duration", "u8", "u32", "u64", "usize", "f64"];
            let takes = numbers.iter().any(|number| parameters.contains(number));
            let others = parameters.contains("&self") || parameters.contains("[u8]");
            if !makes || !takes || others {
                continue;
            }
            seen += 1;
            assert!(here.contains(&format!("{name}(")), "{name} of {file}");
        }
    }
    assert!(seen > 50, "{seen} setters were found");
}

/// A field of the limits that is not in the table would not be tested at its ends.
#[test]
fn every_limit_is_here() {
    let text = std::fs::read_to_string("src/http2/limits.rs").unwrap();
    let (_, text) = text.split_once("pub struct Limits {").unwrap();
    let (fields, _) = text.split_once("\n}").unwrap();
    let fields =
        fields.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'));
    let fields: Vec<&str> = fields.map(|(name, _)| name).collect();
    assert_eq!(fields.len(), LIMITS.len(), "{fields:?}");
    for name in fields {
        assert!(LIMITS.iter().any(|(limit, ..)| *limit == name), "{name}");
    }
}
