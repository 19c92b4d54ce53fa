//! What a channel says of itself: what it does at an instant, and why.

use crate::network::{Network, addr};
use crate::{allowing, begin, ms, one, options};
use framewire::client::{
    Cap, Channel, ChannelState, ConnectionState, PoolStats, Resolve, ResolveFuture,
};
use framewire::transport::Target;
use framewire::unstable::grpc::Code;
use framewire::unstable::memory::budget::Budget;
use std::time::Duration;

/// Dialing, handshaking, active, draining.
fn counts(stats: &PoolStats) -> [usize; 4] {
    use ConnectionState::{Active, Draining, Handshaking};
    let live = [Handshaking, Active, Draining].map(|state| stats.count(state));
    [stats.dialing() as usize, live[0], live[1], live[2]]
}

fn first_line(stats: &PoolStats) -> String {
    stats.to_string().lines().next().unwrap().to_owned()
}

/// As in gRPC, CONNECTING begins with the look-up of the name, and its failure is a failure to connect.
#[tokio::test(start_paused = true)]
async fn a_channel_that_resolves_its_name_connects() {
    struct Slow;
    impl Resolve for Slow {
        fn resolve(&self, _: Target) -> ResolveFuture {
            Box::pin(async {
                ms(1_000).await;
                Err(std::io::Error::other("on purpose"))
            })
        }
    }
    let channel = Channel::builder("http://test").connector(Network::new()).resolver(Slow);
    let channel = channel.unstable_pool(options()).build().unwrap();
    let call = begin(&channel, 0);
    ms(500).await;
    let stats = channel.stats();
    assert_eq!((stats.state, *channel.state().borrow()), (ChannelState::Connecting, stats.state));
    assert!(first_line(&stats).ends_with("1 waiting: the name is being resolved"), "{stats}");
    call.await.unwrap().unwrap_err();
    assert_eq!(*channel.state().borrow(), ChannelState::TransientFailure);
}

#[tokio::test(start_paused = true)]
async fn a_connection_from_its_dial_to_its_end() {
    let mut options = options();
    options.max_connections = 1;
    let one = one(2, options);
    let stats = one.channel.stats();
    assert_eq!((stats.state, counts(&stats)), (ChannelState::Idle, [0; 4]));
    assert_eq!(
        first_line(&stats),
        "idle, 0 calls in flight, 0 waiting: no connection; the next call opens one"
    );

    let calls: Vec<_> = (0..5).map(|_| begin(&one.channel, 10)).collect();
    ms(1).await;
    let stats = one.channel.stats();
    assert_eq!((stats.state, counts(&stats)), (ChannelState::Connecting, [1, 0, 0, 0]));
    assert_eq!((stats.waiting, stats.endpoints[0].open), (5, 1));
    assert_eq!(first_line(&stats), "connecting, 0 calls in flight, 5 waiting: dialling 1");

    ms(20).await;
    let stats = one.channel.stats();
    assert_eq!((stats.state, counts(&stats)), (ChannelState::Ready, [0, 0, 1, 0]));
    let connection = &stats.connections[0];
    assert_eq!((connection.calls, connection.limit, stats.waiting), (2, 2, 3));
    assert_eq!(connection.id, one.channel.unstable_handles()[0].id());
    assert!((15..=20).contains(&connection.age.as_millis()), "{:?}", connection.age);
    assert_eq!(
        first_line(&stats),
        "ready, 2 calls in flight, 3 waiting: connections are full, and there are max_connections \
         of them"
    );

    // The last calls are under way when the connection is told to go.
    ms(200).await;
    one.channel.unstable_handles()[0].goodbye();
    let stats = one.channel.stats();
    assert_eq!((counts(&stats)[3], stats.calls()), (1, 1));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    ms(10).await;
    let stats = one.channel.stats();
    assert_eq!((stats.state, counts(&stats)), (ChannelState::Idle, [0; 4]));
    assert_eq!((stats.endpoints[0].open, stats.endpoints[0].draining), (0, 0));
}

/// The transport is there, the peer has not spoken.
#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing() {
    let network = Network::new();
    let mut listener = network.listen(addr(1));
    let channel =
        Channel::builder("http://test").connector(network.clone()).unstable_pool(options());
    let channel = channel.build().unwrap();
    let call = begin(&channel, 0);
    let _mute = framewire::transport::Accept::accept(&mut listener).await.unwrap();
    ms(10).await;
    let stats = channel.stats();
    assert_eq!((stats.state, counts(&stats)), (ChannelState::Connecting, [0, 1, 0, 0]));
    assert!(first_line(&stats).ends_with("the peer's SETTINGS are awaited"), "{stats}");
    call.abort();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down() {
    let one = one(2, options());
    one.network.silence(addr(1));
    for _ in 0..3 {
        let error = begin(&one.channel, 0).await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        ms(10).await;
    }
    let stats = one.channel.stats();
    assert_eq!((stats.state, counts(&stats)), (ChannelState::TransientFailure, [0; 4]));
    let endpoint = &stats.endpoints[0];
    assert_eq!((endpoint.failures, endpoint.open), (1, 0));
    let retry = endpoint.retry_in.unwrap();
    assert!(retry > Duration::from_millis(700) && retry < Duration::from_millis(1200), "{retry:?}");
    let error = endpoint.last_error.as_ref().unwrap().to_string();
    let line = first_line(&stats);
    assert!(line.contains("1 dial failed in a row, the next may begin in "), "{line}");
    assert!(line.contains(&error) && error.contains("refused"), "{line}");
    assert!(!line.contains("ready"), "{line}");
    // It comes back: the channel finds it by itself, and what failed is forgotten.
    let _server = one.network.serve(addr(1), crate::router(&one.journal), allowing(2));
    ms(2000).await;
    assert_eq!(one.channel.stats().state, ChannelState::Ready);
    begin(&one.channel, 0).await.unwrap().unwrap();
    let endpoint = &one.channel.stats().endpoints[0];
    assert_eq!((endpoint.failures, endpoint.retry_in), (0, None));
    assert!(endpoint.last_error.is_none());
}

/// A connection is there and full, and the next one cannot be had: calls wait for that reason.
#[tokio::test(start_paused = true)]
async fn full_and_no_other_to_be_had() {
    let one = one(1, options());
    let first = begin(&one.channel, 100);
    ms(10).await;
    one.network.silence(addr(1));
    let second = begin(&one.channel, 0);
    ms(10).await;
    let stats = one.channel.stats();
    assert_eq!((stats.state, stats.calls(), stats.waiting), (ChannelState::Ready, 1, 1));
    let line = first_line(&stats);
    let begin = "ready, 1 call in flight, 1 waiting: 1 dial failed in a row, the next may begin in";
    assert!(line.starts_with(begin), "{line}");
    for call in [first, second] {
        call.await.unwrap().unwrap();
    }
}

/// The bound that several channels share is the reason, and named.
#[tokio::test(start_paused = true)]
async fn a_cap_that_puts_off() {
    let cap = Cap::new(1, 10);
    let pools: Vec<_> = (0..2)
        .map(|_| {
            let mut options = options();
            options.cap = Some(cap.clone());
            options.driver.budget = Some(Budget::new(64 * 1024 * 1024));
            one(10, options)
        })
        .collect();
    let first = begin(&pools[0].channel, 10);
    ms(10).await;
    let second = begin(&pools[1].channel, 0);
    ms(10).await;
    let stats = pools[1].channel.stats();
    assert!(stats.endpoints[0].capped && stats.dialing() == 0, "{stats}");
    assert_eq!((stats.cap.open, stats.cap.sockets, stats.cap.dials), (1, 1, 1));
    assert_eq!((stats.cap.refused, stats.budget_limit), (1, 64 * 1024 * 1024));
    let line = first_line(&stats);
    assert!(line.ends_with("the Cap (own) delays dials: 1 of 1 sockets, 1 refused"), "{line}");
    // What the first one has leased is seen there.
    let leased = pools[0].channel.stats();
    assert!(leased.budget_used > 0 && !leased.endpoints[0].capped, "{leased}");
    first.await.unwrap().unwrap();
    second.abort();
}

/// The text as a whole.
#[tokio::test(start_paused = true)]
async fn a_few_lines_for_people() {
    let mut options = options();
    options.cap = Some(Cap::new(8, 8));
    options.driver.budget = Some(Budget::new(1024 * 1024 * 1024));
    let one = one(100, options);
    one.channel.warm(1).await.unwrap();
    ms(1500).await;
    let call = begin(&one.channel, 1);
    ms(5).await;
    let stats = one.channel.stats();
    let text = stats.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert_eq!(lines[0], "ready, 1 call in flight, 0 waiting: calls get a permit at once");
    assert_eq!(lines[1], "connections: 0 dialling, 0 handshaking, 1 active, 0 draining");
    assert_eq!(lines[2], "  http://test:80: 1 of 4 open, 0 draining");
    let id = one.channel.unstable_handles()[0].id();
    assert_eq!(lines[3], format!("  #{id} to memory, active, 1.5s old: 1 of 100 calls"));
    assert!(lines[4].starts_with("shared: 1 of 8 sockets (own), 1 dial, 0 delayed; "), "{text}");
    assert!(lines[4].ends_with(" of 1048576 KiB of the budget"), "{text}");
    call.await.unwrap().unwrap();
}
