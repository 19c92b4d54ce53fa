//! A server with little memory among many hostile clients at once: what it holds for them is bounded,
//! and it serves honest ones meanwhile.
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

#[path = "support/frame.rs"]
mod frame;
#[path = "support/hpack.rs"]
mod hpack;
#[path = "support/process.rs"]
mod process;

use frame::*;
use framewire::client::Channel;
use framewire::server::{Requests, Router};
use framewire::unstable::connection::options::ConnectionOptions;
use framewire::unstable::grpc::{Method, Raw};
use framewire::unstable::http2::Role;
use framewire::unstable::memory::budget::Budget;
use hpack::{entered, indexed, post};
use process::{Process, WORK, work};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

const TEST: &str = "what_is_held_for_hostile_clients_is_bounded";
/// Memory of the server's process; its budget is a quarter, as it would be in a cgroup of that size.
const MEMORY: usize = 64 * 1024 * 1024;
/// Clients of each kind, and streams of each of them.
const CLIENTS: usize = 8;
const STREAMS: u32 = 200;

/// Messages of 2 KiB without end.
const ENDLESS: Method<Raw, Raw> = Method::new("/test.Work/Endless");
/// Takes its time with every message.
const SLOW: Method<Raw, Raw> = Method::new("/test.Work/Slow");

fn serve() -> bool {
    let mut options = ConnectionOptions::new(Role::Server);
    options.budget = Some(Budget::new(MEMORY as u64 / 4));
    process::serve_as(options, |router: Router| {
        router
            .server_streaming(&ENDLESS, |_, _: Raw, mut replies| async move {
                loop {
                    replies.send(Raw(vec![7; 2048].into())).await?;
                }
            })
            .client_streaming(&SLOW, |_, mut requests: Requests<Raw>| async move {
                while requests.message().await?.is_some() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Ok(framewire::unstable::grpc::Response::new(Raw::default()))
            })
    })
}

/// A client that reads nothing at all, with these windows for what the server sends.
async fn deaf(at: SocketAddr, stream_window: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut io = socket.connect(at).await.unwrap();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(settings(&[(INITIAL_WINDOW_SIZE, stream_window)]).bytes());
    bytes.extend(window_update(0, MAX_WINDOW - 65_535).bytes());
    say(&mut io, &bytes).await;
    io
}

/// Says it, unless the server no longer listens: it may have had enough.
async fn say(io: &mut TcpStream, bytes: &[u8]) {
    let _ = tokio::time::timeout(Duration::from_secs(2), io.write_all(bytes)).await;
}

fn call(stream: u32, flags: u8, path: &str) -> RawFrame {
    let more = [("content-type", "application/grpc"), ("te", "trailers")];
    headers(stream, flags, post(path, &more))
}

/// Asks for more than it will ever read: with a window for all of it, or with none.
async fn unread(at: SocketAddr, window: u32) -> TcpStream {
    let mut io = deaf(at, window).await;
    for n in 0..STREAMS {
        let stream = 2 * n + 1;
        say(&mut io, &call(stream, END_HEADERS, "/test.Work/Endless").bytes()).await;
        say(&mut io, &data(stream, END_STREAM, [0; 5]).bytes()).await;
    }
    io
}

/// Messages that never end, a byte a frame, for handlers that hardly read.
async fn crumbs(at: SocketAddr) -> TcpStream {
    let mut io = deaf(at, 65_535).await;
    for n in 0..STREAMS {
        let stream = 2 * n + 1;
        say(&mut io, &call(stream, END_HEADERS, "/test.Work/Slow").bytes()).await;
        // A message of 1 MiB is announced.
        say(&mut io, &data(stream, NONE, [0, 0, 16, 0, 0]).bytes()).await;
    }
    for _ in 0..20 {
        let crumbs: Vec<_> = (0..STREAMS).map(|n| data(2 * n + 1, NONE, [1])).collect();
        say(&mut io, &wire(&crumbs).repeat(20)).await;
    }
    io
}

/// As much of many messages as windows allow, never the rest.
async fn halves(at: SocketAddr) -> TcpStream {
    let mut io = deaf(at, 65_535).await;
    for n in 0..STREAMS {
        let stream = 2 * n + 1;
        say(&mut io, &call(stream, END_HEADERS, "/test.Work/Slow").bytes()).await;
        let mut bytes = data(stream, NONE, [0, 0, 16, 0, 0]).bytes();
        for _ in 0..3 {
            bytes.extend(data(stream, NONE, vec![1; 16_384]).bytes());
        }
        say(&mut io, &bytes).await;
    }
    io
}

/// One large entry of the table, named thousands of times in each head.
async fn bomb(at: SocketAddr) -> TcpStream {
    let mut io = deaf(at, 0).await;
    let mut first = post("/test.Work/Do", &[]);
    first.extend(entered(b"x-bomb", &[b'v'; 4000]));
    say(&mut io, &headers(1, WHOLE, first).bytes()).await;
    let mut head = post("/test.Work/Do", &[]);
    head.extend(indexed(62).repeat(16_000));
    for n in 1..STREAMS {
        say(&mut io, &headers(2 * n + 1, WHOLE, head.clone()).bytes()).await;
    }
    io
}

#[test]
fn what_is_held_for_hostile_clients_is_bounded() {
    if serve() {
        return;
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(hostile());
}

async fn hostile() {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Process::start(&[], TEST, anywhere).await;
    let at = server.address;
    let channel = Channel::builder(&format!("http://{at}")).build().unwrap();
    let honest = async |id| {
        let call = channel.unary(&WORK, work(id, 0));
        tokio::time::timeout(Duration::from_secs(20), call).await.expect("it is served").unwrap();
    };
    honest(0).await;
    let before = server.most_memory();
    let mut clients = Vec::new();
    for kind in 0..5u32 {
        let each = (0..CLIENTS).map(|_| {
            tokio::spawn(async move {
                match kind {
                    0 => unread(at, MAX_WINDOW).await,
                    1 => unread(at, 0).await,
                    2 => crumbs(at).await,
                    3 => halves(at).await,
                    _ => bomb(at).await,
                }
            })
        });
        for client in each.collect::<Vec<_>>() {
            clients.push(client.await.unwrap());
            honest(kind + 1).await;
        }
        println!("{} KiB after kind {kind}", server.most_memory() / 1024);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    honest(9).await;
    let most = server.most_memory();
    println!("{} KiB before, {} KiB at most", before / 1024, most / 1024);
    assert!(most <= MEMORY, "{most} bytes of {MEMORY}");
    drop(clients);
    honest(10).await;
}
