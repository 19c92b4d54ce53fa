//! Many calls that wait for a server that is down.

use crate::network::{Network, addr};
use crate::{Ran, begin_with, lone, ms, options, router, server_options, work};
use framewire::transport::Accept;
use framewire::unstable::grpc::Request;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

fn patient(id: u32) -> Request<framewire::unstable::grpc::Raw> {
    Request::new(work(id, 0)).with_wait_for_ready(true)
}

/// Two hundred wait while dials are refused, or accepted and cut: few dials, and once the server is
/// back all are served soon, each once.
#[tokio::test(start_paused = true)]
async fn two_hundred_calls_wait_for_a_server() {
    for seed in 0..40 {
        let network = Network::new();
        let accepted_and_cut = seed % 2 == 0;
        if accepted_and_cut {
            let mut listener = network.listen(addr(1));
            tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        }
        let mut options = options();
        options.seed = Some(seed);
        let channel = lone(network.clone(), options);
        let calls: Vec<_> = (0..200).map(|id| begin_with(&channel, patient(id))).collect();
        ms(3000).await;
        let dials = network.counts(addr(1)).dials.load(Ordering::SeqCst);
        assert!((2..=5).contains(&dials), "seed {seed}: {dials} dials");
        let ran = Ran::default();
        let _server = network.serve(addr(1), router(&ran), server_options());
        let back = Instant::now();
        for call in calls {
            call.await.unwrap().0.unwrap();
            let took = back.elapsed();
            assert!(took <= Duration::from_secs(2), "seed {seed}: {took:?}");
        }
        crate::each_ran_once(&ran, 200);
    }
}
