//! The halves of streams, in both roles.

use crate::link::Faults;
use crate::memory_pair::{BIDI, DOWN, On, Pair, SILENT, UNARY, UP, raw};
use crate::peer::{Peer, framed, request};
use framewire::error::Kind;
use framewire::server::Router;
use framewire::unstable::grpc::{Code, Raw, Request, Response, Status};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

async fn settle() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// Whether a future is ready within a second.
async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(1), future).await.ok()
}

pub async fn a_sender_waits_above_64_kib(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[(4, 0)]).await;
    settle().await;
    let (mut up, _down) = channel.bidi(&UP, ()).unwrap();
    // One of any size is accepted at once, the next waits.
    soon(up.send(raw(vec![1; 300_000]))).await.expect("accepted").unwrap();
    settle().await;
    assert!(soon(up.ready()).await.is_none());
    assert!(soon(up.send(raw("dropped: sends nothing"))).await.is_none());
    up.try_send(raw("without waiting")).unwrap();
    // The window opens far enough that less than 64 KiB wait.
    peer.window(1, 300_000 - 60_000).await;
    peer.window(0, 300_000).await;
    let script = tokio::spawn(async move {
        let mut bytes = 0;
        while bytes < 240_000 {
            bytes += peer.next(FrameType::Data).await.payload.len();
        }
        (peer, bytes)
    });
    soon(up.ready()).await.expect("ready again").unwrap();
    let (mut peer, before) = script.await.unwrap();
    up.finish().unwrap();
    peer.window(1, 100_000).await;
    let mut rest = before;
    loop {
        let data = peer.next(FrameType::Data).await;
        rest += data.payload.len();
        if data.ends() {
            break;
        }
    }
    assert_eq!(rest, 300_005 + 5 + "without waiting".len());
}

/// As many messages as fill the queue are there before the driver looks, and leave as they are: the
/// sender goes on.
pub async fn a_sender_goes_on_whatever_its_messages_measure(on: On) {
    for bytes in [1000, 16_000, 20_000, 32_768, 65_000, 65_531, 65_536, 70_000, 300_000] {
        let pair = on.pair();
        let message = raw(vec![100; bytes]);
        let mut down = pair.channel.server_streaming(&DOWN, message.clone()).unwrap();
        for i in 0..100 {
            let next = soon(down.message()).await;
            let next = next.unwrap_or_else(|| panic!("{bytes} bytes: stuck after {i} messages"));
            assert_eq!(next.unwrap(), Some(message.clone()));
        }
        assert_eq!(soon(down.message()).await.expect("the end").unwrap(), None);
        let (mut up, mut down) = pair.channel.bidi(&BIDI, ()).unwrap();
        let sender = tokio::spawn(async move {
            for _ in 0..100 {
                up.send(message.clone()).await.unwrap();
            }
            up.finish().unwrap();
        });
        let mut echoes = 0;
        while soon(down.message()).await.expect("an echo").unwrap().is_some() {
            echoes += 1;
        }
        assert_eq!(echoes, 100);
        sender.await.unwrap();
    }
}

pub async fn an_early_status_ends_a_pending_send(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[(4, 10)]).await;
    settle().await;
    let (mut up, mut down) = channel.bidi(&UP, ()).unwrap();
    up.send(raw(vec![0; 100_000])).await.unwrap();
    let send = tokio::spawn(async move { up.send(raw("more")).await });
    settle().await;
    assert!(!send.is_finished());
    let early = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "8"),
        ("grpc-message", "enough"),
    ];
    peer.headers(1, true, &early).await;
    soon(send).await.expect("ended").unwrap().unwrap_err();
    let error = down.message().await.unwrap_err();
    assert_eq!((error.code(), error.status().message()), (Code::ResourceExhausted, "enough"));
    let frames = peer.until_silent().await;
    let reset = frames.iter().filter(|frame| frame.kind == FrameType::RstStream).count();
    assert_eq!(reset, 1, "the rest of the request is given up");
}

/// Notes that it was dropped.
struct Note(Arc<AtomicUsize>);

impl Drop for Note {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Handlers of every kind that never end; how often one was dropped.
fn endless() -> (Router, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let note = || {
        let dropped = Arc::clone(&dropped);
        move || Note(Arc::clone(&dropped))
    };
    let (a, b, c, d) = (note(), note(), note(), note());
    let router = Router::new()
        .unary(&UNARY, move |_, _: Raw| {
            let note = a();
            async move {
                let _note = note;
                std::future::pending::<Result<Response<Raw>, Status>>().await
            }
        })
        .client_streaming(&UP, move |_, mut requests| {
            let note = b();
            async move {
                let _note = note;
                while let Some(Raw(_)) = requests.message().await? {}
                std::future::pending::<Result<Response<Raw>, Status>>().await
            }
        })
        .server_streaming(&DOWN, move |_, _: Raw, mut replies| {
            let note = c();
            async move {
                let _note = note;
                loop {
                    replies.send(raw([0; 1000])).await?;
                }
            }
        })
        .bidi(&BIDI, move |_, mut requests, mut replies| {
            let note = d();
            async move {
                let _note = note;
                while let Some(Raw(bytes)) = requests.message().await? {
                    replies.send(Raw(bytes)).await?;
                }
                std::future::pending().await
            }
        });
    (router, dropped)
}

async fn four_begun(pair: &Pair) -> Peer {
    let mut peer = Peer::dial(&pair.connector).await;
    for (i, path) in ["Unary", "Up", "Down", "Bidi"].iter().enumerate() {
        let id = 2 * i as u32 + 1;
        peer.headers(id, false, &request(&format!("/test.Echo/{path}"), &[])).await;
        peer.data(id, &framed(b"x"), i % 2 == 0).await;
    }
    settle().await;
    peer
}

pub async fn a_reset_drops_the_handler(on: On) {
    let (router, dropped) = endless();
    let pair = on.setup(router).start();
    let mut peer = four_begun(&pair).await;
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    for (i, id) in [1, 3, 5, 7].into_iter().enumerate() {
        peer.reset(id, ErrorCode::CANCEL).await;
        settle().await;
        assert_eq!(dropped.load(Ordering::SeqCst), i + 1, "stream {id}");
    }
}

pub async fn a_lost_connection_drops_the_handlers(on: On) {
    let (router, dropped) = endless();
    let pair = on.setup(router).start();
    let peer = four_begun(&pair).await;
    drop(peer);
    settle().await;
    assert_eq!(dropped.load(Ordering::SeqCst), 4);
    assert_eq!(pair.server.handle().connections(), 0);
}

pub async fn a_deadline_drops_the_handler_in_the_middle_of_its_answer(on: On) {
    let (router, dropped) = endless();
    let pair = on.setup(router).start();
    let mut peer = Peer::dial(&pair.connector).await;
    peer.headers(1, false, &request("/test.Echo/Down", &[("grpc-timeout", "100m")])).await;
    peer.data(1, &framed(b"x"), true).await;
    // The windows are closed by what came; the status needs none.
    let head = peer.next(FrameType::Headers).await;
    assert_eq!(head.field(":status"), Some("200"));
    loop {
        let frame = peer.next_of(&[FrameType::Headers, FrameType::RstStream]).await;
        if frame.kind == FrameType::RstStream {
            // What is queued behind a closed window never leaves, and the trailers behind it.
            assert_eq!(frame.number(), ErrorCode::CANCEL.0, "the peer's deadline is its own too");
            break;
        }
        if frame.ends() {
            assert_eq!(frame.field("grpc-status"), Some("4"));
            break;
        }
    }
    settle().await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

pub async fn a_detached_handler_runs_on(on: On) {
    let (done, mut seen) = mpsc::unbounded_channel();
    let router = Router::new().unary(&UNARY, move |ctx, _: Raw| {
        let done = done.clone();
        async move {
            ctx.detach();
            let watcher = ctx.clone();
            let told = done.clone();
            tokio::spawn(async move {
                let error = watcher.cancelled().await;
                told.send(format!("cancelled: {:?}", error.kind())).unwrap();
            });
            tokio::time::sleep(Duration::from_secs(5)).await;
            done.send("done".to_owned()).unwrap();
            Ok(Response::new(raw("")))
        }
    });
    let pair = on.setup(router).start();
    let mut call = Box::pin(pair.channel.unary(&UNARY, raw("")));
    assert!(soon(&mut call).await.is_none());
    drop(call);
    assert_eq!(seen.recv().await.unwrap(), "cancelled: Reset");
    assert_eq!(seen.recv().await.unwrap(), "done");
}

pub async fn a_handler_knows_deadline_and_cancellation(on: On) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let router = Router::new().unary(&SILENT, move |ctx, _: Raw| {
        let tell = tell.clone();
        async move {
            tell.send(format!("{:?}", ctx.remaining().map(|left| left.as_secs_f64().round())))
                .unwrap();
            let watcher = ctx.clone();
            tokio::spawn(async move {
                let error = watcher.cancelled().await;
                tell.send(format!("{:?} {:?}", error.kind(), error.code())).unwrap();
            });
            std::future::pending().await
        }
    });
    let pair = on.setup(router).start();
    assert!(soon(pair.channel.unary(&SILENT, raw(""))).await.is_none());
    assert_eq!(told.recv().await.unwrap(), "None");
    assert_eq!(told.recv().await.unwrap(), "Reset Cancelled");
    let mut peer = Peer::dial(&pair.connector).await;
    peer.headers(1, false, &request("/test.Echo/Silent", &[("grpc-timeout", "3S")])).await;
    peer.data(1, &framed(b""), true).await;
    assert_eq!(told.recv().await.unwrap(), "Some(3.0)");
    assert_eq!(told.recv().await.unwrap(), "Deadline DeadlineExceeded");
    peer.headers(3, false, &request("/test.Echo/Silent", &[])).await;
    peer.data(3, &framed(b""), true).await;
    assert_eq!(told.recv().await.unwrap(), "None");
    drop(peer);
    assert_eq!(told.recv().await.unwrap(), "ConnectionLost Unavailable");
}

pub async fn a_reply_after_the_caller_has_gone_is_cancelled(on: On) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let router = Router::new().server_streaming(&DOWN, move |ctx, _: Raw, mut replies| {
        let tell = tell.clone();
        async move {
            ctx.detach();
            replies.send(raw("first")).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            tell.send(replies.send(raw("second")).await.unwrap_err().code()).unwrap();
            Ok(())
        }
    });
    let pair = on.setup(router).start();
    let mut down = pair.channel.server_streaming(&DOWN, raw("")).unwrap();
    assert_eq!(down.message().await.unwrap(), Some(raw("first")));
    drop(down);
    assert_eq!(told.recv().await.unwrap(), Code::Cancelled);
}

pub async fn the_server_may_answer_before_it_has_read_everything(on: On) {
    let router = Router::new().client_streaming(&UP, |_, mut requests| async move {
        let first: Option<Raw> = requests.message().await?;
        Ok(Response::new(first.unwrap()))
    });
    let pair = on.setup(router).start();
    let (mut up, down) = pair.channel.client_streaming(&UP, ()).unwrap();
    up.send(raw("first")).await.unwrap();
    let writer = tokio::spawn(async move {
        while up.send(raw([0; 10_000])).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(down.one().await.unwrap().into_inner(), raw("first"));
    soon(writer).await.expect("the sender is told").unwrap();
}

pub async fn a_stream_for_a_unary_answer_wants_exactly_one(on: On) {
    let pair = on.pair();
    for (count, fine) in [(0u8, false), (1, true), (2, false)] {
        let down = pair.channel.server_streaming(&DOWN, raw([count])).unwrap();
        let one = down.one().await;
        assert_eq!(one.is_ok(), fine, "{count} messages");
        if let Err(error) = one {
            assert_eq!((error.code(), error.kind()), (Code::Internal, Kind::Protocol));
        }
    }
}

pub async fn a_request_that_never_ends_has_a_deadline_on_the_server_too(on: On) {
    let (router, dropped) = endless();
    let pair = on.setup(router).start();
    let request = Request::new(()).with_timeout(Duration::from_millis(50));
    let (mut up, mut down) = pair.channel.bidi(&BIDI, request).unwrap();
    up.send(raw("x")).await.unwrap();
    assert_eq!(down.message().await.unwrap(), Some(raw("x")));
    assert_eq!(down.message().await.unwrap_err().code(), Code::DeadlineExceeded);
    settle().await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}
