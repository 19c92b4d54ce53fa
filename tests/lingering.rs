//! What a connection's end does to answers that the peer has not read yet, over TCP: nothing, as long as
//! the peer goes on reading.
#![cfg(target_os = "linux")]
#![allow(
    unreachable_pub,
    dead_code,
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "support/peer.rs"]
mod peer;

use framewire::client::Channel;
use framewire::server::{Router, Server};
use framewire::transport::{SocketOptions, TcpAcceptor};
use framewire::unstable::grpc::{Method, Raw, Request, Response};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use peer::{Peer, framed, request};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;

const LARGE: Method<Raw, Raw> = Method::new("/test.Linger/Large");
const STREAM: Method<Raw, Raw> = Method::new("/test.Linger/Stream");
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of an answer; all of them fit into the system's buffers.
const ANSWER: usize = 256 * 1024;
const CALLS: usize = 5;

/// A server that answers with many bytes, and how many of its handlers have ended.
fn server(max_age: Option<Duration>, max_connections: usize) -> (Server, Arc<AtomicUsize>) {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let router = Router::new()
        .unary(&LARGE, move |_, _: Raw| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Ok(Response::new(Raw(vec![7; ANSWER].into()))) }
        })
        .server_streaming(&STREAM, |_, _: Raw, mut replies| async move {
            for _ in 0..12 {
                replies.send(Raw(vec![7; 40_000].into())).await?;
            }
            Ok(())
        });
    let builder = Server::builder(router).max_connection_age(max_age);
    let builder = builder.max_connections(max_connections);
    (builder.bind("127.0.0.1:0".parse().unwrap()).unwrap(), ended)
}

/// A peer with wide windows and a small buffer that has sent all of its calls and read nothing.
async fn slow_reader(address: SocketAddr) -> Peer {
    peer_with_calls(address, CALLS as u32).await
}

async fn peer_with_calls(address: SocketAddr, calls: u32) -> Peer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut peer = Peer::over(Box::new(socket.connect(address).await.unwrap()));
    peer.send(PREFACE).await;
    peer.settings(&[(4, 1 << 30)]).await;
    peer.window(0, 1 << 30).await;
    for call in 0..calls {
        let id = call * 2 + 1;
        peer.headers(id, false, &request("/test.Linger/Large", &[])).await;
        peer.data(id, &framed(b""), true).await;
    }
    peer
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let late = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < late, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads slowly to the end, and widens windows as readers do. Returns the calls that were answered.
async fn read_slowly(peer: &mut Peer) -> usize {
    let mut answered = 0;
    while let Some(frame) = peer.frame().await {
        if frame.kind == FrameType::Data && !frame.payload.is_empty() {
            peer.window(0, frame.payload.len() as u32).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        answered += usize::from(frame.field("grpc-status") == Some("0"));
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_every_answer_at_a_drain() {
    let (server, ended) = server(None, 10);
    let mut peer = slow_reader(server.local_addr().unwrap()).await;
    until("the handlers end", || ended.load(Ordering::SeqCst) == CALLS).await;
    let draining = tokio::spawn(server.shutdown(Duration::from_secs(60)));
    // The answers, both GOAWAYs and FIN are with the system by then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(read_slowly(&mut peer).await, CALLS);
    drop(peer);
    let report = draining.await.unwrap();
    assert_eq!((report.drained, report.forced, report.undelivered), (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_reads_nothing_is_reported_as_cut() {
    let (server, ended) = server(None, 10);
    let peer = slow_reader(server.local_addr().unwrap()).await;
    until("the handlers end", || ended.load(Ordering::SeqCst) == CALLS).await;
    let started = Instant::now();
    let report = server.shutdown(Duration::from_secs(2)).await;
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!((report.drained, report.forced, report.undelivered), (0, CALLS, 1));
    drop(peer);
}

/// The report counts the answers of which something did not arrive, whether the connection had ended on this
/// side or not when the peer went away, and not the calls that the peer cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_goes_away_has_what_it_has_acknowledged() {
    for (says_goodbye, some) in [(true, false), (true, true), (false, false), (false, true)] {
        let (server, ended) = server(None, 10);
        let mut peer = peer_with_calls(server.local_addr().unwrap(), 1).await;
        // One answer is behind the other.
        for call in 1..=CALLS {
            until("a handler ends", || ended.load(Ordering::SeqCst) == call).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            if call < CALLS {
                let id = 2 * call as u32 + 1;
                peer.headers(id, false, &request("/test.Linger/Large", &[])).await;
                peer.data(id, &framed(b""), true).await;
            }
        }
        let never = 2 * CALLS as u32 + 1;
        peer.headers(never, false, &request("/test.Linger/Stream", &[])).await;
        peer.reset(never, ErrorCode::CANCEL).await;
        // Without a call for longer than buffers are kept.
        tokio::time::sleep(Duration::from_millis(800)).await;
        if says_goodbye {
            peer.goaway(0, ErrorCode::NO_ERROR, "").await;
        }
        let draining = tokio::spawn(server.shutdown(Duration::from_secs(60)));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut bytes = 0;
        // More than one answer, and less than two with what the system takes besides.
        while some && bytes < ANSWER + 64 * 1024 {
            bytes += peer.unanswered().await.unwrap().payload.len();
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        // With bytes unread, the system sends RST.
        drop(peer);
        let report = draining.await.unwrap();
        let cut = if some { CALLS - 1 } else { CALLS };
        let told = (report.drained, report.forced, report.undelivered);
        assert_eq!(told, (0, cut, 1), "goodbye {says_goodbye}, some {some}");
    }
}

/// Nothing moves for five seconds: the rest of the limit is not waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_has_ended_waits_five_seconds_for_progress() {
    let (server, ended) = server(None, 10);
    let mut peer = slow_reader(server.local_addr().unwrap()).await;
    until("the handlers end", || ended.load(Ordering::SeqCst) == CALLS).await;
    // This side says goodbye itself, so that only the socket is left.
    peer.goaway(0, ErrorCode::NO_ERROR, "").await;
    let handle = server.handle();
    let started = Instant::now();
    until("the connection closes", || handle.connections() == 0).await;
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(20), "{took:?}");
    drop(peer);
}

/// Connections that only wait for their peers make way for new ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lingering_connection_makes_way_for_a_new_one() {
    let (server, ended) = server(None, 1);
    let address = server.local_addr().unwrap();
    let mut peer = slow_reader(address).await;
    until("the handlers end", || ended.load(Ordering::SeqCst) == CALLS).await;
    peer.goaway(0, ErrorCode::NO_ERROR, "").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    let channel = Channel::builder(&format!("http://{address}")).build().unwrap();
    channel.unary(&LARGE, Raw::default()).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    drop(peer);
}

/// Peers that never read keep no place: neither `max_connections` nor the idle time waits for what they leave
/// in the buffers of this process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_reads_is_no_reason_to_keep_its_connection() {
    const PEERS: usize = 3;
    for idle in [None, Some(Duration::from_secs(1))] {
        let large = |_, _: Raw| async { Ok(Response::new(Raw(vec![7; 300_000].into()))) };
        let router = Router::new().unary(&LARGE, large);
        let builder = Server::builder(router).max_connections(PEERS).max_connection_idle(idle);
        // What the system does not take stays in the buffer of the connection.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(16 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TcpAcceptor::from_listener(listener, SocketOptions::new());
        let server = builder.serve(acceptor).unwrap();
        let mut peers = Vec::new();
        for _ in 0..PEERS {
            peers.push(peer_with_calls(address, 1).await);
        }
        let handle = server.handle();
        until("they are connected", || handle.connections() == PEERS).await;
        if idle.is_some() {
            until("they are closed", || handle.connections() == 0).await;
            continue;
        }
        let channel = Channel::builder(&format!("http://{address}")).build().unwrap();
        let request = Request::new(Raw::default()).with_timeout(Duration::from_secs(60));
        channel.unary(&LARGE, request.with_wait_for_ready(true)).await.unwrap();
    }
}

/// A drain reports no loss where none is: only answers count, not its own control frames.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_reports_only_answers_as_undelivered() {
    for calls in [0, 1].repeat(10) {
        let (server, _) = server(None, 10);
        let target = format!("http://{}", server.local_addr().unwrap());
        let channel = Channel::builder(&target).build().unwrap();
        channel.warm(1).await.unwrap();
        for _ in 0..calls {
            channel.unary(&LARGE, Raw::default()).await.unwrap();
        }
        let report = server.shutdown(Duration::from_secs(30)).await;
        let told = (report.drained, report.forced, report.undelivered);
        assert_eq!(told, (1, 0, 0), "after {calls} calls");
    }
}

/// Connections that reach their age under a load of streams: not one call is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ages_lose_no_stream() {
    let (server, _) = server(Some(Duration::from_millis(60)), 1000);
    let target = format!("http://{}", server.local_addr().unwrap());
    let channel = Channel::builder(&target).build().unwrap();
    let until = Instant::now() + Duration::from_secs(3);
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move {
                let mut calls = 0;
                while Instant::now() < until {
                    let mut replies = channel.server_streaming(&STREAM, Raw::default()).unwrap();
                    let mut bytes = 0;
                    while let Some(reply) = replies.message().await.unwrap() {
                        bytes += reply.0.len();
                    }
                    assert_eq!(bytes, 480_000);
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let mut calls = 0;
    for task in tasks {
        calls += task.await.unwrap();
    }
    assert!(calls > 100, "{calls} calls");
    drop(channel);
    server.shutdown(Duration::from_secs(10)).await;
}
