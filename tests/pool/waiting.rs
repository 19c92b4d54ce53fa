//! Calls that wait for a permit: in order, bounded, and until their deadline.

use crate::{WORK, allowing, begin, ms, one, options, raw, router};
use framewire::error::{Kind, Phase, Processed};
use framewire::unstable::grpc::{Code, Request};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn first_come_first_served() {
    let mut options = options();
    options.max_connections = 1;
    let one = one(2, options);
    one.channel.warm(1).await.unwrap();
    let calls: Vec<_> = (0..40u8)
        .map(|i| {
            let channel = one.channel.clone();
            tokio::spawn(async move { channel.unary(&WORK, raw([1, i])).await.map(drop) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let order: Vec<u8> = one.journal.take().iter().map(|request| request[1]).collect();
    assert_eq!(order, (0..40).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn no_more_wait_than_allowed() {
    let mut options = options();
    options.max_connections = 1;
    options.max_waiting = 5;
    let one = one(1, options);
    one.channel.warm(1).await.unwrap();
    let calls: Vec<_> = (0..6).map(|_| begin(&one.channel, 1)).collect();
    ms(1).await;
    assert_eq!(one.channel.waiting(), 5);
    let error = begin(&one.channel, 1).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Limit, Code::ResourceExhausted), "{error}");
    assert!(error.to_string().contains("max_queued_calls"), "{error}");
    assert_eq!(error.processed(), Processed::No);
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

/// One stall says nothing about the calls that come after it: only the deadline ends a wait.
#[tokio::test(start_paused = true)]
async fn a_stall_makes_no_call_hopeless() {
    let mut options = options();
    options.max_connections = 1;
    let one = one(2, options);
    one.channel.warm(1).await.unwrap();
    // A stall of 2.5 s, while two more wait.
    let stalled: Vec<_> =
        (0..4).map(|i| begin(&one.channel, if i < 2 { 250 } else { 1 })).collect();
    ms(2400).await;
    let timed = |millis| {
        let request = Request::new(raw([1])).with_timeout(Duration::from_millis(millis));
        let channel = one.channel.clone();
        tokio::spawn(async move { channel.unary(&WORK, request).await })
    };
    let calls: Vec<_> = (0..40).map(|_| timed(500)).collect();
    ms(110).await;
    let more: Vec<_> = (0..40).map(|_| timed(1000)).collect();
    for call in calls.into_iter().chain(more) {
        call.await.unwrap().unwrap();
    }
    for call in stalled {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_the_queue() {
    let mut options = options();
    options.max_connections = 1;
    let one = one(1, options);
    one.channel.warm(1).await.unwrap();
    let first = begin(&one.channel, 100);
    ms(1).await;
    let request = Request::new(raw([0])).with_timeout(Duration::from_millis(300));
    let before = tokio::time::Instant::now();
    let error = one.channel.unary(&WORK, request).await.unwrap_err();
    assert_eq!(before.elapsed(), Duration::from_millis(300));
    assert_eq!((error.code(), error.phase()), (Code::DeadlineExceeded, Some(Phase::StreamQuota)));
    assert_eq!(error.processed(), Processed::No);
    assert_eq!(one.channel.waiting(), 0);
    first.await.unwrap().unwrap();
    assert_eq!(one.journal.take().len(), 1, "it never left");
}

/// Calls given up while they wait hold nothing, and the others go on.
#[tokio::test(start_paused = true)]
async fn calls_given_up_leave_the_queue() {
    let mut options = options();
    options.max_connections = 1;
    let one = one(1, options);
    one.channel.warm(1).await.unwrap();
    let calls: Vec<_> = (0..30).map(|_| begin(&one.channel, 1)).collect();
    ms(1).await;
    assert_eq!(one.channel.waiting(), 29);
    for call in calls.iter().skip(1).step_by(2) {
        call.abort();
    }
    ms(1).await;
    assert_eq!(one.channel.waiting(), 14);
    let mut ended = 0;
    for call in calls {
        ended += usize::from(call.await.is_ok_and(|result| result.is_ok()));
    }
    assert_eq!((ended, one.journal.take().len()), (15, 15));
}

/// A server that raises its limit lets those that wait go on at once.
#[tokio::test(start_paused = true)]
async fn a_limit_that_rises_serves_those_that_wait() {
    let one = one(1, {
        let mut options = options();
        options.max_connections = 2;
        options
    });
    one.channel.warm(1).await.unwrap();
    let slow = begin(&one.channel, 200);
    ms(1).await;
    // The second connection allows more.
    let _server = one.network.serve(crate::addr(1), router(&one.journal), allowing(100));
    let calls: Vec<_> = (0..20).map(|_| begin(&one.channel, 1)).collect();
    let before = tokio::time::Instant::now();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(before.elapsed() < Duration::from_millis(100), "{:?}", before.elapsed());
    slow.await.unwrap().unwrap();
}

/// Both halves of a stream that waits are dropped, the sending one first or last: it leaves the queue.
#[tokio::test(start_paused = true)]
async fn streams_given_up_leave_the_queue() {
    let mut options = options();
    options.max_connections = 1;
    let one = one(1, options);
    let call = begin(&one.channel, 50);
    ms(20).await;
    for sender_first in [true, false] {
        let (up, down) = one.channel.bidi(&WORK, ()).unwrap();
        ms(1).await;
        assert_eq!(one.channel.waiting(), 1);
        if sender_first {
            drop(up);
            drop(down);
        } else {
            drop(down);
            drop(up);
        }
        assert_eq!(one.channel.waiting(), 0, "sender first: {sender_first}");
    }
    call.await.unwrap().unwrap();
    assert_eq!((one.journal.take().len(), one.dials()), (1, 1));
}
