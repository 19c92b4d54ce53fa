//! Bounds that nest: a channel's, a shard's, the whole's. Each holds at every instant, and the one
//! that refuses is named.

use crate::log::Log;
use crate::network::{Network, addr};
use crate::peer::Peer;
use crate::{Journal, One, WORK, allowing, begin, ms, one, options, raw, router};
use framewire::client::{Advanced, Cap, Channel, ChannelState};
use framewire::error::{Kind, Processed};
use framewire::server::Server;
use framewire::transport::TcpAcceptor;
use framewire::unstable::http2::frame::FrameType;
use framewire::{Code, Request};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;

fn under(cap: &Arc<Cap>, most: u32) -> One {
    let mut options = options();
    options.cap = Some(Arc::clone(cap));
    options.max_connections = most;
    options.shrink_after = Duration::from_millis(300);
    options.idle_time = Duration::from_millis(600);
    // One call fills a connection: each that waits wants another.
    one(1, options)
}

/// Two shards of three channels each: what is open is below the bound of its channel, of its shard
/// and of the whole, whatever asks.
#[tokio::test(start_paused = true)]
async fn every_bound_holds_at_every_instant() {
    let whole = Cap::new(7, 1000);
    let shards = [Cap::inside(&whole, 5, 1000), Cap::inside(&whole, 4, 1000)];
    let channels: Vec<Vec<One>> =
        shards.iter().map(|cap| (0..3).map(|_| under(cap, 2)).collect()).collect();
    let mut calls = Vec::new();
    let mut peaks = [0; 3];
    for step in 0..400u64 {
        if step < 120 {
            let one = &channels[step as usize % 2][step as usize % 3];
            calls.push(begin(&one.channel, (step % 7) as u8));
        }
        ms(3).await;
        let open = |shard: &Vec<One>| shard.iter().map(One::open).sum::<usize>();
        let (a, b) = (open(&channels[0]), open(&channels[1]));
        assert!(a <= 5 && b <= 4 && a + b <= 7, "{a} and {b} open at step {step}");
        assert!(channels.iter().flatten().all(|one| one.open() <= 2));
        for (peak, now) in peaks.iter_mut().zip([a, b, a + b]) {
            *peak = now.max(*peak);
        }
        // A place is given back with its socket, not before.
        assert!(shards[0].open() as usize >= a && shards[1].open() as usize >= b);
        assert_eq!(whole.open(), shards[0].open() + shards[1].open());
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(peaks[2], 7, "the whole was used to its bound");
    assert!(whole.refused() > 0);
    ms(5000).await;
    assert_eq!((whole.open(), shards[0].open(), shards[1].open()), (0, 0, 0));
}

/// The level that refuses is the one that statistics name.
#[tokio::test(start_paused = true)]
async fn the_level_that_refuses_is_named() {
    let whole = Cap::new(2, 100);
    let [full, other] = [Cap::inside(&whole, 1, 100), Cap::inside(&whole, 5, 100)];
    let ones = [under(&full, 2), under(&other, 3)];
    let calls: Vec<_> = (0..2).map(|_| begin(&ones[0].channel, 50)).collect();
    ms(20).await;
    let stats = ones[0].channel.stats();
    assert_eq!(stats.endpoints[0].capped_by, Some("shard"), "{stats}");
    assert!(stats.to_string().contains("the Cap (shard) delays dials: 1 of 1 sockets"), "{stats}");
    // What a full shard waits for is no other's business.
    let mut others: Vec<_> = vec![begin(&ones[1].channel, 50)];
    ms(20).await;
    assert_eq!(ones[1].channel.waiting(), 0);
    others.push(begin(&ones[1].channel, 0));
    ms(20).await;
    let stats = ones[1].channel.stats();
    assert_eq!(stats.endpoints[0].capped_by, Some("own"), "{stats}");
    let text = stats.to_string();
    assert!(text.contains("the Cap (own) delays dials: 2 of 2 sockets"), "{text}");
    assert!(text.contains("shared: 1 of 5 sockets (shard), 1 dial, 0 delayed, 2 of 2"), "{text}");
    for call in calls.into_iter().chain(others) {
        call.await.unwrap().unwrap();
    }
}

/// Channels to servers of their own, with one cap around them.
fn channels(cap: &Arc<Cap>, count: usize) -> Vec<One> {
    let channel = |_| {
        let mut options = options();
        options.cap = Some(Arc::clone(cap));
        options.dial_time = Duration::from_secs(2);
        one(100, options)
    };
    (0..count).map(channel).collect()
}

/// A connection without calls is closed for a channel that needs one, the one idle for longest first; no
/// call waits for long or fails.
#[tokio::test(start_paused = true)]
async fn quiet_connections_make_way() {
    let cap = Cap::new(2, 1000);
    let ones = channels(&cap, 3);
    for (step, who) in [0, 1, 2, 0, 1, 2, 1, 0].into_iter().enumerate() {
        let before = tokio::time::Instant::now();
        begin(&ones[who].channel, 0).await.unwrap().unwrap();
        assert!(
            before.elapsed() < Duration::from_millis(100),
            "step {step}: {:?}",
            before.elapsed()
        );
        ms(3_000).await;
        let open: Vec<_> = ones.iter().map(One::open).collect();
        let other = [None, Some(0), Some(1), Some(2), Some(0), Some(1), Some(2), Some(1)][step];
        let expected = [0, 1, 2].map(|one| usize::from(one == who || Some(one) == other));
        assert_eq!(open, expected, "step {step}");
        assert_eq!(cap.open() as usize, open.iter().sum::<usize>());
    }
}

/// What a channel asked to keep is closed last, and only for a channel without a connection. It takes
/// nothing back for itself.
#[tokio::test(start_paused = true)]
async fn what_is_kept_makes_way_last() {
    let cap = Cap::new(2, 1000);
    let kept = |min| {
        let mut options = options();
        options.cap = Some(Arc::clone(&cap));
        options.min_connections = min;
        one(1, options)
    };
    let (keeps, plain, other) = (kept(1), kept(0), kept(0));
    begin(&keeps.channel, 0).await.unwrap().unwrap();
    ms(3_000).await;
    begin(&plain.channel, 0).await.unwrap().unwrap();
    let networks = [&keeps, &plain, &other].map(|one| one.network.clone());
    let open = || networks.each_ref().map(|one| one.counts(addr(1)).open.load(Ordering::SeqCst));
    assert_eq!(open(), [1, 1, 0]);
    // The one that is kept has been idle for longer.
    begin(&other.channel, 0).await.unwrap().unwrap();
    assert_eq!(open(), [1, 0, 1]);
    // More calls than the connection carries are no reason to take it.
    let busy: Vec<_> = (0..2).map(|_| begin(&other.channel, 100)).collect();
    ms(500).await;
    assert_eq!(open(), [1, 0, 1]);
    // Calls without any connection are.
    begin(&plain.channel, 50).await.unwrap().unwrap();
    // Now that this one is idle, the call that waits beside a full connection has it.
    ms(100).await;
    assert_eq!(open(), [0, 0, 2]);
    for call in busy {
        call.await.unwrap().unwrap();
    }
    ms(5_000).await;
    assert_eq!(open(), [0, 0, 2], "a minimum waits in line");
    // Its wait in line is no failed dial: the next call has a connection at once.
    ms(30_000).await;
    begin(&keeps.channel, 0).await.unwrap().unwrap();
    assert_eq!(open(), [1, 0, 1]);
    // A warm-up that finds no socket says why.
    let warmed = plain.channel.warm(3).await.unwrap();
    let why = "the Cap (own) allows 2 connections";
    assert!(warmed.failed[0].1.to_string().contains(why), "{warmed}");
    assert_eq!(open(), [1, 1, 0]);
}

/// While every connection has calls, those of another channel fail after the time of a dial, and say
/// why; so do its state and the log. Calls that wait for a connection go on.
#[tokio::test(start_paused = true)]
async fn a_cap_of_busy_connections_is_an_error() {
    let log = Log::new();
    let cap = Cap::new(2, 1000);
    let ones = channels(&cap, 3);
    let busy: Vec<_> = ones[..2].iter().map(|one| begin(&one.channel, 255)).collect();
    ms(10).await;
    let channel = &ones[2].channel;
    let before = tokio::time::Instant::now();
    let fast = begin(channel, 0);
    let waits = |timeout| {
        let (channel, request) = (channel.clone(), Request::new(raw([0])));
        let request =
            request.with_wait_for_ready(true).with_timeout(Duration::from_millis(timeout));
        tokio::spawn(async move { channel.unary(&WORK, request).await })
    };
    let [late, early, patient] = [1_500, 2_500, 60_000].map(waits);
    ms(100).await;
    assert_eq!(*channel.state().borrow(), ChannelState::Connecting);
    assert!(!fast.is_finished());
    let mut warnings = log.above(tracing::Level::WARN);
    warnings.retain(|line| line.contains("dials wait"));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let why = "the Cap (own) allows 2 connections, and none of them could be closed for another";
    assert!(warnings[0].contains(why), "{warnings:?}");
    let text = late.await.unwrap().unwrap_err().to_string();
    assert!(text.contains("deadline") && text.contains(why), "{text}");
    let error = fast.await.unwrap().unwrap_err();
    assert_eq!(before.elapsed().as_millis(), 2_000);
    assert_eq!((error.kind(), error.code()), (Kind::Connect, Code::Unavailable));
    assert!(error.processed() == Processed::No && error.to_string().contains(why), "{error}");
    assert_eq!(*channel.state().borrow(), ChannelState::TransientFailure);
    // From now on at once.
    let error = begin(channel, 0).await.unwrap().unwrap_err();
    assert!(before.elapsed().as_millis() <= 2_001 && error.to_string().contains(why), "{error}");
    let error = early.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(error.to_string().contains(why), "{error}");
    // A connection whose call ends makes way.
    patient.await.unwrap().unwrap();
    assert!(before.elapsed() < Duration::from_millis(2_600), "{:?}", before.elapsed());
    assert_eq!(*channel.state().borrow(), ChannelState::Ready);
    begin(channel, 0).await.unwrap().unwrap();
    for call in busy {
        call.await.unwrap().unwrap();
    }
    assert_eq!(ones.iter().map(One::open).sum::<usize>(), 2);
}

/// Dials are served in the order in which they asked. One that is given up passes its turn on.
#[tokio::test(start_paused = true)]
async fn dials_are_served_in_order() {
    let cap = Cap::new(1, 1000);
    let ones = channels(&cap, 6);
    let first = begin(&ones[0].channel, 50);
    ms(10).await;
    let mut order = JoinSet::new();
    let mut given_up = None;
    for (place, one) in ones.iter().enumerate().skip(1) {
        let call = begin(&one.channel, 5);
        if place == 3 {
            given_up = Some((call, one.channel.clone()));
        } else {
            order.spawn(async move { call.await.unwrap().map(|_| place) });
        }
        ms(10).await;
    }
    ms(100).await;
    // The last handles of the channel go, and its call.
    let mut ones: Vec<_> = ones.into_iter().map(Some).collect();
    let (call, channel) = given_up.unwrap();
    call.abort();
    drop((channel, ones[3].take()));
    first.await.unwrap().unwrap();
    let mut served = Vec::new();
    while let Some(place) = order.join_next().await {
        served.push(place.unwrap().unwrap());
    }
    assert_eq!(served, [1, 2, 4, 5]);
    assert_eq!(cap.open(), 1);
    drop(ones);
    ms(1_000).await;
    assert_eq!(cap.open(), 0);
}

/// Many more targets than connections, all at once: every call gets its turn.
#[tokio::test(start_paused = true)]
async fn a_thousand_targets_share_fifty_connections() {
    let cap = Cap::new(50, 100_000);
    let network = Network::new();
    let journal = Journal::default();
    let server = network.serve(addr(1), router(&journal), allowing(100));
    let channels: Vec<_> = (0..1000)
        .map(|_| {
            let mut options = options();
            options.cap = Some(Arc::clone(&cap));
            let builder = Channel::builder("http://test").connector(network.clone());
            builder.unstable_pool(options).build().unwrap()
        })
        .collect();
    let calls: Vec<_> = channels.iter().map(|channel| begin(channel, 1)).collect();
    let mut done = 0;
    for call in calls {
        call.await.unwrap().unwrap();
        done += 1;
        assert!(cap.open() <= 50);
    }
    assert_eq!((done, network.counts(addr(1)).peak.load(Ordering::SeqCst)), (1000, 50));
    assert_eq!(cap.dials(), 1000, "one dial each");
    drop((channels, server));
    ms(1_000).await;
    assert_eq!(cap.open(), 0);
}

/// The same with sockets of the system, and servers that keep their connections.
#[tokio::test]
async fn quiet_sockets_make_way() {
    let cap = Cap::new(2, 1000);
    let mut servers = Vec::new();
    let mut channels = Vec::new();
    for _ in 0..3 {
        let acceptor = TcpAcceptor::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let target = format!("http://{}", acceptor.local_addr().unwrap());
        servers.push(Server::builder(router(&Journal::default())).serve(acceptor).unwrap());
        let advanced = Advanced::new().cap(Arc::clone(&cap));
        channels.push(Channel::builder(&target).advanced(advanced).build().unwrap());
    }
    for round in 0..5 {
        for channel in &channels {
            let call = tokio::time::timeout(Duration::from_secs(10), begin(channel, 0));
            call.await.expect("no call hangs").unwrap().unwrap();
            assert!(cap.open() <= 2, "round {round}");
        }
    }
    drop(channels);
}

/// Answers every call. When the client has closed its side, it keeps its own open.
fn keep_open(network: &Network) {
    let mut listener = network.listen(addr(1));
    tokio::spawn(async move {
        loop {
            let mut peer = Peer::accept(&mut listener, &[]).await;
            tokio::spawn(async move {
                while let Some(frame) = peer.frame_at_leisure().await {
                    if frame.kind == FrameType::Headers {
                        peer.answer(frame.id, &[0; 5]).await;
                    }
                }
                std::future::pending::<()>().await;
                drop(peer);
            });
        }
    });
}

/// Sockets that linger are closed for a dial only if their cap is the one that delays it.
#[tokio::test(start_paused = true)]
async fn a_dial_closes_no_lingering_socket_that_would_not_help() {
    let build = |cap: Arc<Cap>| {
        let network = Network::new();
        keep_open(&network);
        let mut options = options();
        (options.cap, options.idle_time) = (Some(cap), Duration::from_millis(100));
        let channel = Channel::builder("http://test").connector(network.clone());
        (channel.unstable_pool(options).build().unwrap(), network)
    };
    let whole = Cap::new(20, 1000);
    let [beside, shard] = [9, 1].map(|sockets| Cap::inside(&whole, sockets, 1000));
    let mut others = Vec::new();
    for cap in [Cap::new(9, 1000), beside.clone(), Cap::new(9, 1000), beside] {
        let (channel, network) = build(cap);
        channel.unary(&WORK, raw([0])).await.unwrap();
        channel.close(Duration::ZERO).await;
        others.push(network);
    }
    let (channel, network) = build(shard);
    channel.unary(&WORK, raw([0])).await.unwrap();
    ms(400).await;
    let open = |network: &Network| network.counts(addr(1)).open.load(Ordering::SeqCst);
    assert_eq!((open(&network), channel.unstable_handles().len()), (1, 0), "it lingers");
    let started = tokio::time::Instant::now();
    channel.unary(&WORK, raw([0])).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(50), "{:?}", started.elapsed());
    assert_eq!(others.iter().map(open).collect::<Vec<_>>(), [1; 4]);
    assert_eq!(open(&network), 1, "its own was closed");
}
