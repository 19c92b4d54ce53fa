//! Honest load that looks like an attack: thousands of calls a second that all expire, or that are
//! cancelled. The server's bound on work for nothing is not for these.

use crate::memory_pair::{Pair, SILENT, Setup, UNARY, raw, router};
use crate::peer::{Peer, framed, request};
use framewire::unstable::grpc::{Code, Request};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Calls in a millisecond: 5,000 a second.
const A_MILLISECOND: u64 = 5;
/// More than the ten seconds in which resets are set against streams.
const SHORT: u64 = 12;

/// Seconds of the longest loads: 30 with `FRAMEWIRE_LONG=1`, as `.ci/run` sets it.
fn long() -> u64 {
    if std::env::var("FRAMEWIRE_LONG").as_deref() == Ok("1") { 30 } else { SHORT }
}

fn pair(streams: u32) -> Pair {
    let mut setup = Setup::new(router());
    setup.server.limits.concurrent_streams = streams;
    setup.start()
}

/// Begins `A_MILLISECOND` calls every millisecond; how many in all.
async fn load(seconds: u64, mut begin: impl FnMut(u64)) -> u64 {
    let started = Instant::now();
    for tick in 0..seconds * 1000 {
        sleep_until(started + Duration::from_millis(tick)).await;
        for call in 0..A_MILLISECOND {
            begin(tick * A_MILLISECOND + call);
        }
    }
    sleep(Duration::from_secs(1)).await;
    seconds * 1000 * A_MILLISECOND
}

/// The connection of the first call still serves, and at once: nothing was owed.
async fn unharmed(pair: &Pair, id: u64) {
    let request = Request::new(raw("after all")).with_timeout(Duration::from_millis(50));
    pair.channel.unary(&UNARY, request).await.unwrap();
    let alive: Vec<_> = pair.channel.unstable_handles().iter().map(|handle| handle.id()).collect();
    assert_eq!(alive, [id], "the server ended the connection");
}

/// How a caller ends its patience.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// The deadline travels with the request.
    Deadline,
    /// The call is dropped, as a caller's own timeout does.
    Dropped,
}

/// All calls end at 200 ms, unanswered.
async fn all_expire(streams: u32, end: End, seconds: u64) {
    const PATIENCE: Duration = Duration::from_millis(200);
    let pair = pair(streams);
    pair.channel.unary(&UNARY, raw("")).await.unwrap();
    let id = pair.channel.unstable_handles()[0].id();
    let ended = Arc::new(AtomicU64::new(0));
    let calls = load(seconds, |_| {
        let (channel, ended) = (pair.channel.clone(), ended.clone());
        tokio::spawn(async move {
            let started = Instant::now();
            if end == End::Dropped {
                timeout(PATIENCE, channel.unary(&SILENT, raw(""))).await.unwrap_err();
            } else {
                let request = Request::new(raw("")).with_timeout(PATIENCE);
                let error = channel.unary(&SILENT, request).await.unwrap_err();
                assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
            }
            assert!(started.elapsed() < PATIENCE + Duration::from_millis(5));
            ended.fetch_add(1, Ordering::Relaxed);
        });
    })
    .await;
    assert_eq!(ended.load(Ordering::Relaxed), calls);
    unharmed(&pair, id).await;
}

#[tokio::test(start_paused = true)]
async fn every_call_expires() {
    all_expire(2000, End::Deadline, long()).await;
    all_expire(2000, End::Dropped, SHORT).await;
}

/// With fewer streams than calls most wait, and have little time left when they leave.
#[tokio::test(start_paused = true)]
async fn every_call_expires_and_most_in_the_queue() {
    all_expire(256, End::Deadline, SHORT).await;
}

/// Short deadlines on a client whose clock is ahead of the server's: its resets come first, 11,000 a
/// second.
#[tokio::test(start_paused = true)]
async fn deadlines_that_pass_at_the_client_first() {
    let pair = pair(256);
    let mut peer = Peer::dial(&pair.connector).await;
    let head = request("/test.Echo/Silent", &[("grpc-timeout", "20m")]);
    let mut id = 1;
    for _ in 0..100 {
        let batch: Vec<u32> = (0..200).map(|n| id + 2 * n).collect();
        for id in &batch {
            peer.headers(*id, false, &head).await;
            peer.data(*id, &framed(b""), true).await;
        }
        sleep(Duration::from_millis(18)).await;
        for id in &batch {
            peer.reset(*id, ErrorCode::CANCEL).await;
        }
        id += 400;
    }
    peer.headers(id, false, &request("/test.Echo/Unary", &[])).await;
    peer.data(id, &framed(b"after all"), true).await;
    let asked = Instant::now();
    let answer = peer.next(FrameType::Data).await;
    assert_eq!((answer.id, answer.payload), (id, framed(b"after all")));
    assert!(asked.elapsed() < Duration::from_millis(5), "reading had stopped");
}

/// Type-ahead: a thousand calls a second are given up after 30 ms. The calls beside them are answered at
/// once.
#[tokio::test(start_paused = true)]
async fn a_thousand_cancels_a_second() {
    let pair = pair(256);
    pair.channel.unary(&UNARY, raw("")).await.unwrap();
    let id = pair.channel.unstable_handles()[0].id();
    let started = Instant::now();
    for tick in 0..long() * 1000 {
        sleep_until(started + Duration::from_millis(tick)).await;
        let channel = pair.channel.clone();
        tokio::spawn(async move {
            timeout(Duration::from_millis(30), channel.unary(&SILENT, raw(""))).await.unwrap_err();
        });
        if tick.is_multiple_of(10) {
            let request = Request::new(raw("")).with_timeout(Duration::from_millis(5));
            pair.channel.unary(&UNARY, request).await.unwrap();
        }
    }
    unharmed(&pair, id).await;
}

/// Hedges: of every two calls the second is answered, and the first given up after 5 ms.
#[tokio::test(start_paused = true)]
async fn half_of_all_calls_are_cancelled() {
    let pair = pair(256);
    pair.channel.unary(&UNARY, raw("")).await.unwrap();
    let id = pair.channel.unstable_handles()[0].id();
    let answered = Arc::new(AtomicU64::new(0));
    let calls = load(long(), |call| {
        let (channel, answered) = (pair.channel.clone(), answered.clone());
        tokio::spawn(async move {
            if call.is_multiple_of(2) {
                let hedge = channel.unary(&SILENT, raw(""));
                timeout(Duration::from_millis(5), hedge).await.unwrap_err();
            } else {
                let request = Request::new(raw("")).with_timeout(Duration::from_millis(20));
                channel.unary(&UNARY, request).await.unwrap();
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    })
    .await;
    assert_eq!(answered.load(Ordering::Relaxed), calls / 2);
    unharmed(&pair, id).await;
}
