//! A peer whose stream limit falls and rises while calls run and wait.

use crate::network::{Network, addr};
use crate::peer::{Frame, Peer};
use crate::{begin, begin_with, is_on_time, lone, ms, options, work};
use framewire::error::Processed;
use framewire::unstable::grpc::{Code, Request};
use framewire::unstable::http2::frame::FrameType;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// SETTINGS_MAX_CONCURRENT_STREAMS.
const STREAMS: u16 = 3;

/// Streams that a request opened and that are not answered, once all is quiet.
struct Open(VecDeque<u32>);

impl Open {
    async fn look(&mut self, peer: &mut Peer) -> Vec<Frame> {
        let frames = peer.until_silent().await;
        for frame in &frames {
            match frame.kind {
                FrameType::Headers => self.0.push_back(frame.id),
                FrameType::RstStream => self.0.retain(|id| *id != frame.id),
                _ => {}
            }
        }
        frames
    }

    async fn answer(&mut self, peer: &mut Peer) {
        let id = self.0.pop_front().unwrap();
        peer.answer(id, &[0; 5]).await;
    }
}

/// To none, to one, and up again: what runs goes on, nothing is opened over the limit, calls that
/// wait keep their order, their deadlines and their right to be given up.
#[tokio::test(start_paused = true)]
async fn a_limit_that_falls_to_none_and_rises() {
    let network = Network::new();
    let mut listener = network.listen(addr(1));
    let mut options = options();
    options.max_connections = 1;
    let channel = lone(network.clone(), options);
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[(STREAMS, 5)]).await;
    let mut open = Open(VecDeque::new());
    open.look(&mut peer).await;
    let running: Vec<_> = (0..5).map(|id| begin(&channel, id)).collect();
    open.look(&mut peer).await;
    assert_eq!(open.0.len(), 5);
    peer.settings(&[(STREAMS, 0)]).await;
    open.look(&mut peer).await;
    let waiting: Vec<_> = (10..20).map(|id| begin(&channel, id)).collect();
    let deadline = Duration::from_millis(4321);
    let late = begin_with(&channel, Request::new(work(30, 0)).with_timeout(deadline));
    // The running ones end, and nobody takes their places.
    for call in running {
        open.answer(&mut peer).await;
        call.await.unwrap().0.unwrap();
        open.look(&mut peer).await;
        assert!(open.0.len() <= 4, "a stream over the limit of none");
    }
    assert!(open.0.is_empty());
    let (result, took) = late.await.unwrap();
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.processed()), (Code::DeadlineExceeded, Processed::No));
    is_on_time(took, deadline);
    // Half of those that wait are given up: they leave at once.
    assert_eq!(channel.waiting(), 10);
    for call in waiting.iter().step_by(2) {
        call.abort();
    }
    ms(1).await;
    assert_eq!(channel.waiting(), 5);
    peer.settings(&[(STREAMS, 1)]).await;
    let mut left = waiting.into_iter().skip(1).step_by(2);
    for call in left.by_ref().take(3) {
        open.look(&mut peer).await;
        assert_eq!(open.0.len(), 1, "the limit is one");
        open.answer(&mut peer).await;
        call.await.unwrap().0.unwrap();
    }
    peer.settings(&[(STREAMS, 100)]).await;
    open.look(&mut peer).await;
    assert_eq!(open.0.len(), 2, "all that are left");
    for call in left {
        open.answer(&mut peer).await;
        call.await.unwrap().0.unwrap();
    }
    assert_eq!(network.counts(addr(1)).dials.load(Ordering::SeqCst), 1);
}

/// Where more connections are allowed, one whose limit falls to none brings the next.
#[tokio::test(start_paused = true)]
async fn a_limit_of_none_brings_another_connection() {
    let network = Network::new();
    let mut listener = network.listen(addr(1));
    let mut options = options();
    options.max_connections = 2;
    let channel = lone(network.clone(), options);
    channel.connect();
    let mut first = Peer::accept(&mut listener, &[(STREAMS, 5)]).await;
    first.until_silent().await;
    first.settings(&[(STREAMS, 0)]).await;
    first.until_silent().await;
    let call = begin(&channel, 1);
    let mut second = Peer::accept(&mut listener, &[(STREAMS, 5)]).await;
    let id = second.next(FrameType::Headers).await.id;
    second.answer(id, &[0; 5]).await;
    call.await.unwrap().0.unwrap();
    let heard = first.until_silent().await;
    assert!(heard.iter().all(|frame| frame.kind != FrameType::Headers), "{heard:?}");
}

/// A peer that names no limit: from 75 calls on another connection is used; when there are as many as may
/// be, calls go on up to the limit of this side, and then wait within the queue's bound.
#[tokio::test(start_paused = true)]
async fn a_peer_without_a_limit_has_a_soft_one() {
    let network = Network::new();
    let mut listener = network.listen(addr(1));
    let mut options = options();
    (options.max_connections, options.max_calls, options.max_waiting) = (2, 300, 10);
    let channel = lone(network.clone(), options);
    channel.connect();
    let mut first = Peer::accept(&mut listener, &[]).await;
    let mut open = [Open(VecDeque::new()), Open(VecDeque::new())];
    open[0].look(&mut first).await;
    let mut calls: Vec<_> = (0..75).map(|id| begin(&channel, id)).collect();
    open[0].look(&mut first).await;
    assert_eq!((open[0].0.len(), channel.unstable_handles().len()), (75, 1));
    // Further ones bring another connection, and do not wait for it.
    for id in 75..80 {
        calls.push(begin(&channel, id));
        open[0].look(&mut first).await;
    }
    let mut second = Peer::accept(&mut listener, &[]).await;
    open[1].look(&mut second).await;
    calls.extend((80..610).map(|id| begin(&channel, id)));
    let late: Vec<_> = (610..615).map(|id| begin(&channel, id)).collect();
    open[0].look(&mut first).await;
    open[1].look(&mut second).await;
    assert_eq!((open[0].0.len(), open[1].0.len(), channel.waiting()), (300, 300, 10));
    for call in late {
        let error = call.await.unwrap().0.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    }
    let text = channel.stats().to_string();
    assert!(text.contains("300 of 300 calls") && !text.contains("429496"), "{text}");
    while channel.stats().calls() > 0 {
        for (open, peer) in open.iter_mut().zip([&mut first, &mut second]) {
            while !open.0.is_empty() {
                open.answer(peer).await;
            }
            open.look(peer).await;
        }
    }
    for call in calls {
        call.await.unwrap().0.unwrap();
    }
    assert_eq!(network.counts(addr(1)).dials.load(Ordering::SeqCst), 2);
}
