//! Calls whose connection, dial, queue or retry lives on a runtime that no longer runs. The caller keeps its
//! own deadline, so each call ends at it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/park.rs"]
mod park;

use framewire::client::{Channel, HedgePolicy, HttpRequest, RetryPolicy};
use framewire::error::{Error, Kind, Phase, Processed};
use framewire::server::{Router, Server};
use framewire::transport::{Connect, ConnectFuture, Target};
use framewire::unstable::grpc::{Code, Method, Raw, Request, Response, Status};
use park::block_on;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

const ECHO: Method<Raw, Raw> = Method::new("/test.Echo/Unary");
const SILENT: Method<Raw, Raw> = Method::new("/test.Echo/Silent");
const BUSY: Method<Raw, Raw> = Method::new("/test.Echo/Busy");
const STREAM: Method<Raw, Raw> = Method::new("/test.Echo/Stream");
/// The deadline of the calls.
const SHORT: Duration = Duration::from_millis(200);
/// A call that has not ended by then hangs.
const HANG: Duration = Duration::from_secs(20);

fn raw(bytes: usize) -> Raw {
    Raw(vec![7; bytes].into())
}

fn short<T>(message: T) -> Request<T> {
    Request::new(message).with_timeout(SHORT)
}

fn serving() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A runtime that runs while somebody blocks on it, and is frozen otherwise.
fn alone() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

struct Setup {
    channel: Channel,
    /// Where the connection lives.
    frozen: Runtime,
    _server: (Server, Runtime),
}

/// A channel that is connected on a runtime that nobody runs from now on.
fn setup(options: impl FnOnce(framewire::client::ChannelBuilder) -> Channel) -> Setup {
    let runtime = serving();
    let router = Router::new()
        .unary(&ECHO, |_, request: Raw| async move { Ok(Response::new(request)) })
        .unary(&SILENT, |_, _: Raw| pending::<Result<Response<Raw>, Status>>())
        .unary(&BUSY, |_, _: Raw| async move {
            Err::<Response<Raw>, _>(Status::new(Code::Unavailable, "busy"))
        })
        .bidi(&STREAM, |_, mut requests, mut replies| async move {
            while let Some(request) = requests.message().await? {
                replies.send(request).await?;
            }
            Ok(())
        });
    let server = {
        let _in = runtime.enter();
        Server::builder(router).bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
    };
    let target = format!("http://{}", server.local_addr().unwrap());
    let channel = options(Channel::builder(&target));
    let frozen = alone();
    frozen.block_on(async { channel.unary(&ECHO, raw(1)).await.unwrap() });
    Setup { channel, frozen, _server: (server, runtime) }
}

fn connected() -> Setup {
    setup(|builder| builder.build().unwrap())
}

/// Runs `call` on a runtime of its own thread; fails if it does not end.
fn run<R: Send + 'static>(call: impl Future<Output = R> + Send + 'static) -> R {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(alone().block_on(call)));
    result.recv_timeout(HANG).expect("the call outlives its deadline")
}

#[track_caller]
fn late(error: &Error, phase: Phase, processed: Processed) {
    assert_eq!((error.code(), error.kind()), (Code::DeadlineExceeded, Kind::Deadline), "{error}");
    assert_eq!((error.phase(), error.processed()), (Some(phase), processed), "{error}");
}

#[test]
fn a_unary_call() {
    let Setup { channel, .. } = &connected();
    let channel = channel.clone();
    let error = run(async move { channel.unary(&ECHO, short(raw(1))).await.unwrap_err() });
    // The connection has not taken it.
    late(&error, Phase::WriteQueue, Processed::No);
}

/// Calls from another runtime while the connection's runs for a moment, and waits for the error.
fn for_a_moment(setup: &Setup, method: Method<Raw, Raw>, timeout: Duration) -> Error {
    let (done, result) = mpsc::channel();
    let channel = setup.channel.clone();
    let calling = std::thread::spawn(move || {
        alone().block_on(async {
            let request = Request::new(raw(1)).with_timeout(timeout);
            done.send(channel.unary(&method, request).await.unwrap_err()).unwrap();
        });
    });
    setup.frozen.block_on(async { tokio::time::sleep(timeout / 4).await });
    let error = result.recv_timeout(HANG).expect("the call outlives its deadline");
    calling.join().unwrap();
    error
}

#[test]
fn a_unary_call_that_was_sent() {
    let error = for_a_moment(&connected(), SILENT, Duration::from_secs(1));
    late(&error, Phase::Server, Processed::Maybe);
}

#[test]
fn a_plain_request() {
    let Setup { channel, .. } = &connected();
    let channel = channel.clone();
    let request = HttpRequest::new("GET", "/").with_timeout(SHORT);
    let error = run(async move { channel.http(request).await.unwrap_err() });
    late(&error, Phase::WriteQueue, Processed::No);
}

#[test]
fn a_hedged_call() {
    let policy = HedgePolicy::new(3, Duration::from_millis(20));
    let Setup { channel, .. } =
        &setup(|builder| builder.hedge_for("/test.Echo/Silent", policy).build().unwrap());
    let channel = channel.clone();
    let error = run(async move { channel.unary(&SILENT, short(raw(1))).await.unwrap_err() });
    late(&error, Phase::WriteQueue, Processed::No);
}

/// The halves of a stream that was opened while the runtime ran.
#[test]
fn both_halves_of_a_stream() {
    let Setup { channel, frozen, .. } = &connected();
    let (mut sender, mut streaming) = frozen.block_on(async {
        let (mut sender, mut streaming) = channel.bidi(&STREAM, short(())).unwrap();
        sender.send(raw(9)).await.unwrap();
        assert_eq!(streaming.message().await.unwrap(), Some(raw(9)));
        (sender, streaming)
    });
    let (error, sent) = run(async move {
        // Its queue is full, and nothing takes bytes out of it.
        sender.send(raw(100_000)).await.unwrap();
        let sent = sender.send(raw(1)).await.unwrap_err();
        assert_eq!(sender.ready().await.unwrap_err().to_string(), sent.to_string());
        (streaming.message().await.unwrap_err(), sent)
    });
    late(&error, Phase::Read, Processed::Maybe);
    late(&sent, Phase::Read, Processed::Maybe);
}

#[test]
fn the_reading_half_alone() {
    let Setup { channel, frozen, .. } = &connected();
    let (sender, mut streaming) = frozen.block_on(async {
        let (mut sender, mut streaming) = channel.bidi(&STREAM, short(())).unwrap();
        sender.send(raw(9)).await.unwrap();
        streaming.metadata().await.unwrap();
        assert_eq!(streaming.message().await.unwrap(), Some(raw(9)));
        (sender, streaming)
    });
    let error = run(async move { streaming.message().await.unwrap_err() });
    late(&error, Phase::Read, Processed::Maybe);
    drop(sender);
}

/// A runtime that has ended took the connection with it: calls in flight end, later ones dial again.
#[test]
fn a_runtime_that_has_ended() {
    let Setup { channel, frozen, _server } = connected();
    let (sender, mut streaming) = frozen.block_on(async {
        let (mut sender, mut streaming) = channel.bidi(&STREAM, Request::new(())).unwrap();
        sender.send(raw(9)).await.unwrap();
        assert_eq!(streaming.message().await.unwrap(), Some(raw(9)));
        (sender, streaming)
    });
    drop(frozen);
    run(async move {
        let error = streaming.message().await.unwrap_err();
        assert_eq!((error.code(), error.kind()), (Code::Unavailable, Kind::ConnectionLost));
        assert!(error.to_string().contains("the connection's task was dropped"), "{error}");
        channel.unary(&ECHO, raw(1)).await.unwrap();
    });
    drop(sender);
}

/// A dial that never ends.
struct Never;

impl Connect for Never {
    fn connect(&self, _: Target) -> ConnectFuture {
        Box::pin(pending())
    }
}

/// The pool's queue and its dial live on the runtime of the first call.
#[test]
fn a_call_in_the_queue() {
    let channel = Channel::builder("http://test").connector(Never).build().unwrap();
    let frozen = alone();
    let first = channel.clone();
    frozen.block_on(async move {
        let call = first.unary(&ECHO, raw(1));
        assert!(tokio::time::timeout(SHORT / 10, call).await.is_err());
    });
    let waiting = channel.clone();
    let error = run(async move { channel.unary(&ECHO, short(raw(1))).await.unwrap_err() });
    late(&error, Phase::Dial, Processed::No);
    assert_eq!(waiting.waiting(), 0, "it has left the queue");
}

/// The pause before another attempt is a task of the runtime on which the first one ended.
#[test]
fn a_call_between_two_attempts() {
    let pause = Duration::from_secs(1);
    let policy = RetryPolicy::new(5).on(Code::Unavailable).backoff(pause, 1.0, pause);
    let setup = setup(|builder| builder.retry_for("/test.Echo/Busy", policy).build().unwrap());
    let error = for_a_moment(&setup, BUSY, Duration::from_secs(2));
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert_eq!(error.processed(), Processed::Maybe, "an attempt was sent");
}

/// Outside a runtime there is no timer: a call that has a deadline and must wait says so.
#[test]
fn a_caller_without_a_timer() {
    let Setup { channel, frozen, _server } = connected();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = std::thread::spawn(move || frozen.block_on(stopped));
    let minute = Duration::from_secs(60);
    let without = block_on(channel.unary(&ECHO, raw(1))).unwrap();
    assert_eq!(without.into_inner(), raw(1));
    let timed = Request::new(raw(1)).with_timeout(minute);
    let error = block_on(channel.unary(&SILENT, timed)).unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Misuse, Code::Internal), "{error}");
    assert!(error.to_string().contains("tokio runtime with a timer"), "{error}");
    let (sender, mut streaming) =
        channel.bidi(&STREAM, Request::new(()).with_timeout(minute)).unwrap();
    let error = block_on(streaming.message()).unwrap_err();
    assert_eq!(error.kind(), Kind::Misuse, "{error}");
    drop((sender, streaming));
    let timerless = Builder::new_current_thread().enable_io().build().unwrap();
    let timed = Request::new(raw(1)).with_timeout(minute);
    let error = timerless.block_on(channel.unary(&SILENT, timed)).unwrap_err();
    assert_eq!(error.kind(), Kind::Misuse, "{error}");
    stop.send(()).unwrap();
    drop(running.join().unwrap());
}
