//! Connections that a box on the path has forgotten while nobody used them.

use crate::network::addr;
use crate::{WORK, allowing, begin, ms, one, options, raw, router};
use framewire::error::{Kind, Processed};
use framewire::unstable::grpc::{Code, Request};
use std::time::Duration;
use tokio::time::Instant;

/// Nothing tells that the link is gone: the call finds another one, soon, and runs once.
#[tokio::test(start_paused = true)]
async fn a_call_after_a_silent_drop_runs_once_elsewhere() {
    let one = one(100, options());
    begin(&one.channel, 0).await.unwrap().unwrap();
    for (cycle, minutes) in [5, 2].into_iter().enumerate() {
        ms(minutes * 60_000).await;
        one.journal.take();
        one.network.forget(addr(1));
        let started = Instant::now();
        begin(&one.channel, 1).await.unwrap().unwrap();
        let took = started.elapsed();
        assert!(took <= Duration::from_millis(100), "{took:?}");
        assert_eq!(one.journal.take(), [[1]], "once");
        assert_eq!((one.dials(), one.pings()), (cycle + 2, cycle + 1));
        assert_eq!(one.channel.unstable_handles().len(), 1, "the forgotten one is let go");
    }
    // Two minutes were too long: from now on the connection is closed before.
    assert_eq!(one.channel.stats().path_limit, Some(Duration::from_secs(120)));
    ms(113_000).await;
    assert_eq!(one.channel.unstable_handles().len(), 1);
    ms(7_000).await;
    assert_eq!(one.channel.unstable_handles().len(), 0);
    begin(&one.channel, 0).await.unwrap().unwrap();
    assert_eq!((one.dials(), one.pings()), (4, 2));
}

/// A path that is better than feared: silences that were survived put the next probes off.
#[tokio::test(start_paused = true)]
async fn what_is_survived_is_learned_too() {
    let one = one(100, options());
    begin(&one.channel, 0).await.unwrap().unwrap();
    ms(400_000).await;
    begin(&one.channel, 0).await.unwrap().unwrap();
    assert_eq!(one.pings(), 1);
    // A connection made from now on is asked after three quarters of that, not after a minute.
    one.channel.unstable_handles()[0].goodbye();
    ms(10).await;
    begin(&one.channel, 0).await.unwrap().unwrap();
    ms(299_000).await;
    begin(&one.channel, 0).await.unwrap().unwrap();
    assert_eq!(one.pings(), 1);
    ms(301_000).await;
    begin(&one.channel, 0).await.unwrap().unwrap();
    assert_eq!(one.pings(), 2);
}

/// All calls of a burst move, each once.
#[tokio::test(start_paused = true)]
async fn a_burst_after_a_silent_drop_moves_as_a_whole() {
    let one = one(100, options());
    begin(&one.channel, 0).await.unwrap().unwrap();
    ms(300_000).await;
    one.network.forget(addr(1));
    one.journal.take();
    let started = Instant::now();
    let calls: Vec<_> = (0..50).map(|_| begin(&one.channel, 0)).collect();
    // Some come while the others are held back, some just as the time runs out.
    let mut late = Vec::new();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_micros(500)).await;
        late.push(begin(&one.channel, 0));
    }
    for call in calls.into_iter().chain(late) {
        call.await.unwrap().unwrap();
    }
    assert!(started.elapsed() <= Duration::from_millis(100), "{:?}", started.elapsed());
    assert_eq!(one.journal.take().len(), 110);
    assert_eq!(one.pings(), 1);
}

/// Several connections, all forgotten: a call tries no more of them than there are.
#[tokio::test(start_paused = true)]
async fn every_forgotten_connection_is_found_out() {
    let mut options = options();
    options.shrink_after = Duration::from_secs(600);
    let one = one(2, options);
    let calls: Vec<_> = (0..6).map(|_| begin(&one.channel, 5)).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    ms(59_000).await;
    one.network.forget(addr(1));
    ms(2_000).await;
    let forgotten = one.channel.unstable_handles().len();
    assert!(forgotten >= 2, "{forgotten}");
    one.journal.take();
    let started = Instant::now();
    begin(&one.channel, 0).await.unwrap().unwrap();
    assert!(started.elapsed() <= Duration::from_millis(100), "{:?}", started.elapsed());
    assert_eq!(one.journal.take().len(), 1);
    assert!(one.pings() <= forgotten, "each was asked at most once");
}

/// A link that was not forgotten: one PING, no dial, and nothing of it when it is in use.
#[tokio::test(start_paused = true)]
async fn a_healthy_connection_is_asked_once_and_kept() {
    let one = one(100, options());
    begin(&one.channel, 0).await.unwrap().unwrap();
    for _ in 0..20 {
        ms(59_000).await;
        begin(&one.channel, 0).await.unwrap().unwrap();
    }
    assert_eq!((one.dials(), one.pings()), (1, 0), "in use");
    for probes in 1..=5 {
        ms(300_000).await;
        let calls: Vec<_> = (0..10).map(|_| begin(&one.channel, 0)).collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!((one.dials(), one.pings()), (1, probes));
    }
}

/// Nobody listens any more: the call is told so, and that it ran nowhere.
#[tokio::test(start_paused = true)]
async fn without_another_connection_the_call_is_told_that_it_did_not_run() {
    let one = one(100, options());
    begin(&one.channel, 0).await.unwrap().unwrap();
    ms(300_000).await;
    one.network.forget(addr(1));
    one.network.silence(addr(1));
    let error = begin(&one.channel, 0).await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.code(), error.processed()),
        (Kind::Connect, Code::Unavailable, Processed::No)
    );
    // A deadline shorter than the wait ends it on time.
    let _server = one.network.serve(addr(1), router(&one.journal), allowing(100));
    ms(200_000).await;
    begin(&one.channel, 0).await.unwrap().unwrap();
    // Shorter than what was learned of the path: it is not closed before.
    ms(250_000).await;
    one.network.forget(addr(1));
    let request = Request::new(raw([0])).with_timeout(Duration::from_millis(7));
    let started = Instant::now();
    let error = one.channel.unary(&WORK, request).await.unwrap_err();
    assert_eq!((error.code(), error.processed()), (Code::DeadlineExceeded, Processed::No));
    assert!(started.elapsed() <= Duration::from_millis(8), "{:?}", started.elapsed());
}
