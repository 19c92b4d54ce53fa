//! Cancellation by dropping, in every phase.

use crate::link::Faults;
use crate::memory_pair::{BIDI, On, SILENT, UNARY, raw};
use crate::peer::{Frame, Peer};
use framewire::client::Channel;
use framewire::error::{Kind, Processed};
use framewire::unstable::grpc::{Code, Raw};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::time::Duration;
use tokio::task::JoinHandle;

type Call = JoinHandle<Result<framewire::unstable::grpc::Response<Raw>, framewire::error::Error>>;

fn begin(channel: &Channel, bytes: usize) -> Call {
    let channel = channel.clone();
    tokio::spawn(async move { channel.unary(&UNARY, raw(vec![1; bytes])).await })
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

fn resets(frames: &[Frame]) -> Vec<(u32, u32)> {
    let resets = frames.iter().filter(|frame| frame.kind == FrameType::RstStream);
    resets.map(|frame| (frame.id, frame.number())).collect()
}

fn heads(frames: &[Frame]) -> usize {
    frames.iter().filter(|frame| frame.kind == FrameType::Headers).count()
}

/// What a caller cancels after it was sent, or answered, does not count as unprocessed.
#[tokio::test(start_paused = true)]
async fn a_cancelled_call_knows_whether_it_was_processed() {
    for (sent, answered, processed) in [
        (false, false, Processed::No),
        (true, false, Processed::Maybe),
        (true, true, Processed::Yes),
    ] {
        let (channel, mut listener) =
            On::FRAMEWIRE.lone_channel(PoolOptions::new(), Faults::default());
        let (sender, mut streaming) = channel.bidi(&BIDI, ()).unwrap();
        let mut peer = None;
        if sent {
            let mut accepted = Peer::accept(&mut listener, &[]).await;
            accepted.next(FrameType::Headers).await;
            if answered {
                accepted.response(1).await;
                streaming.metadata().await.unwrap();
            }
            peer = Some(accepted);
        }
        sender.cancel(ErrorCode::CANCEL);
        let error = streaming.message().await.unwrap_err();
        assert_eq!((error.kind(), error.processed()), (Kind::Cancelled, processed), "{error}");
        drop(peer);
    }
}

pub async fn before_there_is_a_connection(on: On) {
    let (channel, mut listener) =
        on.lone_channel(PoolOptions::new(), Faults { delay: None, ..Faults::default() });
    // Given up before the dial's task has run once.
    let mut call = Box::pin(channel.unary(&UNARY, raw("never")));
    assert!(futures_poll(&mut call).is_none());
    drop(call);
    let keep = begin(&channel, 3);
    let mut peer = Peer::accept(&mut listener, &[]).await;
    settle().await;
    peer.answer(1, b"").await;
    keep.await.unwrap().unwrap();
    let frames = peer.until_silent().await;
    assert_eq!(heads(&frames), 1, "{frames:?}");
    assert!(resets(&frames).is_empty(), "{frames:?}");
}

/// Polls once.
fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

pub async fn while_queued_for_the_stream_limit(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[(3, 1)]).await;
    settle().await;
    let first = begin(&channel, 0);
    settle().await;
    let second = begin(&channel, 0);
    settle().await;
    second.abort();
    settle().await;
    let third = begin(&channel, 0);
    settle().await;
    peer.answer(1, b"").await;
    first.await.unwrap().unwrap();
    settle().await;
    peer.answer(3, b"").await;
    third.await.unwrap().unwrap();
    let frames = peer.until_silent().await;
    assert_eq!(heads(&frames), 2, "the one that was dropped sent nothing");
    assert!(resets(&frames).is_empty(), "{frames:?}");
}

pub async fn on_a_stream_the_peer_is_told_once(on: On) {
    // Window closed; server silent; response under way.
    for phase in 0..3 {
        let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
        channel.connect();
        let window = if phase == 0 { 0 } else { 65_535 };
        let mut peer = Peer::accept(&mut listener, &[(3, 1), (4, window)]).await;
        settle().await;
        let call = begin(&channel, 10);
        settle().await;
        if phase == 2 {
            peer.response(1).await;
            peer.data(1, &[0, 0, 0, 1, 0, 5], false).await;
        }
        settle().await;
        call.abort();
        settle().await;
        // The slot is free at once: the limit of one lets the next call out.
        let next = begin(&channel, 0);
        settle().await;
        let frames = peer.until_silent().await;
        assert_eq!(resets(&frames), [(1, ErrorCode::CANCEL.0)], "phase {phase}: {frames:?}");
        assert_eq!(heads(&frames), 2, "phase {phase}");
        peer.answer(3, b"").await;
        next.await.unwrap().unwrap();
    }
}

pub async fn a_thousand_cancels_leak_no_window(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    settle().await;
    let mut window: i64 = 65_535;
    let mut given: i64 = 0;
    let mut note = |frames: &[Frame]| {
        let updates = frames.iter().filter(|f| f.kind == FrameType::WindowUpdate && f.id == 0);
        window += updates.map(|f| i64::from(f.number())).sum::<i64>();
        window
    };
    for i in 0..1000u32 {
        let call = begin(&channel, 0);
        tokio::task::yield_now().await;
        let id = 2 * i + 1;
        peer.next_noting(FrameType::Headers, &mut note).await;
        peer.response(id).await;
        // Bytes that nobody will read, then the cancel, then bytes that cross it.
        peer.data(id, &[0; 600], false).await;
        given += 600;
        if i % 2 == 0 {
            tokio::task::yield_now().await;
        }
        call.abort();
        let _ = call.await;
        peer.data(id, &[0; 400], false).await;
        given += 400;
    }
    let frames = peer.until_silent().await;
    let window = note(&frames);
    // Everything is credited but what is too little for an update of its own.
    let initial = 4 * 1024 * 1024;
    assert!(window - given > initial / 2, "{window} granted, {given} used");
    // And a transfer larger than what remains goes through.
    let call = begin(&channel, 0);
    peer.next(FrameType::Headers).await;
    peer.answer(2001, &[7; 16_000]).await;
    assert_eq!(call.await.unwrap().unwrap().into_inner().0.len(), 16_000);
    assert_eq!(channel.unstable_handles()[0].streams(), 0);
}

pub async fn a_thousand_cancels_of_our_own_pair_leave_it_as_it_was(on: On) {
    let pair = on.pair();
    pair.channel.unary(&UNARY, raw("")).await.unwrap();
    let before = pair.channel.unstable_handles()[0].id();
    for _ in 0..1000 {
        let channel = pair.channel.clone();
        let call = tokio::spawn(async move { channel.unary(&SILENT, raw([0; 5000])).await });
        // Old enough not to look like an attack.
        tokio::time::sleep(Duration::from_millis(101)).await;
        call.abort();
        let _ = call.await;
    }
    settle().await;
    assert_eq!(pair.channel.unstable_handles()[0].streams(), 0);
    // More than both windows together.
    let message = raw(vec![3; 3_000_000]);
    let response = pair.channel.unary(&UNARY, message.clone()).await.unwrap();
    assert_eq!(response.into_inner(), message);
    assert_eq!(pair.channel.unstable_handles()[0].id(), before);
}

pub async fn either_half_of_a_stream_cancels_it(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    settle().await;
    // The sender without finish.
    let (up, mut down) = channel.bidi(&BIDI, ()).unwrap();
    settle().await;
    drop(up);
    settle().await;
    let error = down.message().await.unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::Cancelled, Kind::Cancelled), "{error}");
    // The receiver.
    let (mut up, down) = channel.bidi(&BIDI, ()).unwrap();
    settle().await;
    drop(down);
    settle().await;
    assert!(up.send(raw("")).await.is_err());
    // With a code of the caller's choice.
    let (up, _down) = channel.bidi(&BIDI, ()).unwrap();
    settle().await;
    up.cancel(ErrorCode::NO_ERROR);
    settle().await;
    let frames = peer.until_silent().await;
    let cancel = ErrorCode::CANCEL.0;
    assert_eq!(resets(&frames), [(1, cancel), (3, cancel), (5, 0)]);
}
