//! A server's process that is killed, or stopped for a while.

use crate::process::SILENT;
use crate::stage::{SLACK, SOON, Stage, begin, call, call_within, channel, port, sleep};
use framewire::error::Processed;
use framewire::unstable::grpc::{Code, Raw};
use std::time::{Duration, Instant};

/// Its calls are told at once; another one on its port is found by the next call.
pub async fn a_server_that_is_killed(stage: Stage) {
    let mut server = stage.serve(0, 0).await;
    let channel = channel(server.address);
    call(&channel, 1).await.unwrap();
    let waits = begin({
        let channel = channel.clone();
        async move { channel.unary(&SILENT, Raw::default()).await }
    });
    sleep(0.2).await;
    let killed = Instant::now();
    server.signal("KILL").await;
    let (result, _) = waits.await.unwrap();
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.processed()), (Code::Unavailable, Processed::Maybe), "{error}");
    let took = killed.elapsed();
    println!("  told {took:.1?} after the signal");
    assert!(took <= SOON, "{took:?}");
    server.ended().await;
    let next = stage.serve(0, server.address.port()).await;
    let started = Instant::now();
    call(&channel, 2).await.unwrap();
    let took = started.elapsed();
    assert!(took <= Duration::from_secs(1) + SOON, "{took:?}");
    drop(next);
}

/// The system answers for it, so that only PINGs find it out. Going on, it finds that its connection
/// was given up.
pub async fn a_server_that_is_stopped(stage: Stage) {
    let server = stage.serve(0, 0).await;
    let channel = channel(server.address);
    call(&channel, 1).await.unwrap();
    let (old, id) = (port(&channel), channel.unstable_handles()[0].id());
    let waits = begin({
        let channel = channel.clone();
        async move { channel.unary(&SILENT, Raw::default()).await }
    });
    sleep(0.2).await;
    server.signal("STOP").await;
    let fault = Instant::now();
    let error = call_within(&channel, 2, Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    let (result, _) = waits.await.unwrap();
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.processed()), (Code::Unavailable, Processed::Maybe), "{error}");
    let took = fault.elapsed();
    println!("  told {took:.1?} after the fault: {error}");
    assert!(took <= Duration::from_secs(20) + SLACK, "{took:?}");
    // The system takes the dial, and nobody speaks.
    let started = Instant::now();
    let error = call_within(&channel, 3, Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert!(started.elapsed() <= Duration::from_millis(500) + SOON, "{:?}", started.elapsed());
    server.signal("CONT").await;
    let started = Instant::now();
    call(&channel, 4).await.unwrap();
    let took = started.elapsed();
    println!("  served {took:.1?} after it went on");
    assert!(took <= Duration::from_secs(1) + SOON, "{took:?}");
    assert!(channel.unstable_handles().iter().all(|handle| handle.id() != id), "it was revived");
    assert_ne!(port(&channel), old);
}
