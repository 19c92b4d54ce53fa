//! Unary calls between two engines in memory: no kernel, no runtime, no gRPC above the fields.
//!
//! `cargo bench -p benches --bench connection_pair`: time, allocations and, where valgrind is there,
//! instructions per call for HEADERS and DATA one way, HEADERS, DATA and trailers the other, both
//! ends together.
#![allow(clippy::unwrap_used, clippy::panic)] // a bench that fails should stop
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group};
use framewire::unstable::grpc::{Encoding, Method, request, response};
use framewire::unstable::http2::hpack::Template;
use framewire::unstable::http2::{
    Connection, Event, Fields, Limits, Payload, RecvBuffer, Role, SendBuffer, SendHead, StreamKey,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Counts every allocation.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator that counts passes every call on as it came")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `alloc` above, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `memory` came from `alloc` above, with this layout.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// One end: an engine and its two buffers.
struct End {
    connection: Connection<()>,
    input: RecvBuffer,
    output: SendBuffer,
}

impl End {
    fn new(role: Role, now: Instant) -> Self {
        let mut limits = if role == Role::Client { Limits::client() } else { Limits::server() };
        limits.concurrent_streams = 2048;
        let mut connection = Connection::new(role, limits, now);
        let mut output = SendBuffer::new();
        connection.start(&mut output);
        Self { connection, input: RecvBuffer::new(), output }
    }

    /// Everything written goes over to the other end.
    fn carry_to(&mut self, other: &mut Self) {
        loop {
            let n = match self.output.slices().next() {
                Some(slice) => {
                    other.input.extend(slice);
                    slice.len()
                }
                None => break,
            };
            self.output.advance(n);
        }
    }
}

/// Both ends and the stable fields of a method.
struct Pair {
    client: End,
    server: End,
    request: Template,
    response: Template,
    trailers: Template,
    message: Vec<u8>,
    asked: Vec<StreamKey>,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        const ECHO: Method<(), ()> = Method::new("/framewire.bench.v1.Echo/Unary");
        let now = Instant::now();
        let head = request::head(ECHO.path(), "http", "localhost:50051", request::USER_AGENT);
        let mut pair = Self {
            client: End::new(Role::Client, now),
            server: End::new(Role::Server, now),
            request: Template::new(head),
            response: Template::new(response::head(Encoding::Identity)),
            trailers: Template::new(response::ok_trailers()),
            // A length-prefixed message of 100 bytes; its content is of no concern here.
            message: [&[0, 0, 0, 0, 100][..], &[7; 100]].concat(),
            asked: Vec::new(),
            now,
        };
        // SETTINGS and their acknowledgements, both ways.
        for _ in 0..3 {
            pair.serve();
            assert_eq!(pair.read(), 0);
        }
        pair
    }

    fn ask(&mut self, calls: usize) {
        let End { connection, output, .. } = &mut self.client;
        let extra = Fields::new();
        for _ in 0..calls {
            let head = SendHead { template: Some(&self.request), extra: &extra };
            let Ok(key) = connection.open(output, head, false, (), self.now) else {
                panic!("the stream is refused");
            };
            let body = Payload::Borrowed(&self.message);
            connection.send_data(output, key, body, true, self.now).unwrap();
        }
    }

    fn serve(&mut self) {
        self.client.carry_to(&mut self.server);
        let End { connection, input, output } = &mut self.server;
        while let Some(event) = connection.next_event(input, output, self.now).unwrap() {
            if let Event::Data { key, data, end_stream, .. } = event {
                let bytes = black_box(data).len() as u32;
                connection.release(output, key, bytes, self.now);
                if end_stream {
                    self.asked.push(key);
                }
            }
        }
        let extra = Fields::new();
        for key in self.asked.drain(..) {
            let head = SendHead { template: Some(&self.response), extra: &extra };
            connection.send_head(output, key, head, false).unwrap();
            let body = Payload::Borrowed(&self.message);
            connection.send_data(output, key, body, false, self.now).unwrap();
            connection.send_template_trailers(output, key, &self.trailers).unwrap();
            connection.take(key, output);
        }
    }

    /// Reads the answers; how many calls ended.
    fn read(&mut self) -> usize {
        self.server.carry_to(&mut self.client);
        let End { connection, input, output } = &mut self.client;
        let mut ended = 0;
        while let Some(event) = connection.next_event(input, output, self.now).unwrap() {
            match event {
                Event::Data { key, data, .. } => {
                    let bytes = black_box(data).len() as u32;
                    connection.release(output, key, bytes, self.now);
                }
                Event::Trailers { key, .. } => {
                    connection.take(key, output);
                    ended += 1;
                }
                _ => {}
            }
        }
        ended
    }
}

fn unary(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connection_pair");
    for calls in [1, 100] {
        let mut pair = Pair::new();
        group.throughput(Throughput::Elements(calls as u64));
        group.bench_function(format!("unary of 100 bytes, {calls} at a time"), |bencher| {
            bencher.iter(|| {
                pair.ask(calls);
                pair.serve();
                assert_eq!(pair.read(), calls);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, unary);

/// So many calls, a hundred at a time; the allocations of all but the first thousand.
fn run(calls: usize) -> u64 {
    let mut pair = Pair::new();
    let mut before = 0;
    for round in 0..calls / 100 {
        if round == 10 {
            before = ALLOCATIONS.load(Ordering::Relaxed);
        }
        pair.ask(100);
        pair.serve();
        assert_eq!(pair.read(), 100);
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Instructions of so many calls in a process of their own, as callgrind counts them.
fn instructions(calls: usize) -> Option<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(std::env::current_exe().ok()?).args(["--calls", &calls.to_string()]);
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, number) = text.lines().find_map(|line| line.split_once("Collected :"))?;
    number.trim().parse().ok()
}

fn main() {
    let mut arguments = std::env::args().skip_while(|word| word != "--calls").skip(1);
    if let Some(calls) = arguments.next() {
        let calls = calls.parse().unwrap();
        black_box(run(calls));
        return;
    }
    // `cargo test` builds benches and asks them for nothing.
    if std::env::args().any(|word| word == "--bench") {
        let calls = 100_000;
        let allocations = run(calls) as f64 / (calls - 1000) as f64;
        println!("allocations per call, 100 at a time: {allocations:.3}");
        match instructions(12_000).zip(instructions(2_000)) {
            Some((more, less)) => {
                println!("instructions per call, 100 at a time: {}", (more - less) / 10_000);
            }
            None => println!("instructions per call: valgrind is not there"),
        }
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
