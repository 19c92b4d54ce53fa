//! The hard limit of a drain: what each kind of caller reads when its stream is cut.

use crate::link::Faults;
use crate::memory_pair::{BIDI, RawMethod, SILENT, Setup, lone_channel, raw, router};
use crate::peer::{Peer, framed, request};
use framewire::client::{Channel, HttpRequest};
use framewire::error::{Error, Kind, Processed};
use framewire::server::{DrainReport, Server};
use framewire::unstable::grpc::{Code, Method, Response};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

const GRACE: Duration = Duration::from_secs(3);
const TEXT: &str = "the server is shutting down, and its drain limit passed before the call ended";
const WATCHED: RawMethod = Method::new("/test.Echo/Watched");

async fn settle() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// Drains the server and sees that it takes the grace, no more.
async fn cut(server: Server) -> DrainReport {
    let started = Instant::now();
    let report = server.shutdown(GRACE).await;
    let took = started.elapsed();
    assert!(took >= GRACE && took < GRACE + Duration::from_millis(100), "{took:?}");
    report
}

fn told(error: &Error) {
    assert_eq!((error.code(), error.kind()), (Code::Unavailable, Kind::Status), "{error}");
    assert_eq!(error.status().message(), TEXT);
    assert!(!error.is_retry_safe(), "the handler was at work");
}

fn begin(channel: &Channel) -> tokio::task::JoinHandle<Error> {
    let channel = channel.clone();
    tokio::spawn(async move { channel.unary(&SILENT, raw("")).await.unwrap_err() })
}

#[tokio::test(start_paused = true)]
async fn what_outlives_the_grace_is_cut() {
    let pair = Setup::new(router()).start();
    let call = begin(&pair.channel);
    let (mut up, mut down) = pair.channel.bidi(&BIDI, ()).unwrap();
    up.send(raw("a head comes back")).await.unwrap();
    assert!(down.message().await.unwrap().is_some());
    settle().await;
    let report = cut(pair.server).await;
    assert_eq!((report.drained, report.forced), (1, 2));
    told(&call.await.unwrap());
    told(&down.message().await.unwrap_err());
}

/// The handler hears of it as well.
#[tokio::test(start_paused = true)]
async fn a_handler_that_outlives_the_grace() {
    let heard = Arc::new(Mutex::new(None));
    let inside = Arc::clone(&heard);
    let router = router().unary(&WATCHED, move |context, _| {
        let inside = Arc::clone(&inside);
        tokio::spawn(async move { *inside.lock().unwrap() = Some(context.cancelled().await) });
        std::future::pending()
    });
    let pair = Setup::new(router).start();
    let channel = pair.channel.clone();
    let call = tokio::spawn(async move { channel.unary(&WATCHED, raw("")).await.unwrap_err() });
    settle().await;
    cut(pair.server).await;
    told(&call.await.unwrap());
    settle().await;
    let error = heard.lock().unwrap().take().expect("the handler was not told");
    assert_eq!((error.kind(), error.status().message()), (Kind::Shutdown, TEXT));
}

/// Bytes that wait for a window hold the status up too: the connection's end tells the caller.
#[tokio::test(start_paused = true)]
async fn a_stream_behind_a_closed_window() {
    let pair = Setup::new(router()).start();
    let mut peer = Peer::dial(&pair.connector).await;
    peer.settings(&[(4, 0)]).await;
    peer.headers(1, false, &request("/test.Echo/Unary", &[])).await;
    peer.data(1, &framed(b"unread"), true).await;
    settle().await;
    let draining = tokio::spawn(cut(pair.server));
    let mut frames = Vec::new();
    while let Some(frame) = peer.frame().await {
        frames.push(frame);
    }
    let last = frames.iter().rfind(|frame| frame.kind == FrameType::GoAway).unwrap();
    assert_eq!(&last.payload[8..], TEXT.as_bytes());
    let on_stream: Vec<_> = frames.iter().filter(|f| f.id == 1).map(|f| f.kind).collect();
    assert_eq!(on_stream, [FrameType::Headers], "the head, and no reset that would mislead");
    assert_eq!(draining.await.unwrap().forced, 1);
}

/// What our client makes of the same.
#[tokio::test(start_paused = true)]
async fn a_caller_whose_connection_ends_so() {
    let (channel, mut listener) = lone_channel(PoolOptions::new(), Faults::default());
    let call = begin(&channel);
    let mut peer = Peer::accept(&mut listener, &[]).await;
    peer.next(FrameType::Headers).await;
    peer.goaway(1, ErrorCode::NO_ERROR, TEXT).await;
    drop(peer);
    let error = call.await.unwrap();
    assert_eq!((error.code(), error.processed()), (Code::Unavailable, Processed::Maybe), "{error}");
    assert_eq!(error.debug_text(), Some(TEXT));
}

/// The drain is over when the last connection is, not at some later look.
#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_the_last_connection() {
    let pair = Setup::new(router()).start();
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = Peer::dial(&pair.connector).await;
        peer.headers(1, false, &request("/test.Echo/Bidi", &[])).await;
        peers.push(peer);
    }
    settle().await;
    let drains: Vec<_> = (0..2)
        .map(|_| {
            let handle = pair.server.handle();
            tokio::spawn(async move { (handle.drain(GRACE * 20).await, Instant::now()) })
        })
        .collect();
    let mut closed = Instant::now();
    for (i, mut peer) in peers.into_iter().enumerate() {
        tokio::time::sleep(Duration::from_millis(1013)).await;
        assert!(drains.iter().all(|drain| !drain.is_finished()), "{i} of 3 have ended");
        peer.data(1, b"", true).await;
        while peer.frame().await.is_some() {}
        closed = Instant::now();
    }
    for drain in drains {
        let (report, at) = drain.await.unwrap();
        assert_eq!((report.drained, report.forced), (3, 0));
        assert_eq!(at, closed);
    }
    // With nothing to wait for it takes no time at all.
    pair.server.handle().drain(GRACE).await;
    assert_eq!(Instant::now(), closed);
}

/// A plain handler's caller does not speak of grpc-status.
#[tokio::test(start_paused = true)]
async fn a_plain_handler_that_outlives_the_grace() {
    let pair = Setup::new(router().http("/plain", |_| std::future::pending())).start();
    let channel = pair.channel.clone();
    let call = tokio::spawn(async move { channel.http(HttpRequest::new("GET", "/plain")).await });
    settle().await;
    cut(pair.server).await;
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.status, 503);
    assert_eq!(response.fields.get("grpc-status"), None);
}

/// A client that never answers the PING of a drain is told the last stream after 5 s all the same, so that
/// it knows what may be repeated elsewhere.
#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping() {
    let pair = Setup::new(router()).start();
    let mut peer = Peer::dial(&pair.connector).await;
    peer.headers(1, false, &request("/test.Echo/Bidi", &[])).await;
    settle().await;
    let started = Instant::now();
    let draining = tokio::spawn(pair.server.shutdown(GRACE * 20));
    let mut last = Vec::new();
    while last.len() < 2 {
        let frame = peer.unanswered().await.expect("the connection stays");
        if frame.kind == FrameType::GoAway {
            last.push((frame.number(), started.elapsed().as_secs()));
        }
    }
    assert_eq!(last, [(0x7fff_ffff, 0), (1, 5)]);
    drop(peer);
    draining.await.unwrap();
}

/// Nothing follows the last GOAWAY: not the credit of bytes that the ended streams had not read.
#[tokio::test(start_paused = true)]
async fn nothing_follows_the_last_goaway() {
    let router = router().client_streaming(&WATCHED, |_, requests| async move {
        std::future::pending::<()>().await;
        drop(requests);
        Ok(Response::new(raw("")))
    });
    let pair = Setup::new(router).start();
    let mut peer = Peer::dial(&pair.connector).await;
    let message = framed(&[7; 200_000]);
    for id in (1..16).step_by(2) {
        peer.headers(id, false, &request("/test.Echo/Watched", &[])).await;
        for piece in message.chunks(16_384) {
            peer.data(id, piece, false).await;
        }
    }
    // WINDOW_UPDATE of 0 on the connection.
    peer.window(0, 0).await;
    let mut frames = Vec::new();
    while let Some(frame) = peer.unanswered().await {
        frames.push(frame.kind);
    }
    assert_eq!(frames.last(), Some(&FrameType::GoAway), "{frames:?}");
}
