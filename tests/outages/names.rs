//! Names that fail to resolve, and that change again and again.

use crate::network::{Network, addr};
use crate::{Ran, begin, each_ran_once, ms, named, options, router, server_options};
use framewire::client::Balance;
use framewire::unstable::rt::Random;
use std::time::Duration;

/// For ten minutes the resolver answers with other addresses, or not at all, while servers come and
/// go; one that is named always serves. No call notices.
#[tokio::test(start_paused = true)]
async fn names_that_flap_under_load() {
    for balance in [Balance::PickFirst, Balance::RoundRobin, Balance::LeastLoaded] {
        let network = Network::new();
        let ran = Ran::default();
        let mut random = Random::new(3);
        let start = |n: u8| Some(network.serve(addr(n), router(&ran), server_options()));
        let mut servers: Vec<_> = (1..=4).map(start).collect();
        network.name(Some((1..=4).map(addr).collect()));
        let mut options = options();
        options.balance = balance;
        options.resolve_interval = Duration::from_secs(1);
        let channel = named(&network, options);
        let mut calls = Vec::new();
        for step in 0..1200u32 {
            for i in 0..5 {
                calls.push(begin(&channel, step * 5 + i));
                ms(100).await;
            }
            // The peer or a box on the path lets go: a reason to ask again.
            if random.below(4) == 0 {
                for handle in channel.unstable_handles() {
                    handle.goodbye();
                }
            }
            match random.below(6) {
                0 => network.name(None),
                1 => network.name(Some(vec![addr(1)])),
                2 => network.name(Some(vec![addr(1 + random.below(4) as u8), addr(1)])),
                3 => network.name(Some((1..=4).map(addr).collect())),
                // The first is always there, the others come and go.
                _ => {
                    let n = 2 + random.below(3) as u8;
                    match servers[n as usize - 1].take() {
                        None => servers[n as usize - 1] = start(n),
                        Some(server) => {
                            network.silence(addr(n));
                            tokio::spawn(server.shutdown(Duration::from_secs(5)));
                        }
                    }
                }
            }
        }
        let begun = calls.len();
        for call in calls {
            call.await.unwrap().0.unwrap_or_else(|error| panic!("{balance:?}: {error}"));
        }
        each_ran_once(&ran, begun);
        assert!(network.asked() > 50, "{balance:?}: asked {} times", network.asked());
    }
}
