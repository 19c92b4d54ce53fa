//! Flow control as calls feel it: large messages through small windows, small calls beside bulk.
#![allow(clippy::expect_used)] // a test that fails should stop

#[path = "../proto/rust/bench.rs"]
#[allow(missing_docs, unreachable_pub)]
mod bench;

use bench::{EchoRequest, EchoResponse};
use framewire::Limits;
use framewire::client::{self, Channel};
use framewire::server::{self, Router, Server};
use framewire::transport::in_memory;
use framewire::unstable::grpc::{Method, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const UNARY: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Unary");
const BIDI: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Bidi");
const BULK: Method<EchoRequest, EchoResponse> =
    Method::new("/framewire.bench.v1.Echo/ServerStream");

fn echo(bytes: usize) -> EchoRequest {
    EchoRequest { payload: vec![7; bytes].into(), ..EchoRequest::default() }
}

fn router() -> Router {
    Router::new()
        .unary(&UNARY, |_, request| async move {
            Ok(Response::new(EchoResponse { payload: request.payload }))
        })
        .server_streaming(&BULK, |_, request, mut replies| async move {
            for _ in 0..request.count {
                replies.send(EchoResponse { payload: request.payload.clone() }).await?;
            }
            Ok(())
        })
        .bidi(&BIDI, |_, mut requests, mut replies| async move {
            while let Some(request) = requests.message().await? {
                replies.send(EchoResponse { payload: request.payload }).await?;
            }
            Ok(())
        })
}

/// A channel and a server over memory, both with these receive windows.
fn pair(stream: u32, connection: u32) -> Channel {
    let (connector, listener) = in_memory(64 * 1024);
    let narrow = |mut limits: Limits| {
        limits.stream_window = stream;
        limits.stream_window_max = stream;
        limits.connection_window = connection;
        limits.connection_window_max = connection;
        limits
    };
    let options = server::Advanced::default().limits(narrow(Limits::server()));
    Server::builder(router()).advanced(options).serve(listener).expect("a server");
    let options = client::Advanced::default().limits(narrow(Limits::client()));
    let builder = Channel::builder("http://in-memory:80").connector(connector).advanced(options);
    builder.build().expect("a channel")
}

/// Windows of 64 KiB on both levels, messages of 3 MiB on 100 streams: all complete. Credit for
/// the message that is waited for returns as it arrives, so nobody holds what another needs.
#[tokio::test(start_paused = true)]
async fn large_messages_through_small_windows() {
    let channel = pair(64 * 1024, 65_535);
    let calls: Vec<_> = (0..100)
        .map(|i| {
            let channel = channel.clone();
            tokio::spawn(async move {
                let bytes = 3 << 20;
                if i % 2 == 0 {
                    let answer = channel.unary(&UNARY, echo(bytes)).await?;
                    return Ok(answer.into_inner().payload.len());
                }
                let (mut sender, mut answers) = channel.bidi(&BIDI, ())?;
                sender.send(echo(bytes)).await?;
                sender.finish()?;
                let answer = answers.message().await?.expect("an answer");
                assert!(answers.message().await?.is_none());
                Ok::<_, framewire::error::Error>(answer.payload.len())
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("no panic").expect("OK"), 3 << 20);
    }
}

/// A reader that takes nothing from one stream does not stop another: connection credit does not
/// wait for it.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_stops_nobody_else() {
    let channel = pair(256 * 1024, 1 << 20);
    let mut bulk = EchoRequest { count: 1000, ..echo(64 * 1024) };
    bulk.payload = vec![1; 64 * 1024].into();
    let mut stalled = channel.server_streaming(&BULK, bulk).expect("a call");
    assert!(stalled.message().await.expect("OK").is_some());
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..100 {
        let answer = channel.unary(&UNARY, echo(50_000)).await.expect("OK");
        assert_eq!(answer.into_inner().payload.len(), 50_000);
    }
    let mut rest = 1;
    while stalled.message().await.expect("OK").is_some() {
        rest += 1;
    }
    assert_eq!(rest, 1000);
}

/// One bulk stream and a hundred unary calls on one connection: the calls end while the bulk
/// goes on, and the bulk is not starved either.
#[tokio::test(start_paused = true)]
async fn bulk_and_unary_share_fairly() {
    let channel = pair(256 * 1024, 1 << 20);
    let messages = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let bulk = {
        let (channel, messages, done) = (channel.clone(), messages.clone(), done.clone());
        tokio::spawn(async move {
            let request = EchoRequest { count: 2000, ..echo(64 * 1024) };
            let mut stream = channel.server_streaming(&BULK, request)?;
            while stream.message().await?.is_some() {
                messages.fetch_add(1, Ordering::SeqCst);
            }
            done.store(true, Ordering::SeqCst);
            Ok::<_, framewire::error::Error>(())
        })
    };
    while messages.load(Ordering::SeqCst) < 10 {
        tokio::task::yield_now().await;
    }
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { channel.unary(&UNARY, echo(1000)).await.map(drop) })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic").expect("OK");
    }
    let meanwhile = messages.load(Ordering::SeqCst);
    assert!(!done.load(Ordering::SeqCst), "the calls waited for the end of the bulk");
    assert!(meanwhile < 1000, "the calls waited for {meanwhile} messages of the bulk");
    bulk.await.expect("no panic").expect("OK");
    assert_eq!(messages.load(Ordering::SeqCst), 2000);
}
