//! Connections that come and go under calls: GOAWAY, refusal, drain, back-off, states.

use crate::link::{Faults, FaultyConnector};
use crate::memory_pair::{BIDI, DOWN, On, RawMethod, Setup, UNARY, raw, router};
use crate::peer::{Peer, framed, request};
use framewire::client::{Channel, ChannelState};
use framewire::error::{Error, Kind, Phase, Processed};
use framewire::transport::Accept;
use framewire::transport::{MemoryConnector, in_memory};
use framewire::unstable::grpc::{Code, Method, Raw, Request, Response};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

const WORK: RawMethod = Method::new("/test.Echo/Work");

async fn settle() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

fn begin(
    channel: &Channel,
    message: Raw,
) -> tokio::task::JoinHandle<Result<Response<Raw>, framewire::error::Error>> {
    let channel = channel.clone();
    tokio::spawn(async move { channel.unary(&UNARY, message).await })
}

pub async fn a_goaway_moves_what_was_not_processed(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    let calls: Vec<_> = (0..3).map(|i| begin(&channel, raw([i]))).collect();
    let mut first = Peer::accept(&mut listener, &[]).await;
    for _ in 0..3 {
        first.next(FrameType::Headers).await;
    }
    // A live slot moves from one connection to another; the one processed stays.
    first.goaway(1, ErrorCode::NO_ERROR, "").await;
    let mut second = Peer::accept(&mut listener, &[]).await;
    for id in [1, 3] {
        second.next(FrameType::Headers).await;
        second.answer(id, b"second").await;
    }
    first.answer(1, b"first").await;
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().unwrap().into_inner());
    }
    assert_eq!(answers, [raw("first"), raw("second"), raw("second")]);
    settle().await;
    assert_eq!(channel.unstable_handles().len(), 1, "the old connection is gone");
}

pub async fn a_graceful_goaway_in_two_steps_loses_nothing(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    let call = begin(&channel, raw("a"));
    let mut first = Peer::accept(&mut listener, &[]).await;
    first.next(FrameType::Headers).await;
    first.goaway(0x7fff_ffff, ErrorCode::NO_ERROR, "").await;
    settle().await;
    let other = begin(&channel, raw("b"));
    let mut second = Peer::accept(&mut listener, &[]).await;
    second.next(FrameType::Headers).await;
    second.answer(1, b"second").await;
    assert_eq!(other.await.unwrap().unwrap().into_inner(), raw("second"));
    first.goaway(1, ErrorCode::NO_ERROR, "").await;
    first.answer(1, b"first").await;
    assert_eq!(call.await.unwrap().unwrap().into_inner(), raw("first"));
}

/// The error of a stream that GOAWAY disowns and that is not kept for another connection.
async fn not_kept(on: On) -> Error {
    let mut options = PoolOptions::new();
    options.keep_bytes = 0;
    let (channel, mut listener) = on.lone_channel(options, Faults::default());
    let (mut up, mut down) = channel.bidi(&BIDI, ()).unwrap();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    peer.next(FrameType::Headers).await;
    up.send(raw("x")).await.unwrap();
    peer.next(FrameType::Data).await;
    peer.goaway(0, ErrorCode::ENHANCE_YOUR_CALM, "too many\npings").await;
    down.message().await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_call_that_cannot_move_names_its_stream() {
    let error = not_kept(On::FRAMEWIRE).await;
    assert_eq!(error.phase(), Some(Phase::Server), "{error}");
    assert_eq!(error.connection().unwrap().stream_id, Some(1), "{error}");
}

pub async fn a_stream_whose_request_is_not_kept_is_told_that_it_was_not_processed(on: On) {
    let error = not_kept(on).await;
    assert_eq!((error.kind(), error.code()), (Kind::GoAway, Code::Unavailable), "{error}");
    assert!(error.is_retry_safe());
    assert_eq!(error.h2_code(), Some(ErrorCode::ENHANCE_YOUR_CALM));
    assert_eq!(error.debug_text(), Some("too many\\npings"));
}

pub async fn a_refused_stream_is_tried_again(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    let call = begin(&channel, raw("again"));
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let head = peer.next(FrameType::Headers).await;
    assert_eq!(peer.next(FrameType::Data).await.payload, crate::peer::framed(b"again"));
    peer.reset(head.id, ErrorCode::REFUSED_STREAM).await;
    assert_eq!(peer.next(FrameType::Headers).await.id, 3);
    assert_eq!(peer.next(FrameType::Data).await.payload, crate::peer::framed(b"again"));
    peer.answer(3, b"at last").await;
    assert_eq!(call.await.unwrap().unwrap().into_inner(), raw("at last"));
    // And not a third time, with nothing else in flight.
    let call = begin(&channel, raw("never"));
    let script = tokio::spawn(async move {
        for _ in 0..2 {
            let head = peer.next(FrameType::Headers).await;
            peer.reset(head.id, ErrorCode::REFUSED_STREAM).await;
        }
        peer.until_silent().await
    });
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.processed()), (Code::Unavailable, Processed::No), "{error}");
    assert_eq!(error.h2_code(), Some(ErrorCode::REFUSED_STREAM));
    let more = script.await.unwrap();
    assert!(more.iter().all(|frame| frame.kind != FrameType::Headers));
}

pub async fn any_other_reset_is_not_tried_again(on: On) {
    for code in [ErrorCode::INTERNAL_ERROR, ErrorCode::CANCEL, ErrorCode::ENHANCE_YOUR_CALM] {
        let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
        let call = begin(&channel, raw(""));
        let mut peer = Peer::accept(&mut listener, &[]).await;
        peer.next(FrameType::Headers).await;
        peer.reset(1, code).await;
        let error = call.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.processed()), (Kind::Reset, Processed::Maybe), "{error}");
        assert_eq!(error.h2_code(), Some(code));
    }
}

/// Servers that shut down one after the other under a burst of calls: each is executed once.
pub async fn drains_under_load_lose_nothing_and_repeat_nothing(on: On) {
    let (connector, mut listener) = in_memory(64 * 1024);
    let executed: Arc<Mutex<HashMap<Vec<u8>, usize>>> = Arc::default();
    let count = Arc::clone(&executed);
    let router = router().unary(&WORK, move |_, request: Raw| {
        *count.lock().unwrap().entry(request.0.to_vec()).or_default() += 1;
        async move {
            tokio::time::sleep(Duration::from_millis(3)).await;
            Ok(Response::new(request))
        }
    });
    let servers = tokio::spawn(async move {
        let mut reports = Vec::new();
        for _ in 0..10 {
            let connected = listener.accept().await.unwrap();
            let one = One(Some(connected));
            let server = on.server(router.clone()).serve(one).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            reports.push(server.shutdown(Duration::from_secs(5)).await);
        }
        // The last one stays.
        on.server(router).serve(listener).unwrap();
        reports
    });
    let channel = on.channel().connector(connector).build().unwrap();
    let calls: Vec<_> = (0..2000u32)
        .map(|i| {
            let channel = channel.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(u64::from(i) * 150)).await;
                channel.unary(&WORK, raw(i.to_be_bytes())).await.map(Response::into_inner)
            })
        })
        .collect();
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), raw((i as u32).to_be_bytes()));
    }
    let executed = executed.lock().unwrap().clone();
    assert_eq!(executed.len(), 2000, "none is lost");
    assert!(executed.values().all(|times| *times == 1), "none is executed twice");
    let reports = servers.await.unwrap();
    assert!(reports.iter().all(|report| report.drained == 1 && report.forced == 0), "{reports:?}");
}

/// Accepts one connection.
struct One(Option<framewire::transport::Connected>);

impl Accept for One {
    fn accept(&mut self) -> framewire::transport::AcceptFuture<'_> {
        let one = self.0.take();
        Box::pin(async move {
            match one {
                Some(one) => Ok(one),
                None => std::future::pending().await,
            }
        })
    }
}

pub async fn a_server_that_is_dropped_goes_on(on: On) {
    let pair = on.setup(router()).start();
    drop(pair.server);
    settle().await;
    pair.channel.unary(&UNARY, raw("")).await.unwrap();
}

pub async fn a_stream_ends_in_peace_while_its_server_drains(on: On) {
    let pair = on.setup(router()).start();
    let (mut up, mut down) = pair.channel.bidi(&BIDI, ()).unwrap();
    up.send(raw("1")).await.unwrap();
    assert_eq!(down.message().await.unwrap(), Some(raw("1")));
    let handle = pair.server.handle();
    let drain = tokio::spawn(async move { handle.drain(Duration::from_secs(60)).await });
    tokio::time::sleep(Duration::from_secs(10)).await;
    up.send(raw("2")).await.unwrap();
    assert_eq!(down.message().await.unwrap(), Some(raw("2")));
    up.finish().unwrap();
    assert_eq!(down.message().await.unwrap(), None);
    let report = drain.await.unwrap();
    assert_eq!((report.drained, report.forced), (1, 0));
}

/// A closed channel waits for its calls, and cuts those that its limit does not cover.
pub async fn a_closed_channel_cuts_what_outlives_its_limit(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    let call = begin(&channel, raw("a"));
    let mut peer = Peer::accept(&mut listener, &[]).await;
    peer.next(FrameType::Headers).await;
    let started = Instant::now();
    let closing = tokio::spawn(async move { channel.close(Duration::from_secs(3)).await });
    let reset = peer.next(FrameType::RstStream).await;
    assert_eq!((reset.number(), started.elapsed().as_secs()), (8, 3), "CANCEL");
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::Shutdown, Processed::Maybe), "{error}");
    while peer.frame().await.is_some() {}
    assert_eq!(closing.await.unwrap().cut, 1);
}

/// A peer that accepts and closes is not hammered.
pub async fn back_off_holds_when_the_peer_accepts_and_closes(on: On) {
    let (connector, mut listener) = in_memory(64 * 1024);
    let connector = FaultyConnector::new(connector, Faults::default());
    let dials = connector.dials();
    let channel = on.channel().connector(connector).build().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let until = Instant::now() + Duration::from_secs(3);
    let mut failed = 0;
    while Instant::now() < until {
        let error = channel.unary(&UNARY, raw("")).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        failed += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let dials = dials.load(Ordering::Relaxed);
    assert!((2..=5).contains(&dials), "{dials} dials for {failed} calls");
    assert!(failed > 100, "calls without patience fail at once");
}

pub async fn a_call_that_waits_for_ready_outlives_failed_dials(on: On) {
    let (connector, listener) = in_memory(64 * 1024);
    drop(listener);
    let (good, listener) = in_memory(64 * 1024);
    let _server = on.server(router()).serve(listener).unwrap();
    let switch = Switch(Arc::new(Mutex::new((0, connector, good))));
    let channel = on.channel().connector(switch).build().unwrap();
    let error = channel.unary(&UNARY, raw("")).await.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::Connect, Processed::No), "{error}");
    let request = Request::new(raw("x")).with_wait_for_ready(true);
    assert_eq!(channel.unary(&UNARY, request).await.unwrap().into_inner(), raw("x"));
}

/// Two dials fail, the third succeeds.
struct Switch(Arc<Mutex<(u32, MemoryConnector, MemoryConnector)>>);

impl framewire::transport::Connect for Switch {
    fn connect(&self, target: framewire::transport::Target) -> framewire::transport::ConnectFuture {
        let mut state = self.0.lock().unwrap();
        state.0 += 1;
        if state.0 <= 2 { state.1.connect(target) } else { state.2.connect(target) }
    }
}

/// The peer left while the connection was quiet, and the call comes before that is known: nothing of
/// it leaves, so it moves.
pub async fn a_call_that_meets_a_dead_connection_moves(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let peer = Peer::accept(&mut listener, &[]).await;
    settle().await;
    let dead = channel.unstable_handles()[0].id();
    let mut call = Box::pin(channel.unary(&UNARY, raw("moves")));
    // Begun, and no other task has run since.
    let early = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    assert!(early.is_pending());
    drop(peer);
    let script = async {
        let mut peer = Peer::accept(&mut listener, &[]).await;
        peer.next(FrameType::Headers).await;
        peer.answer(1, b"").await;
        peer
    };
    let both = async { tokio::join!(call, script) };
    let both = tokio::time::timeout(Duration::from_secs(60), both).await;
    both.expect("it did not move").0.unwrap();
    assert_ne!(channel.unstable_handles()[0].id(), dead);
}

/// Hands out connections whose other end is gone.
struct Dead;

impl framewire::transport::Connect for Dead {
    fn connect(
        &self,
        _target: framewire::transport::Target,
    ) -> framewire::transport::ConnectFuture {
        let (near, _) = tokio::io::duplex(64);
        let connected = framewire::transport::Connected::new(near);
        Box::pin(std::future::ready(Ok(connected)))
    }
}

/// Nothing was sent on it, so its calls were surely not processed; those without patience are told
/// at once, as of a dial that failed.
pub async fn a_connection_that_is_dead_on_arrival_is_a_failed_dial(on: On) {
    let channel = on.channel().connector(Dead).build().unwrap();
    let started = Instant::now();
    // The first one had the dial made, the second one comes in its back-off.
    for _ in 0..2 {
        let error = channel.unary(&UNARY, raw("")).await.unwrap_err();
        assert_eq!(
            (error.code(), error.processed()),
            (Code::Unavailable, Processed::No),
            "{error}"
        );
    }
    assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
    let patient = Request::new(raw("")).with_wait_for_ready(true);
    let patient = tokio::time::timeout(Duration::from_secs(5), channel.unary(&UNARY, patient));
    assert!(patient.await.is_err(), "it waits");
}

pub async fn the_states_of_a_channel(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    let mut state = channel.state();
    assert_eq!(*state.borrow_and_update(), ChannelState::Idle);
    channel.connect();
    let mut seen = Vec::new();
    let script = tokio::spawn(async move {
        // Each state stays long enough to be seen.
        settle().await;
        let mut peer = Peer::accept(&mut listener, &[]).await;
        settle().await;
        peer.goaway(0, ErrorCode::NO_ERROR, "").await;
        settle().await;
        drop(peer);
        drop(listener);
    });
    while seen.len() < 3 {
        let changed = tokio::time::timeout(Duration::from_secs(60), state.changed()).await;
        changed.expect("no change").unwrap();
        seen.push(*state.borrow_and_update());
    }
    use ChannelState::{Connecting, Idle, Ready, Shutdown, TransientFailure};
    assert_eq!(seen, [Connecting, Ready, Idle]);
    script.await.unwrap();
    seen.clear();
    channel.unary(&UNARY, raw("")).await.unwrap_err();
    assert_eq!(*state.borrow_and_update(), TransientFailure);
    drop(channel);
    assert_eq!(*state.borrow_and_update(), Shutdown);
}

pub async fn a_lost_connection_tells_its_calls_and_the_next_call_dials_anew(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    let mut down = channel.server_streaming(&DOWN, raw("")).unwrap();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    peer.next(FrameType::Headers).await;
    peer.response(1).await;
    settle().await;
    drop(peer);
    let error = down.message().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.processed()),
        (Kind::ConnectionLost, Processed::Maybe),
        "{error}"
    );
    let call = begin(&channel, raw(""));
    let mut peer = Peer::accept(&mut listener, &[]).await;
    peer.next(FrameType::Headers).await;
    peer.answer(1, b"").await;
    call.await.unwrap().unwrap();
}

/// On the wire: GOAWAY with the largest identifier, and after a round trip one with the true one.
/// What came in between is served.
#[tokio::test(start_paused = true)]
async fn a_drain_says_goaway_twice() {
    let pair = Setup::new(router()).start();
    let mut peer = Peer::dial(&pair.connector).await;
    peer.headers(1, false, &request("/test.Echo/Unary", &[])).await;
    settle().await;
    let handle = pair.server.handle();
    let drain = tokio::spawn(async move { handle.drain(Duration::from_secs(60)).await });
    assert_eq!(peer.next(FrameType::GoAway).await.number(), 0x7fff_ffff);
    // Under way when the server said so.
    peer.headers(3, false, &request("/test.Echo/Unary", &[])).await;
    let last = peer.next(FrameType::GoAway).await;
    assert_eq!((last.number(), &last.payload[4..]), (3, &[0; 4][..]));
    peer.headers(5, true, &request("/test.Echo/Unary", &[])).await;
    for id in [1, 3] {
        peer.data(id, &framed(b"x"), true).await;
        let answer = peer.next(FrameType::Data).await;
        assert_eq!((answer.id, answer.payload), (id, framed(b"x")));
    }
    assert_eq!(drain.await.unwrap().forced, 0);
}
