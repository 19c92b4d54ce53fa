//! What a server holds for hostile clients, and a client for hostile servers, in bytes of heap, against the
//! formula of `SECURITY.md`.
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
mod servers;
mod shapes;

use framewire::server::{HttpReply, Requests, Router, Server};
use framewire::{Budget, Code, Limits, Method, Raw, Response, Status};
use shapes::{End, Shape, shapes};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// What a client has heard.
#[derive(Default)]
struct Heard {
    /// Bytes of the payload that are still to come.
    left: usize,
    head: Vec<u8>,
    end: End,
}

impl Heard {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let n = self.left.min(bytes.len());
            if n > 0 {
                (self.left, bytes) = (self.left - n, &bytes[n..]);
                continue;
            }
            // A GOAWAY is looked at with its first 8 bytes.
            let wanted = if self.head.get(3) == Some(&frame::GOAWAY) { 17 } else { 9 };
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if self.head.len() < wanted || (wanted == 9 && self.head[3] == frame::GOAWAY) {
                continue;
            }
            let length = u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]);
            self.left = length as usize + 9 - self.head.len();
            if let Some(code) = self.head.get(13..17) {
                self.end = End::GoAway(u32::from_be_bytes(code.try_into().unwrap()));
            }
            self.head.clear();
        }
    }

    /// Reads until the end, or for so long at most.
    fn listen(this: &Mutex<Self>, mut socket: TcpStream, time: Duration) {
        let (late, mut bytes) = (Instant::now() + time, [0; 16_384]);
        socket.set_read_timeout(Some(time.min(Duration::from_millis(300)))).unwrap();
        while Instant::now() < late {
            match socket.read(&mut bytes) {
                Ok(read) if read > 0 => this.lock().unwrap().feed(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => {
                    let mut heard = this.lock().unwrap();
                    if heard.end == End::Stays {
                        heard.end = End::Closed;
                    }
                    return;
                }
            }
        }
    }
}

/// A client of a shape, and what it has heard.
struct Client {
    socket: TcpStream,
    heard: Arc<Mutex<Heard>>,
}

/// A client that has said all that the server takes from it.
fn attack(at: SocketAddr, shape: &Shape, preface: &[u8]) -> Client {
    let mut socket = TcpStream::connect(at).unwrap();
    socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let _ = socket.write_all(preface);
    let heard = Arc::<Mutex<Heard>>::default();
    if shape.reads {
        let (reader, heard) = (socket.try_clone().unwrap(), Arc::clone(&heard));
        std::thread::spawn(move || Heard::listen(&heard, reader, Duration::from_secs(3600)));
    }
    let _ = socket.write_all(&shape.bytes);
    Client { socket, heard }
}

fn preface(shape: &Shape) -> Vec<u8> {
    let mut bytes = frame::PREFACE.to_vec();
    bytes.extend(frame::settings(&[(frame::INITIAL_WINDOW_SIZE, shape.window)]).bytes());
    // Wide, and not so wide that one more would be an error.
    bytes.extend(frame::window_update(0, frame::MAX_WINDOW / 2).bytes());
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

/// What the server held at most for one client of this shape, and for all of them once they had gone, and what
/// became of each connection.
fn measure(shape: &Shape) -> (usize, usize, Vec<End>) {
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
    let mut clients = Vec::with_capacity(CLIENTS);
    std::thread::scope(|scope| {
        let attack = || attack(at, shape, &preface);
        let attacks: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(attack)).collect();
        clients.extend(attacks.into_iter().map(|attack| attack.join().unwrap()));
    });
    settle();
    let most = heap::most() - before;
    let mut ends = Vec::with_capacity(CLIENTS);
    for Client { socket, heard } in clients {
        if !shape.reads {
            Heard::listen(&heard, socket.try_clone().unwrap(), Duration::from_millis(500));
        }
        ends.push(heard.lock().unwrap().end);
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }
    gone();
    let left = heap::live().saturating_sub(before);
    runtime.shutdown_background();
    (most / CLIENTS, left, ends)
}

/// The heap is that of the process: one test at a time reads it.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_hostile_shape_keeps_to_the_formula() {
    let _alone = alone();
    let limits = Limits::server();
    let mut findings = Vec::new();
    let only = std::env::var("FRAMEWIRE_BOUNDS_ONLY").ok();
    for shape in shapes() {
        if only.as_ref().is_some_and(|only| only != shape.name) {
            continue;
        }
        let (most, left, ends) = measure(&shape);
        let share = formula::messages(BUDGET) / CLIENTS;
        let streams = shape.streams * formula::stream(&limits, shape.lists);
        let bound = formula::connection(&limits) + streams + if shape.messages { share } else { 0 };
        let name = shape.name;
        let line = format!("{name:36} {most:>8} of {bound:>8} bytes, {left:>8} left, {ends:?}");
        println!("{line}");
        if most > bound
            || left > LEFT
            || (shape.end != End::Depends && ends.iter().any(|end| *end != shape.end))
        {
            findings.push(format!("{line}; expected {:?}", shape.end));
        }
    }
    assert!(
        findings.is_empty(),
        "too much is held a connection, or its end is another one:\n{}",
        findings.join("\n")
    );
}

/// The section of `SECURITY.md` is what the limits give.
#[test]
fn the_formula_is_that_of_the_limits() {
    let _alone = alone();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md");
    let security = std::fs::read_to_string(file).unwrap();
    let text = formula::text(&Limits::server());
    assert!(security.contains(&text), "SECURITY.md lacks this text:\n\n{text}");
    assert_eq!(formula::text(&Limits::client()), text, "the text names no role");
}
