//! Retries by policy: opt-in, bounded by attempts, deadline and throttle, never once a response has
//! begun, and as long as the server allows.

use crate::memory_pair::{RawMethod, UNARY, raw};
use crate::peer::{Frame, Peer};
use framewire::client::{Channel, ChannelBuilder, RetryPolicy};
use framewire::error::Error;
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
