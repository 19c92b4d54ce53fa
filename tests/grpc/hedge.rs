//! Hedging by policy: what is sent when, who wins, what becomes of the others, and when nothing more
//! is sent. The pool's side of it stands in `tests/pool/hedge.rs`.

use crate::memory_pair::{RawMethod, UNARY, raw};
use crate::peer::{Frame, Peer};
use framewire::client::{Channel, ChannelBuilder, Count, HedgePolicy};
use framewire::error::{Error, Kind, Processed};
use framewire::transport::in_memory;
use framewire::unstable::grpc::{Code, Raw, Request, Response};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const OTHER: RawMethod = RawMethod::new("/test.Echo/Other");

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

async fn channel(with: impl FnOnce(ChannelBuilder) -> ChannelBuilder) -> (Channel, Peer) {
    let (connector, mut listener) = in_memory(64 * 1024);
    let mut options = PoolOptions::new();
    options.seed = Some(3);
    options.max_connections = 1;
    let builder = Channel::builder("http://test").connector(connector).unstable_pool(options);
    let channel = with(builder).build().unwrap();
    channel.connect();
    let peer = Peer::accept(&mut listener, &[]).await;
    // Hedges go to connections that are proved.
    tokio::time::sleep(ms(1)).await;
    (channel, peer)
}

async fn hedged(attempts: u32, delay: u64) -> (Channel, Peer) {
    channel(|builder| builder.hedge(HedgePolicy::new(attempts, ms(delay)))).await
}

type Call = JoinHandle<(Result<Response<Raw>, Error>, Duration)>;

fn begin(channel: &Channel, request: Request<Raw>) -> Call {
    let channel = channel.clone();
    tokio::spawn(async move {
        let before = Instant::now();
        let result = channel.unary(&UNARY, request).await;
        (result, before.elapsed())
    })
}

/// The next request's head, and what its field says of attempts before it.
async fn request(peer: &mut Peer) -> (u32, Option<String>) {
    let head = peer.next(FrameType::Headers).await;
    let previous = head.field("grpc-previous-rpc-attempts").map(str::to_owned);
    (head.id, previous)
}

/// Answers without a message.
async fn refuse(peer: &mut Peer, id: u32, code: &str, more: &[(&str, &str)]) {
    let mut fields =
        vec![(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", code)];
    fields.extend_from_slice(more);
    peer.headers(id, true, &fields).await;
}

fn heads(frames: &[Frame]) -> usize {
    frames.iter().filter(|frame| frame.kind == FrameType::Headers).count()
}

fn resets(frames: &[Frame]) -> Vec<(u32, u32)> {
    let resets = frames.iter().filter(|frame| frame.kind == FrameType::RstStream);
    resets.map(|frame| (frame.id, frame.number())).collect()
}

const CANCEL: u32 = ErrorCode::CANCEL.0;

#[tokio::test(start_paused = true)]
async fn nothing_is_hedged_unasked_or_in_time() {
    let (channel, mut peer) =
        channel(|builder| builder.hedge_for("/test.Echo/Other", HedgePolicy::new(3, ms(50)))).await;
    let call = begin(&channel, Request::new(raw("")));
    let (id, _) = request(&mut peer).await;
    assert_eq!(heads(&peer.until_silent().await), 0, "no policy");
    peer.answer(id, b"late").await;
    call.await.unwrap().0.unwrap();

    let call = tokio::spawn(async move { channel.unary(&OTHER, raw("")).await });
    let (id, _) = request(&mut peer).await;
    tokio::time::sleep(ms(49)).await;
    peer.answer(id, b"in time").await;
    call.await.unwrap().unwrap();
    assert_eq!(heads(&peer.until_silent().await), 0);
}

#[tokio::test(start_paused = true)]
async fn attempts_follow_by_the_delay_and_the_first_answer_wins() {
    let (channel, mut peer) = hedged(3, 100).await;
    let call = begin(&channel, Request::new(raw("x")));
    let before = Instant::now();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (id, previous) = request(&mut peer).await;
        let data = peer.next(FrameType::Data).await;
        assert_eq!((data.id, &data.payload[5..], data.ends()), (id, &b"x"[..], true));
        seen.push((id, previous, before.elapsed().as_millis()));
    }
    let some = |n: &str| Some(n.to_owned());
    assert_eq!(seen, [(1, None, 0), (3, some("1"), 100), (5, some("2"), 200)]);
    peer.answer(3, b"second").await;
    let (result, _) = call.await.unwrap();
    assert_eq!(result.unwrap().into_inner(), raw("second"));
    let rest = peer.until_silent().await;
    assert_eq!((heads(&rest), resets(&rest)), (0, vec![(1, CANCEL), (5, CANCEL)]));
    let life = channel.unstable_handles()[0].life().read();
    assert_eq!(life.calls, 0, "their places are given back");
}

/// What the head commits is final, though the body is slow; the others go at once.
#[tokio::test(start_paused = true)]
async fn the_first_head_wins() {
    let (channel, mut peer) = hedged(2, 10).await;
    let call = begin(&channel, Request::new(raw("")));
    request(&mut peer).await;
    request(&mut peer).await;
    peer.response(1).await;
    let reset = peer.next(FrameType::RstStream).await;
    assert_eq!((reset.id, reset.number()), (3, CANCEL));
    tokio::time::sleep(ms(500)).await;
    peer.headers(1, true, &[("grpc-status", "14")]).await;
    let (result, _) = call.await.unwrap();
    assert_eq!(result.unwrap_err().code(), Code::Unavailable, "no other attempt is made");
    assert_eq!(heads(&peer.until_silent().await), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_delay_all_leave_at_once() {
    let (channel, mut peer) = hedged(4, 0).await;
    let call = begin(&channel, Request::new(raw("")));
    let before = Instant::now();
    for _ in 0..4 {
        request(&mut peer).await;
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
    peer.answer(7, b"").await;
    call.await.unwrap().0.unwrap();
    let rest = peer.until_silent().await;
    assert_eq!((heads(&rest), resets(&rest).len()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_fatal_code_ends_all() {
    let (channel, mut peer) = hedged(3, 10).await;
    let call = begin(&channel, Request::new(raw("")));
    request(&mut peer).await;
    request(&mut peer).await;
    refuse(&mut peer, 3, "3", &[]).await;
    let (result, _) = call.await.unwrap();
    assert_eq!(result.unwrap_err().code(), Code::InvalidArgument);
    let rest = peer.until_silent().await;
    assert_eq!((heads(&rest), resets(&rest)), (0, vec![(1, CANCEL)]));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_not_fatal_starts_the_next_at_once() {
    let policy = HedgePolicy::new(3, ms(10_000)).non_fatal(Code::Internal);
    let (channel, mut peer) = channel(|builder| builder.hedge(policy)).await;
    let call = begin(&channel, Request::new(raw("")));
    let before = Instant::now();
    request(&mut peer).await;
    refuse(&mut peer, 1, "13", &[]).await;
    let (id, previous) = request(&mut peer).await;
    assert_eq!((id, previous.as_deref()), (3, Some("1")));
    peer.reset(3, ErrorCode::REFUSED_STREAM).await;
    // The peer did not act on it: that is no attempt, and the pool moves it as every call.
    let (id, previous) = request(&mut peer).await;
    assert_eq!((id, previous.as_deref()), (5, Some("1")));
    peer.headers(5, true, &[(":status", "503"), ("content-type", "text/html")]).await;
    let (id, previous) = request(&mut peer).await;
    assert_eq!((id, previous.as_deref()), (7, Some("2")));
    refuse(&mut peer, 7, "14", &[]).await;
    let (result, _) = call.await.unwrap();
    assert_eq!(result.unwrap_err().code(), Code::Unavailable, "the last one's");
    assert!(before.elapsed() < ms(50), "{:?}", before.elapsed());
    assert_eq!(heads(&peer.until_silent().await), 0, "three attempts");
}

#[tokio::test(start_paused = true)]
async fn the_server_says_when_or_never() {
    let (channel, mut peer) = hedged(4, 100).await;
    let call = begin(&channel, Request::new(raw("")));
    let before = Instant::now();
    request(&mut peer).await;
    refuse(&mut peer, 1, "14", &[("grpc-retry-pushback-ms", "2500")]).await;
    request(&mut peer).await;
    assert_eq!(before.elapsed().as_millis(), 2500);
    request(&mut peer).await;
    assert_eq!(before.elapsed().as_millis(), 2600, "from then on as before");
    // Two are under way: they go on, and no further one is sent.
    refuse(&mut peer, 3, "14", &[("grpc-retry-pushback-ms", "-1")]).await;
    assert_eq!(heads(&peer.until_silent().await), 0);
    peer.answer(5, b"").await;
    call.await.unwrap().0.unwrap();
    for never in ["soon", ""] {
        let call = begin(&channel, Request::new(raw("")));
        let (id, _) = request(&mut peer).await;
        refuse(&mut peer, id, "14", &[("grpc-retry-pushback-ms", never)]).await;
        let (result, took) = call.await.unwrap();
        assert_eq!(result.unwrap_err().code(), Code::Unavailable, "{never:?}");
        assert!(took < ms(50), "{never:?}: {took:?}");
    }
}

/// A channel that is closed ends the pause before the next attempt. The server may have acted on the first.
#[tokio::test(start_paused = true)]
async fn a_pause_ends_with_the_channel() {
    let (channel, mut peer) = hedged(4, 100).await;
    let call = begin(&channel, Request::new(raw("")));
    request(&mut peer).await;
    refuse(&mut peer, 1, "14", &[("grpc-retry-pushback-ms", "4233600000")]).await;
    tokio::time::sleep(ms(1_000)).await;
    assert!(!call.is_finished());
    let closing = tokio::spawn(async move { channel.close(Duration::MAX).await });
    let (result, took) = call.await.unwrap();
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::Shutdown, Processed::Maybe), "{error}");
    assert!(error.to_string().contains("the channel is closed"), "{error}");
    assert!(took < ms(1_010), "{took:?}");
    assert_eq!(closing.await.unwrap().cut, 0);
}

/// A server that fails gets no hedges: at half of the tokens none is sent.
#[tokio::test(start_paused = true)]
async fn the_throttle_stops_hedges() {
    let (channel, mut peer) =
        channel(|builder| builder.hedge(HedgePolicy::new(5, ms(10))).retry_throttle(4, 1.0)).await;
    let call = begin(&channel, Request::new(raw("")));
    let (id, _) = request(&mut peer).await;
    refuse(&mut peer, id, "14", &[]).await;
    let (id, _) = request(&mut peer).await;
    refuse(&mut peer, id, "14", &[]).await;
    // Two of four are left: no more than half.
    assert_eq!(call.await.unwrap().0.unwrap_err().code(), Code::Unavailable);
    let call = begin(&channel, Request::new(raw("")));
    let (id, _) = request(&mut peer).await;
    assert_eq!(heads(&peer.until_silent().await), 0, "the delay passes, the throttle holds");
    peer.answer(id, b"").await;
    call.await.unwrap().0.unwrap();
    // A success earns a token, and there are hedges again.
    let call = begin(&channel, Request::new(raw("")));
    request(&mut peer).await;
    let (id, _) = request(&mut peer).await;
    peer.answer(id, b"").await;
    call.await.unwrap().0.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_for_all_together() {
    let (channel, mut peer) = hedged(5, 100).await;
    let call = begin(&channel, Request::new(raw("")).with_timeout(ms(250)));
    let mut left = Vec::new();
    for _ in 0..3 {
        let head = peer.next(FrameType::Headers).await;
        left.push(head.field("grpc-timeout").unwrap().to_owned());
    }
    let (result, took) = call.await.unwrap();
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::DeadlineExceeded, Kind::Deadline), "{error}");
    assert!((ms(249)..ms(252)).contains(&took), "{took:?}");
    let rest = peer.until_silent().await;
    assert_eq!((heads(&rest), resets(&rest).len()), (0, 3));
    assert_eq!(left, ["250000u", "150000u", "50000000n"], "it travels shortened");

    // A pushback that reaches beyond it is not waited for.
    let call = begin(&channel, Request::new(raw("")).with_timeout(ms(90)));
    let (id, _) = request(&mut peer).await;
    refuse(&mut peer, id, "14", &[("grpc-retry-pushback-ms", "100")]).await;
    let (result, took) = call.await.unwrap();
    assert_eq!(result.unwrap_err().code(), Code::Unavailable);
    assert!(took < ms(50), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_future_cancels_every_attempt() {
    let (channel, mut peer) = hedged(3, 10).await;
    let call = begin(&channel, Request::new(raw("")));
    for _ in 0..3 {
        request(&mut peer).await;
    }
    call.abort();
    let rest = peer.until_silent().await;
    assert_eq!(resets(&rest), [(1, CANCEL), (3, CANCEL), (5, CANCEL)]);
    assert_eq!(channel.unstable_handles()[0].life().read().calls, 0);
}

/// A hedge that its peer did not act on finds room elsewhere or is put off, as if it had not been
/// sent: it does not wait, and nothing is dialled for it.
#[tokio::test(start_paused = true)]
async fn a_hedge_that_comes_back_does_not_wait() {
    let (connector, mut listener) = in_memory(64 * 1024);
    let mut options = PoolOptions::new();
    options.max_connections = 2;
    let builder = Channel::builder("http://test").connector(connector).unstable_pool(options);
    let channel = builder.hedge(HedgePolicy::new(2, ms(20))).build().unwrap();
    let warm = {
        let channel = channel.clone();
        tokio::spawn(async move { channel.warm(2).await })
    };
    // SETTINGS_MAX_CONCURRENT_STREAMS 1: its one call fills it.
    let mut first = Peer::accept(&mut listener, &[(3, 1)]).await;
    let mut second = Peer::accept(&mut listener, &[(3, 9)]).await;
    warm.await.unwrap().unwrap();
    channel.warm(0).await.unwrap();
    let call = begin(&channel, Request::new(raw("")));
    request(&mut first).await;
    assert_eq!(request(&mut second).await.1.as_deref(), Some("1"));
    second.goaway(0, ErrorCode::NO_ERROR, "").await;
    drop(second);
    tokio::time::sleep(ms(500)).await;
    assert_eq!(channel.waiting(), 0);
    let dialled = tokio::time::timeout(ms(1), Peer::accept(&mut listener, &[])).await;
    assert!(dialled.is_err(), "nothing was dialled");
    assert_eq!(heads(&first.until_silent().await), 0);
    first.answer(1, b"").await;
    call.await.unwrap().0.unwrap();
}

/// An attempt that failed before it was sent does not tell what became of the others.
#[tokio::test(start_paused = true)]
async fn an_error_speaks_for_all_attempts() {
    let policy = HedgePolicy::new(2, ms(10)).non_fatal(Code::Internal);
    let (channel, mut peer) = channel(|builder| builder.hedge(policy)).await;
    let call = begin(&channel, Request::new(raw("")));
    request(&mut peer).await;
    peer.reset(1, ErrorCode::INTERNAL_ERROR).await;
    let (id, _) = request(&mut peer).await;
    // The connection takes no more calls, and nobody listens any more.
    peer.goaway(1, ErrorCode::NO_ERROR, "").await;
    drop(peer);
    let (result, _) = call.await.unwrap();
    let error = result.unwrap_err();
    assert_eq!((id, error.processed()), (3, Processed::Maybe), "{error}");
}

/// The phases of a call add up to its time, whichever attempt won.
#[tokio::test(start_paused = true)]
async fn the_timeline_covers_the_attempts_before() {
    let (channel, mut peer) = hedged(2, 100).await;
    let call = {
        let channel = channel.clone();
        tokio::spawn(async move {
            let before = Instant::now();
            let (_, timeline) = channel.unary_timed(&UNARY, raw("")).await.unwrap();
            (timeline, before.elapsed())
        })
    };
    request(&mut peer).await;
    request(&mut peer).await;
    tokio::time::sleep(ms(7)).await;
    peer.answer(3, b"").await;
    let (timeline, took) = call.await.unwrap();
    assert_eq!((timeline.total(), timeline.wall()), (took, took));
    assert!((ms(107)..ms(110)).contains(&took), "{took:?}");
}

/// Every hedge that the server saw is counted, those included that it refused and that found no other connection;
/// one that never left is not.
#[tokio::test(start_paused = true)]
async fn hedges_that_left_are_counted() {
    let (channel, mut peer) = hedged(2, 100).await;
    let call = begin(&channel, Request::new(raw("x")));
    let (first, _) = request(&mut peer).await;
    for _ in 0..2 {
        let (hedge, _) = request(&mut peer).await;
        peer.reset(hedge, ErrorCode::REFUSED_STREAM).await;
    }
    // It finds no capacity any more.
    tokio::time::sleep(ms(20)).await;
    refuse(&mut peer, first, "0", &[]).await;
    call.await.unwrap().0.unwrap_err();
    assert_eq!(channel.stats().counted(Count::Hedged), 1, "one, written twice");
}
