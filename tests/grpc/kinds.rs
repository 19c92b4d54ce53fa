//! The four kinds of calls, metadata, statuses.

use crate::link::{Faults, Trace};
use crate::memory_pair::{BIDI, DOWN, On, Pair, RawMethod, SILENT, UNARY, UP, raw, router};
use crate::peer::{Peer, framed};
use bytes::Bytes;
use framewire::client::HttpRequest;
use framewire::error::Kind;
use framewire::server::{HttpReply, Router};
use framewire::unstable::grpc::{Code, Metadata, Method, Raw, Request, Response, Status};
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::time::Duration;

const REFUSE: RawMethod = Method::new("/test.Echo/Refuse");
const META: RawMethod = Method::new("/test.Echo/Meta");
const PANIC: RawMethod = Method::new("/test.Echo/Panic");
const PANIC_EARLY: RawMethod = Method::new("/test.Echo/PanicEarly");
const PANIC_STREAM: RawMethod = Method::new("/test.Echo/PanicStream");

/// Every kind, on whatever link the pair has.
pub async fn four_kinds(Pair { channel, .. }: &Pair) {
    for size in [0, 1, 5, 4096, 20_000, 200_000] {
        let message = raw(vec![7; size]);
        let response = channel.unary(&UNARY, message.clone()).await.unwrap();
        assert_eq!(response.into_inner(), message, "{size} bytes");
    }
    let mut down = channel.server_streaming(&DOWN, raw([20; 3000])).unwrap();
    for i in 0..20 {
        assert_eq!(down.message().await.unwrap(), Some(raw([20; 3000])), "message {i}");
    }
    assert_eq!(down.message().await.unwrap(), None);
    assert_eq!(down.message().await.unwrap(), None, "the end stays");

    let (mut up, response) = channel.client_streaming(&UP, ()).unwrap();
    for i in 0..50u8 {
        up.send(raw([i; 100])).await.unwrap();
    }
    up.finish().unwrap();
    let all = response.one().await.unwrap().into_inner().0;
    assert_eq!(all.len(), 5000);
    assert!((0..50).all(|i| all[i * 100] == i as u8));

    let (mut up, mut down) = channel.bidi(&BIDI, ()).unwrap();
    for i in 0..50u8 {
        up.send(raw([i; 10])).await.unwrap();
        assert_eq!(down.message().await.unwrap(), Some(raw([i; 10])));
    }
    up.finish().unwrap();
    assert_eq!(down.message().await.unwrap(), None);
}

pub async fn the_four_kinds(on: On) {
    four_kinds(&on.pair()).await;
}

pub async fn a_link_of_single_bytes_gives_the_same(on: On) {
    let mut setup = on.setup(router());
    setup.faults = Faults { piece: Some(1), ..Faults::default() };
    four_kinds(&setup.start()).await;
}

pub async fn a_slow_link_gives_the_same(on: On) {
    let mut setup = on.setup(router());
    setup.faults =
        Faults { piece: Some(1000), delay: Some(Duration::from_millis(7)), ..Faults::default() };
    four_kinds(&setup.start()).await;
}

/// One scripted run; what went over the link.
async fn traced(on: On) -> (Vec<u8>, Vec<u8>) {
    let trace = Trace::default();
    let mut setup = on.setup(router());
    setup.faults.trace = Some(trace.clone());
    let pair = setup.start();
    four_kinds(&pair).await;
    let silent = Request::new(raw("x")).with_timeout(Duration::from_millis(1234));
    pair.channel.unary(&SILENT, silent).await.unwrap_err();
    let Pair { channel, server, .. } = pair;
    drop(channel);
    server.shutdown(Duration::from_secs(1)).await;
    let trace = trace.lock().unwrap();
    trace.clone()
}

#[test]
fn the_same_script_gives_the_same_bytes() {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(traced(On::FRAMEWIRE))
    };
    let (first, second) = (run(), run());
    assert!(first.0.len() > 200_000 && first.1.len() > 200_000);
    assert_eq!(first.0.len(), second.0.len());
    assert!(first == second, "the bytes of two runs differ");
}

fn metadata_router() -> Router {
    Router::new().unary(&META, |ctx, _: Raw| async move {
        let got = ctx.metadata();
        let mut head = Metadata::new();
        let mut trailers = Metadata::new();
        for value in got.get_all("x-text") {
            head.append("x-text-back", value).unwrap();
        }
        for value in got.get_all_bin("x-bytes-bin") {
            trailers.append_bin("x-bytes-back-bin", &value.unwrap()).unwrap();
        }
        Ok(Response::new(raw(ctx.path())).with_metadata(head).with_trailers(trailers))
    })
}

pub async fn metadata_goes_both_ways(on: On) {
    let pair = on.setup(metadata_router()).start();
    let mut request = Request::new(raw(""));
    let metadata = request.metadata_mut();
    metadata.append("x-text", "one").unwrap();
    metadata.append("x-text", "two, three").unwrap();
    let all: Vec<u8> = (0..=255).collect();
    metadata.append_bin("x-bytes-bin", &all).unwrap();
    metadata.append_bin("x-bytes-bin", b"").unwrap();
    let response = pair.channel.unary(&META, request).await.unwrap();
    let back: Vec<_> = response.metadata().get_all("x-text-back").collect();
    assert_eq!(back, ["one", "two, three"]);
    let back: Vec<Bytes> =
        response.trailers().get_all_bin("x-bytes-back-bin").map(Result::unwrap).collect();
    assert_eq!(back, [Bytes::from(all), Bytes::new()]);
    assert_eq!(response.into_inner(), raw("/test.Echo/Meta"));
}

pub async fn streaming_metadata_comes_before_the_messages_and_behind_them(on: On) {
    let router = Router::new().server_streaming(&DOWN, |_, _: Raw, mut replies| async move {
        let mut head = Metadata::new();
        head.append("x-head", "early").unwrap();
        replies.metadata(&head)?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        replies.send(raw("late")).await?;
        let mut behind = Metadata::new();
        behind.append("x-behind", "end").unwrap();
        Err(Status::new(Code::Aborted, "so far").with_metadata(behind))
    });
    let pair = on.setup(router).start();
    let started = tokio::time::Instant::now();
    let mut down = pair.channel.server_streaming(&DOWN, raw("")).unwrap();
    assert_eq!(down.metadata().await.unwrap().get("x-head"), Some("early"));
    assert!(started.elapsed() < Duration::from_secs(1), "the head waits for no message");
    assert_eq!(down.message().await.unwrap(), Some(raw("late")));
    let error = down.message().await.unwrap_err();
    assert_eq!(error.code(), Code::Aborted);
    assert_eq!(error.status().metadata().get("x-behind"), Some("end"));
}

pub async fn a_status_carries_message_details_and_metadata(on: On) {
    let router = Router::new().unary(&REFUSE, |_, _: Raw| async move {
        let mut metadata = Metadata::new();
        metadata.append_bin("x-why-bin", &[0, 255]).unwrap();
        let status = Status::new(Code::NotFound, "no user 42 in München\n100 %")
            .with_details(Bytes::from_static(b"\x08\x05"))
            .with_metadata(metadata);
        Err::<Response<Raw>, _>(status)
    });
    let trace = Trace::default();
    let mut setup = on.setup(router);
    setup.faults.trace = Some(trace.clone());
    let pair = setup.start();
    let error = pair.channel.unary(&REFUSE, raw("")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(error.kind(), Kind::Status);
    assert_eq!(error.status().message(), "no user 42 in München\n100 %");
    assert_eq!(error.status().details(), b"\x08\x05");
    assert_eq!(error.status().metadata().get_bin("x-why-bin").unwrap().unwrap()[..], [0, 255]);
    // Trailers-Only: one HEADERS frame that ends the stream, no DATA.
    let frames = frames_of(&trace.lock().unwrap().1);
    let on_stream: Vec<_> = frames.into_iter().filter(|(id, _, _)| *id == 1).collect();
    assert_eq!(on_stream, [(1, FrameType::Headers.byte(), 0x5)]);
}

/// Stream, type and flags of each frame.
fn frames_of(mut bytes: &[u8]) -> Vec<(u32, u8, u8)> {
    let mut frames = Vec::new();
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let id = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        frames.push((id, bytes[3], bytes[4]));
        bytes = &bytes[9 + length..];
    }
    frames
}

pub async fn a_method_that_nobody_serves_is_unimplemented(on: On) {
    let pair = on.setup(Router::new()).start();
    let error = pair.channel.unary(&UNARY, raw("")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert_eq!(error.status().message(), "this server has no method /test.Echo/Unary");
}

pub async fn a_panic_ends_its_call_and_nothing_else(on: On) {
    let router = router()
        .unary(&PANIC, |_, _: Raw| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            panic!("on purpose");
            #[allow(unreachable_code, reason = "names the type")]
            Ok(Response::new(raw("")))
        })
        .unary(&PANIC_EARLY, |_, request: Raw| {
            assert!(request.0.is_empty(), "on purpose");
            async move { Ok(Response::new(raw(""))) }
        })
        .bidi(&PANIC_STREAM, |_, mut requests, mut replies| async move {
            while let Some(request) = requests.message().await? {
                let request: Raw = request;
                assert!(request.0.is_empty(), "on purpose");
                replies.send(request).await?;
            }
            Ok(())
        });
    let pair = on.setup(router).start();
    for method in [PANIC, PANIC_EARLY] {
        let error = pair.channel.unary(&method, raw("x")).await.unwrap_err();
        assert_eq!(error.code(), Code::Internal, "{error}");
        assert_eq!(error.status().message(), "the handler panicked");
    }
    let (mut up, mut down) = pair.channel.bidi(&PANIC_STREAM, ()).unwrap();
    up.send(raw("")).await.unwrap();
    assert_eq!(down.message().await.unwrap(), Some(raw("")));
    up.send(raw("x")).await.unwrap();
    let error = down.message().await.unwrap_err();
    assert_eq!((error.code(), error.status().message()), (Code::Internal, "the handler panicked"));
    let before = pair.channel.unstable_handles()[0].id();
    four_kinds(&pair).await;
    assert_eq!(pair.channel.unstable_handles()[0].id(), before, "the connection lives on");
}

pub async fn plain_http_stands_beside_the_methods(on: On) {
    let router = router().http("/plain/", |request| async move {
        let path = String::from_utf8_lossy(request.head.path()).into_owned();
        let mut reply = HttpReply::new(201)
            .with_field("x-method", &String::from_utf8_lossy(request.head.method()))
            .with_body([path.as_bytes(), b" ", &request.body[..]].concat());
        reply.trailers.push("x-behind", "yes");
        reply
    });
    let pair = on.setup(router).start();
    four_kinds(&pair).await;
    let request = HttpRequest::new("PUT", "/plain/a%20b?q").with_body("body");
    let response = pair.channel.http(request).await.unwrap();
    assert_eq!(response.status, 201);
    assert_eq!(response.fields.get("x-method"), Some(&b"PUT"[..]));
    assert_eq!(&response.body[..], b"/plain/a%20b?q body");
    assert_eq!(response.trailers.get("x-behind"), Some(&b"yes"[..]));
    let missing = pair.channel.http(HttpRequest::new("GET", "/nowhere")).await.unwrap();
    assert_eq!(missing.status, 404);
    assert_eq!(pair.channel.unstable_handles().len(), 1, "one port, one connection");
}

pub async fn interceptors_see_every_call_on_both_sides(on: On) {
    let router = router().intercept(|ctx| match ctx.metadata().get("x-token") {
        Some("good") => Ok(()),
        _ => Err(Status::new(Code::Unauthenticated, "no token")),
    });
    let refused = on.setup(router.clone()).start();
    let error = refused.channel.unary(&UNARY, raw("")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    let (_up, mut down) = refused.channel.bidi(&BIDI, ()).unwrap();
    assert_eq!(down.message().await.unwrap_err().code(), Code::Unauthenticated);

    let welcome = on.setup(router).start_with(|builder| {
        builder.intercept(|metadata| {
            metadata.append("x-token", "good").unwrap();
            Ok(())
        })
    });
    four_kinds(&welcome).await;

    let stopped = on.setup(self::router()).start_with(|builder| {
        builder.intercept(|_| Err(Status::new(Code::PermissionDenied, "not from here")))
    });
    let error = stopped.channel.unary(&UNARY, raw("")).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert!(stopped.channel.unstable_handles().is_empty(), "nothing was dialled");
}

pub async fn a_request_head_is_what_grpc_says(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    let call = tokio::spawn(async move {
        let request = Request::new(raw("hi")).with_timeout(Duration::from_secs(3));
        channel.unary(&UNARY, request).await
    });
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let head = peer.next(FrameType::Headers).await;
    let names: Vec<_> = head.fields.iter().map(|(name, _)| name.as_str()).collect();
    let mut pseudo = names[..4].to_vec();
    pseudo.sort_unstable();
    assert_eq!(pseudo, [":authority", ":method", ":path", ":scheme"], "they come first");
    assert_eq!(head.field(":scheme"), Some("http"));
    assert_eq!(head.field(":method"), Some("POST"));
    assert_eq!(head.field(":path"), Some("/test.Echo/Unary"));
    assert_eq!(head.field(":authority"), Some("test"));
    assert_eq!(head.field("te"), Some("trailers"));
    assert_eq!(head.field("content-type"), Some("application/grpc"));
    assert_eq!(head.field("grpc-timeout"), Some("3000000u"));
    assert!(head.field("user-agent").unwrap().starts_with("grpc-rust-framewire/"));
    let data = peer.next(FrameType::Data).await;
    assert_eq!(data.payload, framed(b"hi"));
    assert!(data.ends());
    peer.answer(1, b"ho").await;
    assert_eq!(call.await.unwrap().unwrap().into_inner(), raw("ho"));
}

pub async fn a_request_head_has_the_order_of_grpc(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    let call = tokio::spawn(async move { channel.unary(&UNARY, raw("")).await });
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let head = peer.next(FrameType::Headers).await;
    let names: Vec<_> = head.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..5], [":method", ":scheme", ":path", ":authority", "te"]);
    peer.answer(1, b"").await;
    call.await.unwrap().unwrap();
}
