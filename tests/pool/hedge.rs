//! Hedges and the pool: they go to connections with room to spare, and nowhere else.

use crate::network::{Network, addr};
use crate::{Journal, WORK, allowing, ms, options, places, raw};
use framewire::client::{Channel, HedgePolicy};
use framewire::error::{Error, Processed};
use framewire::server::{Context, Router, Server};
use framewire::unstable::grpc::{Raw, Response};
use framewire::unstable::pool::PoolOptions;
use framewire::unstable::rt::Random;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Seeds of an ordinary run.
const SEEDS: u64 = 40;

type Call = JoinHandle<Result<Raw, Error>>;

fn begin(channel: &Channel, request: impl AsRef<[u8]>) -> Call {
    let (channel, request) = (channel.clone(), raw(request));
    tokio::spawn(async move { channel.unary(&WORK, request).await.map(Response::into_inner) })
}

/// Counts handlers that were dropped before their end.
struct Dropped {
    count: Arc<AtomicUsize>,
    finished: bool,
}

impl Dropped {
    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.count.fetch_add(usize::from(!self.finished), Ordering::SeqCst);
    }
}

/// A server that takes as many times 10 ms as the first byte says, for a hedge as many ms as the
/// second.
struct World {
    network: Network,
    channel: Channel,
    journal: Journal,
    dropped: Arc<AtomicUsize>,
    router: Router,
    server: Option<Server>,
}

impl World {
    fn new(calls: u32, options: PoolOptions, attempts: u32, delay: u64) -> Self {
        let network = Network::new();
        let journal = Journal::default();
        let dropped = Arc::new(AtomicUsize::new(0));
        let router = {
            let (journal, dropped) = (journal.clone(), Arc::clone(&dropped));
            Router::new().unary(&WORK, move |context: Context, request: Raw| {
                journal.note(&request.0);
                let hedge = context.metadata().get("grpc-previous-rpc-attempts").is_some();
                let mut guard = Dropped { count: Arc::clone(&dropped), finished: false };
                async move {
                    let time = |i: usize| request.0.get(i).copied().map_or(0, u64::from);
                    ms(if hedge { time(1) } else { time(0) * 10 }).await;
                    guard.finish();
                    Ok(Response::new(request))
                }
            })
        };
        let server = Some(network.serve(addr(1), router.clone(), allowing(calls)));
        let policy = HedgePolicy::new(attempts, Duration::from_millis(delay));
        let builder = Channel::builder("http://test").connector(network.clone());
        let channel = builder.unstable_pool(options).hedge(policy).build().unwrap();
        Self { network, channel, journal, dropped, router, server }
    }

    fn dials(&self) -> usize {
        self.network.counts(addr(1)).dials.load(Ordering::SeqCst)
    }

    fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_takes_another_connection_and_the_loser_is_cancelled() {
    let world = World::new(100, options(), 2, 20);
    world.channel.warm(2).await.unwrap();
    let call = begin(&world.channel, [50, 10]);
    ms(15).await;
    assert_eq!(places(&world.channel), [1, 0]);
    ms(10).await;
    assert_eq!(places(&world.channel), [1, 1]);
    let before = tokio::time::Instant::now();
    call.await.unwrap().unwrap();
    assert!(before.elapsed() < Duration::from_millis(10), "the hedge was faster");
    ms(5).await;
    assert_eq!(places(&world.channel), [0, 0]);
    assert_eq!(world.journal.take(), [[50, 10], [50, 10]], "each attempt ran once");
    assert_eq!(world.dropped(), 1, "the first one's handler was dropped");
    // The one connection that is left serves as well.
    let two = world.channel.unstable_handles();
    two[1].goodbye();
    ms(5).await;
    begin(&world.channel, [50]).await.unwrap().unwrap();
    assert_eq!(world.journal.take().len(), 2);
}

/// Three calls fill a connection of four places to its soft target: their hedges are put off.
#[tokio::test(start_paused = true)]
async fn a_saturated_pool_gets_no_hedge_no_dial_and_no_queue() {
    let world = World::new(4, options(), 2, 20);
    world.channel.warm(1).await.unwrap();
    let mut calls: Vec<_> = [30, 90, 90].map(|tens| begin(&world.channel, [tens, 60])).into();
    for _ in 0..28 {
        ms(10).await;
        assert_eq!((places(&world.channel), world.channel.waiting()), (vec![3], 0));
    }
    assert_eq!((world.journal.take().len(), world.dials()), (3, 1));
    // With the first one's place free, there is room for one hedge; then for the other's.
    calls.remove(0).await.unwrap().unwrap();
    ms(50).await;
    assert_eq!((world.journal.take().len(), places(&world.channel)), (1, vec![3]));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    ms(5).await;
    assert_eq!((world.journal.take().len(), world.dials(), world.dropped()), (1, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn no_hedge_overtakes_a_call_that_waits() {
    let mut options = options();
    options.max_connections = 1;
    let world = World::new(1, options, 5, 0);
    world.channel.warm(1).await.unwrap();
    let calls: Vec<_> = (0..3).map(|_| begin(&world.channel, [10])).collect();
    ms(50).await;
    assert_eq!((places(&world.channel), world.channel.waiting()), (vec![1], 2));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!((world.journal.take().len(), world.dials()), (3, 1));
}

/// Nothing is known of a connection before its peer's SETTINGS; a cold channel dials once.
#[tokio::test(start_paused = true)]
async fn a_cold_channel_dials_for_the_call_and_not_for_its_hedges() {
    let world = World::new(100, options(), 5, 0);
    begin(&world.channel, [0]).await.unwrap().unwrap();
    assert_eq!((world.journal.take().len(), world.dials()), (1, 1));
}

/// With no other attempt under way the next one is a call like every other: it waits and dials.
#[tokio::test(start_paused = true)]
async fn an_attempt_alone_is_no_hedge() {
    let mut world = World::new(100, options(), 2, 1000);
    world.channel.warm(1).await.unwrap();
    world.channel.warm(0).await.unwrap();
    let call = begin(&world.channel, [200]);
    ms(50).await;
    // It dies, and another one is there.
    let old =
        world.server.replace(world.network.serve(addr(1), world.router.clone(), allowing(100)));
    old.unwrap().shutdown(Duration::ZERO).await;
    ms(20).await;
    assert!(call.is_finished());
    call.await.unwrap().unwrap();
    assert_eq!((world.journal.take().len(), world.dials()), (2, 2));
}

/// A hedge that comes back from its connection never joins the queue.
#[tokio::test(start_paused = true)]
async fn a_hedge_that_comes_back_finds_room_or_ends() {
    let mut options = options();
    options.max_connections = 2;
    let mut world = World::new(2, options, 2, 20);
    world.channel.warm(2).await.unwrap();
    let calls: Vec<_> = (0..2).map(|_| begin(&world.channel, [40])).collect();
    for _ in 0..8 {
        ms(3).await;
        // A server that goes away as gently as can be, again and again.
        let next = world.network.serve(addr(1), world.router.clone(), allowing(2));
        let old = world.server.replace(next).unwrap();
        tokio::spawn(old.shutdown(Duration::from_secs(5)));
        assert_eq!(world.channel.waiting(), 0);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let ran = world.journal.take().len();
    assert!((2..=4).contains(&ran), "{ran}");
}

/// Every other call is hedged, and of the hedges half are cancelled, for half a minute: no server
/// takes that for an attack.
#[tokio::test(start_paused = true)]
async fn cancelled_hedges_are_no_attack() {
    let world = World::new(100, options(), 2, 20);
    world.channel.warm(2).await.unwrap();
    let mut calls = Vec::new();
    for _ in 0..2500 {
        // Fast; the hedge wins; fast; the hedge loses.
        for request in [[1, 0], [10, 5], [1, 0], [3, 50]] {
            calls.push(begin(&world.channel, request));
            ms(3).await;
        }
    }
    let before = tokio::time::Instant::now();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(before.elapsed() < Duration::from_millis(50), "no server stopped to read");
    assert_eq!(world.journal.take().len(), 15_000);
    ms(5).await;
    assert_eq!((world.dropped(), world.dials()), (5000, 2));
}

async fn whatever_happens(seed: u64) {
    let mut random = Random::new(seed);
    let attempts = 2 + random.below(4) as u32;
    let mut options = options();
    options.seed = Some(seed);
    options.max_connections = 1 + random.below(3) as u32;
    let limit = 1 + random.below(6) as u32;
    let mut world = World::new(limit, options, attempts, random.below(30));
    let mut calls: Vec<(u32, Call)> = Vec::new();
    for id in 0..150u32 {
        let mut bytes = vec![random.below(6) as u8];
        bytes.extend_from_slice(&id.to_be_bytes());
        calls.push((id, begin(&world.channel, bytes)));
        if random.below(3) == 0 {
            tokio::time::sleep(Duration::from_micros(random.below(20_000))).await;
        }
        match random.below(25) {
            0 => {
                let next = world.network.serve(addr(1), world.router.clone(), allowing(limit));
                let old = world.server.replace(next).unwrap();
                let grace = Duration::from_secs(5 * random.below(2));
                tokio::spawn(old.shutdown(grace));
            }
            1 => {
                let which = random.below(calls.len() as u64) as usize;
                calls[which].1.abort();
            }
            _ => {}
        }
        for handle in world.channel.unstable_handles() {
            assert!(handle.life().read().calls <= limit.max(100));
        }
    }
    let mut ends = Vec::new();
    for (id, call) in calls {
        let end = tokio::time::timeout(Duration::from_secs(600), call).await;
        ends.push((id, end.unwrap_or_else(|_| panic!("call {id} never ended"))));
    }
    ms(50).await;
    let mut ran: HashMap<u32, u32> = HashMap::new();
    for request in world.journal.take() {
        *ran.entry(u32::from_be_bytes(request[1..5].try_into().unwrap())).or_default() += 1;
    }
    for (id, end) in ends {
        let times = ran.get(&id).copied().unwrap_or(0);
        assert!(times <= attempts, "call {id} ran {times} times");
        match end {
            Ok(Ok(_)) => assert!(times > 0, "call {id} was answered"),
            Ok(Err(error)) if error.processed() == Processed::No => {
                assert_eq!(times, 0, "call {id}: {error}");
            }
            _ => {}
        }
    }
    assert_eq!(world.channel.waiting(), 0);
    for handle in world.channel.unstable_handles() {
        assert_eq!(handle.life().read().calls, 0, "a place was not given back");
    }
}

#[test]
fn whatever_happens_attempts_are_bounded_and_leave_nothing_behind() {
    for seed in 0..SEEDS {
        let result = std::panic::catch_unwind(|| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_time().start_paused(true).build().unwrap();
            runtime.block_on(whatever_happens(seed));
        });
        assert!(result.is_ok(), "seed {seed}");
    }
}
