//! HPACK: the head of a typical gRPC request, whole and prepared, and the Huffman code alone.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use framewire::unstable::http2::Fields;
use framewire::unstable::http2::hpack::{Decoder, Encoder, FieldSink, Prepared, Template, huffman};

/// Touches every field, as a sink that looks at names would.
struct Count(usize);

impl FieldSink for Count {
    fn field(&mut self, name: &[u8], value: &[u8], _: bool) {
        self.0 += name.len() + value.len();
    }
}

fn stable() -> Fields {
    let mut fields = Fields::new();
    fields.push(":method", "POST");
    fields.push(":scheme", "https");
    fields.push(":path", "/helloworld.v1.Greeter/SayHello");
    fields.push(":authority", "greeter.example.com:443");
    fields.push("te", "trailers");
    fields.push("content-type", "application/grpc");
    fields.push("user-agent", "framewire/0.1.0");
    fields
}

/// 700 bytes of `authorization`, two fields of the user's own, and two that change with each call.
fn extra(call: u64) -> Fields {
    let mut fields = Fields::new();
    fields.push("authorization", format!("Bearer {}", "eyJhbGciOi".repeat(70)));
    fields.push("x-tenant", "acme-production");
    fields.push("x-client-region", "eu-central-1");
    let id = call.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    fields.push("traceparent", format!("00-{id:016x}{:016x}-{:016x}-01", !id, id ^ call));
    fields.push("grpc-timeout", format!("{}m", 900 + call % 100));
    fields
}

/// The wire of `calls` calls after a first one, and a decoder that has seen the first.
fn recorded(with_extra: bool) -> (Decoder, Vec<Vec<u8>>) {
    let (mut encoder, mut prepared) = (Encoder::new(4096), Prepared::new());
    let template = Template::new(stable());
    let mut decoder = Decoder::new(4096);
    let mut blocks = Vec::new();
    for call in 0..72 {
        let extra = if with_extra { extra(call) } else { Fields::new() };
        let mut block = Vec::new();
        prepared.encode(&mut encoder, &template, &extra, &mut block);
        if call < 8 {
            decoder.decode(&block, &mut Count(0)).unwrap();
        } else {
            blocks.push(block);
        }
    }
    (decoder, blocks)
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("hpack_encode");
    for (name, with_extra) in [("bare", false), ("realistic", true)] {
        let template = Template::new(stable());
        let extras: Vec<Fields> =
            (0..64).map(|call| if with_extra { extra(call) } else { Fields::new() }).collect();
        let heads: Vec<Fields> = extras
            .iter()
            .map(|extra| {
                let mut head = template.fields().clone();
                head.extend_from(extra);
                head
            })
            .collect();
        let mut out = Vec::with_capacity(4096);
        let mut at = 0;
        let mut encoder = Encoder::new(4096);
        group.bench_function(format!("{name}/plain"), |b| {
            b.iter(|| {
                out.clear();
                at = (at + 1) % heads.len();
                encoder.encode(black_box(&heads[at]), &mut out);
                out.len()
            });
        });
        let (mut encoder, mut prepared) = (Encoder::new(4096), Prepared::new());
        group.bench_function(format!("{name}/prepared"), |b| {
            b.iter(|| {
                out.clear();
                at = (at + 1) % extras.len();
                prepared.encode(&mut encoder, &template, black_box(&extras[at]), &mut out);
                out.len()
            });
        });
    }
    group.finish();
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("hpack_decode");
    for (name, with_extra) in [("bare", false), ("realistic", true)] {
        let (mut decoder, blocks) = recorded(with_extra);
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                at = (at + 1) % blocks.len();
                let mut sink = Count(0);
                decoder.decode(black_box(&blocks[at]), &mut sink).unwrap();
                sink.0
            });
        });
    }
    group.finish();
}

fn huffman_code(c: &mut Criterion) {
    let mut group = c.benchmark_group("huffman");
    let strings = [
        ("path", "/helloworld.v1.Greeter/SayHello".to_owned()),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        ("token", "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.".repeat(19)),
    ];
    for (name, string) in &strings {
        group.throughput(Throughput::Bytes(string.len() as u64));
        let mut out = Vec::with_capacity(4096);
        group.bench_function(format!("{name}/encode"), |b| {
            b.iter(|| {
                out.clear();
                huffman::encode(black_box(string.as_bytes()), &mut out);
                out.len()
            });
        });
        let mut coded = Vec::new();
        huffman::encode(string.as_bytes(), &mut coded);
        group.bench_function(format!("{name}/decode"), |b| {
            b.iter(|| {
                out.clear();
                huffman::decode(black_box(&coded), &mut out).unwrap();
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encode, decode, huffman_code);
criterion_main!(benches);
