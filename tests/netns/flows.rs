//! One flow that is dropped or reset on the way, while others pass.

use crate::process::{SILENT, WORK, work};
use crate::stage::{SLACK, SOON, Side, Stage, begin, builder, call, channel, port, sleep};
use framewire::client::RetryPolicy;
use framewire::error::Processed;
use framewire::transport::{SocketOptions, TcpConnector};
use framewire::unstable::grpc::{Code, Raw};
use std::time::{Duration, Instant};

/// With a TCP_USER_TIMEOUT of 10 s, calls written to it are told 10 s after the first byte that
/// nobody acknowledged; the next one is served, and with a policy they are tried again.
pub async fn a_flow_that_vanishes_under_calls(stage: Stage) {
    let server = stage.serve(0, 0).await;
    let sockets = || {
        let options = SocketOptions::new().with_user_timeout(Duration::from_secs(10));
        TcpConnector::with_options(options)
    };
    let plain = builder(server.address, |_| {}).connector(sockets()).build().unwrap();
    let policy = RetryPolicy::new(3);
    let retried = builder(server.address, |_| {}).connector(sockets()).retry(policy);
    let retried = retried.build().unwrap();
    for (id, channel) in [(1, &plain), (2, &retried)] {
        call(channel, id).await.unwrap();
    }
    let waits = begin({
        let plain = plain.clone();
        async move { plain.unary(&SILENT, Raw::default()).await }
    });
    sleep(0.2).await;
    for channel in [&plain, &retried] {
        stage.forget(port(channel));
    }
    sleep(1.0).await;
    let first_byte = Instant::now();
    let calls = [(3, &plain), (4, &plain), (5, &retried)].map(|(id, channel)| {
        let channel = channel.clone();
        begin(async move { channel.unary(&WORK, work(id, 0)).await })
    });
    let [third, fourth, fifth] = calls;
    for ended in [third, fourth, waits] {
        let (result, _) = ended.await.unwrap();
        let error = result.unwrap_err();
        assert_eq!((error.code(), error.processed()), (Code::Unavailable, Processed::Maybe));
    }
    let took = first_byte.elapsed();
    println!("  told {took:.1?} after the first byte that nobody acknowledged");
    assert!(took <= Duration::from_secs(10) + SLACK, "{took:?}");
    call(&plain, 6).await.unwrap();
    let (result, took) = fifth.await.unwrap();
    result.unwrap_or_else(|error| panic!("the policy did not help: {error}"));
    assert!(took <= Duration::from_secs(11) + SLACK, "{took:?}");
    server.signal("TERM").await;
    let (ran, _) = server.report().await;
    assert_eq!(ran.into_iter().collect::<Vec<_>>(), [(1, 1), (2, 1), (5, 1), (6, 1)]);
}

/// Nothing is sent that could stay unacknowledged, so a PING is, after 10 s of silence. A PING that stays
/// unanswered ends no call; that the peer's system does not acknowledge its bytes for 18 s, while they are
/// retransmitted three times, does.
pub async fn a_flow_that_vanishes_while_one_waits(stage: Stage) {
    let server = stage.serve(0, 0).await;
    let channel = channel(server.address);
    call(&channel, 1).await.unwrap();
    let waits = begin({
        let channel = channel.clone();
        async move { channel.unary(&SILENT, Raw::default()).await }
    });
    sleep(0.2).await;
    stage.forget(port(&channel));
    let fault = Instant::now();
    let (result, _) = waits.await.unwrap();
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.processed()), (Code::Unavailable, Processed::Maybe), "{error}");
    let took = fault.elapsed();
    println!("  told {took:.1?} after the fault: {error}");
    assert!(error.to_string().contains("the peer's system has stopped answering"), "{error}");
    assert!(took >= Duration::from_secs(10 + 18 - 1), "before the rule allows it: {took:?}");
    // A sample each second.
    assert!(took <= Duration::from_secs(10 + 18 + 2) + SLACK, "{took:?}");
    call(&channel, 2).await.unwrap();
}

/// The first calls after a while wait for a sign of life, and move: none is lost or runs twice.
pub async fn a_quiet_flow_that_was_forgotten(stage: Stage) {
    let server = stage.serve(0, 0).await;
    let channel = builder(server.address, |options| {
        options.driver.probe_after = Some(Duration::from_secs(2));
    });
    let channel = channel.build().unwrap();
    call(&channel, 1).await.unwrap();
    let mut last = port(&channel);
    for cycle in 1..=3 {
        sleep(2.5).await;
        if cycle < 3 {
            stage.forget(last);
        }
        let started = Instant::now();
        let calls: Vec<_> = (0..20)
            .map(|i| {
                let (channel, id) = (channel.clone(), cycle * 100 + i);
                begin(async move { channel.unary(&WORK, work(id, 0)).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().0.unwrap();
        }
        let took = started.elapsed();
        println!("  moved in {took:.1?}");
        assert!(took <= Duration::from_secs(1) + SOON, "{took:?}");
        // The old one is given up when its answer is overdue.
        let late = Instant::now() + SLACK;
        while channel.unstable_handles().len() != 1 && Instant::now() < late {
            sleep(0.05).await;
        }
        let now = port(&channel);
        // A flow that was not forgotten is proved and kept; a busy machine may take it for one.
        assert!(cycle == 3 || now != last, "the forgotten connection was used");
        last = now;
    }
    server.signal("TERM").await;
    let (ran, _) = server.report().await;
    assert_eq!(ran.len(), 61);
    assert!(ran.values().all(|times| *times == 1), "{ran:?}");
}

/// All of its calls are told at once, and the next one dials without a pause.
pub async fn a_flow_that_is_reset(stage: Stage) {
    let server = stage.serve(0, 0).await;
    let channel = channel(server.address);
    call(&channel, 1).await.unwrap();
    let waits = begin({
        let channel = channel.clone();
        async move { channel.unary(&SILENT, Raw::default()).await }
    });
    sleep(0.2).await;
    let reset = format!("tcp sport {} reject with tcp reset", port(&channel));
    stage.rule(Side::Server, &reset);
    let started = Instant::now();
    let error = call(&channel, 2).await.unwrap_err();
    assert_eq!((error.code(), error.processed()), (Code::Unavailable, Processed::Maybe), "{error}");
    let (result, _) = waits.await.unwrap();
    assert_eq!(result.unwrap_err().code(), Code::Unavailable);
    let took = started.elapsed();
    println!("  told in {took:.1?}");
    assert!(took <= SOON, "{took:?}");
    let started = Instant::now();
    call(&channel, 3).await.unwrap();
    let took = started.elapsed();
    assert!(took <= Duration::from_secs(1) + SOON, "{took:?}");
}
