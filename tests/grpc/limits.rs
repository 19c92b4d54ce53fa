//! Messages that are too large, too many, broken; compression.

use crate::link::Faults;
use crate::memory_pair::{BIDI, DOWN, On, SILENT, UNARY, UP, raw, router};
use crate::peer::{Peer, framed, request};
use framewire::error::{Error, Kind};
use framewire::transport::MemoryConnector;
use framewire::unstable::grpc::{Code, Encoding, Raw, Request};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::time::Duration;

/// What our client makes of this body, and whether it reset the stream.
async fn client_reads(
    on: On,
    head: &[(&str, &str)],
    body: Vec<u8>,
    status: bool,
) -> (Error, Option<u32>) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    let call = tokio::spawn(async move { channel.unary(&UNARY, raw("")).await });
    let mut peer = Peer::accept(&mut listener, &[]).await;
    peer.next(FrameType::Headers).await;
    let mut fields = vec![(":status", "200"), ("content-type", "application/grpc")];
    fields.extend_from_slice(head);
    peer.headers(1, false, &fields).await;
    peer.data(1, &body, false).await;
    if status {
        peer.headers(1, true, &[("grpc-status", "0")]).await;
    }
    let error = call.await.unwrap().unwrap_err();
    let frames = peer.until_silent().await;
    let reset = frames.iter().find(|frame| frame.kind == FrameType::RstStream);
    (error, reset.map(|frame| frame.number()))
}

/// What our server answers to this body: status and message.
async fn server_reads(on: On, path: &str, head: &[(&str, &str)], body: &[u8]) -> (String, String) {
    let pair = on.pair();
    let mut peer = Peer::dial(&pair.connector).await;
    let answer = asked(&mut peer, 1, path, head, body).await;
    // The connection lives on.
    let fine = asked(&mut peer, 3, "/test.Echo/Unary", &[], &framed(b"x")).await;
    assert_eq!(fine.0, "0");
    answer
}

async fn asked(
    peer: &mut Peer,
    id: u32,
    path: &str,
    head: &[(&str, &str)],
    body: &[u8],
) -> (String, String) {
    peer.headers(id, false, &request(path, head)).await;
    peer.data(id, body, true).await;
    loop {
        let frame = peer.next(FrameType::Headers).await;
        if let (true, Some(status)) = (frame.id == id, frame.field("grpc-status")) {
            return (status.to_owned(), frame.field("grpc-message").unwrap_or("").to_owned());
        }
    }
}

pub async fn a_message_over_the_limit_is_refused_on_its_prefix(on: On) {
    // 4 MiB and one byte announced, none of them sent.
    let prefix = [&[0][..], &(4 * 1024 * 1024 + 1u32).to_be_bytes()].concat();
    let (error, reset) = client_reads(on, &[], prefix.clone(), false).await;
    assert_eq!((error.code(), error.kind()), (Code::ResourceExhausted, Kind::Limit), "{error}");
    assert_eq!(reset, Some(ErrorCode::CANCEL.0));
    for path in ["/test.Echo/Unary", "/test.Echo/Up", "/test.Echo/Bidi", "/test.Echo/Down"] {
        let (status, text) = server_reads(on, path, &[], &prefix).await;
        assert_eq!(status, "8", "{path}: {text}");
        assert!(text.contains("4194305") && text.contains("4194304"), "{path}: {text}");
    }
}

pub async fn what_is_sent_has_a_limit_too(on: On) {
    let pair = on.setup(router()).start_with(|builder| builder.max_send_message(100));
    let error = pair.channel.unary(&UNARY, raw([0; 101])).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    pair.channel.unary(&UNARY, raw([0; 100])).await.unwrap();
    let (mut up, down) = pair.channel.client_streaming(&UP, ()).unwrap();
    assert_eq!(up.send(raw([0; 101])).await.unwrap_err().code(), Code::ResourceExhausted);
    up.send(raw([0; 100])).await.unwrap();
    up.finish().unwrap();
    assert_eq!(down.one().await.unwrap().into_inner().0.len(), 100, "the call goes on");
}

pub async fn what_is_received_has_a_limit_in_every_kind(on: On) {
    let pair = on.setup(router()).start_with(|builder| builder.max_receive_message(1000));
    for size in [1000, 1001] {
        let answers = [pair.channel.unary(&UNARY, raw(vec![1; size])).await.map(|_| ()), {
            let mut down = pair.channel.server_streaming(&DOWN, raw(vec![1; size])).unwrap();
            down.message().await.map(|_| ())
        }];
        for answer in answers {
            match answer {
                Ok(()) => assert_eq!(size, 1000),
                Err(error) => {
                    assert_eq!(size, 1001);
                    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
                    assert!(error.to_string().contains("1001"), "{error}");
                }
            }
        }
    }
    assert_eq!(pair.channel.unstable_handles().len(), 1);
}

pub async fn a_flag_that_is_neither_0_nor_1(on: On) {
    let body = [7, 0, 0, 0, 0];
    let (error, _) = client_reads(on, &[], body.to_vec(), true).await;
    assert_eq!(error.code(), Code::Internal, "{error}");
    for path in ["/test.Echo/Unary", "/test.Echo/Up", "/test.Echo/Bidi"] {
        assert_eq!(server_reads(on, path, &[], &body).await.0, "13", "{path}");
    }
}

pub async fn a_compressed_flag_without_an_encoding(on: On) {
    let body = [1, 0, 0, 0, 1, 5];
    let (error, _) = client_reads(on, &[], body.to_vec(), true).await;
    assert_eq!(error.code(), Code::Internal, "{error}");
    assert_eq!(server_reads(on, "/test.Echo/Unary", &[], &body).await.0, "13");
}

pub async fn an_encoding_nobody_knows(on: On) {
    let body = framed(b"");
    let (status, text) =
        server_reads(on, "/test.Echo/Unary", &[("grpc-encoding", "snappy")], &body).await;
    assert_eq!((status.as_str(), text.as_str()), ("12", "grpc-encoding snappy is not supported"));
    let (error, _) = client_reads(on, &[("grpc-encoding", "snappy")], body, true).await;
    assert_eq!(error.code(), Code::Internal, "{error}");
}

pub async fn a_stream_that_ends_inside_a_message(on: On) {
    for cut in [vec![0, 0], vec![0, 0, 0, 0, 9, 1]] {
        let (error, _) = client_reads(on, &[], cut.clone(), true).await;
        assert_eq!(error.code(), Code::Internal, "{error}");
        for path in ["/test.Echo/Unary", "/test.Echo/Up", "/test.Echo/Bidi"] {
            assert_eq!(server_reads(on, path, &[], &cut).await.0, "13", "{path} {cut:?}");
        }
    }
}

pub async fn none_or_more_than_one_message_where_there_is_one(on: On) {
    for body in [Vec::new(), [framed(b"a"), framed(b"b")].concat()] {
        let (error, _) = client_reads(on, &[], body.clone(), true).await;
        assert_eq!(error.code(), Code::Internal, "{error}");
        for path in ["/test.Echo/Unary", "/test.Echo/Down"] {
            assert_eq!(server_reads(on, path, &[], &body).await.0, "13", "{path} {body:?}");
        }
    }
}

/// Two megabytes of zeros in two kilobytes.
fn bomb() -> Vec<u8> {
    let mut deflated = Vec::new();
    let zeros = vec![0; 8 * 1024 * 1024];
    framewire::unstable::grpc::codec::encode_message(
        &Raw(zeros.into()),
        Encoding::Gzip,
        usize::MAX,
        &mut deflated,
    )
    .unwrap();
    deflated
}

pub async fn a_small_message_that_inflates_over_the_limit(on: On) {
    let bomb = bomb();
    assert!(bomb.len() < 16_000 && bomb[0] == 1, "{} bytes", bomb.len());
    let gzip = [("grpc-encoding", "gzip")];
    let (error, _) = client_reads(on, &gzip, bomb.clone(), true).await;
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    for path in ["/test.Echo/Unary", "/test.Echo/Up"] {
        let (status, text) = server_reads(on, path, &gzip, &bomb).await;
        assert_eq!(status, "8", "{path}: {text}");
    }
}

pub async fn compressed_messages_go_both_ways(on: On) {
    let pair = on.pair();
    let message = raw(vec![b'a'; 100_000]);
    let request = Request::new(message.clone()).with_encoding(Encoding::Gzip);
    assert_eq!(pair.channel.unary(&UNARY, request).await.unwrap().into_inner(), message);
    let request = Request::new(()).with_encoding(Encoding::Gzip);
    let (mut up, mut down) = pair.channel.bidi(&BIDI, request).unwrap();
    for _ in 0..5 {
        up.send(message.clone()).await.unwrap();
        assert_eq!(down.message().await.unwrap(), Some(message.clone()));
    }
    up.finish().unwrap();
    assert_eq!(down.message().await.unwrap(), None);
}

/// A scripted client that lies about everything at once does not disturb another's connection.
pub async fn heads_that_are_not_served(on: On) {
    let pair = on.pair();
    let mut peer = Peer::dial(&pair.connector).await;
    let odd = [
        (":method", "GET", "grpc-status", "13"),
        ("content-type", "text/plain", ":status", "415"),
        ("grpc-timeout", "soon", "grpc-status", "13"),
        ("grpc-encoding", "snappy", "grpc-accept-encoding", "identity,gzip"),
    ];
    for (i, (key, new, name, value)) in odd.into_iter().enumerate() {
        let id = 2 * i as u32 + 1;
        let mut head = request("/test.Echo/Unary", &[]);
        match head.iter_mut().find(|(name, _)| name == key) {
            Some(field) => field.1 = new.to_owned(),
            None => head.push((key.to_owned(), new.to_owned())),
        }
        peer.headers(id, true, &head).await;
        let answer = peer.next(FrameType::Headers).await;
        assert_eq!(answer.field(name), Some(value), "{key}: {answer:?}");
        assert!(answer.ends());
    }
}

/// The handler of a request whose body never ends is not begun, and its stream can be reset.
pub async fn a_request_without_an_end_waits(on: On) {
    async fn streams(connector: &MemoryConnector) -> Peer {
        let mut peer = Peer::dial(connector).await;
        peer.headers(1, false, &request("/test.Echo/Silent", &[])).await;
        peer.data(1, &framed(b""), false).await;
        peer
    }
    let pair = on.pair();
    let mut peer = streams(&pair.connector).await;
    let frames = peer.until_silent().await;
    assert!(frames.iter().all(|frame| frame.id == 0), "{frames:?}");
    peer.reset(1, ErrorCode::CANCEL).await;
    assert_eq!(asked(&mut peer, 3, "/test.Echo/Unary", &[], &framed(b"")).await.0, "0");
    let silent = Request::new(raw("")).with_timeout(Duration::from_millis(1));
    assert!(pair.channel.unary(&SILENT, silent).await.is_err());
}
