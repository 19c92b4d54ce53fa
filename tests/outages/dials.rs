//! Addresses that do not answer, beside one that does.

use crate::network::{Network, addr};
use crate::{Deaf, Ran, begin, options, router, server_options};
use framewire::client::{Balance, Channel};
use std::time::Duration;

/// Whatever the balance, one dead address costs the first call 250 ms at most.
#[tokio::test(start_paused = true)]
async fn a_dead_address_beside_a_live_one() {
    for balance in [Balance::PickFirst, Balance::RoundRobin, Balance::LeastLoaded] {
        let network = Network::new();
        let ran = Ran::default();
        let _server = network.serve(addr(2), router(&ran), server_options());
        network.name(Some(vec![addr(1), addr(2)]));
        let mut options = options();
        options.balance = balance;
        let deaf = Deaf(network.clone(), vec![addr(1)]);
        let builder = Channel::builder("http://test").connector(deaf).unstable_pool(options);
        let channel = builder.resolver(network.clone()).build().unwrap();
        let (result, took) = begin(&channel, 1).await.unwrap();
        result.unwrap();
        assert!(took <= Duration::from_millis(300), "{balance:?}: {took:?}");
        for id in 2..50 {
            let (result, took) = begin(&channel, id).await.unwrap();
            result.unwrap();
            assert!(took <= Duration::from_millis(10), "{balance:?}: {took:?}");
        }
    }
}
