//! Peers that refuse streams, or disown them by GOAWAY: what it costs them, and what callers see.

use crate::network::{Network, addr};
use crate::peer::{Frame, Peer};
use crate::{Call, begin, begin_with, lone, ms, named, options, work};
use framewire::client::{Balance, Channel};
use framewire::error::Processed;
use framewire::transport::MemoryListener;
use framewire::unstable::grpc::{Code, Request};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// SETTINGS_MAX_CONCURRENT_STREAMS.
const STREAMS: u16 = 3;

fn heads(frames: &[Frame]) -> Vec<u32> {
    let heads = frames.iter().filter(|frame| frame.kind == FrameType::Headers);
    heads.map(|frame| frame.id).collect()
}

/// A channel of one connection to a peer that follows a script.
async fn scripted(change: impl FnOnce(&mut PoolOptions)) -> (Channel, Peer, MemoryListener) {
    let network = Network::new();
    let mut listener = network.listen(addr(1));
    let mut options = options();
    options.max_connections = 1;
    change(&mut options);
    let channel = lone(network, options);
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[(STREAMS, 100)]).await;
    peer.until_silent().await;
    (channel, peer, listener)
}

fn timed(id: u32, deadline: Duration) -> Request<framewire::unstable::grpc::Raw> {
    Request::new(work(id, 0)).with_timeout(deadline)
}

/// Refuses the streams that are opened, so many times; returns their identifiers.
async fn refuse(peer: &mut Peer, times: usize) -> Vec<u32> {
    let mut ids = Vec::new();
    for _ in 0..times {
        let id = peer.next(FrameType::Headers).await.id;
        peer.reset(id, ErrorCode::REFUSED_STREAM).await;
        ids.push(id);
    }
    ids
}

async fn fails_unprocessed(call: Call, code: Code) -> String {
    let error = call.await.unwrap().0.unwrap_err();
    assert_eq!((error.code(), error.processed()), (code, Processed::No), "{error}");
    error.to_string()
}

/// Accepts every connection, and of all streams together answers `most` at a time; it refuses the others.
fn serve(mut listener: MemoryListener, heads: Arc<AtomicUsize>, most: usize) {
    let open = Arc::new(Mutex::new(0));
    tokio::spawn(async move {
        loop {
            let mut peer = Peer::accept(&mut listener, &[(STREAMS, 100)]).await;
            let (heads, open) = (Arc::clone(&heads), Arc::clone(&open));
            tokio::spawn(async move {
                let mut answers = tokio::task::JoinSet::new();
                loop {
                    tokio::select! {
                        frame = peer.frame_at_leisure() => {
                            let Some(frame) = frame else { return };
                            if frame.kind != FrameType::Headers {
                                continue;
                            }
                            heads.fetch_add(1, Ordering::SeqCst);
                            let free = *open.lock().unwrap() < most;
                            *open.lock().unwrap() += usize::from(free);
                            answers.spawn(async move {
                                ms(if free { 50 } else { 5 }).await;
                                (frame.id, free)
                            });
                        }
                        Some(done) = answers.join_next() => match done.unwrap() {
                            (id, true) => {
                                *open.lock().unwrap() -= 1;
                                peer.answer(id, &[0; 5]).await;
                            }
                            (id, false) => peer.reset(id, ErrorCode::REFUSED_STREAM).await,
                        },
                    }
                }
            });
        }
    });
}

/// A server that refuses everything has two streams of each call, and every call ends by its deadline.
#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_everything_has_two_streams_a_call() {
    for connections in [1, 4] {
        let network = Network::new();
        let heads = Arc::new(AtomicUsize::new(0));
        serve(network.listen(addr(1)), Arc::clone(&heads), 0);
        let mut options = options();
        options.max_connections = connections;
        let channel = lone(network.clone(), options);
        channel.warm(1).await.unwrap();
        let deadline = Duration::from_secs(1);
        let calls: Vec<_> = (0..40).map(|id| begin_with(&channel, timed(id, deadline))).collect();
        for call in calls {
            let (result, took) = call.await.unwrap();
            let error = result.unwrap_err();
            assert_eq!((error.code(), error.processed()), (Code::Unavailable, Processed::No));
            assert!(took <= deadline, "{took:?}");
        }
        assert_eq!(heads.load(Ordering::SeqCst), 80);
    }
}

/// A server that carries ten calls and refuses what is beyond: all are served, without a policy.
#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_what_is_beyond_its_capacity_serves_all() {
    let network = Network::new();
    let heads = Arc::new(AtomicUsize::new(0));
    serve(network.listen(addr(1)), Arc::clone(&heads), 10);
    let mut options = options();
    options.max_connections = 1;
    let channel = lone(network.clone(), options);
    channel.warm(1).await.unwrap();
    let calls: Vec<_> = (0..100).map(|id| begin(&channel, id)).collect();
    for call in calls {
        call.await.unwrap().0.unwrap();
    }
    let heads = heads.load(Ordering::SeqCst);
    assert!((100..=300).contains(&heads), "{heads} streams for 100 calls");
}

/// One endpoint carries one long call and refuses all others; the other endpoint serves all that it refused,
/// those that already wait for it included.
#[tokio::test(start_paused = true)]
async fn what_one_endpoint_refuses_another_one_serves() {
    for balance in [Balance::RoundRobin, Balance::LeastLoaded] {
        let network = Network::new();
        network.name(Some(vec![addr(1), addr(2)]));
        let mut full = network.listen(addr(1));
        let heads = Arc::new(AtomicUsize::new(0));
        serve(network.listen(addr(2)), Arc::clone(&heads), 100);
        tokio::spawn(async move {
            let mut peer = Peer::accept(&mut full, &[(STREAMS, 100)]).await;
            let mut streams = 0;
            while let Some(frame) = peer.frame_at_leisure().await {
                if frame.kind == FrameType::Headers {
                    streams += 1;
                    if streams > 1 {
                        peer.reset(frame.id, ErrorCode::REFUSED_STREAM).await;
                    }
                }
            }
        });
        let mut options = options();
        (options.max_connections, options.balance) = (1, balance);
        let channel = named(&network, options);
        channel.warm(1).await.unwrap();
        // One of two goes to the endpoint that keeps its first call.
        let mut kept: Vec<_> = (0..2).map(|id| begin(&channel, id)).collect();
        ms(500).await;
        kept.retain(|call| !call.is_finished());
        assert_eq!(kept.len(), 1);
        let calls: Vec<_> = (2..200).map(|id| begin(&channel, id)).collect();
        for call in calls {
            let call = tokio::time::timeout(Duration::from_secs(60), call).await.expect("hangs");
            call.unwrap().0.unwrap();
        }
        assert!(!kept[0].is_finished());
    }
}

/// One stream stays open and the server refuses all others for a moment. Once it is well, all calls are served,
/// those that it refused included: by another connection, or by that one if there may be no other.
#[tokio::test(start_paused = true)]
async fn a_moment_of_refusals_beside_a_long_stream_ends() {
    for connections in [1, 4] {
        let network = Network::new();
        let busy = Arc::new(AtomicBool::new(false));
        let (mut listener, refuses) = (network.listen(addr(1)), Arc::clone(&busy));
        tokio::spawn(async move {
            loop {
                let mut peer = Peer::accept(&mut listener, &[(STREAMS, 100)]).await;
                let refuses = Arc::clone(&refuses);
                tokio::spawn(async move {
                    while let Some(frame) = peer.frame_at_leisure().await {
                        let kept = frame.field("x-kept").is_some();
                        match frame.kind {
                            FrameType::Headers if kept => {}
                            FrameType::Headers if refuses.load(Ordering::SeqCst) => {
                                peer.reset(frame.id, ErrorCode::REFUSED_STREAM).await;
                            }
                            FrameType::Headers => peer.answer(frame.id, &[0; 5]).await,
                            _ => {}
                        }
                    }
                });
            }
        });
        let mut options = options();
        options.max_connections = connections;
        let channel = lone(network.clone(), options);
        let mut kept = Request::new(work(0, 0));
        kept.metadata_mut().insert("x-kept", "1").unwrap();
        let kept = begin_with(&channel, kept);
        ms(100).await;
        busy.store(true, Ordering::SeqCst);
        let mut calls: Vec<_> = (1..9).map(|id| begin(&channel, id)).collect();
        ms(200).await;
        let text = channel.stats().to_string();
        assert!(text.contains("the peer refused 8 calls twice (REFUSED_STREAM)"), "{text}");
        busy.store(false, Ordering::SeqCst);
        calls.extend((9..12).map(|id| begin(&channel, id)));
        for call in calls {
            let call = tokio::time::timeout(Duration::from_secs(60), call).await.expect("hangs");
            call.unwrap().0.unwrap();
        }
        assert!(!kept.is_finished());
    }
}

/// Beside a long stream, a server that never stops to refuse all others: the calls end one after the other, and say
/// why.
#[tokio::test(start_paused = true)]
async fn calls_that_are_refused_again_and_again_end() {
    let (channel, mut peer, _listener) = scripted(|_| {}).await;
    let held = begin(&channel, 0);
    let held_id = peer.next(FrameType::Headers).await.id;
    let calls: Vec<_> = (1..4).map(|id| begin(&channel, id)).collect();
    let script = tokio::spawn(async move {
        loop {
            refuse(&mut peer, 1).await;
        }
    });
    for call in calls {
        let text = fails_unprocessed(call, Code::Unavailable).await;
        assert!(text.contains("REFUSED_STREAM, 3 times"), "{text}");
    }
    assert!(!held.is_finished() && held_id == 1);
    script.abort();
}

/// Refused once: sent again immediately. Twice: once another call there has ended.
#[tokio::test(start_paused = true)]
async fn a_call_refused_twice_waits_for_the_end_of_another() {
    let (channel, mut peer, _listener) = scripted(|_| {}).await;
    let held = begin(&channel, 1);
    let held_id = peer.next(FrameType::Headers).await.id;
    let call = begin(&channel, 2);
    refuse(&mut peer, 2).await;
    assert!(heads(&peer.until_silent().await).is_empty(), "nothing has ended");
    assert_eq!(channel.waiting(), 1);
    // The connection takes no new call either: it carries what is open.
    let other = begin(&channel, 3);
    assert!(heads(&peer.until_silent().await).is_empty());
    peer.answer(held_id, &[0; 5]).await;
    held.await.unwrap().0.unwrap();
    let again = heads(&peer.until_silent().await);
    assert_eq!(again.len(), 1, "as many as have ended");
    peer.answer(again[0], &[0; 5]).await;
    call.await.unwrap().0.unwrap();
    // The limit that was learned grows with the calls that end.
    let again = heads(&peer.until_silent().await);
    peer.answer(again[0], &[0; 5]).await;
    other.await.unwrap().0.unwrap();
    let more: Vec<_> = (10..40).map(|id| begin(&channel, id)).collect();
    let mut batches = Vec::new();
    while batches.iter().sum::<usize>() < more.len() {
        let ids = heads(&peer.until_silent().await);
        batches.push(ids.len());
        for id in ids {
            peer.answer(id, &[0; 5]).await;
        }
    }
    assert!(batches.contains(&7), "{batches:?}");
    for call in more {
        call.await.unwrap().0.unwrap();
    }
}

/// It waits no longer than its deadline, and a third refusal ends it.
#[tokio::test(start_paused = true)]
async fn a_call_refused_twice_has_its_deadline_and_one_more_try() {
    let (channel, mut peer, _listener) = scripted(|_| {}).await;
    let held = begin(&channel, 1);
    let held_id = peer.next(FrameType::Headers).await.id;
    let deadline = Duration::from_secs(3);
    let late = begin_with(&channel, timed(2, deadline));
    refuse(&mut peer, 2).await;
    let (result, took) = late.await.unwrap();
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.processed()), (Code::DeadlineExceeded, Processed::No));
    assert!(error.to_string().contains("the peer refused the call 2 times"), "{error}");
    crate::is_on_time(took, deadline);
    assert_eq!(channel.waiting(), 0);
    peer.settings(&[(STREAMS, 101)]).await;
    let short = begin(&channel, 3);
    let short_id = peer.next(FrameType::Headers).await.id;
    let third = begin(&channel, 4);
    refuse(&mut peer, 2).await;
    peer.answer(short_id, &[0; 5]).await;
    short.await.unwrap().0.unwrap();
    refuse(&mut peer, 1).await;
    let text = fails_unprocessed(third, Code::Unavailable).await;
    assert!(text.contains("REFUSED_STREAM, 3 times"), "{text}");
    peer.answer(held_id, &[0; 5]).await;
    held.await.unwrap().0.unwrap();
    assert!(heads(&peer.until_silent().await).is_empty());
}

/// SETTINGS that raise the limit let it begin; the loss of the connection sends it elsewhere.
#[tokio::test(start_paused = true)]
async fn a_call_refused_twice_follows_settings_and_goaway() {
    let (channel, mut peer, mut listener) = scripted(|_| {}).await;
    let held = begin(&channel, 1);
    let held_id = peer.next(FrameType::Headers).await.id;
    let raised = begin(&channel, 2);
    refuse(&mut peer, 2).await;
    peer.settings(&[(STREAMS, 100)]).await;
    assert!(heads(&peer.until_silent().await).is_empty(), "nothing was raised");
    peer.settings(&[(STREAMS, 101)]).await;
    let id = peer.next(FrameType::Headers).await.id;
    peer.answer(id, &[0; 5]).await;
    raised.await.unwrap().0.unwrap();
    let moved = begin(&channel, 3);
    refuse(&mut peer, 2).await;
    peer.goaway(held_id, ErrorCode::NO_ERROR, "").await;
    let mut second = Peer::accept(&mut listener, &[]).await;
    let id = second.next(FrameType::Headers).await.id;
    second.answer(id, &[0; 5]).await;
    moved.await.unwrap().0.unwrap();
    peer.answer(held_id, &[0; 5]).await;
    held.await.unwrap().0.unwrap();
}

/// Calls that wait for a refuser count for the queue's bound, and cancelled ones leave it.
#[tokio::test(start_paused = true)]
async fn refused_calls_are_bounded_and_can_be_cancelled() {
    let (channel, mut peer, _listener) = scripted(|options| options.max_waiting = 1).await;
    let held = begin(&channel, 1);
    let held_id = peer.next(FrameType::Headers).await.id;
    let [one, two] = [begin(&channel, 2), begin(&channel, 3)];
    refuse(&mut peer, 4).await;
    let text = fails_unprocessed(two, Code::ResourceExhausted).await;
    assert!(text.contains("max_queued_calls"), "{text}");
    one.abort();
    ms(1).await;
    assert_eq!(channel.waiting(), 0);
    peer.answer(held_id, &[0; 5]).await;
    held.await.unwrap().0.unwrap();
    assert!(heads(&peer.until_silent().await).is_empty());
}

/// A hundred calls that a GOAWAY disowns move at once, although one may wait in the queue.
#[tokio::test(start_paused = true)]
async fn disowned_calls_move_whatever_the_bound_of_the_queue() {
    let (channel, mut peer, mut listener) = scripted(|options| options.max_waiting = 1).await;
    let calls: Vec<_> = (0..100).map(|id| begin(&channel, id)).collect();
    assert_eq!(heads(&peer.until_silent().await).len(), 100);
    peer.goaway(0, ErrorCode::NO_ERROR, "").await;
    let mut second = Peer::accept(&mut listener, &[(STREAMS, 100)]).await;
    for id in heads(&second.until_silent().await) {
        second.answer(id, &[0; 5]).await;
    }
    for call in calls {
        call.await.unwrap().0.unwrap();
    }
}

/// Each connection ends with GOAWAY before it has served a call: the second one in a row is a failed dial.
#[tokio::test(start_paused = true)]
async fn a_storm_of_goaways_is_a_server_that_is_down() {
    let network = Network::new();
    let mut listener = network.listen(addr(1));
    tokio::spawn(async move {
        loop {
            let mut peer = Peer::accept(&mut listener, &[]).await;
            tokio::spawn(async move {
                peer.next(FrameType::Headers).await;
                peer.goaway(0, ErrorCode::NO_ERROR, "").await;
                while peer.frame_at_leisure().await.is_some() {}
            });
        }
    });
    let channel = lone(network.clone(), options());
    let dials = || network.counts(addr(1)).dials.load(Ordering::SeqCst);
    let text = fails_unprocessed(begin(&channel, 1), Code::Unavailable).await;
    assert!(text.contains("2 connections in a row with GOAWAY NO_ERROR"), "{text}");
    assert_eq!(dials(), 2);
    // The others fail as at any server that is down; patient ones cost a dial per backoff.
    fails_unprocessed(begin(&channel, 2), Code::Unavailable).await;
    let patient = Request::new(work(3, 0)).with_wait_for_ready(true);
    let patient = begin_with(&channel, patient.with_timeout(Duration::from_secs(10)));
    let (result, took) = patient.await.unwrap();
    assert_eq!(result.unwrap_err().code(), Code::DeadlineExceeded);
    crate::is_on_time(took, Duration::from_secs(10));
    assert!(dials() <= 9, "{} dials in 10 s", dials());
}
