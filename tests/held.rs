//! Heap that a server, a channel and the engine still hold for peers that have used much and go on: each
//! shape of use leaves little behind.
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

#[path = "support/frame.rs"]
mod frame;
#[path = "support/heap.rs"]
mod heap;
#[path = "support/hpack.rs"]
mod hpack;

use bytes::Bytes;
use frame::*;
use framewire::client::Channel;
use framewire::server::{Context, Requests, Router, Server};
use framewire::unstable::grpc::{Method, Raw, Response};
use framewire::unstable::http2::{
    Connection, Event, Fields, Limits, Payload, RecvBuffer, Role, SendBuffer, SendHead,
};
use hpack::{block, post};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const KIB: usize = 1024;
const ECHO: Method<Raw, Raw> = Method::new("/test.Held/Echo");
/// Reads its requests and never answers.
const SINK: Method<Raw, Raw> = Method::new("/test.Held/Sink");
/// Waits for its cancellation again and again, with another task each time.
const WATCH: Method<Raw, Raw> = Method::new("/test.Held/Watch");

/// What is held more than `before`.
fn more_than(before: usize) -> usize {
    heap::live().saturating_sub(before)
}

fn within(what: &str, held: usize, most: usize) {
    println!("{what}: {} KiB of {} KiB", held / KIB, most / KIB);
    assert!(held <= most, "{what}: {} KiB are held, at most {} expected", held / KIB, most / KIB);
}

async fn serve() -> (Server, SocketAddr) {
    let router = Router::new()
        .unary(&ECHO, |_, request: Raw| async move { Ok(Response::new(request)) })
        .client_streaming(&SINK, |_, mut requests: Requests<Raw>| async move {
            while requests.message().await?.is_some() {}
            std::future::pending().await
        })
        .unary(&WATCH, |context: Context, _: Raw| async move {
            for _ in 0..20_000 {
                let context = context.clone();
                let wait = tokio::time::timeout(Duration::ZERO, async move {
                    context.cancelled().await;
                });
                let _ = tokio::spawn(wait).await;
            }
            std::future::pending().await
        });
    let server = Server::builder(router).bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = server.local_addr().unwrap();
    (server, at)
}

/// A client that reads and discards in a task of its own.
struct Client {
    to: tokio::net::tcp::OwnedWriteHalf,
    reads: tokio::task::JoinHandle<()>,
}

impl Client {
    async fn write(&mut self, bytes: &[u8]) {
        self.to.write_all(bytes).await.unwrap();
    }
}

/// Nobody has lost its connection: what is held is not little because of that.
fn connected(clients: &[Client]) {
    assert!(clients.iter().all(|client| !client.reads.is_finished()), "a connection was ended");
}

async fn client(at: SocketAddr) -> Client {
    let (mut from, mut to) = TcpStream::connect(at).await.unwrap().into_split();
    let reads = tokio::spawn(async move {
        let mut bytes = vec![0; 4096];
        while from.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
    });
    let mut bytes = PREFACE.to_vec();
    bytes.extend(settings(&[]).bytes());
    bytes.extend(window_update(0, MAX_WINDOW - 65_535).bytes());
    to.write_all(&bytes).await.unwrap();
    Client { to, reads }
}

fn call(stream: u32, path: &str, more: &[(&str, &str)]) -> RawFrame {
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    headers(stream, END_HEADERS, post(path, &[&grpc[..], more].concat()))
}

/// Longer than the time after which unused memory is freed.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(1500)).await;
}

/// Calls with large heads and trailers on connections that stay in use.
async fn large_heads(at: SocketAddr) {
    let before = heap::live();
    let long = "v".repeat(12_000);
    let trailers = block(&[("x-trailer", &long)]);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut to = client(at).await;
        to.write(&call(1, SINK.path().as_str(), &[]).bytes()).await;
        let streams: Vec<u32> = (1..=200).map(|n| 2 * n + 1).collect();
        for stream in &streams {
            let head = call(*stream, ECHO.path().as_str(), &[("x-long", &long)]);
            to.write(&head.bytes()).await;
        }
        for stream in streams {
            let body = [data(stream, NONE, [0; 5]), headers(stream, WHOLE, trailers.clone())];
            to.write(&wire(&body)).await;
        }
        clients.push(to);
    }
    a_while().await;
    connected(&clients);
    within("four clients, 200 calls with large heads", more_than(before), 4 * 400 * KIB);
}

/// Bytes that made the receive buffer large, then a part of a frame header and no more.
async fn partial_frames(at: SocketAddr) {
    let before = heap::live();
    let mut clients = Vec::new();
    for _ in 0..30 {
        let mut to = client(at).await;
        let mut bytes = call(1, SINK.path().as_str(), &[]).bytes();
        for _ in 0..3 {
            bytes.extend(data(1, NONE, [&[0, 0, 0, 0x40, 0][..], &[7; 16_384]].concat()).bytes());
        }
        for _ in 0..4 {
            bytes.extend(frame(0xfa, NONE, 0, vec![7; 60_000]).bytes());
        }
        bytes.extend([0; 7]);
        to.write(&bytes).await;
        clients.push(to);
    }
    a_while().await;
    connected(&clients);
    within("30 clients with a part of a frame", more_than(before), 30 * 48 * KIB);
}

/// Field blocks with long Huffman-coded strings, on a connection that stays in use.
async fn long_strings(at: SocketAddr) {
    let before = heap::live();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut to = client(at).await;
        let mut head = post(SINK.path().as_str(), &[("content-type", "application/grpc")]);
        // A literal name and a literal value, both Huffman-coded: the code of `0` is five zero bits.
        head.push(0x00);
        for _ in 0..2 {
            // 127 + 9873 bytes.
            head.extend([0xff, 0x91, 0x4d]);
            head.extend([0; 10_000]);
        }
        let last = head.len() - 1;
        head[last] = 0;
        to.write(&headers(1, END_HEADERS, head).bytes()).await;
        to.write(&call(3, SINK.path().as_str(), &[]).bytes()).await;
        clients.push(to);
    }
    a_while().await;
    connected(&clients);
    within("20 clients after long strings", more_than(before), 20 * 48 * KIB);
}

/// A burst of calls, then silence.
async fn a_burst(at: SocketAddr) {
    let channel = Channel::builder(&format!("http://{at}")).build().unwrap();
    let payload = Bytes::from(vec![7; 4_000]);
    channel.unary(&ECHO, Raw(payload.clone())).await.unwrap();
    a_while().await;
    let before = heap::live();
    let calls: Vec<_> = (0..1000)
        .map(|_| {
            let (channel, payload) = (channel.clone(), payload.clone());
            tokio::spawn(async move { channel.unary(&ECHO, Raw(payload)).await.map(drop) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    a_while().await;
    assert!(!channel.unstable_handles().is_empty(), "its connections were ended");
    within("a channel after a burst of 1000 calls", more_than(before), 400 * KIB);
}

/// A handler that waits for its cancellation 20,000 times and gives up each time.
async fn watchers(at: SocketAddr) {
    let channel = Channel::builder(&format!("http://{at}")).build().unwrap();
    channel.unary(&ECHO, Raw::default()).await.unwrap();
    let before = heap::live();
    let watch = tokio::spawn({
        let channel = channel.clone();
        async move { channel.unary(&WATCH, Raw::default()).await.map(drop) }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    within("a handler that waits anew 20,000 times", more_than(before), 100 * KIB);
    watch.abort();
}

/// The engine: streams with DATA that waits for the connection's window, each reset by the peer.
fn resets_in_the_queue() {
    let now = Instant::now();
    let mut limits = Limits::server();
    limits.wasted_work = Duration::MAX;
    let mut conn = Connection::<()>::new(Role::Server, limits, now);
    let (mut recv, mut out) = (RecvBuffer::new(), SendBuffer::new());
    conn.start(&mut out);
    recv.extend(PREFACE);
    recv.extend(&settings(&[(INITIAL_WINDOW_SIZE, 100_000)]).bytes());
    let mut fields = Fields::new();
    fields.push(":status", "200");
    let mut before = 0;
    for n in 0..50_000 {
        let stream = 2 * n + 1;
        recv.extend(&headers(stream, WHOLE, hpack::get("/", &[])).bytes());
        recv.extend(&window_update(stream, 1).bytes());
        while let Some(event) = conn.next_event(&mut recv, &mut out, now).unwrap() {
            let Event::Head { key, .. } = event else { continue };
            let head = SendHead { template: None, extra: &fields };
            conn.send_head(&mut out, key, head, false).unwrap();
            // The first one spends the window of the connection; all others wait.
            let content = Payload::Shared(Bytes::from_static(&[7; 70_000]));
            conn.send_data(&mut out, key, content, false, now).unwrap();
        }
        recv.extend(&rst_stream(stream, CANCEL).bytes());
        while let Some(event) = conn.next_event(&mut recv, &mut out, now).unwrap() {
            let Event::Reset { key, .. } = event else { continue };
            conn.take(key, &mut out);
        }
        conn.schedule(&mut out, usize::MAX, now);
        out.advance(out.len());
        if n == 5_000 {
            before = heap::live();
        }
    }
    within("45,000 streams reset in the queue", more_than(before), 64 * KIB);
}

/// What is done with the server at an address.
type Shape = fn(SocketAddr) -> std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// One test, so that nothing else allocates meanwhile.
#[test]
fn much_use_leaves_little_behind() {
    resets_in_the_queue();
    let shapes: [Shape; 5] = [
        |at| Box::pin(large_heads(at)),
        |at| Box::pin(partial_frames(at)),
        |at| Box::pin(long_strings(at)),
        |at| Box::pin(a_burst(at)),
        |at| Box::pin(watchers(at)),
    ];
    for shape in shapes {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let (server, at) = serve().await;
            shape(at).await;
            drop(server);
        });
    }
}
