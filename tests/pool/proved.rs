//! No call is written to a connection whose peer has not sent SETTINGS, and such a connection is a failed
//! dial: calls wait, go to another endpoint, or fail with the reason and may be made again.

use crate::network::{Network, addr};
use crate::peer::Peer;
use crate::{Journal, WORK, allowing, begin, ms, options, raw, router};
use framewire::client::{Advanced, Balance, Channel, ChannelState};
use framewire::error::{Error, Kind, Phase, Processed};
use framewire::server::Server;
use framewire::transport::{Accept, BoxedIo, MemoryListener};
use framewire::unstable::grpc::{Code, Request, Response};
use framewire::unstable::http2::frame::FrameType;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

/// Accepts, reads, and says nothing. Returns how many requests came.
fn silent(mut listener: MemoryListener) -> Arc<AtomicUsize> {
    let frames = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&frames);
    tokio::spawn(async move {
        while let Ok(connected) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut peer = Peer::over(connected.io);
                peer.preface().await;
                while let Some(frame) = peer.unanswered().await {
                    seen.fetch_add(usize::from(frame.kind == FrameType::Headers), Ordering::SeqCst);
                }
            });
        }
    });
    frames
}

/// Accepts, and does what `then` does.
fn accepting<F: Future<Output = ()> + Send + 'static>(
    mut listener: MemoryListener,
    then: impl Fn(BoxedIo) -> F + Send + 'static,
) {
    tokio::spawn(async move {
        while let Ok(connected) = listener.accept().await {
            tokio::spawn(then(connected.io));
        }
    });
}

/// Three addresses of which one accepts and says nothing.
struct Three {
    channel: Channel,
    _servers: Vec<Server>,
    /// Calls that were written to the silent one.
    written: Arc<AtomicUsize>,
}

fn three(balance: Balance, mute: u8) -> Three {
    let network = Network::new();
    network.name(Some((1..=3).map(addr).collect()));
    let written = silent(network.listen(addr(mute)));
    let others = (1..=3).filter(|n| *n != mute);
    let serve = |n| network.serve(addr(n), router(&Journal::default()), allowing(100));
    let servers = others.map(serve).collect();
    let mut options = options();
    options.balance = balance;
    let channel = Channel::builder("http://test").connector(network.clone());
    let channel = channel.resolver(network.clone()).unstable_pool(options).build().unwrap();
    Three { channel, _servers: servers, written }
}

#[tokio::test(start_paused = true)]
async fn a_silent_endpoint_loses_no_call() {
    for balance in [Balance::PickFirst, Balance::RoundRobin, Balance::LeastLoaded] {
        for mute in 1..=3 {
            let three = three(balance, mute);
            let started = Instant::now();
            let calls: Vec<_> = (0..400).map(|_| begin(&three.channel, 0)).collect();
            for call in calls {
                call.await.unwrap().unwrap();
            }
            let first = started.elapsed();
            assert!(first <= Duration::from_millis(600), "{balance:?} {mute}: {first:?}");
            // Some minutes with calls now and then: dials to the silent one fail beside them.
            for _ in 0..200 {
                three.channel.unary(&WORK, raw([0])).await.unwrap();
                ms(500).await;
            }
            assert_eq!(three.written.load(Ordering::SeqCst), 0, "{balance:?} {mute}");
        }
    }
}

/// Accepts and closes: a call that waits for ready waits to its deadline, with pauses between the dials.
#[tokio::test(start_paused = true)]
async fn wait_for_ready_outlasts_a_port_that_accepts_and_closes() {
    let network = Network::new();
    accepting(network.listen(addr(1)), |io| async move { drop(io) });
    let channel = Channel::builder("http://test").connector(network.clone());
    let channel = channel.unstable_pool(options()).build().unwrap();
    let time = Duration::from_secs(10);
    let started = Instant::now();
    let request = Request::new(raw([0])).with_wait_for_ready(true).with_timeout(time);
    let error = channel.unary(&WORK, request).await.unwrap_err();
    assert_eq!((error.code(), error.processed()), (Code::DeadlineExceeded, Processed::No));
    assert!(started.elapsed() >= time, "{:?}", started.elapsed());
    let dials = network.counts(addr(1)).dials.load(Ordering::SeqCst);
    assert!((4..=8).contains(&dials), "{dials} dials in 10 s");
    // Without patience it fails at once, in a pause and while the next dial runs.
    for _ in 0..100 {
        let started = Instant::now();
        let error = channel.unary(&WORK, raw([0])).await.unwrap_err();
        assert_eq!((error.kind(), error.processed()), (Kind::Connect, Processed::No), "{error}");
        assert!(started.elapsed() < Duration::from_millis(1), "{error}");
        assert_eq!(*channel.state().borrow(), ChannelState::TransientFailure);
        ms(37).await;
    }
}

async fn one_error(server: impl Fn(MemoryListener)) -> Error {
    let network = Network::new();
    server(network.listen(addr(1)));
    let channel = Channel::builder("http://test").connector(network.clone());
    let channel = channel.unstable_pool(options()).build().unwrap();
    let error = channel.unary(&WORK, raw([0])).await.unwrap_err();
    let again = channel.unary(&WORK, raw([0])).await.unwrap_err();
    assert_eq!(error.to_string(), again.to_string(), "the failure lasts");
    assert!(error.is_retry_safe());
    assert_eq!((error.code(), error.kind()), (Code::Unavailable, Kind::Connect), "{error}");
    assert_eq!(error.phase(), Some(Phase::Settings), "{error}");
    error
}

/// What came in place of SETTINGS is in the error, and nothing was sent.
#[tokio::test(start_paused = true)]
async fn what_a_peer_says_in_place_of_settings_is_told() {
    let says = |bytes: &'static [u8]| {
        move |listener| {
            accepting(listener, move |mut io| async move {
                let _ = io.write_all(bytes).await;
                let _ = io.read(&mut [0; 512]).await;
            });
        }
    };
    let table: [(&[u8], &str); 6] = [
        (b"", "the peer closed the connection"),
        // unexpected_message; handshake_failure.
        (&[0x15, 3, 1, 0, 2, 2, 10], "the server speaks TLS on this port; use https://"),
        (&[0x15, 3, 3, 0, 2, 2, 40, 0, 0, 0], "the server speaks TLS on this port; use https://"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the server answered in HTTP/1; gRPC needs HTTP/2"),
        (b"220 mail.example ESMTP\r\n", "the server's first bytes are not HTTP/2"),
        (
            b"\0\0\x06\x04\0\0\0\0\0\0\x04\xff\xff\xff\xff",
            "the server's first frames are not allowed: the peer broke HTTP/2",
        ),
    ];
    for (bytes, text) in table {
        let error = one_error(says(bytes)).await;
        assert!(error.to_string().contains(text), "{bytes:?}: {error}");
    }
    let error = one_error(|listener| _ = silent(listener)).await;
    assert!(error.to_string().contains("no connection within 20s"), "{error}");
}

/// A cold burst is larger than the server's limit: nothing is refused, nothing lost.
#[tokio::test(start_paused = true)]
async fn a_cold_burst_stays_within_the_limit() {
    let one = crate::one(32, options());
    let calls: Vec<_> = (0..200).map(|_| begin(&one.channel, 1)).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(one.journal.take().len(), 200);
}

/// The same with a peer that refuses what is above its limit, and never sees any of it.
#[tokio::test(start_paused = true)]
async fn a_cold_burst_at_a_strict_peer() {
    let network = Network::new();
    let mut listener = network.listen(addr(1));
    let mut options = options();
    options.max_connections = 1;
    let channel = Channel::builder("http://test").connector(network.clone());
    let channel = channel.unstable_pool(options).build().unwrap();
    let calls: Vec<_> = (0..200).map(|_| begin(&channel, 0)).collect();
    let late = Duration::from_millis(100);
    let mut peer = Peer::accept_late(&mut listener, &[(3, 32)], late).await;
    let (mut open, mut most, mut answered) = (Vec::new(), 0, 0);
    while answered < 200 {
        let next = tokio::time::timeout(Duration::from_millis(5), peer.unanswered());
        match next.await {
            Ok(frame) => {
                let frame = frame.expect("the connection ended");
                if frame.kind == FrameType::Headers {
                    open.push(frame.id);
                    most = most.max(open.len());
                }
            }
            Err(_) => {
                for id in open.drain(..) {
                    peer.answer(id, &[0]).await;
                    answered += 1;
                }
            }
        }
    }
    assert_eq!(most, 32, "the limit is used, and kept");
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

/// On request, calls leave with the preface, up to a number.
#[tokio::test(start_paused = true)]
async fn early_calls_are_an_option() {
    for (early, expected) in [(false, 0), (true, 100)] {
        let network = Network::new();
        let mut listener = network.listen(addr(1));
        let builder = Channel::builder("http://test").connector(network.clone());
        let builder = builder.advanced(Advanced::new().early_calls(early));
        let channel = builder.build().unwrap();
        let calls: Vec<_> = (0..150).map(|_| begin(&channel, 0)).collect();
        let mut peer = Peer::over(listener.accept().await.unwrap().io);
        peer.preface().await;
        let mut heads = 0;
        let second = Duration::from_secs(1);
        while let Ok(frame) = tokio::time::timeout(second, peer.unanswered()).await {
            heads += usize::from(frame.unwrap().kind == FrameType::Headers);
        }
        assert_eq!(heads, expected);
        assert_eq!(*channel.state().borrow(), ChannelState::Connecting, "not before SETTINGS");
        // It dies: what was written may have run, what waited did not.
        drop(peer);
        drop(listener);
        let mut maybe = 0;
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            maybe += usize::from(error.processed() == Processed::Maybe);
        }
        assert_eq!(maybe, expected);
    }
}

/// A connection that carried early calls is one like any other once it is ready.
#[tokio::test(start_paused = true)]
async fn early_calls_stay_on_their_connection() {
    for balance in [Balance::PickFirst, Balance::RoundRobin] {
        let mut options = options();
        (options.balance, options.early_calls) = (balance, true);
        let one = crate::one(100, options);
        let calls: Vec<_> = (0..50).map(|_| begin(&one.channel, 1)).collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        ms(100).await;
        assert_eq!((one.dials(), one.open()), (1, 1), "{balance:?}");
        assert_eq!(*one.channel.state().borrow(), ChannelState::Ready);
        assert_eq!(one.journal.take().len(), 50);
    }
}

/// Connections that come up and end without a call are followed by a pause, however often.
#[tokio::test(start_paused = true)]
async fn connections_that_die_young_without_a_call_are_followed_by_a_pause() {
    let network = Network::new();
    accepting(network.listen(addr(1)), |io| async move {
        let mut peer = Peer::over(io);
        peer.preface().await;
        peer.settings(&[]).await;
        ms(1).await;
    });
    let channel = Channel::builder("http://test").connector(network.clone());
    let mut options = options();
    options.min_connections = 1;
    let channel = channel.unstable_pool(options).build().unwrap();
    channel.connect();
    ms(3_000).await;
    let dials = network.counts(addr(1)).dials.load(Ordering::SeqCst);
    assert!((2..=4).contains(&dials), "{dials} dials in 3 s");
    // A call that comes in a pause waits for its end: no dial has failed.
    let (result, _) = tokio::join!(channel.unary(&WORK, raw([0])), ms(0));
    let error = result.map(Response::into_inner).unwrap_err();
    assert_eq!(error.kind(), Kind::ConnectionLost, "{error}");
}
