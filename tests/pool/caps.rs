//! Bounds that nest: a channel's, a shard's, the whole's. Each holds at every instant, and the one
//! that refuses is named.

use crate::{One, begin, ms, one, options};
use framewire::client::Cap;
use std::sync::Arc;
use std::time::Duration;

fn under(cap: &Arc<Cap>, most: u32) -> One {
    let mut options = options();
    options.cap = Some(Arc::clone(cap));
    options.max_connections = most;
    options.shrink_after = Duration::from_millis(300);
    options.idle_time = Duration::from_millis(600);
    // One call fills a connection: each that waits wants another.
    one(1, options)
}

/// Two shards of three channels each: what is open is below the bound of its channel, of its shard
/// and of the whole, whatever asks.
#[tokio::test(start_paused = true)]
async fn every_bound_holds_at_every_instant() {
    let whole = Cap::new(7, 1000);
    let shards = [Cap::inside(&whole, 5, 1000), Cap::inside(&whole, 4, 1000)];
    let channels: Vec<Vec<One>> =
        shards.iter().map(|cap| (0..3).map(|_| under(cap, 2)).collect()).collect();
    let mut calls = Vec::new();
    let mut peaks = [0; 3];
    for step in 0..400u64 {
        if step < 120 {
            let one = &channels[step as usize % 2][step as usize % 3];
            calls.push(begin(&one.channel, (step % 7) as u8));
        }
        ms(3).await;
        let open = |shard: &Vec<One>| shard.iter().map(One::open).sum::<usize>();
        let (a, b) = (open(&channels[0]), open(&channels[1]));
        assert!(a <= 5 && b <= 4 && a + b <= 7, "{a} and {b} open at step {step}");
        assert!(channels.iter().flatten().all(|one| one.open() <= 2));
        for (peak, now) in peaks.iter_mut().zip([a, b, a + b]) {
            *peak = now.max(*peak);
        }
        // A place is given back with its socket, not before.
        assert!(shards[0].open() as usize >= a && shards[1].open() as usize >= b);
        assert_eq!(whole.open(), shards[0].open() + shards[1].open());
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(peaks[2], 7, "the whole was used to its bound");
    assert!(whole.refused() > 0);
    ms(5000).await;
    assert_eq!((whole.open(), shards[0].open(), shards[1].open()), (0, 0, 0));
}

/// The level that refuses is the one that statistics name.
#[tokio::test(start_paused = true)]
async fn the_level_that_refuses_is_named() {
    let whole = Cap::new(2, 100);
    let [full, other] = [Cap::inside(&whole, 1, 100), Cap::inside(&whole, 5, 100)];
    let ones = [under(&full, 2), under(&other, 3)];
    let calls: Vec<_> = (0..2).map(|_| begin(&ones[0].channel, 50)).collect();
    ms(20).await;
    let stats = ones[0].channel.stats();
    assert_eq!(stats.endpoints[0].capped_by, Some("shard"), "{stats}");
    assert!(stats.to_string().contains("the Cap (shard) delays dials: 1 of 1 sockets"), "{stats}");
    // What a full shard waits for is no other's business.
    let mut others: Vec<_> = vec![begin(&ones[1].channel, 50)];
    ms(20).await;
    assert_eq!(ones[1].channel.waiting(), 0);
    others.push(begin(&ones[1].channel, 0));
    ms(20).await;
    let stats = ones[1].channel.stats();
    assert_eq!(stats.endpoints[0].capped_by, Some("own"), "{stats}");
    let text = stats.to_string();
    assert!(text.contains("the Cap (own) delays dials: 2 of 2 sockets"), "{text}");
    assert!(text.contains("shared: 1 of 5 sockets (shard), 1 dial, 0 delayed, 2 of 2"), "{text}");
    for call in calls.into_iter().chain(others) {
        call.await.unwrap().unwrap();
    }
}
