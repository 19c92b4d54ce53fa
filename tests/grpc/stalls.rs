//! How long streams and connections waited for the peer's windows, counted to the millisecond.

use crate::link::Faults;
use crate::memory_pair::{BIDI, RawMethod, Setup, UNARY, lone_channel, raw, router};
use crate::peer::{Peer, request};
use framewire::client::Channel;
use framewire::error::Phase;
use framewire::unstable::call::stalls::Stalls;
use framewire::unstable::grpc::Method;
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;

/// SETTINGS_INITIAL_WINDOW_SIZE.
const WINDOW: u16 = 4;
/// The connection's window at its beginning.
const CONNECTION: usize = 65_535;
const BULK: RawMethod = Method::new("/test.Echo/Bulk");

async fn connected(settings: &[(u16, u32)]) -> (Channel, Peer) {
    let (channel, mut listener) = lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, settings).await;
    peer.next(FrameType::Settings).await;
    sleep(Duration::from_millis(1)).await;
    (channel, peer)
}

fn millis(stalls: Stalls) -> [u128; 2] {
    [stalls.stream_window().as_millis(), stalls.connection_window().as_millis()]
}

/// Time for a driver's turn; less than a millisecond.
async fn turn() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn pass(time: u64) {
    sleep(Duration::from_millis(time)).await;
    turn().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_counts_both_windows() {
    let (channel, mut peer) = connected(&[(WINDOW, 1000)]).await;
    let (mut up, _down) = channel.bidi(&BIDI, ()).unwrap();
    up.send(raw([7; 500])).await.unwrap();
    pass(40).await;
    assert_eq!(millis(up.stalls()), [0, 0], "all has left");
    // The stream's window holds the rest of this one up.
    up.send(raw(vec![7; CONNECTION])).await.unwrap();
    turn().await;
    pass(70).await;
    assert_eq!(millis(up.stalls()), [70, 0], "also while it lasts");
    peer.window(1, 100_000).await;
    turn().await;
    // Now it is the connection's.
    pass(50).await;
    assert_eq!(millis(up.stalls()), [70, 50]);
    peer.window(0, 100_000).await;
    turn().await;
    pass(30).await;
    assert_eq!(millis(up.stalls()), [70, 50]);
    let handle = &channel.unstable_handles()[0];
    assert_eq!(handle.connection_stalled().as_millis(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_joins_a_stall_counts_its_own_part() {
    let (channel, mut peer) = connected(&[(WINDOW, 1 << 20)]).await;
    let (mut first, _first) = channel.bidi(&BIDI, ()).unwrap();
    first.send(raw(vec![7; CONNECTION])).await.unwrap();
    turn().await;
    pass(20).await;
    let (mut second, _second) = channel.bidi(&BIDI, ()).unwrap();
    second.send(raw([8; 10])).await.unwrap();
    turn().await;
    pass(30).await;
    peer.window(0, 1 << 20).await;
    turn().await;
    pass(10).await;
    assert_eq!(millis(first.stalls()), [0, 50]);
    assert_eq!(millis(second.stalls()), [0, 30]);
    assert_eq!(channel.unstable_handles()[0].connection_stalled().as_millis(), 50);
}

/// The same in a unary call's timeline: it waited for the window, not for the socket.
#[tokio::test(start_paused = true)]
async fn a_unary_call_that_joins_a_stall() {
    let (channel, mut peer) = connected(&[(WINDOW, 1 << 20)]).await;
    let (mut bulk, _bulk) = channel.bidi(&BIDI, ()).unwrap();
    bulk.send(raw(vec![7; CONNECTION])).await.unwrap();
    turn().await;
    let call = tokio::spawn(async move { channel.unary_timed(&UNARY, raw("x")).await });
    turn().await;
    pass(30).await;
    peer.window(0, 1 << 20).await;
    turn().await;
    peer.answer(3, b"").await;
    let (_, timeline) = call.await.unwrap().unwrap();
    assert_eq!(timeline.spent(Phase::ConnectionWindow).as_millis(), 30, "{timeline:?}");
}

/// What a call waited for on one connection ends with it.
#[tokio::test(start_paused = true)]
async fn a_call_that_moves() {
    let (channel, mut listener) = lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut first = Peer::accept(&mut listener, &[(WINDOW, 0)]).await;
    first.next(FrameType::Settings).await;
    turn().await;
    let call = tokio::spawn(async move { channel.unary_timed(&UNARY, raw("x")).await });
    turn().await;
    pass(25).await;
    first.goaway(0, ErrorCode::NO_ERROR, "").await;
    turn().await;
    pass(100).await;
    let mut second = Peer::accept(&mut listener, &[(WINDOW, 0)]).await;
    second.next(FrameType::Headers).await;
    second.answer(1, b"").await;
    let (_, timeline) = call.await.unwrap().unwrap();
    assert_eq!(timeline.spent(Phase::StreamWindow).as_millis(), 25, "{timeline:?}");
}

#[tokio::test(start_paused = true)]
async fn a_servers_answer_counts_too() {
    let seen = Arc::new(Mutex::new([0; 2]));
    let inside = Arc::clone(&seen);
    let router = router().server_streaming(&BULK, move |_, _, mut replies| {
        let seen = Arc::clone(&inside);
        async move {
            replies.send(raw(vec![7; 200_000])).await?;
            // Ready when the last one has nearly left.
            replies.ready().await?;
            *seen.lock().unwrap() = millis(replies.stalls());
            Ok(())
        }
    });
    let pair = Setup::new(router).start();
    let mut peer = Peer::dial(&pair.connector).await;
    peer.settings(&[(WINDOW, 10_000)]).await;
    peer.headers(1, false, &request("/test.Echo/Bulk", &[])).await;
    peer.data(1, &crate::peer::framed(b""), true).await;
    turn().await;
    pass(35).await;
    peer.window(1, 1 << 20).await;
    turn().await;
    pass(15).await;
    peer.window(0, 1 << 20).await;
    turn().await;
    loop {
        let frame = peer.next_of(&[FrameType::Data, FrameType::Headers]).await;
        if frame.ends() {
            break;
        }
    }
    assert_eq!(*seen.lock().unwrap(), [35, 15]);
}
