//! Many calls at once: the peer's limits, small windows, fairness.

use crate::link::Faults;
use crate::memory_pair::{DOWN, On, RawMethod, UNARY, raw, router};
use crate::peer::{Peer, framed, request};
use framewire::server::Router;
use framewire::unstable::grpc::{Method, Raw, Response};
use framewire::unstable::http2::StreamId;
use framewire::unstable::http2::frame::{Flags, FrameHeader, FrameType};
use framewire::unstable::pool::PoolOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const WORK: RawMethod = Method::new("/test.Echo/Work");

pub async fn more_calls_than_the_peer_allows(on: On) {
    for calls in [100, 300] {
        let (at_work, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (now, peak) = (Arc::clone(&at_work), Arc::clone(&most));
        let router = router().unary(&WORK, move |_, request: Raw| {
            let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
            async move {
                peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(Response::new(request))
            }
        });
        let mut setup = on.setup(router);
        setup.server.limits.concurrent_streams = 10;
        let pair = setup.start();
        // The limit is known before the calls begin.
        pair.channel.unary(&UNARY, raw("")).await.unwrap();
        let tasks: Vec<_> = (0..calls)
            .map(|i: u32| {
                let channel = pair.channel.clone();
                tokio::spawn(async move {
                    let message = raw(i.to_be_bytes());
                    let got = channel.unary(&WORK, message.clone()).await.unwrap();
                    assert_eq!(got.into_inner(), message);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 10, "the limit is used and kept");
        assert_eq!(pair.channel.unstable_handles().len(), 1);
    }
}

/// The windows together hold far less than one message of each stream.
pub async fn large_messages_on_a_hundred_streams_through_small_windows(on: On) {
    const OCTETS: usize = 3 * 1024 * 1024;
    let mut setup = on.setup(router());
    for limits in [&mut setup.server.limits, &mut setup.client.driver.limits] {
        limits.stream_window = 64 * 1024;
        limits.connection_window = 128 * 1024;
        limits.stream_window_max = 64 * 1024;
        limits.connection_window_max = 128 * 1024;
    }
    let pair = setup.start();
    let message = bytes::Bytes::from(vec![9; OCTETS]);
    let tasks: Vec<_> = (0..100)
        .map(|i| {
            let (channel, message) = (pair.channel.clone(), Raw(message.clone()));
            tokio::spawn(async move {
                if i % 2 == 0 {
                    let got = channel.unary(&UNARY, message.clone()).await.unwrap();
                    assert!(got.into_inner() == message);
                } else {
                    // Its first byte says 9.
                    let mut down = channel.server_streaming(&DOWN, Raw(message.0.slice(..60_000)));
                    let down = down.as_mut().unwrap();
                    for _ in 0..9 {
                        assert_eq!(down.message().await.unwrap().unwrap().0.len(), 60_000);
                    }
                    assert_eq!(down.message().await.unwrap(), None);
                }
            })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(600), task).await.expect("stuck").unwrap();
    }
}

/// What each reader may keep to itself is less than a report, and together more than the
/// connection's window.
pub async fn small_messages_on_a_hundred_streams_through_a_small_window(on: On) {
    // One message at a time, so that no stream has enough of them to speak up.
    let router = Router::new().server_streaming(&DOWN, |_, request: Raw, mut replies| async move {
        for _ in 0..9 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            replies.send(request.clone()).await?;
        }
        Ok(())
    });
    let mut setup = on.setup(router);
    for limits in [&mut setup.server.limits, &mut setup.client.driver.limits] {
        limits.stream_window = 64 * 1024;
        limits.connection_window = 64 * 1024;
        limits.stream_window_max = 64 * 1024;
        limits.connection_window_max = 64 * 1024;
        limits.unread_free_bytes = 0;
    }
    let pair = setup.start();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let channel = pair.channel.clone();
            tokio::spawn(async move {
                let mut down = channel.server_streaming(&DOWN, raw([9; 2000])).unwrap();
                // The window is used up, and nothing wakes the driver but what is read here.
                tokio::time::sleep(Duration::from_millis(50)).await;
                for _ in 0..9 {
                    assert_eq!(down.message().await.unwrap(), Some(raw([9; 2000])));
                }
                assert_eq!(down.message().await.unwrap(), None);
            })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(600), task).await.expect("stuck").unwrap();
    }
}

pub async fn a_bulk_stream_leaves_room_for_small_calls(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let huge = [(4, 1 << 30), (3, 1000)];
    let mut peer = Peer::accept(&mut listener, &huge).await;
    peer.window(0, 1 << 30).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let bulk = channel.clone();
    let bulk = tokio::spawn(async move { bulk.unary(&UNARY, raw(vec![0; 64_000_000])).await });
    peer.next(FrameType::Data).await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { channel.unary(&UNARY, raw([1; 100])).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let (mut bytes, mut answered) = (0, 0);
    while answered < 100 {
        let frame = peer.next(FrameType::Data).await;
        if frame.id == 1 {
            bytes += frame.payload.len();
        } else if frame.ends() {
            answered += 1;
            peer.answer(frame.id, b"").await;
        }
    }
    // What our buffer and the link hold, and one slice of the bulk between two small frames.
    assert!(bytes <= 768 * 1024 + 100 * 16 * 1024, "{bytes} bytes of bulk came before the last");
    for call in calls {
        call.await.unwrap().unwrap();
    }
    bulk.abort();
}

pub async fn a_window_that_becomes_negative(on: On) {
    let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[(4, 1000)]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let call = tokio::spawn(async move { channel.unary(&UNARY, raw(vec![3; 2000])).await });
    assert_eq!(peer.next(FrameType::Data).await.payload.len(), 1000);
    // 1000 are used: the window is now -900.
    peer.settings(&[(4, 100)]).await;
    peer.window(1, 900).await;
    let silent = peer.until_silent().await;
    assert!(silent.iter().all(|frame| frame.kind != FrameType::Data), "{silent:?}");
    peer.window(1, 1).await;
    assert_eq!(peer.next(FrameType::Data).await.payload.len(), 1);
    peer.settings(&[(4, 5000)]).await;
    let last = peer.next(FrameType::Data).await;
    assert_eq!((last.payload.len(), last.ends()), (1004, true));
    peer.answer(1, b"").await;
    call.await.unwrap().unwrap();
}

/// Padding counts in both windows.
pub async fn padding_is_credited(on: On) {
    let pair = on.setup(router()).start();
    let mut peer = Peer::dial(&pair.connector).await;
    let mut frame = Vec::new();
    let mut granted = 0;
    for i in 0..200u32 {
        let id = 2 * i + 1;
        peer.headers(id, false, &request("/test.Echo/Unary", &[])).await;
        frame.clear();
        let message = framed(&[1; 2000]);
        let length = 1 + message.len() + 255;
        let flags = Flags::PADDED.with(Flags::END_STREAM, true);
        FrameHeader::new(length as u32, FrameType::Data, flags, StreamId::new(id))
            .write(&mut frame);
        frame.push(255);
        frame.extend_from_slice(&message);
        frame.resize(frame.len() + 255, 0);
        peer.send(&frame).await;
        let mut note = |frames: &[crate::peer::Frame]| {
            let updates = frames.iter().filter(|f| f.kind == FrameType::WindowUpdate && f.id == 0);
            granted += updates.map(|f| u64::from(f.number())).sum::<u64>();
        };
        loop {
            let answer = peer.next_noting(FrameType::Headers, &mut note).await;
            if answer.ends() {
                break;
            }
        }
        // What the answer took of our window.
        peer.window(0, 4096).await;
    }
    let sent = 200 * (1 + 2005 + 255);
    let initial = 1024 * 1024 - 65_535;
    let owed = (sent + initial) as u64 - granted.min((sent + initial) as u64);
    assert!(owed <= 512 * 1024, "{owed} bytes are not credited");
}
