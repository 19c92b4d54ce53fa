//! Heads, trailers and messages for a peer that does not read: they wait in their calls.

use crate::link::Faults;
use crate::memory_pair;
use crate::memory_pair::{BIDI, RawMethod, Setup, UNARY, lone_channel, raw};
use crate::peer::{Peer, framed, request};
use framewire::client::Channel;
use framewire::error::Processed;
use framewire::metadata::Metadata;
use framewire::server::Router;
use framewire::unstable::grpc::{Code, Method, Raw, Request, Response, Status};
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::memory::budget::Budget;
use framewire::unstable::pool::PoolOptions;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Bytes that wait for a socket at most: 512 KiB, and one head.
const FULL: u32 = 513 * 1024 + 16 * 1024;
/// SETTINGS_MAX_CONCURRENT_STREAMS.
const STREAMS: u16 = 3;
const ENDLESS: RawMethod = Method::new("/test.Echo/Endless");

fn large(bytes: usize) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("x-large", &"v".repeat(bytes)).unwrap();
    metadata
}

/// Both sides have megabytes of heads to send: neither waits for the other one to read.
#[tokio::test(start_paused = true)]
async fn heads_both_ways_do_not_stop_two_peers() {
    let router = Router::new().bidi(&BIDI, |_, mut requests, mut replies| async move {
        replies.metadata(&large(12_000))?;
        while requests.message().await?.is_some() {}
        Ok(())
    });
    let mut setup = Setup::new(router);
    setup.server.limits.concurrent_streams = 1000;
    let pair = setup.start();
    pair.channel.warm(1).await.unwrap();
    let calls = (0..600).map(|_| {
        let channel = pair.channel.clone();
        tokio::spawn(async move {
            let request = Request::new(()).with_metadata(large(12_000));
            let (up, mut down) = channel.bidi(&BIDI, request).unwrap();
            assert_eq!(down.metadata().await.unwrap().get("x-large").map(str::len), Some(12_000));
            up.finish().unwrap();
            assert!(down.message().await.unwrap().is_none());
        })
    });
    for call in calls.collect::<Vec<_>>() {
        timeout(Duration::from_secs(60), call).await.expect("the call hangs").unwrap();
    }
}

fn queued(channel: &Channel) -> u32 {
    channel.unstable_handles().iter().map(|handle| handle.queued()).sum()
}

/// A server stops reading. Calls that its connection cannot take are never written; the connection holds no
/// more than a full buffer, leaves the picking, and ends without its last stream.
#[tokio::test(start_paused = true)]
async fn calls_are_not_written_to_a_full_buffer() {
    let (channel, mut listener) = lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut deaf = Peer::accept(&mut listener, &[(STREAMS, 1000)]).await;
    deaf.next(FrameType::Settings).await;
    sleep(Duration::from_millis(1)).await;
    let begun = Instant::now();
    let callers = (0..100).map(|_| {
        let channel = channel.clone();
        tokio::spawn(async move {
            let mut unwritten = 0;
            while begun.elapsed() < Duration::from_secs(2) {
                let request = Request::new(raw("x")).with_metadata(large(8000));
                let request = request.with_timeout(Duration::from_millis(50));
                let error = channel.unary(&UNARY, request).await.unwrap_err();
                assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
                unwritten += u32::from(error.processed() == Processed::No);
            }
            unwritten
        })
    });
    let mut unwritten = 0;
    for caller in callers.collect::<Vec<_>>() {
        unwritten += caller.await.unwrap();
        assert!(queued(&channel) <= FULL, "{}", queued(&channel));
    }
    // At most so many heads fit.
    assert!(unwritten > 3800, "{unwritten}");
    // A call that waits there is a reason to doubt the peer, and moves.
    let call = tokio::spawn({
        let channel = channel.clone();
        async move { channel.unary(&UNARY, raw("moves")).await }
    });
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let head = peer.next(FrameType::Headers).await;
    peer.answer(head.id, b"moved").await;
    assert_eq!(call.await.unwrap().unwrap().into_inner().0, "moved");
    sleep(Duration::from_secs(6)).await;
    assert_eq!(channel.stats().connections.len(), 1, "the other one has ended");
    assert_eq!(queued(&channel), 0);
}

/// A client does not read for a while. Every answer waits in its call, and comes whole, about in order.
#[tokio::test(start_paused = true)]
async fn answers_wait_for_a_client_that_does_not_read() {
    let router = Router::new().unary(&UNARY, |_, request: framewire::Raw| async move {
        if request.0.first() == Some(&1) {
            return Err(Status::new(Code::Internal, "e".repeat(7000)));
        }
        Ok(Response::new(request).with_metadata(large(7000)))
    });
    let pair = Setup::new(router).start();
    let mut client = Peer::dial(&pair.connector).await;
    client.next(FrameType::Settings).await;
    let calls = 250;
    for n in 0..calls {
        client.headers(2 * n + 1, false, &request("/test.Echo/Unary", &[])).await;
        client.data(2 * n + 1, &framed(&[(n % 2) as u8; 30]), true).await;
    }
    sleep(Duration::from_secs(1)).await;
    let mut ends = Vec::new();
    while ends.len() < calls as usize {
        let frame = client.frame().await.expect("the connection ended");
        if frame.ends() && frame.kind == FrameType::Headers {
            let code = if (frame.id / 2) % 2 == 0 { "0" } else { "13" };
            assert_eq!(frame.field("grpc-status"), Some(code));
            ends.push(frame.id);
        }
    }
    let delayed = ends.iter().enumerate().filter(|(at, id)| *at as u32 > **id / 2 + 100);
    assert_eq!(delayed.count(), 0, "{ends:?}");
}

/// Streams that nobody reads use up the budget, and close the connection's window: other calls of the channel go
/// to another connection, and come back once the streams are read.
#[tokio::test(start_paused = true)]
async fn unread_streams_do_not_hold_up_other_calls() {
    let budget = Budget::new(1 << 20);
    let router = memory_pair::router().server_streaming(
        &ENDLESS,
        |_, request: Raw, mut replies| async move {
            loop {
                replies.send(request.clone()).await?;
            }
        },
    );
    let mut setup = Setup::new(router);
    setup.client.max_connections = 2;
    setup.client.driver.budget = Some(Arc::clone(&budget));
    let pair = setup.start();
    let message = raw(vec![7; 10_000]);
    let streams: Vec<_> = (0..70)
        .map(|_| pair.channel.server_streaming(&ENDLESS, message.clone()).unwrap())
        .collect();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(pair.channel.unstable_handles().len(), 1);
    assert!(pair.channel.unstable_handles()[0].is_withheld());
    for _ in 0..10 {
        let request = Request::new(raw("small")).with_timeout(Duration::from_secs(5));
        let answer = pair.channel.unary(&UNARY, request).await.unwrap();
        assert_eq!(answer.into_inner().0, "small");
    }
    assert_eq!(pair.channel.unstable_handles().len(), 2);
    drop(streams);
    sleep(Duration::from_secs(1)).await;
    assert!(!pair.channel.unstable_handles().iter().any(|handle| handle.is_withheld()));
}
