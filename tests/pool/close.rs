//! The end of a channel: closed and awaited, or dropped. Nothing of it is left.

use crate::network::{Network, addr};
use crate::peer::Peer;
use crate::{Journal, WORK, allowing, begin, ms, one, options, raw, router};
use framewire::client::{Cap, Channel, ChannelState};
use framewire::error::{Kind, Processed};
use framewire::transport::{Connect, ConnectFuture, Target};
use framewire::unstable::grpc::{Code, Request};
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::{PoolOptions, Resolve, ResolveFuture};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Calls in flight end, those that wait and new ones fail at once and say why.
#[tokio::test(start_paused = true)]
async fn a_closed_channel_waits_for_its_calls() {
    let mut options = options();
    options.max_connections = 1;
    let one = one(2, options);
    let running: Vec<_> = (0..2).map(|_| begin(&one.channel, 30)).collect();
    ms(10).await;
    let patient = Request::new(raw([0])).with_wait_for_ready(true);
    let waiting = {
        let channel = one.channel.clone();
        tokio::spawn(async move { channel.unary(&WORK, patient).await })
    };
    ms(10).await;
    let started = Instant::now();
    let closing = {
        let channel = one.channel.clone();
        tokio::spawn(async move { channel.close(Duration::MAX).await })
    };
    let error = waiting.await.unwrap().unwrap_err();
    assert!(started.elapsed() < Duration::from_millis(5), "{:?}", started.elapsed());
    let later = one.channel.unary(&WORK, raw([0])).await.unwrap_err();
    for error in [error, later] {
        assert_eq!((error.kind(), error.processed()), (Kind::Shutdown, Processed::No), "{error}");
        assert!(error.to_string().contains("the channel is closed"), "{error}");
    }
    assert_eq!(*one.channel.state().borrow(), ChannelState::Shutdown);
    let report = closing.await.unwrap();
    assert_eq!((report.closed, report.refused, report.cut), (1, 1, 0));
    let took = started.elapsed().as_millis();
    assert!((270..300).contains(&took), "it ends with its last call: {took} ms");
    for call in running {
        assert!(call.is_finished());
        call.await.unwrap().unwrap();
    }
    assert!(one.channel.connections().is_empty());
    ms(100).await;
    assert_eq!(one.open(), 0, "a socket is left");
    assert_eq!(one.channel.close(Duration::ZERO).await, Default::default(), "it is closed");
}

/// What has not ended at the limit is cut and reported: the caller is told, and so is the server.
#[tokio::test(start_paused = true)]
async fn what_outlives_the_limit_is_cut_and_reported() {
    let network = Network::new();
    let mut listener = network.listen(addr(1));
    let channel = Channel::builder("http://test").connector(network.clone());
    let channel = channel.unstable_pool(options()).build().unwrap();
    let calls: Vec<_> = (0..3).map(|_| begin(&channel, 0)).collect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    for _ in 0..3 {
        peer.next(FrameType::Headers).await;
    }
    peer.answer(1, &[0]).await;
    let started = Instant::now();
    let closing = tokio::spawn(async move { channel.close(Duration::from_secs(5)).await });
    assert_eq!(peer.next(FrameType::GoAway).await.payload[4..8], [0; 4], "NO_ERROR");
    for _ in 0..2 {
        let reset = peer.next(FrameType::RstStream).await;
        assert_eq!(reset.number(), 8, "CANCEL");
    }
    assert_eq!(started.elapsed().as_secs(), 5);
    while peer.frame().await.is_some() {}
    let report = closing.await.unwrap();
    assert_eq!((report.closed, report.refused, report.cut), (0, 0, 2));
    let mut cut = 0;
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            assert_eq!((error.kind(), error.code()), (Kind::Shutdown, Code::Cancelled), "{error}");
            assert_eq!(error.processed(), Processed::Maybe, "{error}");
            cut += 1;
        }
    }
    assert_eq!(cut, 2);
}

/// Whose dials never end.
struct Deaf;

impl Connect for Deaf {
    fn connect(&self, _: Target) -> ConnectFuture {
        Box::pin(std::future::pending())
    }
}

impl Resolve for Deaf {
    fn resolve(&self, _: Target) -> ResolveFuture {
        Box::pin(std::future::pending())
    }
}

/// A warm-up that waits for a name or for a dial ends with its channel.
#[tokio::test(start_paused = true)]
async fn a_warm_up_ends_with_its_channel() {
    for by_name in [true, false] {
        let builder = Channel::builder("http://test").connector(Deaf);
        let builder = if by_name { builder.resolver(Deaf) } else { builder };
        let channel = builder.unstable_pool(options()).build().unwrap();
        let warm = {
            let channel = channel.clone();
            tokio::spawn(async move { channel.warm(1).await })
        };
        ms(1_000).await;
        assert!(!warm.is_finished());
        let started = Instant::now();
        channel.close(Duration::MAX).await;
        let error = warm.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Shutdown, "{error}");
        assert!(started.elapsed() < Duration::from_millis(5), "{:?}", started.elapsed());
    }
}

/// A second after a channel was dropped, whatever it was doing, none of its tasks, sockets and places in
/// the cap is left.
#[tokio::test(start_paused = true)]
async fn nothing_of_a_dropped_channel_is_left() {
    type Build = fn(&Network, PoolOptions) -> Channel;
    let plain: Build = |network, options| {
        let builder = Channel::builder("http://test").connector(network.clone());
        builder.unstable_pool(options).build().unwrap()
    };
    let named: Build = |network, options| {
        let builder = Channel::builder("http://test").connector(network.clone());
        builder.resolver(network.clone()).unstable_pool(options).build().unwrap()
    };
    let cases: [(&str, Build); 7] = [
        ("ready", plain),
        ("dials for ever", |_, options| {
            let builder = Channel::builder("http://test").connector(Deaf);
            builder.unstable_pool(options).build().unwrap()
        }),
        ("resolves for ever", |network, options| {
            let builder = Channel::builder("http://test").connector(network.clone());
            builder.resolver(Deaf).unstable_pool(options).build().unwrap()
        }),
        ("is refused", plain),
        ("waits for SETTINGS", plain),
        ("cannot resolve", named),
        ("finds a full cap", plain),
    ];
    for (what, build) in cases {
        let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let network = Network::new();
        network.name(None);
        let cap = Cap::new(4, 1024);
        let mut options = options();
        options.cap = Some(Arc::clone(&cap));
        options.min_connections = 2;
        let server = (what == "ready" || what == "finds a full cap")
            .then(|| network.serve(addr(1), router(&Journal::default()), allowing(100)));
        let listener = (what == "waits for SETTINGS").then(|| network.listen(addr(1)));
        let full = (what == "finds a full cap").then(|| {
            let mut options = options.clone();
            (options.min_connections, options.max_connections) = (4, 4);
            let channel = build(&network, options);
            channel.connect();
            channel
        });
        ms(500).await;
        let channel = build(&network, options);
        channel.connect();
        let calls: Vec<_> = (0..3).map(|_| begin(&channel, 0)).collect();
        ms(3_000).await;
        drop(channel);
        for call in calls {
            call.abort();
        }
        ms(1_000).await;
        assert_eq!(cap.open(), if full.is_some() { 4 } else { 0 }, "{what}");
        drop(full);
        drop((server, listener));
        ms(1_000).await;
        assert_eq!(network.all().open.load(Ordering::SeqCst), 0, "{what}: a socket is left");
        let after = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        // The server's listener of this network may wait for ever.
        let servers = usize::from(what == "ready" || what == "finds a full cap");
        assert!(after <= before + servers, "{what}: {after} tasks, {before} before");
    }
}
