//! Streams move to another connection with what they have sent, as long as it is kept and no response
//! has begun.

use crate::link::Faults;
use crate::memory_pair::{BIDI, On, UNARY, UP, raw};
use crate::peer::{Peer, framed};
use framewire::client::{Channel, Sender};
use framewire::error::{Kind, Processed};
use framewire::transport::MemoryListener;
use framewire::unstable::grpc::Raw;
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::time::Duration;

fn channel(on: On, call: u32, all: u32) -> (Channel, MemoryListener) {
    let mut options = PoolOptions::new();
    options.keep_bytes = call;
    options.keep_total_bytes = all;
    on.lone_channel(options, Faults::default())
}

/// The bytes of a stream's messages up to a number of bytes, and whether it has ended. The peer
/// gives back what it reads.
async fn body(peer: &mut Peer, id: u32, bytes: usize) -> (Vec<u8>, bool) {
    let (mut body, mut ended) = (Vec::new(), false);
    while body.len() < bytes {
        let data = peer.next(FrameType::Data).await;
        if data.id == id {
            body.extend_from_slice(&data.payload);
            ended = data.ends();
        }
        if !data.payload.is_empty() {
            peer.window(0, data.payload.len() as u32).await;
            peer.window(data.id, data.payload.len() as u32).await;
        }
    }
    (body, ended)
}

fn wire(messages: &[&str]) -> Vec<u8> {
    messages.iter().flat_map(|message| framed(message.as_bytes())).collect()
}

async fn send(up: &mut Sender<Raw>, messages: &[&str]) {
    for message in messages {
        up.send(raw(message)).await.unwrap();
    }
}

pub async fn a_stream_moves_with_what_it_has_sent(on: On) {
    let (channel, mut listener) = channel(on, 1000, 1000);
    let (mut up, mut down) = channel.bidi(&BIDI, ()).unwrap();
    send(&mut up, &["one", "two"]).await;
    let mut first = Peer::accept(&mut listener, &[]).await;
    first.next(FrameType::Headers).await;
    assert_eq!(body(&mut first, 1, 16).await.0, wire(&["one", "two"]));
    send(&mut up, &["three"]).await;
    assert_eq!(body(&mut first, 1, 10).await.0, wire(&["three"]));
    first.goaway(0, ErrorCode::NO_ERROR, "").await;
    send(&mut up, &["four"]).await;
    let mut second = Peer::accept(&mut listener, &[]).await;
    second.next(FrameType::Headers).await;
    let all = wire(&["one", "two", "three", "four"]);
    assert_eq!(body(&mut second, 1, all.len()).await.0, all);
    // Moved once more, with its end.
    send(&mut up, &["five"]).await;
    up.finish().unwrap();
    assert_eq!(body(&mut second, 1, 9).await.0, wire(&["five"]));
    second.reset(1, ErrorCode::REFUSED_STREAM).await;
    second.next(FrameType::Headers).await;
    let all = wire(&["one", "two", "three", "four", "five"]);
    assert_eq!(body(&mut second, 3, all.len()).await, (all, true));
    second.response(3).await;
    second.data(3, &wire(&["yes"]), false).await;
    second.headers(3, true, &[("grpc-status", "0")]).await;
    assert_eq!(down.message().await.unwrap(), Some(raw("yes")));
    assert_eq!(down.message().await.unwrap(), None);
}

/// A call without a message yet, and one whose messages are small and large.
pub async fn every_kind_of_stream_moves(on: On) {
    let (channel, mut listener) = channel(on, 200_000, 1_000_000);
    let (up, down) = channel.client_streaming(&UP, ()).unwrap();
    let (mut large, _down) = channel.bidi(&BIDI, ()).unwrap();
    let texts = ["a".repeat(3), "b".repeat(5000), "c".repeat(60_000), "d".repeat(7)];
    for text in &texts {
        large.try_send(raw(text)).unwrap();
    }
    let mut first = Peer::accept(&mut listener, &[]).await;
    first.next(FrameType::Headers).await;
    // A part of them: windows hold the rest back.
    tokio::time::sleep(Duration::from_millis(5)).await;
    large.try_send(raw("e")).unwrap();
    first.goaway(0, ErrorCode::NO_ERROR, "").await;
    let mut second = Peer::accept(&mut listener, &[]).await;
    let ids = [second.next(FrameType::Headers).await, second.next(FrameType::Headers).await];
    let mut texts: Vec<_> = texts.iter().map(String::as_str).collect();
    texts.push("e");
    let all = wire(&texts);
    assert_eq!(body(&mut second, ids[1].id, all.len()).await.0, all);
    up.finish().unwrap();
    let end = second.next(FrameType::Data).await;
    assert_eq!((end.id, end.ends(), end.payload.len()), (ids[0].id, true, 0));
    second.answer(ids[0].id, b"none").await;
    assert_eq!(down.one().await.unwrap().into_inner(), raw("none"));
}

/// A sender that waited for room goes on on the next connection.
pub async fn a_sender_that_waits_moves_along(on: On) {
    let (channel, mut listener) = channel(on, 1 << 20, 1 << 20);
    let (mut up, _down) = channel.bidi(&BIDI, ()).unwrap();
    let sender = tokio::spawn(async move {
        for i in 0..200u8 {
            up.send(raw(vec![i; 1000])).await.unwrap();
        }
        up.finish().unwrap();
    });
    let mut first = Peer::accept(&mut listener, &[]).await;
    first.next(FrameType::Headers).await;
    // As much as the windows allow; then it waits.
    first.until_silent().await;
    assert!(!sender.is_finished());
    first.goaway(0, ErrorCode::NO_ERROR, "").await;
    let mut second = Peer::accept(&mut listener, &[]).await;
    second.next(FrameType::Headers).await;
    let all: Vec<u8> = (0..200u8).flat_map(|i| framed(&[i; 1000])).collect();
    let (came, _) = body(&mut second, 1, all.len()).await;
    assert!(came == all, "in order, nothing lost, nothing twice");
    sender.await.unwrap();
}

pub async fn a_stream_that_has_sent_more_than_is_kept_stays(on: On) {
    for bytes in [1000, 1001] {
        let (channel, mut listener) = channel(on, 1000, 2000);
        let (mut up, mut down) = channel.bidi(&BIDI, ()).unwrap();
        let mut first = Peer::accept(&mut listener, &[]).await;
        for part in [500, bytes - 500] {
            up.send(raw("x".repeat(part - 5))).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(body(&mut first, 1, bytes).await.0.len(), bytes);
        first.goaway(0, ErrorCode::NO_ERROR, "").await;
        if bytes == 1000 {
            let mut second = Peer::accept(&mut listener, &[]).await;
            assert_eq!(body(&mut second, 1, bytes).await.0.len(), bytes);
            // Too much from here on. It may have been seen, and nobody says that it was not.
            up.send(raw("x")).await.unwrap();
            second.next(FrameType::Data).await;
            drop(second);
            let error = down.message().await.unwrap_err();
            assert_eq!(error.processed(), Processed::Maybe, "{error}");
        } else {
            let error = down.message().await.unwrap_err();
            assert_eq!((error.kind(), error.processed()), (Kind::GoAway, Processed::No), "{error}");
        }
    }
}

/// All calls together have a bound, and what a response has settled is given back.
pub async fn the_channel_has_a_bound_for_all(on: On) {
    let (channel, mut listener) = channel(on, 4096, 4096);
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let (mut up, down) = channel.bidi(&BIDI, ()).unwrap();
        send(&mut up, &["x".repeat(3000).as_str()]).await;
        peer.next(FrameType::Data).await;
        streams.push((up, down));
    }
    // The second one found no room.
    peer.reset(3, ErrorCode::REFUSED_STREAM).await;
    let error = streams[1].1.message().await.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::Reset, Processed::No), "{error}");
    // The first one's response begins.
    peer.response(1).await;
    streams[0].1.metadata().await.unwrap();
    let (mut up, _down) = channel.bidi(&BIDI, ()).unwrap();
    send(&mut up, &["x".repeat(3000).as_str()]).await;
    peer.next(FrameType::Data).await;
    peer.reset(5, ErrorCode::REFUSED_STREAM).await;
    assert_eq!(peer.next(FrameType::Headers).await.id, 7);
    assert_eq!(body(&mut peer, 7, 3005).await.0.len(), 3005);
}

/// Whole requests of more than 64 KiB count as well; smaller ones are always kept.
pub async fn a_large_request_moves_if_there_is_room_for_it(on: On) {
    let (channel, mut listener) = channel(on, 0, 100_000);
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let mut calls = Vec::new();
    for bytes in [70_000, 70_000, 60_000] {
        let channel = channel.clone();
        calls.push(tokio::spawn(async move { channel.unary(&UNARY, raw(vec![7; bytes])).await }));
        peer.next(FrameType::Headers).await;
    }
    peer.goaway(0, ErrorCode::NO_ERROR, "").await;
    let mut next = Peer::accept(&mut listener, &[]).await;
    let error = calls.remove(1).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::GoAway, Processed::No), "{error}");
    let mut came = [0; 2];
    while came != [70_005, 60_005] {
        let data = next.next(FrameType::Data).await;
        came[data.id as usize / 2] += data.payload.len();
        next.window(0, data.payload.len() as u32).await;
        next.window(data.id, data.payload.len() as u32).await;
    }
    for id in [1, 3] {
        next.answer(id, b"").await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

/// Forty streams in the middle of their messages: those above the last identifier move, the others
/// end where they are.
pub async fn a_goaway_in_the_middle_of_a_burst(on: On) {
    let (channel, mut listener) = channel(on, 1000, 1_000_000);
    channel.connect();
    let mut first = Peer::accept(&mut listener, &[]).await;
    let calls: Vec<_> = (0..40u8)
        .map(|i| {
            let channel = channel.clone();
            tokio::spawn(async move {
                let (mut up, down) = channel.client_streaming(&UP, ()).unwrap();
                for part in 0..4 {
                    up.send(raw([i, part])).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(u64::from(i % 3) * 2)).await;
                }
                up.finish().unwrap();
                down.one().await.map(|answer| answer.into_inner())
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(3)).await;
    // Twenty have identifiers up to 39.
    first.goaway(39, ErrorCode::NO_ERROR, "").await;
    let mut second = Peer::accept(&mut listener, &[]).await;
    let mut ran = served(&mut first, 20, 39).await;
    ran.extend(served(&mut second, 20, u32::MAX).await);
    ran.sort();
    let whole = |i: u8| [0, 1, 2, 3].map(|part| framed(&[i, part])).concat();
    assert_eq!(ran, (0..40).map(whole).collect::<Vec<_>>());
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), raw([i as u8]));
    }
}

/// Reads streams up to an identifier to their ends and answers with their first byte.
async fn served(peer: &mut Peer, streams: usize, last: u32) -> Vec<Vec<u8>> {
    let mut bodies = std::collections::BTreeMap::<u32, Vec<u8>>::new();
    let mut whole = Vec::new();
    while whole.len() < streams {
        let data = peer.next(FrameType::Data).await;
        if data.id > last {
            continue;
        }
        bodies.entry(data.id).or_default().extend_from_slice(&data.payload);
        if data.ends() {
            let body = bodies.remove(&data.id).unwrap();
            peer.answer(data.id, &body[5..6]).await;
            whole.push(body);
        }
    }
    whole
}
