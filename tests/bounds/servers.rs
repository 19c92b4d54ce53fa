//! What a client holds for hostile servers, in bytes of heap, against the same formula.

use crate::formula;
use crate::frame::*;
use crate::heap;
use crate::hpack::{block, entered, indexed, literal, response};
use crate::shapes::bomb;
use framewire::client::{Channel, Streaming};
use framewire::{Budget, Limits, Method, Raw, Request};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Calls of a client at once.
const CALLS: u32 = 50;
const BUDGET: u64 = 8 << 20;
/// Bytes that may be left once the channel is gone: what the runtime keeps.
const LEFT: usize = 24 * 1024;
/// Of a call, what its caller holds: the request, the stream's half, the task that waits for it.
const CALLER: usize = 8 * 1024;

const DO: Method<Raw, Raw> = Method::new("/test.Work/Do");

/// What a server sends once the client's calls are there.
struct Shape {
    name: &'static str,
    bytes: Vec<u8>,
    /// Header lists of the largest size that each stream brings.
    lists: usize,
    /// It brings messages, so that the budget counts.
    messages: bool,
}

fn streams() -> impl Iterator<Item = u32> {
    (0..CALLS).map(|n| 2 * n + 1)
}

fn each(frames: impl Fn(u32) -> Vec<RawFrame>) -> Vec<RawFrame> {
    streams().flat_map(frames).collect()
}

fn shape(name: &'static str, frames: &[RawFrame]) -> Shape {
    Shape { name, bytes: wire(frames), lists: 0, messages: false }
}

/// A shape that brings messages.
fn laden(name: &'static str, frames: &[RawFrame]) -> Shape {
    Shape { messages: true, ..shape(name, frames) }
}

fn head(stream: u32, more: &[(&str, &str)]) -> RawFrame {
    let grpc = [("content-type", "application/grpc")];
    headers(stream, END_HEADERS, response(200, &[&grpc[..], more].concat()))
}

/// Fields that fill a header list nearly to its limit.
fn large() -> Vec<u8> {
    let field = |i: u8| literal(format!("x-large-{i}").as_bytes(), &[b'v'; 4800]);
    (0..3).flat_map(field).collect()
}

fn shapes() -> Vec<Shape> {
    let many = |frame: RawFrame, times: usize| vec![frame; times];
    let open = |stream| head(stream, &[]);
    let unended = |flags| {
        let mut first = response(200, &[]);
        first.extend(large());
        let mut frames = vec![headers(1, flags, first)];
        frames.extend((0..1200).map(|_| continuation(1, NONE, literal(b"x", &[b'v'; 4000]))));
        frames
    };
    let large_heads = each(|n| {
        let grpc = response(200, &[("content-type", "application/grpc")]);
        vec![headers(n, END_HEADERS, [grpc, large()].concat())]
    });
    let mut endless_trailers = vec![open(1), headers(1, END_STREAM, large())];
    endless_trailers.extend((0..1200).map(|_| continuation(1, NONE, literal(b"x", &[b'v'; 4000]))));
    let large_trailers = each(|n| {
        let status = block(&[("grpc-status", "0")]);
        vec![open(n), headers(n, WHOLE, [status, large()].concat())]
    });
    let named = each(|n| {
        let mut fields = response(200, &[("content-type", "application/grpc")]);
        fields.extend(entered(b"x-bomb", &[b'v'; 4000]));
        fields.extend(indexed(62).repeat(16_000));
        vec![headers(n, END_HEADERS, fields)]
    });
    let message = bomb(3 << 20);
    let zipped = [("grpc-encoding", "gzip")];
    let bombs = each(|n| vec![head(n, &zipped), data(n, NONE, message.clone())]);
    // As much as the windows take, and on after it.
    let endless: Vec<RawFrame> = (0..3000)
        .flat_map(|i| {
            let n = 2 * (i % CALLS) + 1;
            let message = [&[0, 0, 0, 0x3f, 0xfb][..], &[7; 16_379]].concat();
            let data = data(n, NONE, message);
            if i < CALLS { vec![open(n), data] } else { vec![data] }
        })
        .collect();
    let lies = each(|n| vec![open(n), data(n, NONE, [0, 0, 0x3f, 0xff, 0xff])]);
    let crumbs = each(|n| [vec![open(n)], many(data(n, NONE, [0]), 400)].concat());
    let windows = |i: u32| {
        let size = if i.is_multiple_of(2) { 0 } else { MAX_WINDOW };
        vec![settings(&[(INITIAL_WINDOW_SIZE, size)])]
    };
    let refusals = each(|n| {
        let text = "v".repeat(7000);
        let fields = [("content-type", "application/grpc"), ("grpc-status", "13")];
        let fields = [&fields[..], &[("grpc-message", text.as_str())]].concat();
        vec![headers(n, WHOLE, response(200, &fields))]
    });
    let promises = (0..10_000).map(|n| push_promise(1, 2 * n + 2, &response(200, &[])));
    vec![
        shape("a head that does not end", &unended(NONE)),
        Shape { lists: 1, ..shape("large heads", &large_heads) },
        Shape { lists: 1, ..shape("trailers that do not end", &endless_trailers) },
        Shape { lists: 2, ..shape("large trailers", &large_trailers) },
        Shape { lists: 1, ..shape("one entry named often", &named) },
        Shape { lists: 1, ..shape("refusals with long texts", &refusals) },
        shape("interim heads", &many(headers(1, END_HEADERS, response(103, &[])), 50_000)),
        shape("PING without reading", &many(ping([7; 8]), 300_000)),
        shape("SETTINGS without reading", &many(settings(&[(INITIAL_WINDOW_SIZE, 9)]), 300_000)),
        shape("windows up and down", &(0..20_000).flat_map(windows).collect::<Vec<_>>()),
        shape("WINDOW_UPDATE", &many(window_update(1, 1), 50_000)),
        shape("PUSH_PROMISE", &promises.collect::<Vec<_>>()),
        shape("GOAWAY", &many(goaway(MAX_WINDOW, NO_ERROR), 10_000)),
        shape("resets", &each(|n| vec![rst_stream(n, CANCEL)])),
        laden("empty DATA", &[vec![open(1)], many(data(1, NONE, []), 50_000)].concat()),
        laden("gzip bombs", &bombs),
        laden("responses without end", &endless),
        laden("lengths that lie", &lies),
        laden("messages a byte a frame", &crumbs),
    ]
}

/// Reads the client's frames until all its calls are there; `false` if it has gone before.
fn await_calls(socket: &mut TcpStream) -> bool {
    let (mut bytes, mut piece, mut calls) = (Vec::new(), vec![0; 65_536], 0);
    let mut at = PREFACE.len();
    loop {
        while let Some(head) = bytes.get(at..at + 9) {
            let head: &[u8] = head;
            calls += u32::from(head[3] == HEADERS);
            at += 9 + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        }
        if calls == CALLS {
            return true;
        }
        match socket.read(&mut piece) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&piece[..n]),
            _ => return false,
        }
    }
}

/// A server of this shape, a connection after the other, until it is told to stop.
fn serve(listener: &TcpListener, shape: &Shape, told: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    let pause = || std::thread::sleep(Duration::from_millis(5));
    while !told.load(Ordering::SeqCst) {
        let Ok((mut socket, _)) = listener.accept() else {
            pause();
            continue;
        };
        socket.set_nonblocking(false).unwrap();
        socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let _ = socket.write_all(&settings(&[]).bytes());
        if !await_calls(&mut socket) {
            continue;
        }
        let _ = socket.write_all(&shape.bytes);
        // It reads no more, and stays until the client has gone or the shape has been measured.
        socket.set_nonblocking(true).unwrap();
        while !told.load(Ordering::SeqCst)
            && matches!(socket.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        {
            pause();
        }
        while !told.load(Ordering::SeqCst) {
            pause();
        }
    }
}

async fn calls(at: SocketAddr, budget: &Arc<Budget>) -> (Channel, Vec<Streaming<Raw>>) {
    let builder = Channel::builder(&format!("http://{at}")).budget(Arc::clone(budget));
    let channel = builder.max_connections(1).build().unwrap();
    let streams = (0..CALLS)
        .map(|_| channel.server_streaming(&DO, Request::new(Raw::default())).unwrap())
        .collect();
    (channel, streams)
}

/// What the client held at most for a server of this shape, and when its channel was gone.
fn measure(shape: &Shape) -> (usize, usize) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, told) = (listener.local_addr().unwrap(), AtomicBool::new(false));
    let budget = Budget::new(BUDGET);
    let measured = std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener, shape, &told));
        let before = heap::begin();
        let (channel, streams) = runtime.block_on(async { calls(at, &budget).await });
        std::thread::sleep(Duration::from_millis(300));
        crate::settle();
        let most = heap::most().saturating_sub(before);
        drop(streams);
        runtime.block_on(async { channel.close(Duration::from_millis(100)).await });
        drop(channel);
        told.store(true, Ordering::SeqCst);
        crate::settle();
        (most, heap::live().saturating_sub(before))
    });
    runtime.shutdown_background();
    measured
}

#[test]
fn every_hostile_server_keeps_to_the_formula() {
    let _alone = crate::alone();
    let limits = Limits::client();
    let only = std::env::var("FRAMEWIRE_BOUNDS_ONLY").ok();
    let mut findings = Vec::new();
    // What is made once is there.
    measure(&shape("nothing", &[]));
    for shape in shapes() {
        if only.as_ref().is_some_and(|only| only != shape.name) {
            continue;
        }
        let (most, left) = measure(&shape);
        let calls = CALLS as usize * (formula::stream(&limits, shape.lists) + CALLER);
        let messages =
            if shape.messages { formula::messages(BUDGET) + formula::MESSAGE } else { 0 };
        let bound = formula::connection(&limits) + calls + messages;
        let line = format!("{:36} {most:>8} of {bound:>8} bytes, {left:>8} left", shape.name);
        println!("{line}");
        if most > bound || left > LEFT {
            findings.push(line);
        }
    }
    assert!(findings.is_empty(), "a client holds too much:\n{}", findings.join("\n"));
}
