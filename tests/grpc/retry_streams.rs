//! Retries of streams by policy: what was sent is sent again, in order, by a call whose halves never
//! notice; until a response begins, or more was sent than is kept.

use crate::memory_pair::{BIDI, DOWN, On, UNARY, UP, raw};
use crate::peer::{Frame, Peer, framed};
use framewire::client::{Channel, ChannelBuilder, RetryPolicy};
use framewire::error::{Kind, Processed};
use framewire::transport::MemoryListener;
use framewire::transport::in_memory;
use framewire::unstable::grpc::{Code, Request};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::time::Duration;
use tokio::time::Instant;

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// A channel with a policy of so many attempts, the first pause being 100 ms give or take a fifth.
fn channel(
    on: On,
    attempts: u32,
    with: impl FnOnce(ChannelBuilder) -> ChannelBuilder,
) -> (Channel, MemoryListener) {
    let (connector, listener) = in_memory(64 * 1024);
    let policy = RetryPolicy::new(attempts).backoff(ms(100), 2.0, ms(300)).on(Code::Internal);
    let builder = on.channel().connector(connector).retry(policy);
    (with(builder).build().unwrap(), listener)
}

async fn head(peer: &mut Peer) -> (u32, Option<String>) {
    let head = peer.next(FrameType::Headers).await;
    (head.id, head.field("grpc-previous-rpc-attempts").map(str::to_owned))
}

/// The bytes of a stream up to so many, and whether it has ended.
async fn body(peer: &mut Peer, bytes: usize) -> (Vec<u8>, bool) {
    let (mut body, mut ended) = (Vec::new(), false);
    while body.len() < bytes {
        let data = peer.next(FrameType::Data).await;
        body.extend_from_slice(&data.payload);
        ended |= data.ends();
    }
    (body, ended)
}

fn wire(messages: &[&str]) -> Vec<u8> {
    messages.iter().flat_map(|message| framed(message.as_bytes())).collect()
}

async fn refuse(peer: &mut Peer, id: u32, code: &str, more: &[(&str, &str)]) {
    let mut fields =
        vec![(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", code)];
    fields.extend_from_slice(more);
    peer.headers(id, true, &fields).await;
}

fn heads(frames: &[Frame]) -> usize {
    frames.iter().filter(|frame| frame.kind == FrameType::Headers).count()
}

fn between(before: Instant, least: u64, most: u64) {
    let time = before.elapsed();
    assert!((ms(least)..=ms(most)).contains(&time), "{time:?}");
}

pub async fn a_server_streaming_call_is_tried_again_before_its_response_begins(on: On) {
    let (channel, mut listener) = channel(on, 4, |builder| builder);
    let before = Instant::now();
    let mut down = channel.server_streaming(&DOWN, raw("ask")).unwrap();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let mut seen = Vec::new();
    for i in 0..4 {
        let (id, previous) = head(&mut peer).await;
        assert_eq!(body(&mut peer, 8).await, (wire(&["ask"]), true));
        seen.push(previous.unwrap_or_default());
        match i {
            0 => refuse(&mut peer, id, "14", &[]).await,
            1 => peer.reset(id, ErrorCode::INTERNAL_ERROR).await,
            // Whatever answers in the server's place.
            2 => {
                let fields = [(":status", "503"), ("content-type", "text/html")];
                peer.headers(id, false, &fields).await;
                peer.data(id, b"<html>", true).await;
            }
            _ => {
                peer.response(id).await;
                peer.data(id, &wire(&["a", "b"]), false).await;
                peer.headers(id, true, &[("grpc-status", "0")]).await;
            }
        }
    }
    assert_eq!(seen, ["", "1", "2", "3"]);
    for text in ["a", "b"] {
        assert_eq!(down.message().await.unwrap(), Some(raw(text)));
    }
    assert_eq!(down.message().await.unwrap(), None);
    // 100, 200 and 300 ms, give or take a fifth.
    between(before, 480, 725);
}

pub async fn a_response_that_has_begun_is_final(on: On) {
    let (channel, mut listener) = channel(on, 4, |builder| builder);
    let mut down = channel.server_streaming(&DOWN, raw("")).unwrap();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let (id, _) = head(&mut peer).await;
    peer.response(id).await;
    peer.reset(id, ErrorCode::INTERNAL_ERROR).await;
    let error = down.message().await.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::Reset, Processed::Maybe), "{error}");
    let mut down = channel.server_streaming(&DOWN, raw("")).unwrap();
    let (id, _) = head(&mut peer).await;
    peer.response(id).await;
    peer.headers(id, true, &[("grpc-status", "14")]).await;
    assert_eq!(down.message().await.unwrap_err().code(), Code::Unavailable);
    // A unary call, too.
    let call = tokio::spawn(async move { channel.unary(&UNARY, raw("")).await });
    let (id, _) = head(&mut peer).await;
    peer.response(id).await;
    peer.reset(id, ErrorCode::INTERNAL_ERROR).await;
    call.await.unwrap().unwrap_err();
    assert_eq!(heads(&peer.until_silent().await), 0);
}

pub async fn a_bidi_call_repeats_what_it_has_sent_in_order(on: On) {
    let (channel, mut listener) = channel(on, 3, |builder| builder);
    let (mut up, mut down) = channel.bidi(&BIDI, ()).unwrap();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    for text in ["one", "two"] {
        up.send(raw(text)).await.unwrap();
        tokio::time::sleep(ms(1)).await;
    }
    let (id, _) = head(&mut peer).await;
    assert_eq!(body(&mut peer, 16).await.0, wire(&["one", "two"]));
    peer.reset(id, ErrorCode::INTERNAL_ERROR).await;
    // Sent in the pause.
    tokio::time::sleep(ms(20)).await;
    up.send(raw("three")).await.unwrap();
    let before = Instant::now();
    let (id, previous) = head(&mut peer).await;
    assert_eq!(previous.as_deref(), Some("1"));
    between(before, 55, 105);
    assert_eq!(body(&mut peer, 26).await.0, wire(&["one", "two", "three"]));
    up.send(raw("four")).await.unwrap();
    assert_eq!(body(&mut peer, 9).await.0, wire(&["four"]));
    peer.response(id).await;
    peer.data(id, &wire(&["yes"]), false).await;
    assert_eq!(down.message().await.unwrap(), Some(raw("yes")));
    up.send(raw("five")).await.unwrap();
    up.finish().unwrap();
    assert_eq!(body(&mut peer, 9).await.0, wire(&["five"]));
    peer.headers(id, true, &[("grpc-status", "0")]).await;
    assert_eq!(down.message().await.unwrap(), None);
}

/// Nobody reads while the messages are sent: the attempts follow all the same.
pub async fn a_sender_alone_keeps_the_call_going(on: On) {
    let (channel, mut listener) = channel(on, 3, |builder| builder);
    let (mut up, down) = channel.client_streaming(&UP, ()).unwrap();
    let sender = tokio::spawn(async move {
        for i in 0..8u8 {
            up.send(raw(vec![i; 20_000])).await.unwrap();
        }
        up.finish().unwrap();
    });
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let (id, _) = head(&mut peer).await;
    // As much as the windows allow; the sender waits.
    body(&mut peer, 65_535).await;
    assert!(!sender.is_finished());
    peer.window(0, 300_000).await;
    refuse(&mut peer, id, "14", &[]).await;
    let (id, previous) = head(&mut peer).await;
    assert_eq!(previous.as_deref(), Some("1"));
    peer.window(id, 300_000).await;
    let all: Vec<u8> = (0..8u8).flat_map(|i| framed(&vec![i; 20_000])).collect();
    let (came, _) = body(&mut peer, all.len()).await;
    assert!(came == all, "in order, nothing lost, nothing twice");
    sender.await.unwrap();
    peer.answer(id, b"all").await;
    assert_eq!(down.one().await.unwrap().into_inner(), raw("all"));
}

pub async fn a_call_that_has_sent_more_than_is_kept_is_settled(on: On) {
    for bytes in [1000usize, 1001] {
        let mut options = PoolOptions::new();
        options.keep_bytes = 1000;
        let options = on.client_options(options);
        let (channel, mut listener) = channel(on, 2, |builder| builder.unstable_pool(options));
        let (mut up, mut down) = channel.bidi(&BIDI, ()).unwrap();
        let mut peer = Peer::accept(&mut listener, &[]).await;
        for part in [500, bytes - 500] {
            up.send(raw("x".repeat(part - 5))).await.unwrap();
            tokio::time::sleep(ms(1)).await;
        }
        let (id, _) = head(&mut peer).await;
        body(&mut peer, bytes).await;
        peer.reset(id, ErrorCode::INTERNAL_ERROR).await;
        if bytes == 1000 {
            assert_eq!(head(&mut peer).await.1.as_deref(), Some("1"));
            body(&mut peer, bytes).await;
        } else {
            let end = tokio::time::timeout(ms(1000), down.message()).await;
            let error = end.expect("not tried again").unwrap_err();
            assert_eq!((error.kind(), error.processed()), (Kind::Reset, Processed::Maybe));
            assert_eq!(heads(&peer.until_silent().await), 0);
        }
    }
}

pub async fn the_server_says_when_or_never(on: On) {
    let (channel, mut listener) = channel(on, 3, |builder| builder);
    let mut down = channel.server_streaming(&DOWN, raw("")).unwrap();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let (id, _) = head(&mut peer).await;
    let before = Instant::now();
    refuse(&mut peer, id, "14", &[("grpc-retry-pushback-ms", "2500")]).await;
    let (id, _) = head(&mut peer).await;
    between(before, 2500, 2502);
    refuse(&mut peer, id, "14", &[("grpc-retry-pushback-ms", "-1")]).await;
    assert_eq!(down.message().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(heads(&peer.until_silent().await), 0);
}

pub async fn the_throttle_stops_retries_of_streams(on: On) {
    let (channel, mut listener) = channel(on, 5, |builder| builder.retry_throttle(4, 1.0));
    let mut down = channel.server_streaming(&DOWN, raw("")).unwrap();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    for _ in 0..2 {
        let (id, _) = head(&mut peer).await;
        refuse(&mut peer, id, "14", &[]).await;
    }
    // Two of four are left: no more than half.
    assert_eq!(down.message().await.unwrap_err().code(), Code::Unavailable);
    // Streams that end with OK earn them back; other failures neither spend nor earn.
    for code in ["5", "0", "0"] {
        let mut down = channel.server_streaming(&DOWN, raw("")).unwrap();
        let (id, _) = head(&mut peer).await;
        peer.response(id).await;
        peer.headers(id, true, &[("grpc-status", code)]).await;
        assert_eq!(down.message().await.is_ok(), code == "0");
    }
    let _down = channel.server_streaming(&DOWN, raw("")).unwrap();
    let (id, _) = head(&mut peer).await;
    refuse(&mut peer, id, "14", &[]).await;
    head(&mut peer).await;
}

pub async fn the_deadline_holds_for_all_attempts(on: On) {
    let (channel, mut listener) = channel(on, 5, |builder| builder);
    let before = Instant::now();
    let request = Request::new(raw("")).with_timeout(ms(250));
    let mut down = channel.server_streaming(&DOWN, request).unwrap();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let (id, _) = head(&mut peer).await;
    refuse(&mut peer, id, "14", &[]).await;
    head(&mut peer).await;
    let error = down.message().await.unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::DeadlineExceeded, Kind::Deadline), "{error}");
    between(before, 249, 252);
    // A pause that reaches beyond it is not made.
    let before = Instant::now();
    let request = Request::new(raw("")).with_timeout(ms(50));
    let mut down = channel.server_streaming(&DOWN, request).unwrap();
    let (id, _) = head(&mut peer).await;
    refuse(&mut peer, id, "14", &[]).await;
    assert_eq!(down.message().await.unwrap_err().code(), Code::Unavailable);
    between(before, 0, 10);
}

/// Given up between two attempts, a call is over.
pub async fn a_call_given_up_in_the_pause_is_not_sent_again(on: On) {
    let (channel, mut listener) = channel(on, 5, |builder| builder);
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    for half in 0..3 {
        let (up, mut down) = channel.bidi(&BIDI, ()).unwrap();
        let (id, _) = head(&mut peer).await;
        refuse(&mut peer, id, "14", &[]).await;
        tokio::time::sleep(ms(20)).await;
        match half {
            0 => {
                drop(up);
                assert_eq!(down.message().await.unwrap_err().code(), Code::Cancelled);
            }
            1 => {
                drop(down);
                assert!(up.ready().await.is_err());
            }
            _ => {
                let channel = channel.clone();
                drop((up, down));
                let call = tokio::spawn(async move { channel.unary(&UNARY, raw("")).await });
                let (id, _) = head(&mut peer).await;
                refuse(&mut peer, id, "14", &[]).await;
                tokio::time::sleep(ms(20)).await;
                call.abort();
            }
        }
        assert_eq!(heads(&peer.until_silent().await), 0, "{half}");
        assert_eq!(channel.unstable_handles()[0].life().read().calls, 0);
    }
}

/// An attempt that was not sent does not tell what became of the one before.
pub async fn an_error_speaks_for_all_attempts(on: On) {
    let (channel, mut listener) = channel(on, 2, |builder| builder);
    let call = tokio::spawn(async move { channel.unary(&UNARY, raw("")).await });
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let (id, _) = head(&mut peer).await;
    peer.reset(id, ErrorCode::INTERNAL_ERROR).await;
    drop((peer, listener));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::Connect, Processed::Maybe), "{error}");
}

/// The phases of a call add up to its time, attempts and pauses included.
pub async fn the_timeline_covers_all_attempts(on: On) {
    let (channel, mut listener) = channel(on, 2, |builder| builder);
    let call = tokio::spawn(async move {
        let before = Instant::now();
        let (_, timeline) = channel.unary_timed(&UNARY, raw("")).await.unwrap();
        (timeline, before.elapsed())
    });
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let (id, _) = head(&mut peer).await;
    tokio::time::sleep(ms(40)).await;
    refuse(&mut peer, id, "14", &[]).await;
    let (id, _) = head(&mut peer).await;
    peer.answer(id, b"").await;
    let (timeline, took) = call.await.unwrap();
    assert_eq!((timeline.total(), timeline.wall()), (took, took));
    assert!((ms(120)..ms(165)).contains(&took), "{took:?}");
}
