//! Limits that a call can meet on its way, ours and the peer's, in every kind of call.

use crate::peer::{Peer, framed};
use crate::{HEAD, UNARY, channel, normal};
use framewire::client::Channel;
use framewire::server::{Router, Server};
use framewire::transport::in_memory;
use framewire::unstable::grpc::{Code, Metadata, Method, Raw, Request, Response, Status};
use framewire::unstable::http2::frame::FrameType;

const STREAM: Method<Raw, Raw> = Method::new("/test.Echo/Stream");
/// SETTINGS_MAX_HEADER_LIST_SIZE.
const MAX_HEADER_LIST_SIZE: u16 = 6;

#[tokio::test(start_paused = true)]
async fn a_message_over_our_own_limit() {
    let (connector, _listener) = in_memory(64);
    let builder = Channel::builder("http://test").connector(connector).max_send_message(10);
    let channel = builder.build().unwrap();
    let error = channel.unary(&UNARY, Raw(vec![0; 11].into())).await.unwrap_err();
    assert_eq!(
        normal(&error),
        "RESOURCE_EXHAUSTED: a message of 11 bytes is over the limit of 10 \
             (max_send_message); nothing was sent"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_over_the_peers_header_list() {
    let (channel, mut listener) = channel();
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[(MAX_HEADER_LIST_SIZE, 500)]).await;
    peer.next(FrameType::Settings).await;
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    let mut request = Request::new(Raw::default());
    request.metadata_mut().append("x-long", &"v".repeat(300)).unwrap();
    let error = channel.unary(&UNARY, request).await.unwrap_err();
    // The user-agent carries the version.
    let bytes = 752 + env!("CARGO_PKG_VERSION").len();
    let want = format!(
        "RESOURCE_EXHAUSTED: the request's header list measures {bytes} bytes; the peer \
         accepts 500 (SETTINGS_MAX_HEADER_LIST_SIZE), while writing the request; not \
         processed, a retry is safe; connection N to memory, 0.0 s old"
    );
    assert_eq!(normal(&error), want);
    // A shorter one passes: the limit is one call's, not the connection's.
    let call = tokio::spawn(async move { channel.unary(&UNARY, Raw::default()).await });
    let head = peer.next(FrameType::Headers).await;
    assert_eq!(head.id, 1, "nothing of the long one was sent");
    peer.answer(1, b"").await;
    call.await.unwrap().unwrap();
}

/// The server's limit as its caller reads it, and nothing of the handler.
#[tokio::test(start_paused = true)]
async fn what_a_server_says_of_a_request_that_is_too_large() {
    let (connector, listener) = in_memory(64 * 1024);
    let router = Router::new()
        .unary(&UNARY, |_, request: Raw| async move { Ok(Response::new(request)) })
        .max_receive_message(1000);
    let _server = Server::builder(router).serve(listener).unwrap();
    let channel = Channel::builder("http://test").connector(connector.clone()).build().unwrap();
    let error = channel.unary(&UNARY, Raw(vec![0; 1001].into())).await.unwrap_err();
    assert_eq!(
        normal(&error),
        "RESOURCE_EXHAUSTED: a received message of 1001 bytes is over the limit of 1000 \
         (max_receive_message)"
    );
    // A client that does not heed SETTINGS_MAX_HEADER_LIST_SIZE.
    let mut peer = Peer::dial(&connector).await;
    let long = "v".repeat(17_000);
    let fields = crate::request("/test.Echo/Unary", &[("x-long", &long)]);
    peer.headers(1, true, &fields).await;
    let answer = peer.next(FrameType::Headers).await;
    assert_eq!(answer.field(":status"), Some("200"));
    assert_eq!(answer.field("content-type"), Some("application/grpc"));
    assert_eq!(answer.field("grpc-status"), Some("8"));
    assert_eq!(
        answer.field("grpc-message"),
        Some(
            "the request's header list has 17325 bytes; this side accepts 16384 \
             (Limits::header_list_bytes)"
        )
    );
    let many: Vec<_> = (0..130).map(|_| ("x", "v")).collect();
    peer.headers(3, true, &crate::request("/test.Echo/Unary", &many)).await;
    let answer = peer.next(FrameType::Headers).await;
    let text = answer.field("grpc-message").expect("a message");
    assert!(text.ends_with("fields; this side accepts 128 (Limits::header_list_fields)"), "{text}");
}

/// A stream's errors say as much as a unary call's.
#[tokio::test(start_paused = true)]
async fn what_a_stream_receives() {
    let (channel, mut listener) = channel();
    let mut streams: Vec<_> =
        (0..3).map(|_| channel.server_streaming(&UNARY, Raw::default()).unwrap()).collect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    for _ in 0..3 {
        peer.next(FrameType::Headers).await;
    }
    peer.headers(1, true, &[(":status", "503"), ("content-type", "text/html")]).await;
    peer.headers(3, false, &HEAD).await;
    peer.data(3, &[0, 1, 0, 0, 0], false).await;
    peer.headers(5, false, &HEAD).await;
    peer.data(5, &framed(b"fine"), false).await;
    peer.data(5, &[9, 0, 0, 0, 0], false).await;
    let lines = [
        "UNAVAILABLE: the response is not gRPC: HTTP status 503, content-type text/html, while \
         reading the response; connection N to memory, 0.0 s old, stream 1",
        "RESOURCE_EXHAUSTED: a received message of 16777216 bytes is over the limit of 4194304 \
         (max_receive_message), while reading the response; connection N to memory, 0.0 s old, \
         stream 3",
        "INTERNAL: compressed flag 9 is neither 0 nor 1, while reading the response; connection \
         N to memory, 0.0 s old, stream 5",
    ];
    assert_eq!(streams[2].message().await.unwrap(), Some(Raw("fine".into())));
    for (stream, line) in streams.iter_mut().zip(lines) {
        let error = stream.message().await.unwrap_err();
        assert_eq!(normal(&error), line);
        assert_eq!(normal(&stream.message().await.unwrap_err()), line, "and again");
    }
}

/// How a unary call to a server of ours ends whose peer accepts 600 bytes of a header list.
async fn answered(handler: fn() -> Result<Response<Raw>, Status>) -> (String, String) {
    let (connector, listener) = in_memory(64 * 1024);
    let router = Router::new()
        .unary(&UNARY, move |_, _: Raw| async move { handler() })
        .server_streaming(&STREAM, move |_, _: Raw, mut replies| async move {
            replies.send(Raw("first".into())).await?;
            let response = handler()?;
            replies.trailers(response.trailers())
        });
    let _server = Server::builder(router).serve(listener).unwrap();
    let mut lines = Vec::new();
    for path in ["/test.Echo/Unary", "/test.Echo/Stream"] {
        let mut peer = Peer::dial(&connector).await;
        peer.settings(&[(MAX_HEADER_LIST_SIZE, 600)]).await;
        peer.headers(1, false, &crate::request(path, &[])).await;
        peer.data(1, &framed(b""), true).await;
        let end = loop {
            let frame = peer.next_of(&[FrameType::Headers, FrameType::RstStream]).await;
            if frame.kind == FrameType::RstStream || frame.ends() {
                break frame;
            }
        };
        let text = end.field("grpc-message").unwrap_or("no message");
        lines.push(format!("{} {text}", end.field("grpc-status").unwrap_or("no status")));
        // The connection is whole.
        peer.headers(3, true, &crate::request("/none", &[])).await;
        assert_eq!(peer.next(FrameType::Headers).await.field("grpc-status"), Some("12"));
    }
    let stream = lines.pop().unwrap();
    (lines.pop().unwrap(), stream)
}

/// A response that the peer would not take is told to it by a status that it takes.
#[tokio::test(start_paused = true)]
async fn a_response_over_the_peers_header_list() {
    let ok = || {
        let mut metadata = Metadata::new();
        metadata.append("x-long", &"v".repeat(1000)).unwrap();
        Ok(Response::new(Raw::default()).with_trailers(metadata))
    };
    let line = |bytes| {
        format!(
            "8 the response cannot be sent: the header list has {bytes} bytes, the peer accepts 600; \
             send less metadata"
        )
    };
    assert_eq!(answered(ok).await, (line(1082), line(1082)));
    let failed = || Err(Status::new(Code::NotFound, "n".repeat(1000)));
    let (unary, stream) = answered(failed).await;
    for line in [unary, stream] {
        let text = line.strip_prefix("5 ").unwrap();
        assert!((300..600).contains(&text.len()) && text.chars().all(|c| c == 'n'), "{line}");
    }
}

/// As [`a_response_over_the_peers_header_list`], with metadata before the message.
#[tokio::test(start_paused = true)]
async fn a_response_head_over_the_peers_header_list() {
    let ok = || {
        let mut metadata = Metadata::new();
        metadata.append("x-long", &"v".repeat(1000)).unwrap();
        Ok(Response::new(Raw("a body".into())).with_metadata(metadata))
    };
    let want = "8 the response cannot be sent: the header list has 1140 bytes, the peer accepts 600; \
                send less metadata";
    assert_eq!(answered(ok).await.0, want);
}

/// What a sender is told of its own message, and what a server's caller reads of one.
#[tokio::test(start_paused = true)]
async fn a_streams_message_over_our_own_limit() {
    let (connector, listener) = in_memory(64 * 1024);
    let router = Router::new()
        .max_send_message(10)
        .server_streaming(&STREAM, |_, request: Raw, mut replies| async move {
            replies.send(request).await
        });
    let _server = Server::builder(router).serve(listener).unwrap();
    let builder = Channel::builder("http://test").connector(connector).max_send_message(20);
    let channel = builder.build().unwrap();
    let (mut up, _down) = channel.bidi(&STREAM, ()).unwrap();
    assert_eq!(
        normal(&up.send(Raw(vec![0; 21].into())).await.unwrap_err()),
        "RESOURCE_EXHAUSTED: a message of 21 bytes is over the limit of 20 (max_send_message); \
         nothing was sent"
    );
    let mut down = channel.server_streaming(&STREAM, Raw(vec![0; 11].into())).unwrap();
    assert_eq!(
        normal(&down.message().await.unwrap_err()),
        "RESOURCE_EXHAUSTED: a message of 11 bytes is over the limit of 10 (max_send_message)"
    );
}
