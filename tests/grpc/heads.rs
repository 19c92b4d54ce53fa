//! The head of a response is checked before any byte of its body, in every kind of call and under
//! every policy.

use crate::memory_pair::{BIDI, DOWN, On, UNARY, raw};
use crate::peer::{Frame, Peer, framed};
use framewire::client::{Channel, HedgePolicy, RetryPolicy};
use framewire::error::{Error, Kind};
use framewire::transport::in_memory;
use framewire::unstable::grpc::Code;
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use std::any::Any;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Unary,
    Down,
    Bidi,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Policy {
    None,
    Retry,
    Hedge,
}

/// A response without an end, and how the call must end.
#[derive(Debug)]
struct Case {
    head: [(&'static str, &'static str); 2],
    body: Vec<u8>,
    code: Code,
    kind: Kind,
}

const fn of(status: &'static str, content_type: &'static str) -> [(&'static str, &'static str); 2] {
    [(":status", status), ("content-type", content_type)]
}

/// How the call ends, and what of it is still held.
async fn begin(channel: Channel, shape: Shape) -> (Error, Box<dyn Any + Send>) {
    match shape {
        Shape::Unary => (channel.unary(&UNARY, raw("x")).await.unwrap_err(), Box::new(())),
        Shape::Down => {
            let mut down = channel.server_streaming(&DOWN, raw("x")).unwrap();
            (down.message().await.unwrap_err(), Box::new(down))
        }
        Shape::Bidi => {
            let (mut up, mut down) = channel.bidi(&BIDI, ()).unwrap();
            up.send(raw("x")).await.unwrap();
            (down.message().await.unwrap_err(), Box::new((up, down)))
        }
    }
}

fn resets(frames: &[Frame]) -> Vec<(u32, u32)> {
    let resets = frames.iter().filter(|frame| frame.kind == FrameType::RstStream);
    resets.map(|frame| (frame.id, frame.number())).collect()
}

async fn ends(on: On, shape: Shape, policy: Policy, case: &Case) {
    let what = format!("{on:?} {shape:?} {policy:?} {:?}", case.head);
    let (connector, mut listener) = in_memory(64 * 1024);
    let builder = on.channel().connector(connector);
    let ms = Duration::from_millis;
    let builder = match policy {
        Policy::None => builder,
        Policy::Retry => builder.retry(RetryPolicy::new(2).backoff(ms(1), 1.0, ms(1))),
        Policy::Hedge => builder.hedge(HedgePolicy::new(2, Duration::from_secs(10))),
    };
    let channel = builder.build().unwrap();
    let call = tokio::spawn(begin(channel.clone(), shape));
    let mut peer = Peer::accept(&mut listener, &[]).await;
    // Only unary calls are hedged.
    let again = policy == Policy::Retry || (policy == Policy::Hedge && shape == Shape::Unary);
    let attempts = if again && case.code == Code::Unavailable { 2 } else { 1 };
    let (mut frames, mut ids) = (Vec::new(), Vec::new());
    for _ in 0..attempts {
        let mut note = |more: &[Frame]| frames.extend_from_slice(more);
        let id = peer.next_noting(FrameType::Headers, &mut note).await.id;
        peer.headers(id, false, &case.head).await;
        peer.data(id, &case.body, false).await;
        ids.push(id);
    }
    let ended = tokio::time::timeout(Duration::from_secs(5), call).await;
    let (error, held) = ended.unwrap_or_else(|_| panic!("{what}: waits for the body")).unwrap();
    assert_eq!((error.code(), error.kind()), (case.code, case.kind), "{what}: {error}");
    frames.extend(peer.until_silent().await);
    if case.kind == Kind::NotGrpc || shape == Shape::Unary {
        // The stream was reset though its halves are held: the rest of the page is not wanted.
        let want: Vec<_> = ids.iter().map(|id| (*id, ErrorCode::CANCEL.0)).collect();
        assert_eq!(resets(&frames), want, "{what}");
    }
    let heads = frames.iter().filter(|frame| frame.kind == FrameType::Headers);
    assert_eq!(heads.count(), attempts, "{what}");
    drop(held);
    // What comes of the page all the same harms nobody.
    peer.data(ids[0], &[b' '; 10_000], false).await;
    let next = tokio::spawn(async move { channel.unary(&UNARY, raw("")).await });
    let id = peer.next(FrameType::Headers).await.id;
    peer.answer(id, b"fine").await;
    assert_eq!(next.await.unwrap().unwrap().into_inner(), raw("fine"), "{what}");
}

async fn ends_everywhere(on: On, case: &Case) {
    for shape in [Shape::Unary, Shape::Down, Shape::Bidi] {
        for policy in [Policy::None, Policy::Retry, Policy::Hedge] {
            ends(on, shape, policy, case).await;
        }
    }
}

/// Pages of proxies: their first five bytes are not a length.
pub async fn a_page_ends_the_call_at_its_head(on: On) {
    let page = b"<html><body>upstream connect error</body></html>".to_vec();
    for (head, body, code) in [
        (of("503", "text/html"), page.clone(), Code::Unavailable),
        (of("404", "text/plain"), b"404 page not found".to_vec(), Code::Unimplemented),
        (of("200", "text/html"), page.clone(), Code::Unknown),
        (of("502", "application/grpc"), page, Code::Unavailable),
        (of("502", "application/grpc"), framed(b"a message"), Code::Unavailable),
    ] {
        ends_everywhere(on, &Case { head, body, code, kind: Kind::NotGrpc }).await;
    }
}

/// What is gRPC has the limit of a message.
pub async fn a_message_behind_a_good_head_has_a_limit(on: On) {
    let body = b"\0\x40\0\0\0 and so on".to_vec();
    let (code, kind) = (Code::ResourceExhausted, Kind::Limit);
    ends_everywhere(on, &Case { head: of("200", "application/grpc"), body, code, kind }).await;
}

/// The head says more than the loss of the connection behind it.
pub async fn a_page_whose_connection_is_lost(on: On) {
    for shape in [Shape::Unary, Shape::Down, Shape::Bidi] {
        let (connector, mut listener) = in_memory(64 * 1024);
        let channel = on.channel().connector(connector).build().unwrap();
        let call = tokio::spawn(begin(channel, shape));
        let mut peer = Peer::accept(&mut listener, &[]).await;
        let id = peer.next(FrameType::Headers).await.id;
        peer.headers(id, false, &of("404", "text/html")).await;
        peer.data(id, b"<html>", false).await;
        drop(peer);
        let (error, _) = call.await.unwrap();
        let want = (Code::Unimplemented, Kind::NotGrpc);
        assert_eq!((error.code(), error.kind()), want, "{shape:?}: {error}");
    }
}
