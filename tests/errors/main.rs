//! Every error a caller can meet, as one line: what happened, in which phase, by whose doing,
//! whether a retry is safe, and on which connection.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[expect(dead_code, reason = "the peer can do more than these tests need")]
#[path = "../support/peer.rs"]
mod peer;

mod certificates;
mod connecting;
mod deadlines;
#[path = "../support/identity.rs"]
mod identity;
mod limits;
#[expect(dead_code, reason = "a log tells more than these tests ask")]
#[path = "../support/log.rs"]
mod log;

use framewire::client::Channel;
use framewire::error::Error;
use framewire::transport::MemoryListener;
use framewire::transport::in_memory;
use framewire::unstable::grpc::{Method, Raw, Request};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use peer::{Peer, framed, request};
use std::time::Duration;

const UNARY: Method<Raw, Raw> = Method::new("/test.Echo/Unary");
const HEAD: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];

/// What the peer does once it has seen the request.
enum Act {
    Close,
    Reset(ErrorCode),
    GoAway(u32, ErrorCode, &'static str),
    /// A head that ends the stream.
    Only(Vec<(&'static str, &'static str)>),
    /// A head with a field of so many bytes.
    Long(usize),
    /// A head, bytes, and perhaps a status.
    Body(Vec<u8>, Option<&'static str>),
    /// Bytes as they are.
    Bytes(Vec<u8>),
    Nothing,
    Head,
}

fn table() -> Vec<(&'static str, Act, &'static str)> {
    use Act::{Body, Bytes, Close, GoAway, Head, Long, Nothing, Only, Reset};
    vec![
        (
            "status",
            Only([&HEAD[..], &[("grpc-status", "5"), ("grpc-message", "no user 42")]].concat()),
            "NOT_FOUND: no user 42",
        ),
        (
            "lost",
            Close,
            "UNAVAILABLE: the peer closed the connection, while waiting for the \
             response; it may have been processed; connection N to memory, 0.0 s old, \
             stream 1",
        ),
        (
            "lost mid-response",
            Body(vec![0, 0, 0, 0, 9], None),
            "UNAVAILABLE: the peer closed the connection, while reading the response; \
             it may have been processed; connection N to memory, 0.1 s old, stream 1",
        ),
        (
            "reset",
            Reset(ErrorCode::INTERNAL_ERROR),
            "INTERNAL: the peer reset the stream with INTERNAL_ERROR, while waiting \
             for the response [INTERNAL_ERROR]; it may have been processed; \
             connection N to memory, 0.0 s old, stream 1",
        ),
        (
            "reset, calm",
            Reset(ErrorCode::ENHANCE_YOUR_CALM),
            "RESOURCE_EXHAUSTED: the peer reset the stream with ENHANCE_YOUR_CALM, \
             while waiting for the response [ENHANCE_YOUR_CALM]; it may have been \
             processed; connection N to memory, 0.0 s old, stream 1",
        ),
        (
            "goaway, then lost",
            GoAway(1, ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings"),
            "UNAVAILABLE: the peer closed the connection, while waiting for the \
             response (the peer said: too_many_pings); it may have been processed; \
             connection N to memory, 0.1 s old, stream 1",
        ),
        (
            "html",
            Only(vec![(":status", "502"), ("content-type", "text/html")]),
            "UNAVAILABLE: the response is not gRPC: HTTP status 502, content-type text/html, \
             while reading the response; connection N to memory, 0.0 s old, stream 1",
        ),
        (
            "503 alone",
            Only(vec![(":status", "503")]),
            "UNAVAILABLE: the response is not gRPC: HTTP status 503, no content-type, \
             while reading the response; connection N to memory, 0.0 s old, stream 1",
        ),
        (
            "a token in the wrong place",
            Only(vec![(":status", "503"), ("content-type", "Bearer hunter2")]),
            "UNAVAILABLE: the response is not gRPC: HTTP status 503, content-type of 14 bytes, \
             while reading the response; connection N to memory, 0.0 s old, stream 1",
        ),
        (
            "html, 200",
            Only(vec![(":status", "200"), ("content-type", "text/html")]),
            "UNKNOWN: the response is not gRPC: HTTP status 200, content-type text/html, \
             while reading the response; connection N to memory, 0.0 s old, stream 1",
        ),
        (
            "no content-type",
            Only(vec![(":status", "404")]),
            "UNIMPLEMENTED: the response is not gRPC: HTTP status 404, no content-type, \
             while reading the response; connection N to memory, 0.0 s old, stream 1",
        ),
        ("no status", Only(HEAD.to_vec()), "INTERNAL: the response ended without trailers"),
        (
            "no message",
            Body(Vec::new(), Some("0")),
            "INTERNAL: the peer answered OK without a message, while reading \
             the response; connection N to memory, 0.1 s old, stream 1",
        ),
        (
            "two messages",
            Body([framed(b"a"), framed(b"b")].concat(), Some("0")),
            "INTERNAL: the peer answered a unary call with more than one message, while \
             reading the response; connection N to memory, 0.1 s old, stream 1",
        ),
        (
            "cut message",
            Body(vec![0, 0, 0, 0, 9, 1], Some("0")),
            "INTERNAL: stream ended 8 bytes before the end of a message, while reading \
             the response; connection N to memory, 0.1 s old, stream 1",
        ),
        (
            "bad flag",
            Body(vec![9, 0, 0, 0, 0], Some("0")),
            "INTERNAL: compressed flag 9 is neither 0 nor 1, while reading \
             the response; connection N to memory, 0.1 s old, stream 1",
        ),
        (
            "too large",
            Body(vec![0, 1, 0, 0, 0], None),
            "RESOURCE_EXHAUSTED: a received message of 16777216 bytes is over the \
             limit of 4194304 (max_receive_message), while reading the response; \
             connection N to memory, 0.0 s old, stream 1",
        ),
        (
            "head too large",
            Long(20_000),
            "RESOURCE_EXHAUSTED: the response's header list has 20140 bytes; this side \
             accepts 16384 (Limits::header_list_bytes), while reading the response; \
             connection N to memory, 0.0 s old, stream 1",
        ),
        (
            "DATA on stream 0",
            Bytes(vec![0, 0, 1, 0, 0, 0, 0, 0, 0, 7]),
            "UNAVAILABLE: the peer broke HTTP/2: DATA on stream 0 (PROTOCOL_ERROR), \
             while waiting for the response [PROTOCOL_ERROR]; it may have been \
             processed; connection N to memory, 0.0 s old, stream 1",
        ),
        (
            "SETTINGS of 5 bytes",
            Bytes(vec![0, 0, 5, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            "UNAVAILABLE: the peer broke HTTP/2: SETTINGS is not a multiple of 6 \
             bytes (FRAME_SIZE_ERROR), while waiting for the response \
             [FRAME_SIZE_ERROR]; it may have been processed; connection N to memory, \
             0.0 s old, stream 1",
        ),
        (
            "increment 0",
            Bytes(vec![0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
            "INTERNAL: the peer broke HTTP/2 on this stream: WINDOW_UPDATE of 0 on a \
             stream, while waiting for the response [PROTOCOL_ERROR]; it may have \
             been processed; connection N to memory, 0.0 s old, stream 1",
        ),
        (
            "silent",
            Nothing,
            "DEADLINE_EXCEEDED: the deadline passed, while waiting for the response; \
             it may have been processed; connection N to memory, 2.0 s old, stream 1",
        ),
        (
            "silent mid-response",
            Head,
            "DEADLINE_EXCEEDED: the deadline passed, while reading the response; it \
             may have been processed; connection N to memory, 2.0 s old, stream 1",
        ),
    ]
}

/// The numbers that differ from run to run, normalised.
fn normal(error: &Error) -> String {
    let line = error.to_string();
    assert!(!line.contains('\n'), "one line: {line}");
    match (line.find("; connection "), line.find(" to ")) {
        (Some(from), Some(to)) if from < to => {
            format!("{}; connection N{}", &line[..from], &line[to..])
        }
        _ => line,
    }
}

fn channel() -> (Channel, MemoryListener) {
    let (connector, listener) = in_memory(64 * 1024);
    (Channel::builder("http://test").connector(connector).build().unwrap(), listener)
}

async fn act(act: Act) -> Error {
    let (channel, mut listener) = channel();
    let call = tokio::spawn(async move {
        let request = Request::new(Raw::default()).with_timeout(Duration::from_secs(2));
        channel.unary(&UNARY, request).await
    });
    let mut peer = Peer::accept(&mut listener, &[]).await;
    peer.next(FrameType::Headers).await;
    match act {
        Act::Close => drop(peer),
        Act::Reset(code) => peer.reset(1, code).await,
        Act::GoAway(last, code, text) => {
            peer.goaway(last, code, text).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(peer);
        }
        Act::Only(fields) => peer.headers(1, true, &fields).await,
        Act::Long(bytes) => {
            let long = "v".repeat(bytes);
            peer.headers(1, true, &[&HEAD[..], &[("x-long", &long)]].concat()).await;
        }
        Act::Body(bytes, status) => {
            peer.response(1).await;
            peer.data(1, &bytes, false).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            match status {
                Some(status) => peer.headers(1, true, &[("grpc-status", status)]).await,
                None => drop(peer),
            }
        }
        Act::Bytes(bytes) => peer.send(&bytes).await,
        Act::Nothing => {
            peer.until_silent().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        Act::Head => {
            peer.response(1).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
    call.await.unwrap().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn each_error_is_one_line_that_needs_no_other() {
    let mut wrong = Vec::new();
    for (name, what, line) in table() {
        let got = normal(&act(what).await);
        if got != line {
            wrong.push(format!("{name}\n  wanted {line}\n  got    {got}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_fails() {
    let (channel, listener) = channel();
    drop(listener);
    let error = channel.unary(&UNARY, Raw::default()).await.unwrap_err();
    assert_eq!(
        normal(&error),
        "UNAVAILABLE: cannot connect to http://test:80 (opening the socket): \
             connection refused, nothing listens there [fault: server], while \
             connecting; not processed, a retry is safe"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_before_it_speaks() {
    let (channel, listener) = channel();
    let close = tokio::spawn(async move {
        let mut listener = listener;
        let _ = framewire::transport::Accept::accept(&mut listener).await;
    });
    let error = channel.unary(&UNARY, Raw::default()).await.unwrap_err();
    close.await.unwrap();
    assert_eq!(
        normal(&error),
        "UNAVAILABLE: cannot connect to http://test:80 (waiting for the first SETTINGS): the peer \
             closed the connection: it sent nothing; if it is a TLS server, use https:// [fault: \
             network], while waiting for the peer's SETTINGS; not processed, a retry is safe"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_of_a_request() {
    let (connector, listener) = in_memory(64 * 1024);
    framewire::server::Server::builder(framewire::server::Router::new()).serve(listener).unwrap();
    let mut peer = Peer::dial(&connector).await;
    let rows = [
        (vec![], "12 this server has no method /test.Echo/Unary"),
        (
            vec![("grpc-timeout", "1x")],
            "13 grpc-timeout is not 1 to 8 digits and one of H M S m u n",
        ),
        (vec![("grpc-encoding", "br")], "12 grpc-encoding br is not supported"),
    ];
    for (i, (more, line)) in rows.into_iter().enumerate() {
        peer.headers(2 * i as u32 + 1, true, &request("/test.Echo/Unary", &more)).await;
        let answer = peer.next(FrameType::Headers).await;
        let (code, text) = (answer.field("grpc-status"), answer.field("grpc-message"));
        assert_eq!(format!("{} {}", code.unwrap_or(""), text.unwrap_or("")), line);
    }
}
