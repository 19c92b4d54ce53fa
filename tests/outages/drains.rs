//! Servers that let go of their connections again and again.

use crate::network::{Network, addr};
use crate::peer::Peer;
use crate::{Ran, begin, each_ran_once, id_of, lone, ms, options, router, server_options, work};
use framewire::transport::MemoryListener;
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use std::collections::HashMap;
use std::time::Duration;

/// Connections live for a second, for a minute, under a thousand calls a second.
#[tokio::test(start_paused = true)]
async fn connections_that_age_in_a_second_under_load() {
    let network = Network::new();
    let ran = Ran::default();
    let mut server = server_options();
    server.max_age = Some(Duration::from_secs(1));
    server.seed = Some(9);
    let _server = network.serve(addr(1), router(&ran), server);
    let channel = lone(network.clone(), options());
    let mut calls = Vec::new();
    for id in 0..60_000u32 {
        let milliseconds = [0, 3, 20, 100][id as usize % 4];
        let request = framewire::unstable::grpc::Request::new(work(id, milliseconds));
        calls.push(crate::begin_with(&channel, request));
        ms(1).await;
    }
    for call in calls {
        call.await.unwrap().0.unwrap();
    }
    each_ran_once(&ran, 60_000);
    let dials = network.counts(addr(1)).dials.load(std::sync::atomic::Ordering::SeqCst);
    assert!(dials >= 50, "{dials} connections");
}

/// Requests whose last byte has come: their streams and messages.
async fn requests(peer: &mut Peer, most: usize) -> Vec<(u32, Vec<u8>)> {
    let mut whole = Vec::new();
    let mut bodies: HashMap<u32, Vec<u8>> = HashMap::new();
    let quiet = Duration::from_millis(5);
    while whole.len() < most {
        let next = tokio::time::timeout(quiet, peer.frame_at_leisure()).await;
        let Ok(Some(frame)) = next else { break };
        if frame.kind == FrameType::Data {
            bodies.entry(frame.id).or_default().extend_from_slice(&frame.payload);
            if frame.ends() {
                whole.push((frame.id, bodies.remove(&frame.id).unwrap()[5..].to_vec()));
            }
        }
    }
    whole
}

async fn serve(peer: &mut Peer, ran: &Ran, requests: &[(u32, Vec<u8>)]) {
    for (id, request) in requests {
        *ran.lock().unwrap().entry(id_of(request)).or_default() += 1;
        peer.answer(*id, request).await;
    }
}

/// Serves one connection after the other. Each ends by one GOAWAY, without warning, in the middle of
/// a burst: requests up to the stream that it names are served, those above it are not.
async fn abrupt(mut listener: MemoryListener, ran: Ran) {
    for connection in 0usize.. {
        let mut peer = Peer::accept(&mut listener, &[(3, 1000)]).await;
        loop {
            let most = 20 + connection * 7 % 60;
            let came = requests(&mut peer, most).await;
            let unserved = 1 + connection * 13 % 20;
            if came.len() < most {
                // The end of a burst.
                serve(&mut peer, &ran, &came).await;
                continue;
            }
            let (served, _) = came.split_at(most - unserved.min(most - 1));
            peer.goaway(served.last().unwrap().0, ErrorCode::NO_ERROR, "").await;
            serve(&mut peer, &ran, served).await;
            break;
        }
        // The client closes it.
        tokio::spawn(async move { while peer.frame_at_leisure().await.is_some() {} });
    }
}

/// A thousand bursts of a hundred calls against a server that hangs up in the middle of each: none is
/// lost, none runs twice, and callers see nothing of it.
#[tokio::test(start_paused = true)]
async fn a_thousand_abrupt_goaways_lose_nothing_and_repeat_nothing() {
    let network = Network::new();
    let ran = Ran::default();
    let mut options = options();
    options.max_connections = 1;
    let channel = lone(network.clone(), options);
    tokio::spawn(abrupt(network.listen(addr(1)), Ran::clone(&ran)));
    for burst in 0..1000u32 {
        let calls: Vec<_> = (0..100).map(|i| begin(&channel, burst * 100 + i)).collect();
        for (i, call) in calls.into_iter().enumerate() {
            let call = tokio::time::timeout(Duration::from_secs(60), call).await;
            let (result, _) = call.unwrap_or_else(|_| panic!("burst {burst}: {i} hangs")).unwrap();
            result.unwrap_or_else(|error| panic!("burst {burst}: {error}"));
        }
    }
    each_ran_once(&ran, 100_000);
    let dials = network.counts(addr(1)).dials.load(std::sync::atomic::Ordering::SeqCst);
    assert!(dials > 1000, "{dials} connections");
}

/// A server that lets go of each connection as soon as a long call is on it: whatever number of them drain, new
/// calls are served on another one.
#[tokio::test(start_paused = true)]
async fn connections_that_drain_for_long_block_no_call() {
    let network = Network::new();
    let mut listener = network.listen(addr(1));
    tokio::spawn(async move {
        loop {
            let mut peer = Peer::accept(&mut listener, &[(3, 100)]).await;
            tokio::spawn(async move {
                while let Some(frame) = peer.frame_at_leisure().await {
                    if frame.kind == FrameType::Headers && frame.field("x-long").is_some() {
                        peer.goaway(frame.id, ErrorCode::NO_ERROR, "").await;
                    } else if frame.kind == FrameType::Headers {
                        peer.answer(frame.id, &[0; 5]).await;
                    }
                }
            });
        }
    });
    let mut options = options();
    options.max_connections = 1;
    let channel = lone(network.clone(), options);
    let mut long = Vec::new();
    for id in 0..20 {
        let call = tokio::time::timeout(Duration::from_secs(60), begin(&channel, id)).await;
        call.expect("hangs").unwrap().0.unwrap();
        let mut request = framewire::unstable::grpc::Request::new(work(100 + id, 0));
        request.metadata_mut().insert("x-long", "1").unwrap();
        long.push(crate::begin_with(&channel, request));
        ms(50).await;
    }
    let open = network.counts(addr(1)).open.load(std::sync::atomic::Ordering::SeqCst);
    assert!(open >= 20 && long.iter().all(|call| !call.is_finished()), "{open} connections");
}
