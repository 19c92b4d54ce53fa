//! Deadlines: sent, enforced on both sides, in every phase; where the time went.

use crate::link::Faults;
use crate::memory_pair::{BIDI, DOWN, On, SILENT, UNARY, raw, router};
use crate::peer::{Peer, framed, request};
use framewire::error::{Error, Kind, Phase, Processed};
use framewire::server::Router;
use framewire::transport::{Connect, ConnectError, ConnectFuture, ConnectPhase, Target};
use framewire::unstable::grpc::{Code, Raw, Request};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_millis(300);

/// A dial that never ends.
struct Never;

impl Connect for Never {
    fn connect(&self, _target: Target) -> ConnectFuture {
        Box::pin(std::future::pending())
    }
}

fn patient(bytes: usize) -> Request<Raw> {
    Request::new(raw(vec![1; bytes])).with_timeout(PATIENCE)
}

/// The call ends with DEADLINE_EXCEEDED at its deadline, in this phase.
fn late(error: &Error, started: Instant, phase: Phase, processed: Processed) {
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert_eq!(error.kind(), Kind::Deadline, "{error}");
    assert_eq!(error.phase(), Some(phase), "{error}");
    assert_eq!(error.processed(), processed, "{error}");
    let took = started.elapsed();
    assert!(took >= PATIENCE && took < PATIENCE + Duration::from_millis(5), "{took:?}");
}

pub async fn while_the_dial_never_ends(on: On) {
    let channel = on.channel().connector(Never).build().unwrap();
    let started = Instant::now();
    let error = channel.unary(&UNARY, patient(0)).await.unwrap_err();
    late(&error, started, Phase::Dial, Processed::No);
}

/// A dial that fails at once.
struct Refuses;

impl Connect for Refuses {
    fn connect(&self, target: Target) -> ConnectFuture {
        let refused = std::io::ErrorKind::ConnectionRefused.into();
        let error = ConnectError::from_io(ConnectPhase::Socket, &target, refused);
        Box::pin(async move { Err(error) })
    }
}

/// A call that waits for a server to come says at its deadline why none has.
#[tokio::test(start_paused = true)]
async fn while_dials_fail() {
    let channel = On::FRAMEWIRE.channel().connector(Refuses).build().unwrap();
    let started = Instant::now();
    let request = patient(0).with_wait_for_ready(true);
    let error = channel.unary(&UNARY, request).await.unwrap_err();
    late(&error, started, Phase::PoolWait, Processed::No);
    let text = error.to_string();
    assert!(text.contains("the last dial failed: ") && text.contains("refused"), "{text}");
}

pub async fn while_queued_for_the_stream_limit(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[(3, 1)]).await;
    let holder = channel.clone();
    let holder = tokio::spawn(async move { holder.unary(&UNARY, raw("")).await });
    peer.next(FrameType::Headers).await;
    let started = Instant::now();
    let error = channel.unary(&UNARY, patient(0)).await.unwrap_err();
    late(&error, started, Phase::StreamQuota, Processed::No);
    // Its place is free: nothing of it was ever sent.
    peer.answer(1, b"").await;
    holder.await.unwrap().unwrap();
    let sent = peer.until_silent().await;
    assert!(sent.iter().all(|frame| frame.kind != FrameType::Headers), "{sent:?}");
}

/// The peer's window is closed by these settings, and the error names it.
async fn while_closed(on: On, settings: &[(u16, u32)], phase: Phase) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, settings).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let script = tokio::spawn(async move { peer.until_silent().await });
    let started = Instant::now();
    let error = channel.unary(&UNARY, patient(100_000)).await.unwrap_err();
    late(&error, started, phase, Processed::Maybe);
    let frames = script.await.unwrap();
    let reset = frames.iter().find(|frame| frame.kind == FrameType::RstStream).unwrap();
    assert_eq!(reset.number(), ErrorCode::CANCEL.0);
}

pub async fn while_the_stream_window_is_closed(on: On) {
    // SETTINGS_INITIAL_WINDOW_SIZE holds the stream.
    while_closed(on, &[(4, 0)], Phase::StreamWindow).await;
}

pub async fn while_the_connection_window_is_closed(on: On) {
    // The connection's 65,535 hold it.
    while_closed(on, &[(4, 1 << 20)], Phase::ConnectionWindow).await;
}

pub async fn while_the_socket_takes_nothing(on: On) {
    // The preface and what belongs to it are written, the call is not.
    let faults = Faults { stall_written: Some(150), ..Faults::default() };
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), faults);
    channel.connect();
    let _peer = Peer::accept(&mut listener, &[]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let started = Instant::now();
    let error = channel.unary(&UNARY, patient(10)).await.unwrap_err();
    late(&error, started, Phase::WriteQueue, Processed::Maybe);
}

pub async fn while_the_server_is_silent(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let script = tokio::spawn(async move { peer.until_silent().await });
    let started = Instant::now();
    let error = channel.unary(&UNARY, patient(10)).await.unwrap_err();
    late(&error, started, Phase::Server, Processed::Maybe);
    assert!(script.await.unwrap().iter().any(|frame| frame.kind == FrameType::RstStream));
}

pub async fn in_the_middle_of_the_response(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let script = tokio::spawn(async move {
        peer.next(FrameType::Headers).await;
        peer.response(1).await;
        peer.data(1, &[0, 0, 0, 0, 9, 1, 2], false).await;
        peer.until_silent().await
    });
    let started = Instant::now();
    let error = channel.unary(&UNARY, patient(10)).await.unwrap_err();
    late(&error, started, Phase::Read, Processed::Maybe);
    assert!(script.await.unwrap().iter().any(|frame| frame.kind == FrameType::RstStream));
}

/// A caller that does not poll keeps no deadline: the connection ends the call a second later.
#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_polls() {
    let (channel, mut listener) = On::FRAMEWIRE.lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let started = Instant::now();
    let (mut sender, mut streaming) =
        channel.bidi(&BIDI, Request::new(()).with_timeout(PATIENCE)).unwrap();
    sender.try_send(raw("x")).unwrap();
    peer.next(FrameType::Headers).await;
    let reset = peer.next(FrameType::RstStream).await;
    assert_eq!(reset.number(), ErrorCode::CANCEL.0);
    let took = started.elapsed();
    assert!(took >= PATIENCE && took < PATIENCE + Duration::from_millis(1100), "{took:?}");
    for _ in 0..2 {
        let error = streaming.message().await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (Kind::Deadline, Some(Phase::Server)), "{error}");
    }
    assert_eq!(sender.ready().await.unwrap_err().kind(), Kind::Deadline);
}

/// A server keeps the same deadline: where its reset comes first, the caller still reads the deadline.
#[tokio::test(start_paused = true)]
async fn a_reset_at_the_deadline_is_the_deadline() {
    for (wait, code) in [(PATIENCE / 2, Code::Cancelled), (PATIENCE, Code::DeadlineExceeded)] {
        let (channel, mut listener) =
            On::FRAMEWIRE.lone_channel(PoolOptions::new(), Faults::default());
        channel.connect();
        let mut peer = Peer::accept(&mut listener, &[]).await;
        let request = Request::new(()).with_timeout(PATIENCE);
        let (_sender, mut streaming) = channel.bidi(&BIDI, request).unwrap();
        let id = peer.next(FrameType::Headers).await.id;
        tokio::time::sleep(wait).await;
        peer.reset(id, ErrorCode::CANCEL).await;
        // The caller reads late.
        tokio::time::sleep(PATIENCE / 10).await;
        let error = streaming.message().await.unwrap_err();
        assert_eq!((error.code(), error.processed()), (code, Processed::Maybe), "{error}");
        assert_eq!(error.h2_code(), Some(ErrorCode::CANCEL));
    }
}

pub async fn a_stream_has_one_deadline_for_the_whole(on: On) {
    let pair = on.pair();
    let request = Request::new(()).with_timeout(PATIENCE);
    let started = Instant::now();
    let (mut up, mut down) = pair.channel.bidi(&BIDI, request).unwrap();
    up.send(raw("x")).await.unwrap();
    assert_eq!(down.message().await.unwrap(), Some(raw("x")));
    let error = down.message().await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(started.elapsed() < PATIENCE + Duration::from_millis(5));
    assert!(up.send(raw("x")).await.is_err());
}

pub async fn the_server_drops_the_handler_and_answers(on: On) {
    struct Note(Arc<AtomicBool>);
    impl Drop for Note {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let inside = Arc::clone(&dropped);
    let router = Router::new().unary(&SILENT, move |ctx, _: Raw| {
        let note = Note(Arc::clone(&inside));
        async move {
            assert!(ctx.remaining().unwrap() <= PATIENCE);
            let _note = note;
            std::future::pending().await
        }
    });
    let pair = on.setup(router).start();
    let mut peer = Peer::dial(&pair.connector).await;
    let head = request("/test.Echo/Silent", &[("grpc-timeout", "300m")]);
    peer.headers(1, false, &head).await;
    peer.data(1, &framed(b""), true).await;
    let started = Instant::now();
    let answer = peer.next(FrameType::Headers).await;
    assert_eq!(answer.field("grpc-status"), Some("4"));
    assert!(answer.ends());
    let took = started.elapsed();
    assert!(took >= PATIENCE && took < PATIENCE + Duration::from_millis(5), "{took:?}");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(dropped.load(Ordering::SeqCst), "the handler was dropped");
}

pub async fn a_deadline_that_has_passed_sends_nothing(on: On) {
    let pair = on.pair();
    pair.channel.unary(&UNARY, raw("")).await.unwrap();
    let request = Request::new(raw("")).with_timeout(Duration::ZERO);
    let error = pair.channel.unary(&UNARY, request).await.unwrap_err();
    assert_eq!((error.code(), error.processed()), (Code::DeadlineExceeded, Processed::No));
}

/// Calls that wait in different phases: the parts are the wall time, and the long part is where
/// the wait was.
pub async fn the_timeline_adds_up_to_the_wall_time(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move {
                let started = Instant::now();
                let (_, timeline) = channel.unary_timed(&UNARY, raw([0; 1000])).await.unwrap();
                (timeline, started.elapsed())
            })
        })
        .collect();
    // All three leave with the preface; then one at a time.
    let mut peer = Peer::accept(&mut listener, &[(3, 1)]).await;
    for id in [1, 3, 5] {
        tokio::time::sleep(Duration::from_millis(40)).await;
        peer.answer(id, b"").await;
    }
    let mut walls = Vec::new();
    for call in calls {
        let (timeline, wall) = call.await.unwrap();
        assert_eq!(timeline.total(), timeline.wall());
        let parts: Duration = Phase::ALL.iter().map(|phase| timeline.spent(*phase)).sum();
        assert_eq!(parts, timeline.wall());
        assert!(
            wall.abs_diff(timeline.wall()) <= Duration::from_millis(2),
            "{wall:?} {timeline:?}"
        );
        assert!(timeline.spent(Phase::Server) >= Duration::from_millis(38), "{timeline:?}");
        walls.push(wall);
    }
    assert!(walls[2] >= Duration::from_millis(115));

    // The next two: one on the wire, one in the queue.
    let first = channel.clone();
    let first = tokio::spawn(async move { first.unary_timed(&UNARY, raw("")).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let second = tokio::spawn(async move { channel.unary_timed(&UNARY, raw("")).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    peer.answer(7, b"").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    peer.answer(9, b"").await;
    let (_, first) = first.await.unwrap().unwrap();
    let (_, second) = second.await.unwrap().unwrap();
    assert!(first.spent(Phase::StreamQuota).is_zero());
    let queued = second.spent(Phase::StreamQuota);
    assert!(
        queued >= Duration::from_millis(98) && queued <= Duration::from_millis(102),
        "{queued:?}"
    );
    assert!(second.spent(Phase::Server) >= Duration::from_millis(48), "{second:?}");
    assert_eq!(second.total(), second.wall());
}

pub async fn a_stream_that_ends_in_time_is_left_alone(on: On) {
    let pair = on.setup(router()).start();
    let request = Request::new(raw([3; 4])).with_timeout(PATIENCE);
    let mut down = pair.channel.server_streaming(&DOWN, request).unwrap();
    tokio::time::sleep(PATIENCE * 2).await;
    for _ in 0..3 {
        assert_eq!(down.message().await.unwrap(), Some(raw([3; 4])), "it had arrived");
    }
    assert_eq!(down.message().await.unwrap(), None);
}
