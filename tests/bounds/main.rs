//! What a server holds for hostile clients, in bytes of heap, against the formula of `SECURITY.md`.
//!
//! `FRAMEWIRE_BOUNDS_ONLY=name` runs one shape.
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

mod formula;
#[path = "../support/frame.rs"]
mod frame;
#[path = "../support/heap.rs"]
mod heap;
#[path = "../support/hpack.rs"]
mod hpack;
mod shapes;

use framewire::server::{HttpReply, Requests, Router, Server};
use framewire::{Budget, Code, Limits, Method, Raw, Response, Status};
use shapes::{Shape, shapes};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Clients of each shape at once.
const CLIENTS: usize = 4;
const BUDGET: u64 = 16 << 20;
/// Bytes that may be left once all clients have gone: what the runtime keeps.
const LEFT: usize = 16 * 1024;

const DO: Method<Raw, Raw> = Method::new("/test.Work/Do");
const SILENT: Method<Raw, Raw> = Method::new("/test.Work/Silent");
const ENDLESS: Method<Raw, Raw> = Method::new("/test.Work/Endless");
const LARGE: Method<Raw, Raw> = Method::new("/test.Work/Large");
const SLOW: Method<Raw, Raw> = Method::new("/test.Work/Slow");

fn router() -> Router {
    Router::new()
        .unary(&DO, |_, request: Raw| async move { Ok(Response::new(request)) })
        .unary(&LARGE, |_, _: Raw| {
            let status = Status::new(Code::Internal, "v".repeat(7000));
            std::future::ready(Err::<Response<Raw>, _>(status))
        })
        .client_streaming(&SILENT, |_, _: Requests<Raw>| std::future::pending())
        .server_streaming(&ENDLESS, |_, _: Raw, mut replies| async move {
            loop {
                replies.send(Raw(vec![7; 2048].into())).await?;
            }
        })
        .client_streaming(&SLOW, |_, mut requests: Requests<Raw>| async move {
            while requests.message().await?.is_some() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(Response::new(Raw::default()))
        })
        .http("/upload", |_| async { HttpReply::new(200) })
}

/// A client of a shape: it has said all that the server takes from it.
fn attack(at: SocketAddr, shape: &Shape, preface: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(at).unwrap();
    socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let _ = socket.write_all(preface);
    if shape.reads {
        let mut reader = socket.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 16_384];
            while reader.read(&mut bytes).is_ok_and(|read| read > 0) {}
        });
    }
    let _ = socket.write_all(&shape.bytes);
    socket
}

fn preface(shape: &Shape) -> Vec<u8> {
    let mut bytes = frame::PREFACE.to_vec();
    bytes.extend(frame::settings(&[(frame::INITIAL_WINDOW_SIZE, shape.window)]).bytes());
    bytes.extend(frame::window_update(0, frame::MAX_WINDOW - 65_535).bytes());
    bytes
}

/// Waits until the server holds no more and no less for a while, at most two seconds.
fn settle() {
    let (mut held, mut same) = (heap::live(), 0);
    for _ in 0..40 {
        std::thread::sleep(Duration::from_millis(50));
        let now = heap::live();
        same = if now.abs_diff(held) < 16 * 1024 { same + 1 } else { 0 };
        held = now;
        if same == 3 {
            return;
        }
    }
}

/// What the server held at most for one client of this shape, and for all of them once they had gone.
fn measure(shape: &Shape) -> (usize, usize) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    let preface = preface(shape);
    let budget = Budget::new(BUDGET);
    let server = runtime.block_on(async {
        let builder = Server::builder(router()).budget(Arc::clone(&budget));
        builder.bind("127.0.0.1:0".parse().unwrap()).unwrap()
    });
    let (at, handle) = (server.local_addr().unwrap(), server.handle());
    let gone = || {
        let late = Instant::now() + Duration::from_secs(20);
        while handle.connections() > 0 && Instant::now() < late {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    // What is made once is there.
    drop(attack(at, &Shape { bytes: Vec::new(), ..*shape }, &preface));
    gone();
    let before = heap::begin();
    let mut sockets = Vec::with_capacity(CLIENTS);
    std::thread::scope(|scope| {
        let attack = || attack(at, shape, &preface);
        let attacks: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(attack)).collect();
        sockets.extend(attacks.into_iter().map(|attack| attack.join().unwrap()));
    });
    settle();
    let most = heap::most() - before;
    for socket in sockets.drain(..) {
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }
    gone();
    let left = heap::live().saturating_sub(before);
    runtime.shutdown_background();
    (most / CLIENTS, left)
}

#[test]
fn every_hostile_shape_keeps_to_the_formula() {
    let limits = Limits::server();
    let mut findings = Vec::new();
    let only = std::env::var("FRAMEWIRE_BOUNDS_ONLY").ok();
    for shape in shapes() {
        if only.as_ref().is_some_and(|only| only != shape.name) {
            continue;
        }
        let (most, left) = measure(&shape);
        let share = formula::messages(BUDGET) / CLIENTS;
        let streams = shape.streams * formula::stream(&limits, shape.lists);
        let bound = formula::connection(&limits) + streams + if shape.messages { share } else { 0 };
        let line = format!("{:36} {most:>8} of {bound:>8} bytes, {left:>8} left", shape.name);
        println!("{line}");
        if most > bound || left > LEFT {
            findings.push(line);
        }
    }
    assert!(findings.is_empty(), "too much is held a connection:\n{}", findings.join("\n"));
}

/// The section of `SECURITY.md` is what the limits give.
#[test]
fn the_formula_is_that_of_the_limits() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md");
    let security = std::fs::read_to_string(file).unwrap();
    let text = formula::text(&Limits::server());
    assert!(security.contains(&text), "SECURITY.md lacks this text:\n\n{text}");
    assert_eq!(formula::text(&Limits::client()), text, "the text names no role");
}
