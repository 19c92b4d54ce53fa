//! Unary calls between two engines in memory: no kernel, no runtime, no gRPC above the fields.
//!
//! `cargo bench --bench connection_pair`: time per call for HEADERS and DATA one way, HEADERS,
//! DATA and trailers the other, both ends together.
#![allow(clippy::unwrap_used, clippy::panic)] // a bench that fails should stop
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use framewire::grpc::{Encoding, Method, request, response};
use framewire::http2::hpack::Template;
use framewire::http2::{
    Connection, Event, Fields, Limits, Payload, RecvBuffer, Role, SendBuffer, SendHead, StreamKey,
};
use std::hint::black_box;
use std::time::Instant;

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
        self.connection.flushed();
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
            // A length-prefixed message of 100 octets; its content is of no concern here.
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
                let octets = black_box(data).len() as u32;
                connection.release(output, key, octets, self.now);
                if end_stream {
                    self.asked.push(key);
                }
            }
        }
        let extra = Fields::new();
        for key in self.asked.drain(..) {
            connection.dispatched(key);
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
                    let octets = black_box(data).len() as u32;
                    connection.release(output, key, octets, self.now);
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
        group.bench_function(format!("unary of 100 octets, {calls} at a time"), |bencher| {
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
criterion_main!(benches);
