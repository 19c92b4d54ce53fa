//! Peers that accept and say nothing, or say it late.

use crate::identity::Identity;
use crate::network::{Network, addr};
use crate::{
    Ran, begin, begin_with, each_ran_once, is_on_time, lone, ms, named, options, router,
    server_options, work,
};
use framewire::client::{Channel, ChannelState};
use framewire::error::{Phase, Processed};
use framewire::tls::ClientTls;
use framewire::transport::Accept;
use framewire::transport::MemoryListener;
use framewire::unstable::grpc::{Code, Request};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Accepts, reads and never answers.
fn mute(mut listener: MemoryListener) {
    tokio::spawn(async move {
        while let Ok(mut connected) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while connected.io.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
            });
        }
    });
}

/// No SETTINGS: no call is written there, and the next address, tried after 250 ms, serves them all.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_sends_settings() {
    let network = Network::new();
    mute(network.listen(addr(1)));
    let ran = Ran::default();
    let _server = network.serve(addr(2), router(&ran), server_options());
    network.name(Some(vec![addr(1), addr(2)]));
    let channel = named(&network, options());
    let calls: Vec<_> = (100..350).map(|id| begin(&channel, id)).collect();
    for call in calls {
        let (result, took) = call.await.unwrap();
        result.unwrap();
        assert!(took <= Duration::from_millis(600), "{took:?}");
    }
    assert_eq!(*channel.state().borrow(), ChannelState::Ready);
    each_ran_once(&ran, 250);
    for id in 1000..1010 {
        begin(&channel, id).await.unwrap().0.unwrap();
    }
    let dials = network.counts(addr(1)).dials.load(Ordering::SeqCst);
    assert_eq!(dials, 1, "the silent address was dialled again");
}

/// A TLS handshake without an answer: deadlines hold, the dial is given up after 20 s, its socket is
/// closed, and the next one waits for its back-off.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_stalls() {
    let network = Network::new();
    mute(network.listen(addr(1)));
    let identity = Identity::new("test");
    let tls = ClientTls::builder().roots_pem(&identity.root).build().unwrap();
    let channel = Channel::builder("https://test").tls(tls).connector(network.clone());
    let channel = channel.unstable_pool(options()).build().unwrap();
    for milliseconds in [1, 250, 4000] {
        let deadline = Duration::from_millis(milliseconds);
        let request = Request::new(work(1, 0)).with_timeout(deadline);
        let (result, took) = begin_with(&channel, request).await.unwrap();
        let error = result.unwrap_err();
        assert_eq!((error.code(), error.processed()), (Code::DeadlineExceeded, Processed::No));
        is_on_time(took, deadline);
    }
    let counts = network.counts(addr(1));
    let open = || counts.open.load(Ordering::SeqCst);
    assert_eq!((open(), counts.dials.load(Ordering::SeqCst)), (1, 1), "one dial serves them all");
    let (result, _) = begin(&channel, 2).await.unwrap();
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.phase()), (Code::Unavailable, Some(Phase::Tls)), "{error}");
    assert!(error.to_string().contains("within 20s (ChannelBuilder::connect_timeout)"), "{error}");
    ms(10).await;
    assert_eq!(open(), 0, "a socket is left");
    drop(channel);
    ms(10).await;
    assert_eq!(open(), 0, "a socket is left");
}

/// A dial that is under way when its channel goes is given up with it.
#[tokio::test(start_paused = true)]
async fn a_channel_that_goes_while_it_dials() {
    let network = Network::new();
    mute(network.listen(addr(1)));
    let channel = lone(network.clone(), options());
    let (result, _) = {
        let request = Request::new(work(1, 0)).with_timeout(Duration::from_millis(100));
        begin_with(&channel, request).await.unwrap()
    };
    result.unwrap_err();
    drop(channel);
    ms(21_000).await;
    assert_eq!(network.counts(addr(1)).open.load(Ordering::SeqCst), 0);
}
