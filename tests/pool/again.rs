//! What follows a failed dial: the next address, the next endpoint, the next attempt.

use crate::network::{Network, addr};
use crate::{Journal, WORK, allowing, begin, ms, options, places, raw, router};
use framewire::client::{Balance, Channel, ChannelState, Resolve, ResolveFuture};
use framewire::error::Kind;
use framewire::transport::{
    Accept, AddressesFuture, Connect, ConnectError, ConnectErrorKind, ConnectFuture, ConnectPhase,
    Target,
};
use framewire::unstable::grpc::Request;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Knows the addresses of every name; at some of them, TLS fails.
#[derive(Clone)]
struct Known {
    network: Network,
    addresses: Vec<SocketAddr>,
    bad: Vec<SocketAddr>,
}

impl Connect for Known {
    fn connect(&self, target: Target) -> ConnectFuture {
        let at = target.address().expect("the channel says where");
        let bad = self.bad.contains(&at);
        let dial = self.network.connect(target.clone());
        Box::pin(async move {
            let connected = dial.await?;
            if bad {
                let kind = ConnectErrorKind::CertificateExpired;
                return Err(ConnectError::new(kind, ConnectPhase::Tls, &target));
            }
            Ok(connected)
        })
    }

    fn addresses(&self, _: &Target) -> Option<AddressesFuture> {
        let addresses = self.addresses.clone();
        Some(Box::pin(async move { Ok(addresses) }))
    }
}

/// Accepts and says nothing.
fn mute(network: &Network, at: SocketAddr) {
    let mut listener = network.listen(at);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(connected) = listener.accept().await {
            held.push(connected);
        }
    });
}

/// Without a resolver, the addresses behind the name are tried in order, each to its end: one refuses, one
/// fails in TLS, one says nothing.
#[tokio::test(start_paused = true)]
async fn every_address_of_a_name_is_tried_to_the_end() {
    let network = Network::new();
    let serve = |n| network.serve(addr(n), router(&Journal::default()), allowing(100));
    let _servers = [serve(2), serve(4), serve(5)];
    mute(&network, addr(3));
    let connector = Known {
        network: network.clone(),
        addresses: (1..=5).map(addr).collect(),
        bad: vec![addr(2)],
    };
    let channel = Channel::builder("http://test").connector(connector.clone());
    let channel = channel.unstable_pool(options()).build().unwrap();
    let started = Instant::now();
    channel.unary(&WORK, raw([0])).await.unwrap();
    let took = started.elapsed().as_millis();
    assert!((250..300).contains(&took), "the silent one costs its delay: {took} ms");
    let dials = |n| network.counts(addr(n)).dials.load(Ordering::SeqCst);
    assert_eq!([1, 2, 3, 4, 5].map(dials), [1, 1, 1, 1, 0], "in order, and no further");
    ms(10).await;
    assert_eq!(network.counts(addr(3)).open.load(Ordering::SeqCst), 0, "the slower one is closed");
    assert_eq!(channel.unstable_handles().len(), 1);
    // All of them fail: the error has the reason of each.
    let bad = Known { addresses: vec![addr(1), addr(2)], ..connector };
    let channel = Channel::builder("http://test").connector(bad);
    let channel = channel.unstable_pool(options()).build().unwrap();
    let error = channel.unary(&WORK, raw([0])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Connect);
    let text = error.to_string();
    for part in
        ["10.0.0.1:443: connection refused", "10.0.0.2:443: the server's certificate is not"]
    {
        assert!(text.contains(part), "{text}");
    }
}

/// One endpoint is down: a warm-up returns all the same, with what was reached and what failed.
#[tokio::test(start_paused = true)]
async fn a_warm_up_with_an_endpoint_that_is_down_returns() {
    for balance in [Balance::PickFirst, Balance::RoundRobin, Balance::LeastLoaded] {
        let network = Network::new();
        network.name(Some((1..=3).map(addr).collect()));
        let serve = |n| network.serve(addr(n), router(&Journal::default()), allowing(100));
        let _servers = [serve(1), serve(3)];
        let mut options = options();
        options.balance = balance;
        let channel = Channel::builder("http://test").connector(network.clone());
        let channel = channel.resolver(network.clone()).unstable_pool(options).build().unwrap();
        let warmed = tokio::time::timeout(Duration::from_secs(30), channel.warm(2)).await;
        let warmed = warmed.expect("it never returns").unwrap();
        assert_eq!((warmed.ready, warmed.wanted, warmed.failed.len()), (4, 6, 1), "{warmed}");
        let (endpoint, error) = &warmed.failed[0];
        assert!(endpoint.contains("10.0.0.2") && error.to_string().contains("refused"), "{warmed}");
        assert!(!warmed.is_complete());
        // One that accepts and says nothing holds it up for the time of a dial.
        mute(&network, addr(2));
        let warmed = tokio::time::timeout(Duration::from_secs(60), channel.warm(2)).await;
        let warmed = warmed.expect("it never returns").unwrap();
        assert_eq!((warmed.ready, warmed.failed.len()), (4, 1), "{warmed}");
        let _third = serve(2);
        ms(60_000).await;
        let warmed = channel.warm(2).await.unwrap();
        assert_eq!((warmed.ready, warmed.is_complete()), (6, true), "{warmed}");
    }
    // None is reached.
    let network = Network::new();
    let channel = Channel::builder("http://test").connector(network.clone());
    let channel = channel.unstable_pool(options()).build().unwrap();
    let error = channel.warm(1).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

/// An endpoint that comes and goes holds up no warm-up; nor does a name without an answer.
#[tokio::test(start_paused = true)]
async fn a_warm_up_has_an_end_whatever_changes_meanwhile() {
    let network = Network::new();
    network.name(Some(vec![addr(1), addr(2)]));
    mute(&network, addr(2));
    let mut flapping = network.listen(addr(1));
    tokio::spawn(async move {
        loop {
            let peer = crate::peer::Peer::accept(&mut flapping, &[]).await;
            ms(300).await;
            drop(peer);
        }
    });
    let channel = Channel::builder("http://test").connector(network.clone());
    let channel = channel.resolver(network.clone()).unstable_pool(options()).build().unwrap();
    let warmed = tokio::time::timeout(Duration::from_secs(100), channel.warm(1)).await;
    drop(warmed.expect("it never returns"));

    struct Unanswered;
    impl Resolve for Unanswered {
        fn resolve(&self, _: Target) -> ResolveFuture {
            Box::pin(std::future::pending())
        }
    }
    let channel = Channel::builder("http://test").connector(network).resolver(Unanswered);
    let channel = channel.unstable_pool(options()).build().unwrap();
    let error = channel.warm(1).await.unwrap_err();
    assert!(error.to_string().contains("resolving the name"), "{error}");
}

/// A resolver without an answer has failed, also if its future panics when it is given up: calls fail with the
/// reason, and the name is asked for again after a backoff.
#[tokio::test(start_paused = true)]
async fn a_resolver_that_panics_when_it_is_given_up_has_failed() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "on purpose");
        }
    }
    struct Unanswered(Arc<AtomicUsize>);
    impl Resolve for Unanswered {
        fn resolve(&self, _: Target) -> ResolveFuture {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async {
                let _bomb = Bomb;
                std::future::pending().await
            })
        }
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let mut options = options();
    options.dial_time = Duration::from_millis(700);
    let channel = Channel::builder("http://test").connector(Network::new());
    let channel = channel.resolver(Unanswered(Arc::clone(&asked))).unstable_pool(options);
    let channel = channel.build().unwrap();
    for _ in 0..50 {
        let call = tokio::time::timeout(Duration::from_secs(60), channel.unary(&WORK, raw([0])));
        let error = call.await.expect("hangs").unwrap_err();
        assert!(error.to_string().contains("no answer in dial_time"), "{error}");
        assert_eq!(*channel.state().borrow(), ChannelState::TransientFailure);
        ms(100).await;
    }
    let asked = asked.load(Ordering::SeqCst);
    assert!((2..=5).contains(&asked), "asked {asked} times in 5 s");
}

/// A channel with a resolver connects without a call, too.
#[tokio::test(start_paused = true)]
async fn a_named_channel_connects_without_a_call() {
    for balance in [Balance::PickFirst, Balance::RoundRobin, Balance::LeastLoaded] {
        let network = Network::new();
        network.name(Some(vec![addr(1)]));
        let _server = network.serve(addr(1), router(&Journal::default()), allowing(100));
        let mut options = options();
        options.balance = balance;
        let channel = Channel::builder("http://test").connector(network.clone());
        let channel = channel.resolver(network.clone()).unstable_pool(options).build().unwrap();
        channel.connect();
        let mut state = channel.state();
        let ready = state.wait_for(|state| *state == ChannelState::Ready);
        tokio::time::timeout(Duration::from_secs(60), ready).await.expect("hangs").unwrap();
    }
}

/// After a failed `connect` the channel tries again by itself; while it does, calls fail at once with the
/// last reason. The backoff can be ended.
#[tokio::test(start_paused = true)]
async fn a_failed_channel_tries_again_by_itself_and_on_request() {
    let network = Network::new();
    let channel = Channel::builder("http://test").connector(network.clone());
    let channel = channel.unstable_pool(options()).build().unwrap();
    let dials = || network.counts(addr(1)).dials.load(Ordering::SeqCst);
    channel.connect();
    ms(60_000).await;
    assert!((7..20).contains(&dials()), "{} dials in a minute", dials());
    assert_eq!(*channel.state().borrow(), ChannelState::TransientFailure);
    // The next dial runs and does not end.
    network.slow(addr(1), Duration::from_secs(3600));
    channel.reset_connect_backoff();
    ms(10).await;
    let endpoint = channel.stats().endpoints[0].clone();
    assert_eq!((endpoint.dialing, endpoint.retry_in), (1, None), "it was ended");
    let started = Instant::now();
    for _ in 0..100 {
        let error = channel.unary(&WORK, raw([0])).await.unwrap_err();
        assert!(error.to_string().contains("connection refused"), "{error}");
        assert!(error.is_retry_safe());
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    let patient = Request::new(raw([0])).with_wait_for_ready(true);
    let patient = tokio::time::timeout(Duration::from_secs(5), channel.unary(&WORK, patient)).await;
    assert!(patient.is_err(), "it waits");
    // It is there again; nobody calls.
    network.slow(addr(1), Duration::ZERO);
    let _server = network.serve(addr(1), router(&Journal::default()), allowing(100));
    ms(30_000).await;
    channel.reset_connect_backoff();
    ms(100).await;
    assert_eq!(*channel.state().borrow(), ChannelState::Ready);
    let endpoint = channel.stats().endpoints[0].clone();
    assert_eq!((endpoint.failures, endpoint.last_error.is_none()), (0, true));
}

/// A channel that nobody uses gives up in the end, and forgets that it failed.
#[tokio::test(start_paused = true)]
async fn a_failed_channel_that_nobody_uses_comes_to_idle() {
    let network = Network::new();
    let mut options = options();
    options.idle_time = Duration::from_secs(600);
    let channel = Channel::builder("http://test").connector(network.clone());
    let channel = channel.unstable_pool(options).build().unwrap();
    channel.connect();
    ms(800_000).await;
    assert_eq!(*channel.state().borrow(), ChannelState::Idle);
    let dials = network.counts(addr(1)).dials.load(Ordering::SeqCst);
    ms(800_000).await;
    assert_eq!(network.counts(addr(1)).dials.load(Ordering::SeqCst), dials);
    // The next call is not told of what was.
    let _server = network.serve(addr(1), router(&Journal::default()), allowing(100));
    channel.unary(&WORK, raw([0])).await.unwrap();
}

/// Of two endpoints, both are looked at: the less loaded one has each call.
#[tokio::test(start_paused = true)]
async fn two_different_endpoints_are_compared() {
    let network = Network::new();
    network.name(Some(vec![addr(1), addr(2)]));
    let serve = |n| network.serve(addr(n), router(&Journal::default()), allowing(100));
    let _servers = [serve(1), serve(2)];
    let mut options = options();
    options.balance = Balance::LeastLoaded;
    let channel = Channel::builder("http://test").connector(network.clone());
    let channel = channel.resolver(network.clone()).unstable_pool(options).build().unwrap();
    channel.warm(1).await.unwrap();
    for n in 1..=40 {
        drop(begin(&channel, 255));
        ms(1).await;
        let loads = places(&channel);
        assert!(loads[0].abs_diff(loads[1]) <= 1, "after {n} calls: {loads:?}");
    }
}

/// Once its endpoint is lost, PickFirst begins at the head of the list. It stays with its connection when
/// the list comes in another order, and grows there.
#[tokio::test(start_paused = true)]
async fn pick_first_begins_at_the_head_and_stays_where_it_is() {
    let network = Network::new();
    network.name(Some((1..=3).map(addr).collect()));
    let serve = |n| network.serve(addr(n), router(&Journal::default()), allowing(1));
    let _servers = [serve(2), serve(3)];
    let channel = Channel::builder("http://test").connector(network.clone());
    let channel = channel.resolver(network.clone()).unstable_pool(options()).build().unwrap();
    let dials = || [1, 2, 3].map(|n| network.counts(addr(n)).dials.load(Ordering::SeqCst));
    let open = || [1, 2, 3].map(|n| network.counts(addr(n)).open.load(Ordering::SeqCst));
    channel.unary(&WORK, raw([0])).await.unwrap();
    assert_eq!((dials(), open()), ([1, 1, 0], [0, 1, 0]), "the head refuses");
    let _first = serve(1);
    ms(60_000).await;
    assert_eq!(dials(), [1, 1, 0], "nobody needs the head");
    channel.unstable_handles()[0].goodbye();
    ms(10).await;
    channel.unary(&WORK, raw([0])).await.unwrap();
    assert_eq!((dials(), open()), ([2, 1, 0], [1, 0, 0]), "the head is tried first");
    // A second connection, and the loss of one has the name resolved again.
    let calls = [begin(&channel, 1), begin(&channel, 1)];
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(open(), [2, 0, 0]);
    ms(31_000).await;
    network.name(Some(vec![addr(3), addr(2), addr(1)]));
    let asked = network.asked();
    channel.unstable_handles()[1].goodbye();
    ms(2_000).await;
    assert_eq!((network.asked(), open()), (asked + 1, [1, 0, 0]));
    let calls = [begin(&channel, 1), begin(&channel, 1)];
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(
        (dials()[1..].to_vec(), open()),
        (vec![1, 0], [2, 0, 0]),
        "it stays, and grows there"
    );
}
