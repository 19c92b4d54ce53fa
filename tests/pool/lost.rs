//! No call is lost and none runs twice, whatever servers do to their connections.

use crate::network::{Network, addr};
use crate::{Journal, WORK, allowing, ms, options, raw, router};
use framewire::client::Channel;
use framewire::error::Processed;
use framewire::transport::Accept;
use framewire::unstable::grpc::{Code, Request};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

fn counted(journal: &Journal) -> HashMap<Vec<u8>, usize> {
    let mut counts = HashMap::new();
    for request in journal.take() {
        *counts.entry(request).or_default() += 1;
    }
    counts
}

fn number(i: u32) -> Vec<u8> {
    let mut bytes = vec![(i % 3) as u8];
    bytes.extend_from_slice(&i.to_be_bytes());
    bytes
}

/// A thousand graceful restarts of the server with a hundred calls each.
#[tokio::test(start_paused = true)]
async fn a_thousand_goaways_lose_nothing_and_repeat_nothing() {
    let network = Network::new();
    let journal = Journal::default();
    let channel =
        Channel::builder("http://test").connector(network.clone()).unstable_pool(options());
    let channel = channel.build().unwrap();
    let mut server = network.serve(addr(1), router(&journal), allowing(100));
    for cycle in 0..1000u32 {
        let calls: Vec<_> = (0..100)
            .map(|i| {
                let channel = channel.clone();
                let request = raw(number(cycle * 100 + i));
                tokio::spawn(async move { channel.unary(&WORK, request).await.map(drop) })
            })
            .collect();
        // The restart comes at another moment of the burst each time.
        tokio::time::sleep(Duration::from_micros(u64::from(cycle % 37) * 600)).await;
        let next = network.serve(addr(1), router(&journal), allowing(100));
        let old = std::mem::replace(&mut server, next);
        let drain = tokio::spawn(old.shutdown(Duration::from_secs(5)));
        for call in calls {
            call.await.unwrap().unwrap_or_else(|error| panic!("cycle {cycle}: {error}"));
        }
        assert_eq!(drain.await.unwrap().forced, 0);
        let counts = counted(&journal);
        assert_eq!(counts.len(), 100, "cycle {cycle}");
        assert!(counts.values().all(|times| *times == 1), "cycle {cycle}: {counts:?}");
    }
}

/// Three servers restarted in turn under a steady load.
#[tokio::test(start_paused = true)]
async fn a_rolling_restart_fails_no_call() {
    let network = Network::new();
    let journal = Journal::default();
    network.name(Some(vec![addr(1), addr(2), addr(3)]));
    let mut options = options();
    options.balance = framewire::client::Balance::RoundRobin;
    let channel = Channel::builder("http://test").connector(network.clone());
    let channel = channel.resolver(network.clone()).unstable_pool(options).build().unwrap();
    let mut servers: Vec<_> =
        (1..=3).map(|n| Some(network.serve(addr(n), router(&journal), allowing(100)))).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (channel, stop) = (channel.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut calls = Vec::new();
            for i in 0u32.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let channel = channel.clone();
                calls.push(tokio::spawn(async move {
                    channel.unary(&WORK, raw(number(i))).await.map(drop)
                }));
                ms(1).await;
            }
            calls
        })
    };
    for round in 0..12usize {
        // With the gap, two steps are longer than a first back-off: one of three is always there.
        ms(600).await;
        let n = round % 3;
        let at = addr(n as u8 + 1);
        let old = servers[n].take().unwrap();
        // As a process that got SIGTERM: no new connection, the calls under way end, then a gap.
        network.silence(at);
        assert_eq!(old.shutdown(Duration::from_secs(5)).await.forced, 0);
        ms(150).await;
        servers[n] = Some(network.serve(at, router(&journal), allowing(100)));
    }
    stop.store(true, Ordering::SeqCst);
    let calls = load.await.unwrap();
    let begun = calls.len();
    assert!(begun > 5000, "{begun}");
    for (i, call) in calls.into_iter().enumerate() {
        call.await.unwrap().unwrap_or_else(|error| panic!("call {i}: {error}"));
    }
    let counts = counted(&journal);
    assert_eq!(counts.len(), begun);
    assert!(counts.values().all(|times| *times == 1));
}

/// A server that dies without a word: calls it may have seen are not repeated.
#[tokio::test(start_paused = true)]
async fn what_may_have_been_seen_is_not_repeated() {
    let network = Network::new();
    let journal = Journal::default();
    let channel =
        Channel::builder("http://test").connector(network.clone()).unstable_pool(options());
    let channel = channel.build().unwrap();
    for cycle in 0..50u32 {
        let server = network.serve(addr(1), router(&journal), allowing(100));
        let calls: Vec<_> = (0..20)
            .map(|i| {
                let channel = channel.clone();
                let request = raw(number(cycle * 20 + i));
                tokio::spawn(async move { channel.unary(&WORK, request).await.map(drop) })
            })
            .collect();
        tokio::time::sleep(Duration::from_micros(u64::from(cycle) * 500)).await;
        network.silence(addr(1));
        // No grace: whatever is under way is cut.
        server.shutdown(Duration::ZERO).await;
        let mut failed = 0;
        for call in calls {
            if let Err(error) = call.await.unwrap() {
                assert_eq!(error.code(), Code::Unavailable, "{error}");
                failed += 1;
            }
        }
        let counts = counted(&journal);
        assert!(counts.values().all(|times| *times == 1), "cycle {cycle}: {counts:?}");
        assert!(failed + counts.len() >= 20, "cycle {cycle}: each was answered or told");
        // The back-off of the dials that failed meanwhile.
        ms(200_000).await;
    }
}

/// A server that ends each connection with ENHANCE_YOUR_CALM as soon as it is used: it is not asked
/// again and again. Once is no reason to wait.
#[tokio::test(start_paused = true)]
async fn a_server_that_wants_calm_has_it() {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
    let network = Network::new();
    let mut listener = network.patient(addr(1));
    tokio::spawn(async move {
        loop {
            let mut io = listener.accept().await.unwrap().io;
            io.write_all(&SETTINGS).await.unwrap();
            ms(5).await;
            io.write_all(&GOAWAY).await.unwrap();
            let _ = io.shutdown().await;
        }
    });
    let builder =
        Channel::builder("http://test").connector(network.clone()).unstable_pool(options());
    let channel = builder.build().unwrap();
    let patient = Request::new(raw([0])).with_wait_for_ready(true);
    let waiting = {
        let channel = channel.clone();
        tokio::spawn(async move { channel.unary(&WORK, patient).await.map(drop) })
    };
    let dials = || network.counts(addr(1)).dials.load(Ordering::SeqCst);
    let mut failed = 0;
    for _ in 0..1000 {
        let error = channel.unary(&WORK, raw([0])).await.unwrap_err();
        assert_eq!(
            (error.code(), error.processed()),
            (Code::Unavailable, Processed::No),
            "{error}"
        );
        failed += 1;
        if failed == 500 {
            let text = error.to_string();
            assert!(text.contains("in a row with GOAWAY ENHANCE_YOUR_CALM"), "{text}");
        }
        ms(10).await;
    }
    assert!((3..=8).contains(&dials()), "{} dials in 10 s", dials());
    // It is well again: so is the channel, after the back-off at most.
    let journal = Journal::default();
    let _server = network.serve(addr(1), router(&journal), allowing(100));
    ms(20_000).await;
    channel.unary(&WORK, raw([0])).await.unwrap();
    assert!(waiting.is_finished());
}
