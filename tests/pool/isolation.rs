//! Who shares connections with whom: a key compared in every part, and shards that know nothing of
//! each other.

use crate::network::{Network, addr};
use crate::{Journal, allowing, ms, options, router};
use framewire::client::{Cap, Channel};
use framewire::transport::{Connect, ConnectFuture, Target};
use std::sync::{Arc, Mutex};

/// Remembers what it is told of the pool's size.
#[derive(Clone)]
struct Told(Network, Arc<Mutex<Vec<u32>>>);

impl Connect for Told {
    fn connect(&self, target: Target) -> ConnectFuture {
        self.0.connect(target)
    }

    fn provide_for(&self, connections: u32) {
        self.1.lock().unwrap().push(connections);
    }
}

/// Once before the first dial, and again when the resolver names more; never more than the Cap.
#[tokio::test(start_paused = true)]
async fn a_connector_hears_how_large_the_pool_is() {
    let network = Network::new();
    let journal = Journal::default();
    let _servers: Vec<_> =
        (1..=4).map(|n| network.serve(addr(n), router(&journal), allowing(9))).collect();
    let told = Told(network.clone(), Arc::default());
    let mut options = options();
    options.max_connections = 3;
    options.cap = Some(Cap::inside(&Cap::new(10, 100), 20, 100));
    network.name(Some(vec![addr(1), addr(2)]));
    let builder = Channel::builder("http://test").connector(told.clone());
    let channel = builder.resolver(network.clone()).unstable_pool(options).build().unwrap();
    assert_eq!(*told.1.lock().unwrap(), [3]);
    channel.warm(1).await.unwrap();
    assert_eq!(*told.1.lock().unwrap(), [3, 6]);
    network.name(Some((1..=4).map(addr).collect()));
    ms(40_000).await;
    channel.unstable_handles()[0].goodbye();
    ms(100).await;
    assert_eq!(told.1.lock().unwrap().last(), Some(&10), "twelve, and ten are allowed");
}
