//! Retries by policy: opt-in, bounded by attempts, deadline and throttle, never once a response has
//! begun, and as long as the server allows.

use crate::memory_pair::{RawMethod, UNARY, raw};
use crate::peer::{Frame, Peer};
use framewire::client::{Channel, ChannelBuilder, Count, HedgePolicy, RetryPolicy};
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

async fn channel(with: impl FnOnce(ChannelBuilder) -> ChannelBuilder) -> (Channel, Peer) {
    let (connector, mut listener) = in_memory(64 * 1024);
    let mut options = PoolOptions::new();
    options.seed = Some(3);
    let builder = Channel::builder("http://test").connector(connector).unstable_pool(options);
    let channel = with(builder).build().unwrap();
    channel.connect();
    let peer = Peer::accept(&mut listener, &[]).await;
    (channel, peer)
}

fn policy(attempts: u32) -> RetryPolicy {
    let ms = Duration::from_millis;
    RetryPolicy::new(attempts).backoff(ms(100), 2.0, ms(300))
}

type Call = JoinHandle<(Result<Response<Raw>, Error>, Duration)>;

fn begin(channel: &Channel, method: &'static RawMethod, request: Request<Raw>) -> Call {
    let channel = channel.clone();
    tokio::spawn(async move {
        let before = Instant::now();
        let result = channel.unary(method, request).await;
        (result, before.elapsed())
    })
}

/// Answers the next request without a message.
async fn refuse(peer: &mut Peer, code: &str, more: &[(&str, &str)]) -> Frame {
    let head = peer.next(FrameType::Headers).await;
    let mut fields =
        vec![(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", code)];
    fields.extend_from_slice(more);
    peer.headers(head.id, true, &fields).await;
    head
}

async fn answer(peer: &mut Peer) -> Frame {
    let head = peer.next(FrameType::Headers).await;
    peer.answer(head.id, b"at last").await;
    head
}

fn between(time: Duration, least: u64, most: u64) -> bool {
    (Duration::from_millis(least)..=Duration::from_millis(most)).contains(&time)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_again_unasked() {
    let (channel, mut peer) = channel(|builder| builder).await;
    let call = begin(&channel, &UNARY, Request::new(raw("")));
    refuse(&mut peer, "14", &[]).await;
    let (result, _) = call.await.unwrap();
    assert_eq!(result.unwrap_err().code(), Code::Unavailable);
    assert!(peer.until_silent().await.iter().all(|frame| frame.kind != FrameType::Headers));
}

#[tokio::test(start_paused = true)]
async fn attempts_follow_with_growing_pauses() {
    let (channel, mut peer) = channel(|builder| builder.retry(policy(4))).await;
    let call = begin(&channel, &UNARY, Request::new(raw("x")));
    let mut seen = Vec::new();
    for _ in 0..3 {
        let head = refuse(&mut peer, "14", &[]).await;
        seen.push(head.field("grpc-previous-rpc-attempts").map(str::to_owned));
    }
    seen.push(answer(&mut peer).await.field("grpc-previous-rpc-attempts").map(str::to_owned));
    let some = |n: &str| Some(n.to_owned());
    assert_eq!(seen, [None, some("1"), some("2"), some("3")]);
    let (result, took) = call.await.unwrap();
    assert_eq!(result.unwrap().into_inner(), raw("at last"));
    // 100, 200 and 300 ms, give or take a fifth.
    assert!(between(took, 480, 725), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn attempts_have_a_bound_and_other_codes_none() {
    let (channel, mut peer) = channel(|builder| builder.retry(policy(3))).await;
    let call = begin(&channel, &UNARY, Request::new(raw("")));
    for _ in 0..3 {
        refuse(&mut peer, "14", &[]).await;
    }
    assert_eq!(call.await.unwrap().0.unwrap_err().code(), Code::Unavailable);
    for code in ["3", "5", "7", "13", "8"] {
        let call = begin(&channel, &UNARY, Request::new(raw("")));
        refuse(&mut peer, code, &[]).await;
        let (result, took) = call.await.unwrap();
        assert!(result.is_err());
        assert!(took < Duration::from_millis(50), "{code}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_has_a_policy_of_its_own() {
    let (channel, mut peer) =
        channel(|builder| builder.retry_for("/test.Echo/Other", policy(2).on(Code::Internal)))
            .await;
    let call = begin(&channel, &UNARY, Request::new(raw("")));
    refuse(&mut peer, "13", &[]).await;
    call.await.unwrap().0.unwrap_err();
    let call = begin(&channel, &OTHER, Request::new(raw("")));
    refuse(&mut peer, "13", &[]).await;
    answer(&mut peer).await;
    call.await.unwrap().0.unwrap();
}

/// The caller has seen the head, or might have: what follows is final.
#[tokio::test(start_paused = true)]
async fn a_response_that_has_begun_is_final() {
    let (channel, mut peer) = channel(|builder| builder.retry(policy(3))).await;
    let call = begin(&channel, &UNARY, Request::new(raw("")));
    let head = peer.next(FrameType::Headers).await;
    peer.response(head.id).await;
    peer.headers(head.id, true, &[("grpc-status", "14")]).await;
    let (result, took) = call.await.unwrap();
    assert_eq!(result.unwrap_err().code(), Code::Unavailable);
    assert!(took < Duration::from_millis(50), "{took:?}");
}

/// The peer may have seen it and did not answer: the policy says that running twice does no harm.
#[tokio::test(start_paused = true)]
async fn a_reset_is_tried_again_where_the_policy_covers_its_code() {
    let (channel, mut peer) = channel(|builder| builder.retry(policy(2).on(Code::Internal))).await;
    let call = begin(&channel, &UNARY, Request::new(raw("")));
    let head = peer.next(FrameType::Headers).await;
    peer.reset(head.id, ErrorCode::INTERNAL_ERROR).await;
    answer(&mut peer).await;
    call.await.unwrap().0.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_server_says_when_or_never() {
    let (channel, mut peer) = channel(|builder| builder.retry(policy(3))).await;
    let call = begin(&channel, &UNARY, Request::new(raw("")));
    refuse(&mut peer, "14", &[("grpc-retry-pushback-ms", "2500")]).await;
    answer(&mut peer).await;
    let (result, took) = call.await.unwrap();
    result.unwrap();
    assert!(between(took, 2500, 2510), "{took:?}");
    for never in ["-1", "soon", ""] {
        let call = begin(&channel, &UNARY, Request::new(raw("")));
        refuse(&mut peer, "14", &[("grpc-retry-pushback-ms", never)]).await;
        let (result, took) = call.await.unwrap();
        assert_eq!(result.unwrap_err().code(), Code::Unavailable, "{never:?}");
        assert!(took < Duration::from_millis(50), "{never:?}: {took:?}");
    }
}

/// gRFC A6: after a pushback the backoff begins anew.
#[tokio::test(start_paused = true)]
async fn a_pushback_resets_the_backoff() {
    let (channel, mut peer) = channel(|builder| builder.retry(policy(5))).await;
    let call = begin(&channel, &UNARY, Request::new(raw("")));
    let mut times = Vec::new();
    for more in [&[][..], &[], &[("grpc-retry-pushback-ms", "1000")], &[]] {
        refuse(&mut peer, "14", more).await;
        times.push(Instant::now());
    }
    answer(&mut peer).await;
    times.push(Instant::now());
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    call.await.unwrap().0.unwrap();
    for (pause, most) in pauses.iter().zip([120, 240, 1010, 120]) {
        assert!(between(*pause, most * 2 / 3, most), "{pauses:?}");
    }
}

/// A server that asks for a pause of 49 days keeps no task of this side: it ends with its call.
#[tokio::test(start_paused = true)]
async fn a_pause_ends_with_its_call() {
    let (channel, mut peer) = channel(|builder| builder.retry(policy(3))).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let warm = begin(&channel, &UNARY, Request::new(raw("")));
    answer(&mut peer).await;
    warm.await.unwrap().0.unwrap();
    let before = tasks();
    for _ in 0..3 {
        let call = begin(&channel, &UNARY, Request::new(raw("")));
        refuse(&mut peer, "14", &[("grpc-retry-pushback-ms", "4233600000")]).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(tasks(), before + 2, "the caller and the pause");
        call.abort();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(tasks(), before);
    }
    // An attempt that was not made is none.
    assert_eq!(channel.stats().counts.get(Count::Retried), 0);
}

/// A channel that is closed ends the pause before the next attempt. The server may have acted on the last.
#[tokio::test(start_paused = true)]
async fn a_pause_ends_with_the_channel() {
    let (channel, mut peer) = channel(|builder| builder.retry(policy(3))).await;
    let call = begin(&channel, &UNARY, Request::new(raw("")));
    refuse(&mut peer, "14", &[("grpc-retry-pushback-ms", "4233600000")]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!call.is_finished());
    let closing = tokio::spawn(async move { channel.close(Duration::MAX).await });
    let (result, took) = call.await.unwrap();
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::Shutdown, Processed::Maybe), "{error}");
    assert!(error.to_string().contains("the channel is closed"), "{error}");
    assert!(took < Duration::from_millis(1_010), "{took:?}");
    assert_eq!(closing.await.unwrap().cut, 0);
}

/// The deadline holds for all attempts together, and travels shortened.
#[tokio::test(start_paused = true)]
async fn the_deadline_bounds_all_attempts() {
    let (channel, mut peer) = channel(|builder| builder.retry(policy(5))).await;
    let request = Request::new(raw("")).with_timeout(Duration::from_millis(350));
    let call = begin(&channel, &UNARY, request);
    let mut left = Vec::new();
    for _ in 0..2 {
        let head = refuse(&mut peer, "14", &[]).await;
        let text = head.field("grpc-timeout").unwrap().to_owned();
        let (number, unit) = text.split_at(text.len() - 1);
        let scale = match unit {
            "m" => 1_000_000,
            "u" => 1000,
            "n" => 1,
            _ => panic!("{text}"),
        };
        left.push(number.parse::<u64>().unwrap() * scale / 1_000_000);
    }
    assert!(left[0] > 340 && left[1] < 275, "{left:?}");
    let head = peer.next(FrameType::Headers).await;
    // The third attempt is under way when the time is over.
    let (result, took) = call.await.unwrap();
    let error = result.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert!(between(took, 349, 355), "{took:?}");
    assert_eq!(peer.next(FrameType::RstStream).await.id, head.id);
}

/// gRFC A6: a failure that no retry mends says nothing of the load, so it opens nothing.
#[tokio::test(start_paused = true)]
async fn only_successes_open_the_throttle() {
    let (channel, mut peer) =
        channel(|builder| builder.retry(policy(5)).retry_throttle(4, 1.0)).await;
    let call = begin(&channel, &UNARY, Request::new(raw("")));
    refuse(&mut peer, "14", &[]).await;
    refuse(&mut peer, "14", &[]).await;
    call.await.unwrap().0.unwrap_err();
    for code in ["3", "5", "16", "13"] {
        let call = begin(&channel, &UNARY, Request::new(raw("")));
        refuse(&mut peer, code, &[]).await;
        call.await.unwrap().0.unwrap_err();
    }
    let call = begin(&channel, &UNARY, Request::new(raw("")));
    refuse(&mut peer, "14", &[]).await;
    call.await.unwrap().0.unwrap_err();
    assert!(peer.until_silent().await.iter().all(|frame| frame.kind != FrameType::Headers));
}

/// Names and numbers that cannot be meant are told when the channel is built.
#[test]
fn a_policy_that_would_never_be_used_builds_no_channel() {
    let text = |with: fn(ChannelBuilder) -> ChannelBuilder| {
        with(Channel::builder("http://test")).build().unwrap_err().to_string()
    };
    let unary = |builder: ChannelBuilder| builder.retry_for("test.Echo/Unary", policy(2));
    assert!(text(unary).contains("retry_for(\"test.Echo/Unary\") matches no method"));
    let all = |builder: ChannelBuilder| {
        builder.hedge_for("/test.Echo/*", HedgePolicy::new(2, Duration::ZERO))
    };
    assert!(text(all).contains("hedge_for(\"/test.Echo/*\") matches no method"));
    assert!(text(|builder| builder.retry_throttle(5000, 0.1)).contains("5000 tokens"));
    assert!(text(|builder| builder.retry_throttle(10, f64::NAN)).contains("a ratio of NaN"));
}

/// A server that fails is not buried: at half of the tokens nothing is tried again.
#[tokio::test(start_paused = true)]
async fn the_throttle_stops_retries() {
    let (channel, mut peer) =
        channel(|builder| builder.retry(policy(5)).retry_throttle(4, 1.0)).await;
    let call = begin(&channel, &UNARY, Request::new(raw("")));
    refuse(&mut peer, "14", &[]).await;
    refuse(&mut peer, "14", &[]).await;
    // Two of four are left: no more than half.
    assert_eq!(call.await.unwrap().0.unwrap_err().code(), Code::Unavailable);
    for _ in 0..2 {
        let call = begin(&channel, &UNARY, Request::new(raw("")));
        answer(&mut peer).await;
        call.await.unwrap().0.unwrap();
    }
    let call = begin(&channel, &UNARY, Request::new(raw("")));
    refuse(&mut peer, "14", &[]).await;
    answer(&mut peer).await;
    call.await.unwrap().0.unwrap();
}
