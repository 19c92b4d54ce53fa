//! Bodies of plain HTTP: they have a limit in both roles, and no byte of them is read as gRPC.

use crate::memory_pair::{On, raw, router};
use crate::peer::{Frame, Peer};
use framewire::client::{ChannelBuilder, HttpRequest, HttpResponse};
use framewire::error::{Error, Kind};
use framewire::server::{HttpReply, Router};
use framewire::transport::in_memory;
use framewire::unstable::grpc::Code;
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Read as gRPC, these bytes announce a message of 16 MiB.
const PREFIX: &[u8] = b"\0\x01\0\0\0";
const LIMIT: usize = 20_000;

/// A plain handler that says how many bytes came, and counts its calls.
fn plain(calls: &Arc<AtomicUsize>) -> Router {
    let calls = Arc::clone(calls);
    router().http("/plain", move |request| {
        calls.fetch_add(1, Ordering::Relaxed);
        async move { HttpReply::new(200).with_body(request.body.len().to_string()) }
    })
}

async fn post(peer: &mut Peer, id: u32, more: &[(&str, &str)]) {
    let stable =
        [(":method", "POST"), (":scheme", "http"), (":path", "/plain"), (":authority", "test")];
    let fields: Vec<_> = stable.iter().chain(more).copied().collect();
    peer.headers(id, false, &fields).await;
}

/// The status of an answer and, where the request had not ended, the code of the reset behind it.
async fn refused(peer: &mut Peer) -> (Option<String>, u32) {
    let head = peer.next(FrameType::Headers).await;
    assert!(head.ends(), "{head:?}");
    let reset = peer.next(FrameType::RstStream).await;
    assert_eq!(reset.id, head.id);
    (head.field(":status").map(str::to_owned), reset.number())
}

fn too_large() -> (Option<String>, u32) {
    (Some("413".to_owned()), ErrorCode::NO_ERROR.0)
}

/// Sends a whole body of so many bytes; what the handler says of it.
async fn served(peer: &mut Peer, id: u32, bytes: usize) -> String {
    post(peer, id, &[]).await;
    let body = [PREFIX, &vec![b'x'; bytes - PREFIX.len()]].concat();
    for piece in body.chunks(8_000) {
        peer.data(id, piece, false).await;
    }
    peer.data(id, b"", true).await;
    let answer = peer.next_of(&[FrameType::Data, FrameType::RstStream]).await;
    String::from_utf8_lossy(&answer.payload).into_owned()
}

pub async fn a_request_over_the_limit_is_answered_413(on: On) {
    let calls = Arc::new(AtomicUsize::new(0));
    let pair = on.setup(plain(&calls).max_http_body(LIMIT)).start();
    let mut peer = Peer::dial(&pair.connector).await;
    post(&mut peer, 1, &[]).await;
    for _ in 0..2 {
        peer.data(1, &[b'x'; 8_000], false).await;
    }
    let quiet = peer.until_silent().await;
    assert!(quiet.iter().all(|frame| frame.kind != FrameType::Headers), "{quiet:?}");
    peer.data(1, &[b'x'; 8_000], false).await;
    assert_eq!(refused(&mut peer).await, too_large());
    // One that announces it is not read at all.
    post(&mut peer, 3, &[("content-length", "20001")]).await;
    assert_eq!(refused(&mut peer).await, too_large());
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert_eq!(served(&mut peer, 5, LIMIT).await, LIMIT.to_string());
}

pub async fn the_limit_of_requests_is_that_of_messages_by_default(on: On) {
    let calls = Arc::default();
    let pair = on.setup(plain(&calls).max_receive_message(1_000)).start();
    let mut peer = Peer::dial(&pair.connector).await;
    assert_eq!(served(&mut peer, 1, 1_000).await, "1000");
    post(&mut peer, 3, &[]).await;
    peer.data(3, &[b'x'; 1_001], false).await;
    assert_eq!(refused(&mut peer).await, too_large());
}

fn windows(frames: &[Frame], id: u32) -> usize {
    frames.iter().filter(|f| f.kind == FrameType::WindowUpdate && f.id == id).count()
}

pub async fn no_request_opens_its_window_by_its_first_bytes(on: On) {
    let calls = Arc::default();
    let pair = on.setup(plain(&calls).max_http_body(64 << 20)).start();
    let mut peer = Peer::dial(&pair.connector).await;
    post(&mut peer, 1, &[]).await;
    peer.data(1, PREFIX, false).await;
    assert_eq!(windows(&peer.until_silent().await, 1), 0);
}

type Call = JoinHandle<Result<HttpResponse, Error>>;

/// A plain request, and the server's end of it.
async fn asked(
    on: On,
    method: &'static str,
    with: impl FnOnce(ChannelBuilder) -> ChannelBuilder,
) -> (Call, Peer) {
    let (connector, mut listener) = in_memory(64 * 1024);
    let channel = with(on.channel().connector(connector)).build().unwrap();
    let call = tokio::spawn(async move { channel.http(HttpRequest::new(method, "/")).await });
    let mut peer = Peer::accept(&mut listener, &[]).await;
    assert_eq!(peer.next(FrameType::Headers).await.id, 1);
    (call, peer)
}

async fn ends_over_the_limit(call: Call, mut peer: Peer) {
    let ended = tokio::time::timeout(Duration::from_secs(5), call).await;
    let error = ended.expect("the call reads on").unwrap().unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::ResourceExhausted, Kind::Limit), "{error}");
    assert!(error.to_string().contains("max_http_body"), "{error}");
    assert_eq!(peer.next(FrameType::RstStream).await.number(), ErrorCode::CANCEL.0);
}

pub async fn a_response_over_the_limit_ends_the_call(on: On) {
    let limited = |builder: ChannelBuilder| builder.max_http_body(LIMIT);
    let (call, mut peer) = asked(on, "GET", limited).await;
    peer.headers(1, false, &[(":status", "200")]).await;
    for _ in 0..3 {
        peer.data(1, &[b'x'; 8_000], false).await;
    }
    ends_over_the_limit(call, peer).await;

    let (call, mut peer) = asked(on, "GET", limited).await;
    peer.headers(1, false, &[(":status", "200"), ("content-length", "20001")]).await;
    ends_over_the_limit(call, peer).await;

    let (call, mut peer) = asked(on, "GET", |b| b.max_receive_message(1_000)).await;
    peer.headers(1, false, &[(":status", "200")]).await;
    peer.data(1, &[b'x'; 1_001], false).await;
    ends_over_the_limit(call, peer).await;
}

/// What is within the limit is a response, whatever its status and its first bytes; so is one that
/// has no body at all.
pub async fn a_response_within_the_limit_is_whole(on: On) {
    for content_type in ["text/html", "application/grpc"] {
        let (call, mut peer) = asked(on, "GET", |b| b.max_http_body(LIMIT)).await;
        peer.headers(1, false, &[(":status", "503"), ("content-type", content_type)]).await;
        peer.data(1, PREFIX, false).await;
        assert_eq!(windows(&peer.until_silent().await, 1), 0, "the window opens");
        for size in [8_000, 8_000, LIMIT - 16_000 - PREFIX.len()] {
            peer.data(1, &vec![b'x'; size], false).await;
        }
        peer.data(1, b"", true).await;
        let response = call.await.unwrap().unwrap();
        assert_eq!((response.status, response.body.len()), (503, LIMIT));
    }
    let (call, mut peer) = asked(on, "HEAD", |b| b.max_http_body(LIMIT)).await;
    peer.headers(1, false, &[(":status", "200"), ("content-length", "20001")]).await;
    peer.data(1, b"", true).await;
    assert_eq!(call.await.unwrap().unwrap().body, raw("").0);
}
