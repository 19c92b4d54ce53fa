//! Tenants that share a channel: by weight, within their quotas, and no one at another's cost.

use crate::network::{Network, addr};
use crate::{WORK, allowing, ms, options, raw};
use framewire::client::{Channel, HedgePolicy, RetryPolicy, Share};
use framewire::error::{Error, Kind, Processed};
use framewire::server::{Context, Router, Server};
use framewire::unstable::grpc::{Code, Raw, Request, Response, Status};
use framewire::unstable::pool::PoolOptions;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What a server saw of each tenant, whose number is the first byte of its requests.
#[derive(Default)]
struct Seen {
    now: HashMap<u8, usize>,
    most: HashMap<u8, usize>,
    done: Vec<u8>,
}

struct Shared {
    network: Network,
    channel: Channel,
    seen: Arc<Mutex<Seen>>,
    _server: Server,
}

/// Counts a call as long as its handler lives.
struct At(Arc<Mutex<Seen>>, u8);

impl Drop for At {
    fn drop(&mut self) {
        *self.0.lock().unwrap().now.get_mut(&self.1).unwrap() -= 1;
    }
}

/// A server that takes 10 ms for each call, or as many times as the second byte says.
fn shared(calls: u32, mut options: PoolOptions) -> Shared {
    options.max_connections = 1;
    let network = Network::new();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let router = {
        let seen = Arc::clone(&seen);
        Router::new().unary(&WORK, move |_, request: Raw| {
            let (seen, who) = (Arc::clone(&seen), request.0[0]);
            async move {
                let at = {
                    let mut all = seen.lock().unwrap();
                    let now = all.now.entry(who).or_default();
                    *now += 1;
                    let now = *now;
                    let most = all.most.entry(who).or_default();
                    *most = now.max(*most);
                    At(Arc::clone(&seen), who)
                };
                ms(10 * u64::from(request.0.get(1).copied().unwrap_or(1))).await;
                seen.lock().unwrap().done.push(who);
                drop(at);
                Ok(Response::new(request))
            }
        })
    };
    let server = network.serve(addr(1), router, allowing(calls));
    let channel = Channel::builder("http://test").connector(network.clone()).unstable_pool(options);
    Shared { channel: channel.build().unwrap(), network, seen, _server: server }
}

fn begin(channel: &Channel, bytes: &[u8]) -> JoinHandle<Result<(), Error>> {
    let (channel, request) = (channel.clone(), raw(bytes));
    tokio::spawn(async move { channel.unary(&WORK, request).await.map(drop) })
}

const fn share(weight: u32, calls: u32) -> Share {
    Share::new().weight(weight).max_calls(calls).max_waiting(20_000)
}

/// A call that failed while it waited for its tenant's quota, and is retried by policy, asks for the
/// quota again.
#[tokio::test(start_paused = true)]
async fn a_retried_call_stays_within_its_quota() {
    let shared = shared(10, options());
    let second = Duration::from_secs(1);
    shared.network.slow(addr(1), 5 * second);
    let retry = RetryPolicy::new(3).backoff(8 * second, 1.0, 8 * second);
    let mut options = options();
    options.dial_time = second;
    let builder = Channel::builder("http://test").connector(shared.network.clone());
    let channel = builder.retry(retry).unstable_pool(options).build().unwrap();
    let tenant = channel.tenant("one", share(1, 1));
    let calls: Vec<_> = (0..4).map(|_| begin(&tenant, &[1, 255])).collect();
    // Their dial fails, and a connection is there before they are retried.
    ms(1100).await;
    assert_eq!(channel.waiting(), 0, "all have failed and pause");
    shared.network.slow(addr(1), Duration::ZERO);
    ms(2000).await;
    assert_eq!(channel.unstable_handles().len(), 1, "the channel dials by itself");
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(shared.seen.lock().unwrap().most[&1], 1);
}

/// Weights 1 and 3, both with more to do than there is room for: served one to three.
#[tokio::test(start_paused = true)]
async fn service_follows_the_weights() {
    let shared = shared(4, options());
    let light = shared.channel.tenant("light", share(1, 100));
    let heavy = shared.channel.tenant("heavy", share(3, 100));
    let calls: Vec<_> = (0..600).flat_map(|_| [begin(&light, &[1]), begin(&heavy, &[3])]).collect();
    while shared.seen.lock().unwrap().done.len() < 400 {
        ms(5).await;
    }
    let done: Vec<u8> = shared.seen.lock().unwrap().done.iter().take(400).copied().collect();
    let of_heavy = done.iter().filter(|who| **who == 3).count();
    assert!((292..=308).contains(&of_heavy), "{of_heavy} of 400");
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(shared.channel.stats().tenants.iter().all(|one| one.calls + one.waiting == 0));
}

/// One has 10,000 calls waiting; the other makes one at a time and waits for one place at most.
#[tokio::test(start_paused = true)]
async fn a_noisy_neighbour_delays_by_one_turn() {
    let mut options = options();
    options.max_waiting = 20_000;
    let shared = shared(2, options);
    let noisy = shared.channel.tenant("noisy", share(1, 2));
    let quiet = shared.channel.tenant("quiet", share(1, 2));
    let flood: Vec<_> = (0..10_000).map(|_| begin(&noisy, &[9])).collect();
    ms(500).await;
    assert!(shared.channel.waiting() > 9_000);
    for i in 0..50 {
        ms(i % 7).await;
        let started = Instant::now();
        quiet.unary(&WORK, raw([1])).await.unwrap();
        // One of the neighbour's calls ends, then its own 10 ms.
        assert!(started.elapsed() <= Duration::from_millis(21), "{:?}", started.elapsed());
    }
    for call in &flood {
        call.abort();
    }
    ms(50).await;
    assert_eq!(shared.channel.waiting(), 0);
    let stats = shared.channel.stats();
    assert!(stats.tenants.iter().all(|one| one.calls + one.waiting == 0), "{stats}");
}

/// Never more under way than the quota, though connections have room; what is free serves others.
#[tokio::test(start_paused = true)]
async fn a_quota_holds_at_every_instant() {
    let shared = shared(100, options());
    let few = shared.channel.tenant("few", share(1, 3));
    let calls: Vec<_> = (0..50).map(|_| begin(&few, &[7])).collect();
    ms(5).await;
    let stats = shared.channel.stats();
    let one = &stats.tenants[0];
    assert_eq!((one.label.as_str(), one.calls, one.waiting), ("few", 3, 47));
    assert_eq!(stats.waiting_for_quota, 47);
    // Somebody else meets nobody.
    let started = Instant::now();
    shared.channel.unary(&WORK, raw([1])).await.unwrap();
    assert!(started.elapsed() <= Duration::from_millis(15), "{:?}", started.elapsed());
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(shared.seen.lock().unwrap().most[&7], 3);
}

/// Whatever end a call finds, its seat is free for the next.
#[tokio::test(start_paused = true)]
async fn seats_come_back_whatever_the_end() {
    let mut options = options();
    // A path in memory that forgets is told from a slow one by this alone.
    options.driver.keepalive = Some(Duration::from_secs(3600));
    let shared = shared(100, options);
    let tenant = shared.channel.tenant("a", share(1, 2));
    let free = async || {
        ms(2).await;
        let stats = shared.channel.stats();
        assert!(stats.tenants.iter().all(|one| one.calls == 0), "{stats}");
        let started = Instant::now();
        tokio::try_join!(tenant.unary(&WORK, raw([1])), tenant.unary(&WORK, raw([1]))).unwrap();
        assert!(started.elapsed() <= Duration::from_millis(20), "two at a time");
    };
    free().await;
    // Given up on a stream, and while it waits.
    let calls: Vec<_> = (0..4).map(|_| begin(&tenant, &[1, 200])).collect();
    ms(20).await;
    calls.iter().for_each(JoinHandle::abort);
    free().await;
    // Deadlines on a stream, and while it waits.
    let late = |time| {
        let request = Request::new(raw([1, 200])).with_timeout(Duration::from_millis(time));
        let tenant = tenant.clone();
        tokio::spawn(async move { tenant.unary(&WORK, request).await.map(drop) })
    };
    let calls = [late(30), late(30), late(20)];
    for (i, call) in calls.into_iter().enumerate() {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded);
        if i == 2 {
            assert_eq!(error.processed(), Processed::No);
            assert!(error.to_string().contains("tenant \"a\""), "{error}");
        }
    }
    free().await;
    // The connection is lost under them.
    let calls: Vec<_> = (0..3).map(|_| begin(&tenant, &[1, 200])).collect();
    ms(20).await;
    shared.network.forget(addr(1));
    for call in calls {
        drop(call.await.unwrap());
    }
    let stats = shared.channel.stats();
    assert!(stats.tenants.iter().all(|one| one.calls == 0), "{stats}");
}

/// Too many that wait are refused, and the error names the tenant and what to set.
#[tokio::test(start_paused = true)]
async fn a_full_line_is_its_tenants_own() {
    let shared = shared(100, options());
    let small = shared.channel.tenant("small", Share::new().max_calls(1).max_waiting(2));
    let calls: Vec<_> = (0..3).map(|_| begin(&small, &[1])).collect();
    ms(5).await;
    let error = begin(&small, &[1]).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Limit, Code::ResourceExhausted));
    let text = error.to_string();
    assert!(text.contains("\"small\"") && text.contains("Share::max_waiting"), "{text}");
    shared.channel.unary(&WORK, raw([2])).await.unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(shared.channel.stats().tenants[0].refused, 1);
    // Named again it is the same tenant; forgotten once nobody holds it.
    let again = shared.channel.tenant("small", share(1, 5));
    assert_eq!(shared.channel.stats().tenants.len(), 1);
    drop((small, again));
    ms(20).await;
    assert_eq!(shared.channel.stats().tenants.len(), 0);
}

/// A call that moves to another connection keeps its seat.
#[tokio::test(start_paused = true)]
async fn a_call_that_moves_keeps_its_seat() {
    let shared = shared(100, options());
    let tenant = shared.channel.tenant("a", share(1, 4));
    for _ in 0..20 {
        let calls: Vec<_> = (0..12).map(|_| begin(&tenant, &[5])).collect();
        ms(3).await;
        for handle in shared.channel.unstable_handles() {
            handle.goodbye();
        }
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
    assert_eq!(shared.seen.lock().unwrap().most[&5], 4);
    assert!(shared.channel.stats().tenants.iter().all(|one| one.calls == 0));
}

/// A handler that panics ends its call; the seat is free.
#[tokio::test(start_paused = true)]
async fn a_seat_outlives_no_panic() {
    let network = Network::new();
    let router = Router::new().unary(&WORK, |_, request: Raw| async move {
        assert_ne!(request.0[0], 13, "this request was sent to make it panic");
        Ok(Response::new(request))
    });
    let _server = network.serve(addr(1), router, allowing(100));
    let builder =
        Channel::builder("http://test").connector(network.clone()).unstable_pool(options());
    let channel = builder.build().unwrap();
    let tenant = channel.tenant("a", share(1, 2));
    for _ in 0..5 {
        let calls = [begin(&tenant, &[13]), begin(&tenant, &[13]), begin(&tenant, &[1])];
        let [one, two, three] = calls;
        for call in [one, two] {
            let error = call.await.unwrap().unwrap_err();
            assert_eq!(error.code(), Code::Internal, "{error}");
        }
        three.await.unwrap().unwrap();
        assert_eq!(channel.stats().tenants[0].calls, 0);
    }
}

/// Attempts by policy are made within the quota: a retried call keeps its one seat, hedges take
/// seats that are free and never one more.
#[tokio::test(start_paused = true)]
async fn policies_stay_within_the_quota() {
    for hedged in [false, true] {
        let network = Network::new();
        let seen = Arc::new(Mutex::new((0u32, 0u32, 0u32)));
        let router = {
            let seen = Arc::clone(&seen);
            Router::new().unary(&WORK, move |context: Context, request: Raw| {
                let seen = Arc::clone(&seen);
                async move {
                    let again = context.metadata().get("grpc-previous-rpc-attempts").is_some();
                    {
                        let mut seen = seen.lock().unwrap();
                        *seen = (seen.0 + 1, seen.1.max(seen.0 + 1), seen.2 + u32::from(again));
                    }
                    ms(200).await;
                    seen.lock().unwrap().0 -= 1;
                    if hedged || again {
                        return Ok(Response::new(request));
                    }
                    Err(Status::new(Code::Unavailable, "not yet"))
                }
            })
        };
        let _server = network.serve(addr(1), router, allowing(100));
        let builder =
            Channel::builder("http://test").connector(network.clone()).unstable_pool(options());
        let builder = if hedged {
            builder.hedge(HedgePolicy::new(3, Duration::from_millis(5)))
        } else {
            let pause = Duration::from_millis(5);
            builder.retry(RetryPolicy::new(3).backoff(pause, 1.0, pause))
        };
        let channel = builder.build().unwrap();
        let tenant = channel.tenant("a", share(1, 3));
        // The last one is alone: the other seats are free for its hedges.
        let calls: Vec<_> = (0..31).map(|_| begin(&tenant, &[1])).collect();
        let mut most = 0;
        while calls.iter().any(|call| !call.is_finished()) {
            most = most.max(channel.stats().tenants[0].calls);
            ms(1).await;
        }
        for call in calls {
            call.await.unwrap().unwrap();
        }
        let (_, at_once, again) = *seen.lock().unwrap();
        assert!(most <= 3 && at_once <= 3, "hedged {hedged}: {most} and {at_once}");
        assert!(again > 0, "hedged {hedged}: no further attempt was seen");
        ms(50).await;
        assert_eq!(channel.stats().tenants[0].calls, 0);
    }
}
