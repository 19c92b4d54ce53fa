//! The byte budget: windows, assembled messages, streams whose peer does not read.

use crate::link::Faults;
use crate::memory_pair::{BIDI, Pair, SILENT, Setup, UNARY, lone_channel, raw, router};
use crate::peer::{Frame, Peer, framed, request};
use framewire::server::{Requests, Router};
use framewire::unstable::connection::options::ConnectionOptions;
use framewire::unstable::grpc::codec::encode_message;
use framewire::unstable::grpc::{Code, Encoding, Method, Raw, Request, Response};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::memory::budget::Budget;
use framewire::unstable::pool::PoolOptions;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Reads its requests.
const SILENT_READER: Method<Raw, Raw> = Method::new("/test.Echo/Reader");

/// Both sides on one budget, with these windows.
fn pair(budget: &Arc<Budget>, stream: u32, connection: u32) -> Pair {
    pair_of([budget, budget], stream, connection)
}

/// Client and server on these budgets, with these windows.
fn pair_of([client, server]: [&Arc<Budget>; 2], stream: u32, connection: u32) -> Pair {
    let mut setup = Setup::new(router());
    let narrow = |options: &mut ConnectionOptions, budget: &Arc<Budget>| {
        options.budget = Some(Arc::clone(budget));
        options.limits.stream_window = stream;
        options.limits.connection_window = connection;
    };
    narrow(&mut setup.server, server);
    narrow(&mut setup.client.driver, client);
    setup.start()
}

/// A server on this budget whose connections' windows never grow, and a peer of it.
async fn narrow_server(budget: &Arc<Budget>) -> (Pair, Peer) {
    let mut setup = Setup::new(router());
    setup.server.budget = Some(Arc::clone(budget));
    setup.server.limits.connection_window = 65_535;
    setup.server.limits.connection_window_max = 65_535;
    let pair = setup.start();
    let peer = Peer::dial(&pair.connector).await;
    (pair, peer)
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// The streams that are reset, in order, looked for so many times.
async fn resets(peer: &mut Peer, times: u32, step: Duration) -> Vec<u32> {
    let mut all = Vec::new();
    for _ in 0..times {
        tokio::time::sleep(step).await;
        let frames = peer.until_silent().await;
        all.extend(frames.iter().filter(|f| f.kind == FrameType::RstStream).map(|f| f.id));
    }
    all
}

/// WINDOW_UPDATE bytes for a stream among these frames.
fn announced(frames: &[Frame], id: u32) -> u32 {
    let updates = frames.iter().filter(|f| f.kind == FrameType::WindowUpdate && f.id == id);
    updates.map(Frame::number).sum()
}

/// No budget at all, windows of 64 KiB, messages of 3 MiB on 100 streams: one message a connection
/// goes on at a time, and all complete.
#[tokio::test(start_paused = true)]
async fn without_any_budget_all_complete() {
    // A server that shared the client's, which holds 300 MB for its callers, would refuse calls.
    let [theirs, budget] = [(); 2].map(|()| Budget::new(0));
    let pair = pair_of([&theirs, &budget], 65_535, 65_535);
    let calls: Vec<_> = (0..100)
        .map(|i| {
            let channel = pair.channel.clone();
            tokio::spawn(async move {
                let message = raw(vec![i; 3 << 20]);
                if i % 2 == 0 {
                    return channel.unary(&UNARY, message).await.map(|r| r.into_inner().0);
                }
                let (mut sender, mut answers) = channel.bidi(&BIDI, ())?;
                sender.send(message).await?;
                sender.finish()?;
                let answer = answers.message().await?.unwrap();
                assert!(answers.message().await?.is_none());
                Ok::<_, framewire::error::Error>(answer.0)
            })
        })
        .collect();
    for (i, call) in calls.into_iter().enumerate() {
        let bytes = call.await.unwrap().unwrap();
        assert!(bytes.len() == 3 << 20 && bytes.iter().all(|o| *o == i as u8), "call {i}");
    }
    assert!(budget.refused() > 0, "nobody was ever refused");
    tokio::time::sleep(Duration::from_secs(2)).await;
    for budget in [theirs, budget] {
        assert_eq!(budget.used(), 0, "what was held for calls goes back when they end");
    }
}

/// What is charged while calls are in flight returns when they are over, however they end.
#[tokio::test(start_paused = true)]
async fn bytes_come_back_however_calls_end() {
    let budget = Budget::new(256 << 20);
    let pair = pair(&budget, 65_535, 1 << 20);
    for i in 0..6 {
        let channel = pair.channel.clone();
        let (mut sender, mut answers) = channel.bidi(&BIDI, ()).unwrap();
        sender.send(raw(vec![1; 3 << 20])).await.unwrap();
        settle().await;
        assert!(budget.used() > 0, "a connection with streams holds its window");
        match i % 3 {
            0 => assert_eq!(answers.message().await.unwrap().unwrap().0.len(), 3 << 20),
            1 => drop(sender),
            _ => drop(answers),
        }
    }
    let call = pair.channel.unary(&SILENT, raw(vec![2; 1 << 20]));
    let _ = tokio::time::timeout(Duration::from_millis(100), call).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(budget.used(), 0, "quiet connections hold nothing");
    drop(pair);
    assert_eq!(budget.used(), 0);
}

/// Bytes that another connection returns release pending credit.
#[tokio::test(start_paused = true)]
async fn pending_credit_is_released_by_another_connection() {
    let budget = Budget::new(230 * 1024);
    let (first, second) = (pair(&budget, 65_535, 65_535), pair(&budget, 65_535, 65_535));
    let mut a = Peer::dial(&first.connector).await;
    let mut b = Peer::dial(&second.connector).await;
    // One message takes what the budget has; a second connection has three in flight, more than its share.
    let part = framed(&[7; 200 * 1024])[..60_000].to_vec();
    for (first, id) in [(true, 1), (false, 1), (false, 3), (false, 5)] {
        let peer = if first { &mut a } else { &mut b };
        peer.headers(id, false, &request("/test.Echo/Unary", &[])).await;
        for piece in part.chunks(15_000) {
            peer.data(id, piece, false).await;
        }
        settle().await;
    }
    let frames = b.until_silent().await;
    assert!(announced(&frames, 1) >= 32_767, "one message has its credit");
    assert_eq!(announced(&frames, 5), 0, "the budget is spent");
    a.reset(1, framewire::unstable::http2::ErrorCode::CANCEL).await;
    let frames = b.until_silent().await;
    assert_eq!(announced(&frames, 5), 60_000);
}

/// With the budget spent a new connection begins with the windows that HTTP/2 knows without being
/// told, and growth is refused.
#[tokio::test(start_paused = true)]
async fn a_new_connection_begins_small() {
    for (bytes, connection, stream) in [(0, 0, 65_535), (64 << 20, (1 << 20) - 65_535, 256 << 10)] {
        let budget = Budget::new(bytes);
        let mut setup = Setup::new(router());
        setup.server.budget = Some(Arc::clone(&budget));
        let pair = setup.start();
        let mut peer = Peer::dial(&pair.connector).await;
        let frames = peer.until_silent().await;
        let settings = &frames[0];
        assert_eq!(settings.kind, FrameType::Settings);
        let entry = settings.payload.chunks(6).find(|e| e[..2] == [0, 4]);
        let value = entry.map_or(65_535, |e| u32::from_be_bytes(e[2..].try_into().unwrap()));
        assert_eq!((announced(&frames, 0), value), (connection, stream));
        assert_eq!(budget.used(), 0, "a quiet connection is not charged");
    }
}

/// One stream's DATA, as much as the windows allow.
struct Bulk {
    peer: Peer,
    connection: i64,
    stream: i64,
    ping: Option<Frame>,
}

impl Bulk {
    async fn begin(pair: &Pair) -> Self {
        let mut peer = Peer::dial(&pair.connector).await;
        let opening = peer.until_silent().await;
        peer.headers(1, false, &request(SILENT_READER.path().as_str(), &[])).await;
        let connection = 65_535 + i64::from(announced(&opening, 0));
        Self { peer, connection, stream: 256 * 1024, ping: None }
    }

    /// Sends all that the windows allow, and hears what comes of it. Returns the bytes.
    async fn fill(&mut self) -> u64 {
        let message = framed(&[7; 16_384 - 5]);
        let mut sent = 0;
        while self.connection.min(self.stream) >= 16_384 {
            self.peer.data(1, &message, false).await;
            (self.connection, self.stream) = (self.connection - 16_384, self.stream - 16_384);
            sent += 16_384;
        }
        while let Ok(frame) = timeout(Duration::from_millis(1), self.peer.unanswered()).await {
            let frame = frame.expect("the connection ended");
            match (frame.kind, frame.id) {
                (FrameType::WindowUpdate, 0) => self.connection += i64::from(frame.number()),
                (FrameType::WindowUpdate, _) => self.stream += i64::from(frame.number()),
                (FrameType::Ping, _) => self.ping = Some(frame),
                _ => {}
            }
        }
        sent
    }

    /// A round trip on a path that takes `path` for it and carries `rate` bytes a second.
    async fn round(&mut self, path: Duration, rate: f64) {
        let ping = self.ping.take();
        let sent = self.fill().await;
        tokio::time::sleep(path.max(Duration::from_secs_f64(sent as f64 / rate))).await;
        if let Some(ping) = ping {
            self.peer.pong(&ping).await;
        }
    }
}

/// The widest windows of connections with one stream each, over a path like that, once they grow no more.
async fn grown(budget: &Arc<Budget>, connections: usize, path: Duration, rate: f64) -> Vec<i64> {
    let router =
        Router::new().bidi(&SILENT_READER, |_, mut requests: Requests<Raw>, replies| async move {
            let _replies: framewire::server::Replies<Raw> = replies;
            while requests.message().await?.is_some() {}
            Ok(())
        });
    let mut setup = Setup::new(router);
    setup.server.budget = Some(Arc::clone(budget));
    let pair = setup.start();
    let mut all = Vec::new();
    for _ in 0..connections {
        all.push(Bulk::begin(&pair).await);
    }
    let (mut still, mut widest) = (0, vec![0; connections]);
    while still < 8 {
        still += 1;
        for (bulk, widest) in all.iter_mut().zip(&mut widest) {
            bulk.round(path, rate).await;
            if bulk.connection > *widest {
                (*widest, still) = (bulk.connection, 0);
            }
        }
    }
    widest
}

/// On a long fast path, one stream makes the windows grow to its connection's share of the budget, whatever
/// they began with, and no further.
#[tokio::test(start_paused = true)]
async fn windows_grow_to_the_fair_share_of_the_budget() {
    let path = Duration::from_millis(100);
    for connections in [1, 4] {
        let budget = Budget::new(48 << 20);
        let windows = grown(&budget, connections, path, f64::INFINITY).await;
        let share = (48 << 20) / connections as i64;
        for window in windows {
            let grown = share / 2..=share + (1 << 20);
            assert!(grown.contains(&window), "{window} of {share} with {connections}");
        }
        assert!(budget.used() <= budget.limit(), "{}", budget.used());
    }
}

/// A path with a long queue takes longer the wider the window is, and gains nothing by it.
#[tokio::test(start_paused = true)]
async fn windows_do_not_grow_for_a_queue_on_the_path() {
    let budget = Budget::new(64 << 20);
    let windows = grown(&budget, 1, Duration::from_millis(100), 20_000_000.0).await;
    // The path holds 2 MiB, one stream has half of the window, and a window doubles.
    assert!((4 << 20..=20 << 20).contains(&windows[0]), "{windows:?}");
}

/// The window of a stream opens for a large message when its prefix comes, not a window at a time,
/// and what was announced ahead is not credited twice.
#[tokio::test(start_paused = true)]
async fn the_window_opens_for_a_known_large_message() {
    let budget = Budget::new(64 << 20);
    let pair = pair(&budget, 65_535, 1 << 20);
    let mut peer = Peer::dial(&pair.connector).await;
    let message = framed(&vec![7; 2 << 20]);
    peer.headers(1, false, &request("/test.Echo/Bidi", &[])).await;
    peer.data(1, &message[..100], false).await;
    let frames = peer.until_silent().await;
    let ahead = announced(&frames, 1) as usize;
    assert_eq!(65_535 - 100 + ahead, message.len() - 100, "exactly the rest");
    let mut credited = ahead;
    for piece in message[100..].chunks(16_384) {
        peer.data(1, piece, false).await;
    }
    peer.window(0, 8 << 20).await;
    peer.window(1, 8 << 20).await;
    let frames = peer.until_silent().await;
    credited += announced(&frames, 1) as usize;
    let echoed: usize =
        frames.iter().filter(|f| f.kind == FrameType::Data).map(|f| f.payload.len()).sum();
    assert_eq!(echoed, message.len());
    assert!(credited <= message.len(), "{credited} credited for {}", message.len());
    assert!(credited >= message.len() - 32_768, "{credited} credited for {}", message.len());
}

/// A stream whose peer does not read is reset after a minute, if memory is short and not before.
#[tokio::test(start_paused = true)]
async fn the_longest_stalled_goes_first_when_memory_is_short() {
    let budget = Budget::new(1 << 20);
    let (_pair, mut peer) = narrow_server(&budget).await;
    peer.settings(&[(4, 0)]).await;
    let question = framed(&vec![9; 100_000]);
    let ask = async |peer: &mut Peer, id: u32| {
        peer.headers(id, false, &request("/test.Echo/Unary", &[])).await;
        for piece in question.chunks(16_384) {
            peer.data(id, piece, false).await;
        }
        peer.data(id, &[], true).await;
    };
    ask(&mut peer, 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    ask(&mut peer, 3).await;
    // Slow readers are honest: ten minutes and nobody is reset.
    assert_eq!(resets(&mut peer, 10, Duration::from_secs(60)).await, []);
    assert!(!budget.is_tight());
    // Seven more answers that wait make memory short.
    for id in (5..19).step_by(2) {
        ask(&mut peer, id).await;
    }
    let resets = resets(&mut peer, 5, Duration::from_secs(1)).await;
    assert_eq!(resets, [1, 3], "in the order in which they stalled, no more than is needed");
    // The others are young, and memory is no longer short.
    assert!(!budget.is_tight(), "{} of {}", budget.used(), budget.limit());
}

/// The option that is off by default: no progress for so long ends the stream.
#[tokio::test(start_paused = true)]
async fn a_stall_ends_after_the_limit_that_was_set() {
    let mut options = PoolOptions::new();
    options.driver.stream_stall_time = Some(Duration::from_secs(3));
    let (channel, mut listener) = lone_channel(options, Faults::default());
    let caller = channel.clone();
    let call = tokio::spawn(async move { caller.unary(&UNARY, raw(vec![1; 100_000])).await });
    let mut peer = Peer::accept(&mut listener, &[]).await;
    // A little every two seconds is progress.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        peer.window(1, 10).await;
        peer.window(0, 10).await;
    }
    assert!(!call.is_finished());
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.status().code(), Code::ResourceExhausted, "{error}");
    assert!(error.to_string().contains("the peer took none of 34420 bytes for 3 s"), "{error}");
    let frames = peer.until_silent().await;
    let resets: Vec<_> = frames.iter().filter(|f| f.kind == FrameType::RstStream).collect();
    assert_eq!(resets.len(), 1);
}

/// Answers without end, of 2 KiB each.
const ENDLESS: Method<Raw, Raw> = Method::new("/test.Echo/Endless");

fn endless() -> Router {
    Router::new().server_streaming(&ENDLESS, |_, _: Raw, mut replies| async move {
        loop {
            replies.send(raw(vec![7; 2048])).await?;
        }
    })
}

/// Begins so many endless answers with a window for all of them, or with none.
async fn begin_endless(peer: &mut Peer, calls: u32, window: u32) {
    peer.settings(&[(4, window)]).await;
    peer.window(0, 0x7fff_ffff - 65_535).await;
    for n in 0..calls {
        peer.headers(2 * n + 1, false, &request("/test.Echo/Endless", &[])).await;
        peer.data(2 * n + 1, &framed(&[]), true).await;
    }
}

/// What a peer does not read is held up to 64 KiB a stream and 4 MiB a connection; beyond, a message
/// for each stream. Whether it has windows for it makes no difference.
#[tokio::test(start_paused = true)]
async fn what_is_not_read_is_bounded_for_each_connection() {
    for window in [0, 0x7fff_ffff] {
        for (calls, most) in [(10, 10 * (64 + 12) * 1024), (250, (4 << 20) + 250 * 12 * 1024)] {
            let budget = Budget::new(1 << 40);
            let mut setup = Setup::new(endless());
            setup.server.budget = Some(Arc::clone(&budget));
            let pair = setup.start();
            let mut peer = Peer::dial(&pair.connector).await;
            begin_endless(&mut peer, calls, window).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            // The connection's own window is charged as well, in steps of 256 KiB.
            let used = budget.used() as usize - (1 << 20);
            assert!(used <= most + (256 << 10), "{used} bytes of {calls} calls, {most} allowed");
            assert!(used >= most / 3, "{used} bytes of {calls} calls");
            // It reads at last: all go on, in turn.
            peer.settings(&[(4, 0x7fff_ffff)]).await;
            let mut seen = std::collections::HashSet::new();
            while seen.len() < calls as usize {
                let frame = peer.frame().await.unwrap();
                if frame.kind == FrameType::Data {
                    seen.insert(frame.id);
                }
            }
            drop(peer);
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(budget.used(), 0, "it goes back with the connection");
        }
    }
}

/// Far beyond its budget a server refuses further calls, safe to be tried elsewhere; four calls are served on a
/// connection that holds little, and one on any other.
#[tokio::test(start_paused = true)]
async fn a_server_out_of_memory_refuses_calls_and_serves_one_a_connection() {
    let budget = Budget::new(1 << 20);
    let mut setup = Setup::new(endless());
    setup.server.budget = Some(Arc::clone(&budget));
    setup.router = endless().unary(&UNARY, |_, request: Raw| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(Response::new(request))
    });
    let pair = setup.start();
    let mut peers = Vec::new();
    let refused = async |peer: &mut Peer| {
        let frames = peer.until_silent().await;
        frames.iter().filter(|f| f.kind == FrameType::RstStream).map(Frame::number).collect()
    };
    // 8 KiB are charged for each call: it is out at 9 MiB.
    for n in 0..7 {
        let mut peer = Peer::dial(&pair.connector).await;
        begin_endless(&mut peer, 250, 0).await;
        let codes: Vec<u32> = refused(&mut peer).await;
        assert!(codes.iter().all(|code| *code == 7), "REFUSED_STREAM: {codes:?}");
        assert!(n > 3 || codes.is_empty(), "{} refused of connection {n}", codes.len());
        // Four calls of each connection within its share.
        assert!(n < 6 || codes.len() == 246, "{} refused of connection {n}", codes.len());
        peers.push(peer);
    }
    assert!(budget.used() < 12 << 20, "{}", budget.used());
    // A client that holds less than its share notices nothing.
    let call = || pair.channel.unary(&UNARY, raw([1]));
    call().await.unwrap();
    let before = budget.refused();
    let (one, two) = tokio::join!(call(), call());
    one.and(two).unwrap();
    assert_eq!(budget.refused(), before, "one was refused");
    drop(peers);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(budget.used() < 1 << 20, "{}", budget.used());
}

/// Two clients ask for answers of 1 MiB that their windows keep out, all at once. What is queued for them is given
/// up at once, and not in a minute; a client that reads is served.
#[tokio::test(start_paused = true)]
async fn answers_behind_closed_windows_are_bounded() {
    let budget = Budget::new(16 << 20);
    let router = Router::new().unary(&UNARY, |_, _: Raw| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Response::new(raw(vec![7; 1 << 20])))
    });
    let mut setup = Setup::new(router);
    setup.server.budget = Some(Arc::clone(&budget));
    setup.client.driver.budget = Some(Budget::new(1 << 30));
    let pair = setup.start();
    let mut peers = Vec::new();
    for _ in 0..2 {
        let mut peer = Peer::dial(&pair.connector).await;
        peer.settings(&[(4, 0)]).await;
        for n in 0..200 {
            peer.headers(2 * n + 1, false, &request("/test.Echo/Unary", &[])).await;
        }
        peers.push(peer);
    }
    settle().await;
    for peer in &mut peers {
        for n in 0..200 {
            peer.data(2 * n + 1, &framed(b""), true).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(budget.used() < 20 << 20, "the largest are given up: {}", budget.used());
    // While it is overdrawn, handlers begin one after the other.
    for peer in &mut peers {
        assert!(resets(peer, 1, Duration::ZERO).await.len() > 190);
        for n in 200..400 {
            peer.headers(2 * n + 1, false, &request("/test.Echo/Unary", &[])).await;
        }
    }
    settle().await;
    for n in 200..400 {
        peers[0].data(2 * n + 1, &framed(b""), true).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(budget.used() > 150 << 20);
    for n in 200..400 {
        peers[1].data(2 * n + 1, &framed(b""), true).await;
    }
    let before = budget.used();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(budget.used() < before + (4 << 20), "{} {before}", budget.used());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(budget.used() < 20 << 20, "{}", budget.used());
    for _ in 0..5 {
        let call = || {
            let channel = pair.channel.clone();
            tokio::spawn(async move { channel.unary(&UNARY, raw("x")).await })
        };
        for call in [(); 8].map(|()| call()) {
            assert_eq!(call.await.unwrap().unwrap().into_inner().0.len(), 1 << 20);
        }
    }
    drop(peers);
    drop(pair.channel);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(budget.used(), 0);
}

/// Messages of which no more comes are let go of after a minute, when memory is short and not before:
/// nobody holds it for ever.
#[tokio::test(start_paused = true)]
async fn halves_of_messages_go_when_memory_is_short() {
    let budget = Budget::new(1 << 20);
    let (pair, mut peer) = narrow_server(&budget).await;
    let half = framed(&[7; 100_000])[..50_000].to_vec();
    let begin = async |peer: &mut Peer, id: u32, path: &str| {
        peer.headers(id, false, &request(path, &[])).await;
        for piece in half.chunks(16_384) {
            peer.data(id, piece, false).await;
        }
        settle().await;
    };
    // One is assembled before its handler begins, one by its handler.
    begin(&mut peer, 1, "/test.Echo/Unary").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    begin(&mut peer, 3, "/test.Echo/Bidi").await;
    assert_eq!(resets(&mut peer, 10, Duration::from_secs(60)).await, []);
    assert!(!budget.is_tight());
    for id in (5..33).step_by(2) {
        begin(&mut peer, id, "/test.Echo/Bidi").await;
    }
    assert!(budget.is_tight(), "{} of {}", budget.used(), budget.limit());
    // Others are served meanwhile.
    pair.channel.unary(&UNARY, raw([1])).await.unwrap();
    let resets = resets(&mut peer, 10, Duration::from_secs(1)).await;
    assert_eq!(resets, [1, 3], "in the order in which they stood still, no more than is needed");
    assert!(!budget.is_tight(), "{} of {}", budget.used(), budget.limit());
}

/// A request that ended with trailers is complete: while its handler works, nothing is charged for
/// its message, and it is not reset although memory is short.
#[tokio::test(start_paused = true)]
async fn a_request_that_ended_with_trailers_holds_nothing() {
    let budget = Budget::new(1 << 20);
    let (_pair, mut peer) = narrow_server(&budget).await;
    let begin = async |peer: &mut Peer, id: u32, path: &str, message: &[u8]| {
        peer.headers(id, false, &request(path, &[])).await;
        for piece in message.chunks(16_384) {
            peer.data(id, piece, false).await;
        }
        settle().await;
    };
    begin(&mut peer, 1, "/test.Echo/Silent", &framed(&[7; 100_000])).await;
    peer.headers(1, true, &[("x-checksum", "7")]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for id in (3..41).step_by(2) {
        begin(&mut peer, id, "/test.Echo/Bidi", &framed(&[7; 100_000])[..50_000]).await;
    }
    assert!(budget.is_tight(), "{} of {}", budget.used(), budget.limit());
    let resets = resets(&mut peer, 70, Duration::from_secs(1)).await;
    assert!(!resets.is_empty() && !resets.contains(&1), "{resets:?}");
}

/// A message that is announced and does not come takes none of the budget for ever.
#[tokio::test(start_paused = true)]
async fn announced_messages_that_do_not_come_go_when_memory_is_short() {
    let budget = Budget::new(1 << 20);
    let (pair, mut peer) = narrow_server(&budget).await;
    peer.headers(1, false, &request("/test.Echo/Bidi", &[])).await;
    peer.data(1, &framed(&vec![7; 1_150_000])[..100], false).await;
    let frames = peer.until_silent().await;
    assert!(announced(&frames, 1) > 850_000, "there was room for it");
    assert!(budget.is_tight(), "{} of {}", budget.used(), budget.limit());
    tokio::time::sleep(Duration::from_secs(30)).await;
    // A little of it is progress.
    peer.data(1, &[7; 100], false).await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    let frames = peer.until_silent().await;
    assert!(frames.iter().all(|f| f.kind != FrameType::RstStream));
    pair.channel.unary(&UNARY, raw([1])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(15)).await;
    let frames = peer.until_silent().await;
    assert_eq!(frames.iter().filter(|f| f.kind == FrameType::RstStream).count(), 1);
    assert!(budget.used() < 1 << 18, "{}", budget.used());
}

/// Sends a compressed message of 2 MiB in some KiB on so many streams. Returns those that are refused for
/// want of memory.
async fn bombs(peer: &mut Peer, path: &str, ends: bool, streams: u32) -> Vec<u32> {
    let mut bomb = Vec::new();
    encode_message(&Raw(vec![0; 2 << 20].into()), Encoding::Gzip, usize::MAX, &mut bomb).unwrap();
    assert!(bomb.len() < 16 * 1024, "{} bytes", bomb.len());
    for call in 0..streams {
        peer.headers(2 * call + 1, false, &request(path, &[("grpc-encoding", "gzip")])).await;
        peer.data(2 * call + 1, &bomb, ends).await;
    }
    let frames = peer.until_silent().await;
    let heads = frames.iter().filter(|frame| frame.kind == FrameType::Headers);
    heads
        .map(|head| {
            assert_eq!(head.field("grpc-status"), Some("8"), "{head:?}");
            head.id
        })
        .collect()
}

/// Messages that inflate a thousandfold cost the memory that they inflate to.
#[tokio::test(start_paused = true)]
async fn inflated_messages_are_charged_as_long_as_their_handlers_run() {
    for (path, ends) in [("/test.Echo/Silent", true), ("/test.Held/Up", false)] {
        let budget = Budget::new(9 << 20);
        let router = router().client_streaming(
            &Method::new("/test.Held/Up"),
            |_, mut requests: Requests<Raw>| async move {
                let held = requests.message().await?;
                std::future::pending::<()>().await;
                Ok(Response::new(held.unwrap()))
            },
        );
        let mut setup = Setup::new(router);
        setup.server.budget = Some(Arc::clone(&budget));
        let pair = setup.start();
        let mut peer = Peer::dial(&pair.connector).await;
        let refused = bombs(&mut peer, path, ends, 20).await;
        assert_eq!(refused.len(), 16, "{path}: {refused:?}");
        assert!((8 << 20..10 << 20).contains(&budget.used()), "{path}: {}", budget.used());
        for call in 0..20 {
            if !refused.contains(&(2 * call + 1)) {
                peer.reset(2 * call + 1, ErrorCode::CANCEL).await;
            }
        }
        drop(peer);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(budget.used(), 0, "{path}");
    }
}

/// Each message takes the place of the one before it.
#[tokio::test(start_paused = true)]
async fn a_stream_is_charged_for_its_last_inflated_message() {
    let budget = Budget::new(16 << 20);
    let pair = pair_of([&Budget::new(1 << 30), &budget], 1 << 20, 1 << 20);
    let request = Request::new(()).with_encoding(Encoding::Gzip);
    let (mut up, mut down) = pair.channel.bidi(&BIDI, request).unwrap();
    for _ in 0..20 {
        let message = raw(vec![0; 2 << 20]);
        up.send(message.clone()).await.unwrap();
        assert_eq!(down.message().await.unwrap(), Some(message));
    }
}
