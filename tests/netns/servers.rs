//! A server's process that is killed, or stopped for a while.

use crate::process::{SILENT, WORK, work};
use crate::stage::{SOON, Stage, begin, call, call_within, channel, sleep};
use framewire::error::Processed;
use framewire::unstable::grpc::{Code, Raw, Request};
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

/// Its system answers for it, so the call in flight waits, longer than any timer of a dead peer. New calls
/// wait as well, to their deadlines, as long as nothing says that the server is not at work: a PING that stays
/// unanswered and a dial without SETTINGS, 10 s and 20 s each. From then on they fail at once with that
/// reason. They are served when it goes on.
pub async fn a_server_that_is_stopped(stage: Stage) {
    let server = stage.serve(0, 0).await;
    let channel = channel(server.address);
    call(&channel, 1).await.unwrap();
    let waits = begin({
        let channel = channel.clone();
        async move { channel.unary(&SILENT, Raw::default()).await }
    });
    sleep(0.2).await;
    server.signal("STOP").await;
    let error = call_within(&channel, 2, Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    sleep(50.0).await;
    let started = Instant::now();
    let error = call_within(&channel, 3, Duration::from_secs(30)).await.unwrap_err();
    println!("  refused in {:.1?}: {error}", started.elapsed());
    assert_eq!((error.code(), error.processed()), (Code::Unavailable, Processed::No), "{error}");
    assert!(started.elapsed() <= SOON, "{:?}", started.elapsed());
    sleep(10.0).await;
    assert!(!waits.is_finished(), "a stopped process was taken for a dead peer");
    server.signal("CONT").await;
    let started = Instant::now();
    let request = Request::new(work(4, 0)).with_wait_for_ready(true);
    channel.unary(&WORK, request).await.unwrap();
    let took = started.elapsed();
    println!("  served {took:.1?} after it went on");
    // A dial waits for SETTINGS, or begins after its backoff, the second one: 1.6 s, give or take a fifth.
    assert!(took <= Duration::from_secs(2) + SOON, "{took:?}");
    sleep(1.0).await;
    assert!(!waits.is_finished(), "the call was ended afterwards");
}
