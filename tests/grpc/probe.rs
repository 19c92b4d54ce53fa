//! A connection that was silent for long is proved before a call depends on it, from the wire.

use crate::keepalive::{WINDOW_HALF, begin};
use crate::link::Faults;
use crate::memory_pair::{DOWN, UNARY, lone_channel, raw};
use crate::peer::{Frame, Peer, framed};
use framewire::client::Channel;
use framewire::transport::{Accept, MemoryListener};
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::time::Duration;
use tokio::time::Instant;

async fn seconds(time: u64) {
    tokio::time::sleep(Duration::from_secs(time)).await;
}

/// The next PING or HEADERS, with nothing answered.
async fn next(peer: &mut Peer) -> Frame {
    loop {
        let frame = peer.unanswered().await.expect("the connection lives");
        if matches!(frame.kind, FrameType::Ping | FrameType::Headers) {
            return frame;
        }
    }
}

/// A channel whose connection has carried a call, a round trip of 30 ms having been seen.
async fn used(options: PoolOptions) -> (Channel, MemoryListener, Peer) {
    let (channel, mut listener) = lone_channel(options, Faults::default());
    channel.connect();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let call = begin(&channel, raw("first"));
    let first = next(&mut peer).await;
    peer.answer(first.id, b"").await;
    call.await.unwrap().unwrap();
    (channel, listener, peer)
}

/// The call leaves one round trip later, at the very answer, and not before.
#[tokio::test(start_paused = true)]
async fn a_call_leaves_with_the_answer_to_the_probe() {
    let (channel, _listener, mut peer) = used(PoolOptions::new()).await;
    seconds(300).await;
    let started = Instant::now();
    let call = begin(&channel, raw("x"));
    let ping = next(&mut peer).await;
    assert_eq!(ping.kind, FrameType::Ping);
    let silent = Duration::from_millis(29);
    let early = tokio::time::timeout(silent, peer.unanswered()).await;
    assert!(early.is_err(), "held back: {early:?}");
    peer.pong(&ping).await;
    let head = next(&mut peer).await;
    assert_eq!(head.kind, FrameType::Headers);
    assert_eq!(started.elapsed(), silent, "within the last round trip");
    peer.answer(head.id, b"").await;
    call.await.unwrap().unwrap();
    seconds(1).await;
    assert_eq!(channel.unstable_handles().len(), 1, "nothing was dialled beside it");
}

/// An answer that comes late, but before another connection has spoken, carries the call as well.
#[tokio::test(start_paused = true)]
async fn whichever_is_first_carries_the_call() {
    let (channel, mut listener, mut peer) = used(PoolOptions::new()).await;
    seconds(300).await;
    let started = Instant::now();
    let call = begin(&channel, raw("x"));
    let ping = next(&mut peer).await;
    tokio::time::sleep(Duration::from_millis(45)).await;
    peer.pong(&ping).await;
    let head = next(&mut peer).await;
    assert_eq!((head.kind, started.elapsed().as_millis()), (FrameType::Headers, 45));
    peer.answer(head.id, b"").await;
    call.await.unwrap().unwrap();
    // What was dialled beside it is given up and has carried nothing.
    let mut second = Peer::over(listener.accept().await.unwrap().io);
    second.preface().await;
    let call = begin(&channel, raw("y"));
    let head = next(&mut peer).await;
    peer.answer(head.id, b"").await;
    call.await.unwrap().unwrap();
    while let Some(frame) = second.unanswered().await {
        assert_ne!(frame.kind, FrameType::Headers, "a call was written to it");
    }
}

/// Any byte is a sign of life.
#[tokio::test(start_paused = true)]
async fn any_frame_releases_the_call() {
    let (channel, _listener, mut peer) = used(PoolOptions::new()).await;
    seconds(61).await;
    let call = begin(&channel, raw("x"));
    assert_eq!(next(&mut peer).await.kind, FrameType::Ping);
    peer.window(0, 1).await;
    let head = next(&mut peer).await;
    peer.answer(head.id, b"").await;
    call.await.unwrap().unwrap();
}

/// One round trip, and another connection is dialled; once that has spoken the call is there.
#[tokio::test(start_paused = true)]
async fn without_an_answer_the_call_moves() {
    let (channel, mut listener, mut peer) = used(PoolOptions::new()).await;
    seconds(300).await;
    let started = Instant::now();
    let call = begin(&channel, raw("x"));
    assert_eq!(next(&mut peer).await.kind, FrameType::Ping);
    let mut second = Peer::accept(&mut listener, &[]).await;
    assert_eq!(started.elapsed(), Duration::from_millis(30));
    let head = next(&mut second).await;
    second.answer(head.id, b"").await;
    call.await.unwrap().unwrap();
    // The old one is closed, without a call ever written there.
    while let Some(frame) = peer.unanswered().await {
        assert_ne!(frame.kind, FrameType::Headers);
    }
}

/// A stream that is left goes on if the peer answers late; new calls stay away.
#[tokio::test(start_paused = true)]
async fn streams_outlive_a_probe_that_was_answered_late() {
    let (channel, mut listener, mut peer) = used(PoolOptions::new()).await;
    let mut down = channel.server_streaming(&DOWN, raw("")).unwrap();
    let stream = next(&mut peer).await;
    peer.response(stream.id).await;
    // The doubt that a silent stream raises.
    let ping = next(&mut peer).await;
    peer.pong(&ping).await;
    seconds(120).await;
    let call = begin(&channel, raw("x"));
    let probe = next(&mut peer).await;
    assert_eq!(probe.kind, FrameType::Ping);
    let mut second = Peer::accept(&mut listener, &[]).await;
    let head = next(&mut second).await;
    second.answer(head.id, b"").await;
    call.await.unwrap().unwrap();
    seconds(5).await;
    peer.pong(&probe).await;
    seconds(20).await;
    peer.data(stream.id, &framed(b"late"), false).await;
    assert_eq!(down.message().await.unwrap(), Some(raw("late")));
}

/// With keepalive, an unanswered probe ends the streams as any other PING does.
#[tokio::test(start_paused = true)]
async fn with_keepalive_streams_end_when_the_probe_stays_unanswered() {
    let mut options = PoolOptions::new();
    options.driver.keepalive = Some(Duration::from_secs(3600));
    let (channel, _listener, mut peer) = used(options).await;
    let mut down = channel.server_streaming(&DOWN, raw("")).unwrap();
    let stream = next(&mut peer).await;
    peer.response(stream.id).await;
    let ping = next(&mut peer).await;
    peer.pong(&ping).await;
    seconds(120).await;
    let _call = begin(&channel, raw("x"));
    let started = Instant::now();
    assert_eq!(next(&mut peer).await.kind, FrameType::Ping);
    down.message().await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), 20);
}

/// A probe that the peer might count as a strike too many is not sent: the call moves at once.
#[tokio::test(start_paused = true)]
async fn no_probe_is_a_strike_too_many() {
    let (channel, mut listener, mut peer) = used(PoolOptions::new()).await;
    // One is forgiven for the answer before it, one is a strike; another is left for doubt.
    for _ in 0..2 {
        seconds(61).await;
        let call = begin(&channel, raw("x"));
        let ping = next(&mut peer).await;
        assert_eq!(ping.kind, FrameType::Ping);
        peer.pong(&ping).await;
        assert_eq!(next(&mut peer).await.kind, FrameType::Headers);
        // Given up before the server says anything.
        call.abort();
        while peer.unanswered().await.unwrap().kind != FrameType::RstStream {}
    }
    seconds(61).await;
    let started = Instant::now();
    let call = begin(&channel, raw("x"));
    let mut second = Peer::accept(&mut listener, &[]).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    let head = next(&mut second).await;
    second.answer(head.id, b"").await;
    call.await.unwrap().unwrap();
    while let Some(frame) = peer.unanswered().await {
        assert_ne!(frame.kind, FrameType::Ping);
    }
}

/// The PING that measures the path uses up what the DATA before it forgave: one probe fewer.
#[tokio::test(start_paused = true)]
async fn measuring_pings_count_like_all_others() {
    let mut options = PoolOptions::new();
    options.driver.limits.connection_window = 2 * WINDOW_HALF as u32;
    let (channel, mut listener, mut peer) = used(options).await;
    let _down = channel.server_streaming(&DOWN, raw("")).unwrap();
    let stream = next(&mut peer).await;
    peer.response(stream.id).await;
    for piece in framed(&vec![7; WINDOW_HALF]).chunks(16_384) {
        peer.data(stream.id, piece, false).await;
    }
    for opaque in [b"fw.bdp.1", b"fw.doubt", b"fw.probe"] {
        let call = (opaque == b"fw.probe").then(|| begin(&channel, raw("x")));
        let ping = next(&mut peer).await;
        assert_eq!((ping.kind, &ping.payload[..]), (FrameType::Ping, &opaque[..]));
        peer.pong(&ping).await;
        if let Some(call) = call {
            assert_eq!(next(&mut peer).await.kind, FrameType::Headers);
            call.abort();
        } else if opaque == b"fw.doubt" {
            seconds(61).await;
        }
    }
    seconds(61).await;
    let call = begin(&channel, raw("x"));
    let mut second = Peer::accept(&mut listener, &[]).await;
    let head = next(&mut second).await;
    second.answer(head.id, b"").await;
    call.await.unwrap().unwrap();
    while let Ok(Some(frame)) =
        tokio::time::timeout(Duration::from_secs(600), peer.unanswered()).await
    {
        assert_ne!(frame.kind, FrameType::Ping, "the third strike");
    }
}

/// In use, or with the probe off, calls leave at once.
#[tokio::test(start_paused = true)]
async fn no_probe_when_in_use_or_off() {
    for (age, wait) in [(Some(60), 59), (None, 1000), (Some(300), 200)] {
        let mut options = PoolOptions::new();
        options.driver.probe_after = age.map(Duration::from_secs);
        let (channel, _listener, mut peer) = used(options).await;
        seconds(wait).await;
        let channel = channel.clone();
        let call = tokio::spawn(async move { channel.unary(&UNARY, raw("x")).await });
        let head = next(&mut peer).await;
        assert_eq!(head.kind, FrameType::Headers, "{age:?}");
        peer.answer(head.id, b"").await;
        call.await.unwrap().unwrap();
    }
}
