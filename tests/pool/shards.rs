//! Channels by key: equal in every part, or nothing is shared.

use crate::network::{Network, addr};
use crate::{Journal, WORK, allowing, begin, ms, options, raw, router};
use framewire::client::{BuildError, Channel, ChannelBuilder, Channels};
use framewire::error::Kind;
use framewire::tls::ClientTls;
use framewire::transport::{Connect, ConnectFuture, Target};
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Which of a few values each part of a key takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Parts {
    host: usize,
    port: usize,
    authority: usize,
    tls: usize,
    server_name: usize,
    connector: usize,
    resolver: usize,
    interceptors: usize,
    tenant: usize,
}

impl Parts {
    fn of(numbers: [usize; 9]) -> Self {
        let [host, port, authority, tls, server_name, connector, resolver, interceptors, tenant] =
            numbers;
        Self { host, port, authority, tls, server_name, connector, resolver, interceptors, tenant }
    }

    fn builder(self) -> ChannelBuilder {
        static TLS: OnceLock<[ClientTls; 2]> = OnceLock::new();
        let make = || ClientTls::builder().build().unwrap();
        let tls = TLS.get_or_init(|| [make(), make()]);
        let scheme = if self.tls == 0 { "http" } else { "https" };
        let host = ["a.example", "b.example"][self.host % 2];
        let port = [8443, 8444][self.port % 2];
        let mut builder = Channel::builder(&format!("{scheme}://{host}:{port}"));
        if self.authority > 0 {
            builder = builder.authority(["x.example", "y.example"][self.authority % 2]);
        }
        if self.tls > 0 {
            let mut tls = tls[self.tls % 2].clone();
            if self.server_name > 0 {
                tls =
                    tls.with_server_name(["n.example", "m.example"][self.server_name % 2]).unwrap();
            }
            builder = builder.tls(tls);
        }
        if self.connector > 0 {
            let way = ["proxy one", "proxy two"][self.connector % 2];
            builder = builder.connector(Network::new()).via(way);
        }
        if self.resolver > 0 {
            let names = ["names one", "names two"][self.resolver % 2];
            builder = builder.resolver(Network::new()).resolved_by(names);
        }
        if self.interceptors > 0 {
            let who = ["one's token", "two's token"][self.interceptors % 2];
            builder = builder.intercept(|_| Ok(())).intercepted_as(who);
        }
        if self.tenant > 0 {
            builder = builder.shard(["red", "blue"][self.tenant % 2]);
        }
        builder
    }

    /// What of it reaches the key.
    fn seen(mut self) -> Self {
        self.host %= 2;
        self.port %= 2;
        if self.tls == 0 {
            self.server_name = 0;
        }
        self
    }
}

fn same(a: &Channel, b: &Channel) -> bool {
    // Debug shows the pool's address to nobody: what they share is seen by a tenant's name.
    let mark = a.tenant("mark", framewire::client::Share::new());
    let shared = b.stats().tenants.iter().any(|one| one.label == "mark");
    drop(mark);
    shared
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Two keys that differ in any part are two channels, equal ones are one.
    #[test]
    fn any_part_keeps_apart(
        one in proptest::array::uniform9(0usize..3),
        changes in proptest::collection::vec((0usize..9, 0usize..3), 0..3),
    ) {
        let mut other = one;
        for (part, value) in changes {
            other[part] = value;
        }
        let (one, other) = (Parts::of(one), Parts::of(other));
        let channels = Channels::new(8, 4, 4);
        let a = channels.get(one.builder()).unwrap();
        let b = channels.get(other.builder()).unwrap();
        let equal = one.seen() == other.seen();
        prop_assert_eq!(same(&a, &b), equal, "{:?} {:?}", one, other);
        prop_assert_eq!(channels.len(), if equal { 1 } else { 2 });
        let keys = [one.builder().shard_key().unwrap(), other.builder().shard_key().unwrap()];
        prop_assert_eq!(keys[0] == keys[1], equal);
        let hashed: HashSet<_> = keys.into_iter().collect();
        prop_assert_eq!(hashed.len(), if equal { 1 } else { 2 });
    }
}

/// Without a name nobody can say that two ways are one.
#[test]
fn ways_without_a_name_are_unlike_all_others() {
    let channels = Channels::new(8, 4, 4);
    let builder = || Channel::builder("http://test").connector(Network::new());
    let (a, b) = (channels.get(builder()).unwrap(), channels.get(builder()).unwrap());
    assert!(!same(&a, &b));
    // Naming one part names no other, and an interceptor may carry somebody's credentials.
    let builder = |way: &str| {
        let builder = Channel::builder("http://test").connector(Network::new()).via(way);
        builder.resolver(Network::new()).resolved_by("names")
    };
    let get = |builder| channels.get(builder).unwrap();
    assert!(!same(&get(builder("one")), &get(builder("two"))));
    let with = || builder("one").intercept(|_| Ok(()));
    assert!(!same(&get(with()), &get(with())));
    let builder = || Channel::builder("http://test").connector(Network::new());
    let text = builder().shard("red").shard_key().unwrap().to_string();
    assert!(text.starts_with("http://test:80 as test, via #"), "{text}");
    assert!(text.ends_with(", tenant \"red\""), "{text}");
}

/// A channel in use stays; one that nobody uses makes room for another.
#[tokio::test(start_paused = true)]
async fn shards_are_bounded_and_none_in_use_is_evicted() {
    let network = Network::new();
    let journal = Journal::default();
    let _server = network.serve(addr(1), router(&journal), allowing(10));
    let channels = Channels::new(2, 4, 100);
    let get = |tenant: &str| {
        let builder = Channel::builder("http://test").connector(network.clone()).via("net");
        let mut options = options();
        options.cap = None;
        options.idle_time = std::time::Duration::from_secs(60);
        channels.get(builder.unstable_pool(options).shard(tenant))
    };
    let red = get("red").unwrap();
    red.unary(&WORK, raw([0])).await.unwrap();
    let blue = get("blue").unwrap();
    blue.unary(&WORK, raw([0])).await.unwrap();
    assert_eq!(network.counts(addr(1)).open.load(std::sync::atomic::Ordering::SeqCst), 2);
    let error = get("green").unwrap_err();
    assert!(matches!(error, BuildError::TooManyShards { most: 2 }), "{error}");
    // Nobody holds it, but its connection lives: a call may come back to it.
    drop(blue);
    assert!(get("green").is_err());
    assert_eq!(channels.stats().len(), 2);
    ms(120_000).await;
    let green = get("green").unwrap();
    green.unary(&WORK, raw([0])).await.unwrap();
    assert_eq!(channels.len(), 2);
    assert!(same(&red, &get("red").unwrap()));
    // Each has a cap of its own.
    assert_eq!(red.stats().cap.sockets, 4);
    assert_eq!(red.stats().outer_caps.len(), 1);
}

/// The set closes its channels at the same time, and says what they did together. It can be used again.
#[tokio::test(start_paused = true)]
async fn a_set_is_closed_as_a_whole() {
    let network = Network::new();
    let _server = network.serve(addr(1), router(&Journal::default()), allowing(10));
    let channels = Channels::new(4, 4, 100);
    let get = |tenant: &str| {
        let builder = Channel::builder("http://test").connector(network.clone()).via("net");
        channels.get(builder.unstable_pool(options()).shard(tenant)).unwrap()
    };
    let [red, blue, green] = ["red", "blue", "green"].map(get);
    green.unary(&WORK, raw([0])).await.unwrap();
    let (short, long) = (begin(&red, 50), begin(&blue, 255));
    ms(20).await;
    let started = tokio::time::Instant::now();
    let report = channels.close(std::time::Duration::from_secs(1)).await;
    assert_eq!((report.closed, report.refused, report.cut), (2, 0, 1));
    assert!((1_000..1_100).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    short.await.unwrap().unwrap();
    assert_eq!(long.await.unwrap().unwrap_err().kind(), Kind::Shutdown);
    for channel in [&red, &blue, &green] {
        let error = channel.unary(&WORK, raw([0])).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Shutdown, "{error}");
    }
    assert!(channels.is_empty());
    get("red").unary(&WORK, raw([0])).await.unwrap();
}

/// A channel that was closed is no channel of the set: its key gets a new one, also in a full set.
#[tokio::test(start_paused = true)]
async fn a_closed_channel_is_replaced() {
    let network = Network::new();
    let _server = network.serve(addr(1), router(&Journal::default()), allowing(100));
    let channels = Channels::new(1, 4, 4);
    let builder = |tenant: &str| {
        let builder = Channel::builder("http://test").connector(network.clone()).via("memory");
        builder.shard(tenant)
    };
    let closed = channels.get(builder("red")).unwrap();
    closed.close(Duration::ZERO).await;
    let red = channels.get(builder("red")).unwrap();
    red.unary(&WORK, raw([0])).await.unwrap();
    assert!(channels.get(builder("blue")).is_err() && channels.len() == 1, "red is in use");
    red.close(Duration::ZERO).await;
    let blue = channels.get(builder("blue")).unwrap();
    blue.unary(&WORK, raw([0])).await.unwrap();
    assert_eq!(channels.len(), 1);
}

/// A connector may use the set while a channel with it is built.
#[test]
fn a_set_is_open_to_the_code_that_builds_a_channel() {
    struct Nosy(Arc<Channels>);
    impl Connect for Nosy {
        fn connect(&self, _: Target) -> ConnectFuture {
            Box::pin(std::future::pending())
        }

        fn provide_for(&self, _: u32) {
            let other = Channel::builder("http://other").connector(Network::new());
            assert_eq!(self.0.stats().len(), self.0.len());
            self.0.get(other.via("memory")).unwrap();
        }
    }
    let channels = Arc::new(Channels::new(8, 4, 4));
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        channels.get(Channel::builder("http://test").connector(Nosy(channels.clone()))).unwrap();
        done.send(channels.len()).unwrap();
    });
    assert_eq!(is_done.recv_timeout(Duration::from_secs(60)), Ok(2));
}
