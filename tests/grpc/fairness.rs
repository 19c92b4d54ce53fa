//! Who holds much does not shut out others: shares of the byte budget, readers that stop, silent
//! connections.

use crate::link::Faults;
use crate::memory_pair::{BIDI, DOWN, On, Pair, Setup, UNARY, raw, router};
use crate::peer::{Peer, framed, request};
use framewire::client::Channel;
use framewire::server::{Router, Server};
use framewire::transport::in_memory;
use framewire::unstable::grpc::{Method, Raw, Request, Response};
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::memory::budget::Budget;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Reads nothing, and never answers.
const DEAF: Method<Raw, Raw> = Method::new("/test.Echo/Deaf");

fn deaf() -> Router {
    router().client_streaming(&DEAF, |_, requests| async move {
        let _requests: framewire::server::Requests<Raw> = requests;
        std::future::pending::<Result<Response<Raw>, _>>().await
    })
}

/// A server on this budget; windows of streams are as small as can be.
fn server(budget: &Arc<Budget>, router: Router) -> Pair {
    let mut setup = Setup::new(router);
    setup.server.budget = Some(Arc::clone(budget));
    setup.server.limits.stream_window = 65_535;
    setup.start()
}

/// Begins a message of 1 MiB on a stream, and sends a part of it.
async fn part(peer: &mut Peer, id: u32, path: &str, bytes: usize) {
    peer.headers(id, false, &request(path, &[])).await;
    for piece in framed(&vec![7; 1 << 20])[..bytes].chunks(16_384) {
        peer.data(id, piece, false).await;
    }
}

/// Four connections hold all of the budget with messages that come a byte at a time. A fifth has a message
/// that does not come on, and another one that does: it is not held back, and the others lose what they hold.
#[tokio::test(start_paused = true)]
async fn a_minority_does_not_hold_the_whole_budget() {
    let budget = Budget::new(4 << 20);
    let pair = server(&budget, router());
    let mut greedy = Vec::new();
    for _ in 0..4 {
        let mut peer = Peer::dial(&pair.connector).await;
        peer.until_silent().await;
        for n in 0..20 {
            part(&mut peer, 2 * n + 1, "/test.Echo/Unary", 60_000).await;
        }
        greedy.push(peer);
    }
    sleep(Duration::from_millis(10)).await;
    assert!(budget.used() >= budget.limit() / 5 * 4, "{} are held", budget.used());
    let mut honest = Peer::dial(&pair.connector).await;
    honest.until_silent().await;
    part(&mut honest, 1, "/test.Echo/Unary", 60_000).await;
    sleep(Duration::from_millis(10)).await;
    // 300 KiB through windows of 64 KiB.
    let asked = Instant::now();
    honest.headers(3, false, &request("/test.Echo/Unary", &[])).await;
    let message = framed(&vec![7; 300 * 1024]);
    let (mut sent, mut window) = (0, 65_535);
    while sent < message.len() {
        let n = (message.len() - sent).min(window).min(16_384);
        if n == 0 {
            let more = honest.next(FrameType::WindowUpdate).await;
            window += if more.id == 3 { more.number() as usize } else { 0 };
            continue;
        }
        honest.data(3, &message[sent..sent + n], sent + n == message.len()).await;
        (sent, window) = (sent + n, window - n);
    }
    assert_eq!(honest.next(FrameType::Headers).await.id, 3);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    // A byte a second is progress, but not for ever.
    for _ in 0..60 {
        for (peer, id) in greedy.iter_mut().zip([1, 3, 5, 7]) {
            for n in [id, id + 2] {
                peer.data(n, &[7], false).await;
            }
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!(budget.used() <= budget.limit(), "{} are held", budget.used());
}

/// Twelve handlers do not read what was sent to them. The calls beside them go on.
#[tokio::test(start_paused = true)]
async fn handlers_that_do_not_read_stop_nobody_else() {
    let budget = Budget::new(64 << 20);
    let mut setup = Setup::new(deaf());
    setup.server.budget = Some(budget);
    let pair = setup.start();
    let mut held = Vec::new();
    for _ in 0..12 {
        let (mut up, down) = pair.channel.client_streaming(&DEAF, ()).unwrap();
        up.send(raw(vec![7; 256 * 1024])).await.unwrap();
        held.push((up, down));
    }
    sleep(Duration::from_millis(100)).await;
    let request = Request::new(raw(vec![7; 1 << 20])).with_timeout(Duration::from_secs(5));
    let answer = pair.channel.unary(&UNARY, request).await.unwrap();
    assert_eq!(answer.into_inner().0.len(), 1 << 20);
}

/// The budget is spent, and the stream that gets credit all the same has a reader that stopped in the
/// middle of its message: another stream gets it after a second.
#[tokio::test(start_paused = true)]
async fn the_privilege_of_a_reader_that_stopped_passes_on() {
    let budget = Budget::new(0);
    let pair = server(&budget, router());
    let mut peer = Peer::dial(&pair.connector).await;
    peer.until_silent().await;
    part(&mut peer, 1, "/test.Echo/Unary", 60_000).await;
    part(&mut peer, 3, "/test.Echo/Unary", 60_000).await;
    sleep(Duration::from_secs(3)).await;
    let late = peer.until_silent().await;
    assert!(late.iter().any(|f| f.kind == FrameType::WindowUpdate && f.id == 3));
}

/// A message of 4 MiB is announced and read in part, then its reader stops. Its window was opened ahead, and
/// what arrives does not hold the window of the connection.
#[tokio::test(start_paused = true)]
async fn a_prefetched_message_does_not_hold_the_connections_window() {
    let budget = Budget::new(64 << 20);
    let mut setup = Setup::new(Router::new().bidi(&BIDI, |_, mut requests, replies| async move {
        // One look: it finds the prefix and a part of the message.
        let look = timeout(Duration::from_millis(50), requests.message());
        let _: Result<Result<Option<Raw>, _>, _> = look.await;
        let _replies: framewire::server::Replies<Raw> = replies;
        std::future::pending().await
    }));
    setup.server.budget = Some(Arc::clone(&budget));
    setup.server.limits.connection_window_max = setup.server.limits.connection_window;
    let pair = setup.start();
    let mut peer = Peer::dial(&pair.connector).await;
    peer.until_silent().await;
    let message = framed(&vec![7; 4 << 20]);
    peer.headers(1, false, &request("/test.Echo/Bidi", &[])).await;
    peer.data(1, &message[..16_384], false).await;
    sleep(Duration::from_millis(100)).await;
    peer.until_silent().await;
    let mut window: i64 = (1 << 20) - 16_384;
    for piece in message[16_384..3 << 20].chunks(16_384) {
        while window < piece.len() as i64 {
            let more = peer.next(FrameType::WindowUpdate).await;
            window += if more.id == 0 { i64::from(more.number()) } else { 0 };
        }
        window -= piece.len() as i64;
        peer.data(1, piece, false).await;
    }
}

/// A proxy that sends no HEADERS while the connection's window is spent: the window opens although nobody
/// reads the messages that have spent it.
#[tokio::test(start_paused = true)]
async fn a_peer_that_withholds_heads_without_a_window_goes_on() {
    let mut options = framewire::unstable::pool::PoolOptions::new();
    options.driver.budget = Some(Budget::new(64 << 20));
    options.driver.limits.connection_window_max = options.driver.limits.connection_window;
    let (channel, mut listener) = On::FRAMEWIRE.lone_channel(options, Faults::default());
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(channel.server_streaming(&DOWN, raw("")).unwrap());
    }
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let opened = peer.until_silent().await;
    let ids: Vec<u32> =
        opened.iter().filter(|f| f.kind == FrameType::Headers).map(|f| f.id).collect();
    assert_eq!(ids.len(), 8);
    let mut window: i64 = 4 << 20;
    let message = framed(&vec![7; (1 << 20) - 5]);
    for id in &ids[..7] {
        peer.response(*id).await;
        for piece in message.chunks(16_384) {
            while window < piece.len() as i64 {
                let more = peer.next(FrameType::WindowUpdate).await;
                window += if more.id == 0 { i64::from(more.number()) } else { 0 };
            }
            window -= piece.len() as i64;
            peer.data(*id, piece, false).await;
        }
    }
    // Now there is a window for the head.
    peer.answer(ids[7], b"last").await;
    assert_eq!(held[7].message().await.unwrap(), Some(raw("last")));
}

/// Request trailers over the limit end their call with a status, while its handler runs.
#[tokio::test(start_paused = true)]
async fn request_trailers_over_the_limit() {
    let pair = server(&Budget::new(64 << 20), router());
    let mut peer = Peer::dial(&pair.connector).await;
    peer.headers(1, false, &request("/test.Echo/Bidi", &[])).await;
    peer.data(1, &framed(b"one"), false).await;
    peer.next(FrameType::Data).await;
    let long = "v".repeat(20_000);
    peer.headers(1, true, &[("x-long", long.as_str())]).await;
    let end = peer.next(FrameType::Headers).await;
    assert!(end.ends());
    assert_eq!(end.field("grpc-status"), Some("8"), "{:?}", end.fields);
    assert!(end.field("grpc-message").unwrap().contains("trailer"));
    pair.channel.unary(&UNARY, raw("after")).await.unwrap();
}

/// As many clients as the server accepts have connected and are silent, but for a PING now and then. A new
/// client is served in place of the one that is silent for longest.
#[tokio::test(start_paused = true)]
async fn silent_connections_make_way() {
    let (connector, listener) = in_memory(64 * 1024);
    let _server = Server::builder(router()).max_connections(4).serve(listener).unwrap();
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(Peer::dial(&connector).await);
        sleep(Duration::from_secs(2)).await;
    }
    let mut channels = Vec::new();
    for served in 1..=3 {
        let channel = Channel::builder("http://test").connector(connector.clone()).build().unwrap();
        let request = Request::new(raw("hello")).with_timeout(Duration::from_secs(5));
        channel.unary(&UNARY, request).await.unwrap();
        channels.push(channel);
        // The oldest has gone, the others are there.
        let frames = silent[served - 1].until_silent().await;
        assert!(frames.iter().any(|frame| frame.kind == FrameType::GoAway), "{served}");
        let frames = silent[3].until_silent().await;
        assert!(frames.iter().all(|frame| frame.kind != FrameType::GoAway), "{served}");
        sleep(Duration::from_secs(2)).await;
    }
}

/// Connections with calls in flight make way for nobody.
#[tokio::test(start_paused = true)]
async fn connections_in_use_do_not_make_way() {
    let (connector, listener) = in_memory(64 * 1024);
    let _server = Server::builder(router()).max_connections(2).serve(listener).unwrap();
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut peer = Peer::dial(&connector).await;
        peer.headers(1, false, &request("/test.Echo/Silent", &[])).await;
        peer.data(1, &framed(b""), true).await;
        busy.push(peer);
    }
    sleep(Duration::from_secs(5)).await;
    let channel = Channel::builder("http://test").connector(connector.clone()).build().unwrap();
    let request = Request::new(raw("hello")).with_timeout(Duration::from_secs(3));
    channel.unary(&UNARY, request).await.unwrap_err();
    for peer in &mut busy {
        assert!(peer.until_silent().await.iter().all(|frame| frame.kind != FrameType::GoAway));
    }
}
