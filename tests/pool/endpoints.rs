//! Several addresses behind a name: which one takes a call, and what happens when they change.

use crate::network::{Network, addr};
use crate::{Journal, WORK, allowing, begin, ms, options, raw, router};
use framewire::client::{Balance, Channel, ChannelState};
use framewire::error::Phase;
use framewire::server::Server;
use framewire::transport::Target;
use framewire::unstable::grpc::{Code, Request};
use framewire::unstable::pool::{Resolve, ResolveFuture};
use std::sync::atomic::Ordering;

struct Three {
    network: Network,
    channel: Channel,
    servers: Vec<Server>,
    journals: Vec<Journal>,
}

fn three(balance: Balance) -> Three {
    let network = Network::new();
    network.name(Some(vec![addr(1), addr(2), addr(3)]));
    let journals: Vec<_> = (0..3).map(|_| Journal::default()).collect();
    let serve = |n: u8| network.serve(addr(n), router(&journals[n as usize - 1]), allowing(100));
    let servers = (1..=3).map(serve).collect();
    let mut options = options();
    options.balance = balance;
    let channel = Channel::builder("http://test").connector(network.clone());
    let channel = channel.resolver(network.clone()).unstable_pool(options).build().unwrap();
    Three { network, channel, servers, journals }
}

impl Three {
    fn dials(&self, n: u8) -> usize {
        self.network.counts(addr(n)).dials.load(Ordering::SeqCst)
    }

    fn open(&self, n: u8) -> usize {
        self.network.counts(addr(n)).open.load(Ordering::SeqCst)
    }

    /// Calls that each server has run since the last look.
    fn ran(&self) -> Vec<usize> {
        self.journals.iter().map(|journal| journal.take().len()).collect()
    }
}

async fn calls(channel: &Channel, n: usize) {
    for _ in 0..n {
        channel.unary(&WORK, raw([0])).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn pick_first_stays_with_the_one_that_answers() {
    let mut three = three(Balance::PickFirst);
    calls(&three.channel, 30).await;
    assert_eq!(three.ran(), [30, 0, 0]);
    assert_eq!((three.dials(2), three.dials(3)), (0, 0));
    // It goes: the next takes over, and keeps the calls when the first is back.
    three.network.silence(addr(1));
    three.servers.remove(0).shutdown(std::time::Duration::from_secs(1)).await;
    calls(&three.channel, 30).await;
    assert_eq!(three.ran(), [0, 30, 0]);
    three.servers.push(three.network.serve(addr(1), router(&three.journals[0]), allowing(100)));
    ms(60_000).await;
    calls(&three.channel, 10).await;
    assert_eq!(three.ran(), [0, 10, 0]);
}

/// All endpoints are kept connected: one has the calls. When it is lost, the next one of the list has them
/// and keeps them, also when the first is back and when the list comes in another order.
#[tokio::test(start_paused = true)]
async fn pick_first_keeps_its_endpoint_among_connected_ones() {
    let mut three = three(Balance::PickFirst);
    three.channel.warm(1).await.unwrap();
    calls(&three.channel, 10).await;
    let ran = three.ran();
    let used = ran.iter().position(|calls| *calls == 10).expect("one has them all");
    three.network.silence(addr(used as u8 + 1));
    three.servers.remove(used).shutdown(std::time::Duration::from_secs(1)).await;
    ms(31_000).await;
    let next = (0..3).find(|n| *n != used).unwrap();
    calls(&three.channel, 10).await;
    assert_eq!(three.ran()[next], 10, "the first of the list that is connected");
    three.network.name(Some((1..=3).rev().map(addr).collect()));
    let journal = &three.journals[used];
    let _back = three.network.serve(addr(used as u8 + 1), router(journal), allowing(100));
    ms(200_000).await;
    assert_eq!(three.channel.unstable_handles().len(), 3, "all are connected");
    calls(&three.channel, 10).await;
    assert_eq!(three.ran()[next], 10, "it keeps the calls");
}

#[tokio::test(start_paused = true)]
async fn pick_first_passes_over_those_that_refuse() {
    let three = three(Balance::PickFirst);
    three.network.silence(addr(1));
    three.network.silence(addr(2));
    calls(&three.channel, 5).await;
    assert_eq!(three.ran(), [0, 0, 5]);
    // All gone: the call is told, and why.
    three.network.silence(addr(3));
    for handle in three.channel.unstable_handles() {
        handle.goodbye();
    }
    ms(100).await;
    let error = three.channel.unary(&WORK, raw([0])).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert_eq!(*three.channel.state().borrow(), ChannelState::TransientFailure);
}

#[tokio::test(start_paused = true)]
async fn round_robin_takes_turns_among_the_connected() {
    let mut three = three(Balance::RoundRobin);
    three.channel.warm(1).await.unwrap();
    calls(&three.channel, 30).await;
    assert_eq!(three.ran(), [10, 10, 10]);
    three.network.silence(addr(2));
    three.servers.remove(1).shutdown(std::time::Duration::from_secs(1)).await;
    calls(&three.channel, 30).await;
    let ran = three.ran();
    assert_eq!(ran[1], 0);
    assert_eq!(ran[0] + ran[2], 30);
    assert!(ran[0] >= 10 && ran[2] >= 10, "{ran:?}");
}

/// The others have room for all calls, so that none waits: it is dialled all the same.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_comes_back_is_used_again() {
    for balance in [Balance::RoundRobin, Balance::LeastLoaded] {
        let mut three = three(balance);
        three.channel.warm(1).await.unwrap();
        three.channel.warm(0).await.unwrap();
        three.network.silence(addr(2));
        three.servers.remove(1).shutdown(std::time::Duration::from_secs(1)).await;
        calls(&three.channel, 30).await;
        assert_eq!(three.ran()[1], 0);
        let away = three.dials(2);
        assert!(away <= 2, "{away} dials: its back-off is kept");
        three.servers.push(three.network.serve(addr(2), router(&three.journals[1]), allowing(100)));
        for _ in 0..20 {
            ms(100).await;
            calls(&three.channel, 3).await;
        }
        three.ran();
        let held: Vec<_> = (0..90).map(|_| begin(&three.channel, 10)).collect();
        ms(20).await;
        for call in held {
            call.await.unwrap().unwrap();
        }
        assert!(three.ran()[1] >= 20, "{balance:?}: it takes its part of the calls");
    }
}

#[tokio::test(start_paused = true)]
async fn the_less_loaded_of_two_takes_the_call() {
    let three = three(Balance::LeastLoaded);
    three.channel.warm(1).await.unwrap();
    let calls: Vec<_> = (0..90).map(|_| begin(&three.channel, 10)).collect();
    ms(1).await;
    let loads: Vec<u32> = crate::places(&three.channel);
    assert_eq!(loads.iter().sum::<u32>(), 90);
    assert!(loads.iter().all(|calls| (20..=40).contains(calls)), "{loads:?}");
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

/// An address that is no longer named finishes its calls and is closed; a new one joins.
#[tokio::test(start_paused = true)]
async fn addresses_come_and_go() {
    let three = three(Balance::RoundRobin);
    three.network.name(Some(vec![addr(1), addr(2)]));
    three.channel.warm(1).await.unwrap();
    assert_eq!(three.network.asked(), 1);
    let slow: Vec<_> = (0..4).map(|_| begin(&three.channel, 20)).collect();
    ms(10).await;
    three.network.name(Some(vec![addr(2), addr(3)]));
    // Asked again after a loss, not more often than allowed.
    ms(31_000).await;
    let slow_again: Vec<_> = (0..4).map(|_| begin(&three.channel, 50)).collect();
    ms(10).await;
    for handle in three.channel.unstable_handles().iter().take(1) {
        handle.goodbye();
    }
    ms(1000).await;
    assert_eq!(three.network.asked(), 2);
    calls(&three.channel, 10).await;
    assert_eq!(three.open(3), 1);
    for call in slow.into_iter().chain(slow_again) {
        call.await.unwrap().unwrap();
    }
    ms(100).await;
    assert_eq!(three.open(1), 0, "its calls have ended");
    three.ran();
    calls(&three.channel, 10).await;
    assert_eq!(three.ran(), [0, 5, 5]);
}

#[tokio::test(start_paused = true)]
async fn the_last_good_addresses_stay_while_the_resolver_is_away() {
    let mut three = three(Balance::PickFirst);
    calls(&three.channel, 3).await;
    three.network.name(None);
    ms(40_000).await;
    three.network.silence(addr(1));
    three.servers.remove(0).shutdown(std::time::Duration::from_secs(1)).await;
    calls(&three.channel, 3).await;
    assert_eq!(three.ran(), [3, 3, 0]);
    assert!(three.network.asked() >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_unknown_is_told_and_asked_again() {
    let three = three(Balance::PickFirst);
    three.network.name(None);
    let error = three.channel.unary(&WORK, raw([0])).await.unwrap_err();
    assert_eq!((error.code(), error.phase()), (Code::Unavailable, Some(Phase::Resolve)), "{error}");
    assert!(error.to_string().contains("the resolver is away"), "{error}");
    // At once while the back-off lasts, and not by asking again.
    let again = three.channel.unary(&WORK, raw([0])).await.unwrap_err();
    assert_eq!(again.phase(), Some(Phase::Resolve));
    assert_eq!(three.network.asked(), 1);
    three.network.name(Some(vec![addr(2)]));
    ms(2000).await;
    calls(&three.channel, 3).await;
    assert_eq!(three.ran(), [0, 3, 0]);
}

/// An address that stays silent is not waited for alone: the next is tried beside it after 250 ms,
/// and the first to answer keeps the calls.
#[tokio::test(start_paused = true)]
async fn a_silent_address_costs_a_quarter_of_a_second() {
    let mut three = three(Balance::PickFirst);
    three.network.slow(addr(1), std::time::Duration::from_secs(3600));
    let started = tokio::time::Instant::now();
    calls(&three.channel, 1).await;
    let took = started.elapsed().as_millis();
    assert!((250..270).contains(&took), "{took}");
    calls(&three.channel, 20).await;
    assert_eq!(three.ran(), [0, 21, 0]);
    assert_eq!(three.dials(3), 0, "the second had answered");
    // The first one's dial ends with its time, and nothing comes of it.
    ms(30_000).await;
    assert_eq!((three.open(1), three.open(2)), (0, 1));
    // Lost, the one that answered is tried first again.
    three.network.silence(addr(2));
    three.servers.remove(1).shutdown(std::time::Duration::from_secs(1)).await;
    calls(&three.channel, 1).await;
    assert_eq!(three.open(3), 1);
}

/// A dial that answers late, when another one serves, is closed unless somebody wants it.
#[tokio::test(start_paused = true)]
async fn a_late_connection_is_closed() {
    let three = three(Balance::PickFirst);
    three.network.slow(addr(1), std::time::Duration::from_secs(2));
    calls(&three.channel, 1).await;
    ms(5_000).await;
    assert_eq!((three.open(1), three.open(2), three.dials(1)), (0, 1, 1));
    calls(&three.channel, 5).await;
    assert_eq!(three.ran(), [0, 6, 0]);
}

/// Calls that have the patience outlast a resolver that is away, also when no other call comes.
#[tokio::test(start_paused = true)]
async fn calls_that_wait_have_the_resolver_asked_again() {
    for nothing in [None, Some(Vec::new())] {
        let three = three(Balance::PickFirst);
        three.network.name(nothing);
        let patient = Request::new(raw([0])).with_wait_for_ready(true);
        let channel = three.channel.clone();
        let call = tokio::spawn(async move { channel.unary(&WORK, patient).await.map(drop) });
        ms(20_000).await;
        assert!(!call.is_finished());
        let asked = three.network.asked();
        assert!((3..20).contains(&asked), "{asked} times: its back-off is kept");
        three.network.name(Some(vec![addr(2)]));
        ms(20_000).await;
        assert!(call.is_finished());
        call.await.unwrap().unwrap();
    }
}

/// Every server has moved, just after the resolver was asked: it is asked again as soon as it may
/// be, and not before.
#[tokio::test(start_paused = true)]
async fn servers_that_all_move_are_found_again() {
    let mut three = three(Balance::RoundRobin);
    three.network.name(Some(vec![addr(1), addr(2)]));
    calls(&three.channel, 4).await;
    ms(1000).await;
    three.network.name(Some(vec![addr(3)]));
    for n in [1, 2] {
        three.network.silence(addr(n));
        three.servers.remove(0).shutdown(std::time::Duration::from_secs(1)).await;
    }
    let patient = Request::new(raw([0])).with_wait_for_ready(true);
    let call = three.channel.unary(&WORK, patient);
    tokio::time::timeout(std::time::Duration::from_secs(32), call).await.unwrap().unwrap();
    assert_eq!(three.network.asked(), 2);
    three.ran();
    calls(&three.channel, 4).await;
    assert_eq!(three.ran(), [0, 0, 4]);
}

/// A question that nobody answers has failed after `dial_time`.
#[tokio::test(start_paused = true)]
async fn a_resolver_that_says_nothing_is_told() {
    struct Silent;
    impl Resolve for Silent {
        fn resolve(&self, _: Target) -> ResolveFuture {
            Box::pin(std::future::pending())
        }
    }
    let builder = Channel::builder("http://test").connector(Network::new()).resolver(Silent);
    let channel = builder.unstable_pool(options()).build().unwrap();
    let started = tokio::time::Instant::now();
    let error = channel.unary(&WORK, raw([0])).await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), options().dial_time.as_secs());
    assert_eq!((error.code(), error.phase()), (Code::Unavailable, Some(Phase::Resolve)), "{error}");
    assert!(error.to_string().contains("no answer in dial_time"), "{error}");
}
