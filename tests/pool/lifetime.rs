//! When connections end: without calls, by age, by the peer's wish. No call suffers for it.

use crate::{WORK, begin, ms, one, options, places, raw};
use framewire::client::{ChannelState, Count};
use std::time::Duration;

/// Connections beyond the first go after a minute without calls, the last after half an hour.
#[tokio::test(start_paused = true)]
async fn what_rests_is_closed_the_youngest_first() {
    let one = one(4, options());
    let calls: Vec<_> = (0..12).map(|_| begin(&one.channel, 10)).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let all = one.channel.unstable_handles();
    assert!(all.len() >= 3, "{}", all.len());
    ms(50_000).await;
    assert_eq!(one.channel.unstable_handles().len(), all.len());
    ms(30_000).await;
    let left = one.channel.unstable_handles();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id(), all[0].id(), "the oldest stays");
    ms(28 * 60_000).await;
    assert_eq!(one.open(), 1);
    ms(10 * 60_000).await;
    assert_eq!(one.open(), 0);
    assert_eq!(*one.channel.state().borrow(), ChannelState::Idle);
    begin(&one.channel, 0).await.unwrap().unwrap();
}

/// A call that comes at the very instant in which its connection is closed for resting.
#[tokio::test(start_paused = true)]
async fn checkout_and_eviction_never_both_win() {
    let mut options = options();
    options.idle_time = Duration::from_millis(50);
    let one = one(4, options);
    for i in 0..400u64 {
        one.channel.unary(&WORK, raw([0])).await.unwrap_or_else(|error| panic!("{i}: {error}"));
        // All around the time at which the keeper looks.
        ms(40 + i % 40).await;
    }
    assert!(one.dials() > 50, "connections were closed in between: {}", one.dials());
    assert_eq!(one.journal.take().len(), 400);
}

#[tokio::test(start_paused = true)]
async fn the_old_one_is_replaced_before_it_goes() {
    let mut options = options();
    options.max_connections = 1;
    options.max_age = Some(Duration::from_secs(10));
    let one = one(100, options);
    let mut longest = Duration::ZERO;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..600 {
        let before = tokio::time::Instant::now();
        begin(&one.channel, 0).await.unwrap().unwrap();
        longest = longest.max(before.elapsed());
        seen.extend(one.channel.unstable_handles().iter().map(|handle| handle.id()));
        ms(100).await;
    }
    assert!((5..=8).contains(&seen.len()), "a minute, 10 s each: {}", seen.len());
    assert_eq!(one.peak(), 2, "one more while the old one is replaced");
    let dial = one.network.dial_time;
    assert!(longest <= dial + Duration::from_millis(1), "only the first call waited: {longest:?}");
}

/// What replaces an old connection is not closed as one too many, however short connections may be idle.
#[tokio::test(start_paused = true)]
async fn a_replacement_is_no_spare_connection() {
    let mut options = options();
    options.max_age = Some(Duration::from_secs(1));
    options.shrink_after = Duration::ZERO;
    let one = one(100, options);
    let long = begin(&one.channel, 255);
    for _ in 0..200 {
        begin(&one.channel, 0).await.unwrap().unwrap();
        ms(100).await;
    }
    long.await.unwrap().unwrap();
    let replaced = one.channel.stats().counted(Count::Replaced);
    assert!((15..=25).contains(&replaced) && one.dials() <= 30, "{replaced} of {}", one.dials());
}

/// A call under way when its connection grows old ends on it.
#[tokio::test(start_paused = true)]
async fn calls_under_way_outlive_the_replacement() {
    let mut options = options();
    options.max_age = Some(Duration::from_millis(500));
    let one = one(100, options);
    let slow = begin(&one.channel, 200);
    for _ in 0..15 {
        ms(100).await;
        begin(&one.channel, 0).await.unwrap().unwrap();
    }
    slow.await.unwrap().unwrap();
    ms(2000).await;
    assert!(places(&one.channel).iter().all(|calls| *calls == 0));
    assert!(one.open() <= 1, "{}", one.open());
}

/// Age alone keeps no connection alive: without calls the last one goes, and none follows it.
#[tokio::test(start_paused = true)]
async fn age_ends_with_the_calls() {
    for age in [40, 200, 900, 5_000] {
        let mut options = options();
        options.max_age = Some(Duration::from_millis(age));
        let one = one(100, options);
        // A call at all times, until it has grown old a few times.
        let end = tokio::time::Instant::now() + Duration::from_millis(age * 4);
        while tokio::time::Instant::now() < end {
            begin(&one.channel, 1).await.unwrap().unwrap();
        }
        let dials = one.dials();
        assert!(dials >= 3, "{age} ms: {dials} dials");
        ms(age * 4 + 4_000).await;
        assert_eq!(one.open(), 0, "{age} ms: {}", one.channel.stats());
        assert!(one.dials() <= dials + 2, "{age} ms: {dials} dials, then {}", one.dials());
        // Its bound is its own again.
        let calls: Vec<_> = (0..1000).map(|_| begin(&one.channel, 1)).collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        let stats = one.channel.stats();
        assert!(stats.endpoints[0].open <= stats.endpoints[0].max + 1, "{stats}");
    }
}
