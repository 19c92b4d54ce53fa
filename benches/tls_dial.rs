//! Dials through TLS: full handshakes against resumed ones, with and without a client certificate.
//!
//! `cargo bench -p benches --bench tls_dial`: time per dial for both ends together, on one thread over a pipe
//! in memory: no network is in it, and on an idle machine it is processor time. P-256 certificates,
//! TLS 1.3. A full handshake is measured with the 16 tickets a client asks for by default, and with
//! 1 and none.
#![allow(clippy::unwrap_used, clippy::panic)] // a bench that fails should stop
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use framewire::tls::{ClientTls, ClientTlsBuilder, ServerTls, TlsConnector, accept};
use framewire::transport::Accept;
use framewire::transport::in_memory;
use framewire::transport::{Connect, Target};
use framewire::transport::{MemoryConnector, MemoryListener};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::hint::black_box;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A root, and a certificate with its key for each end.
struct Certificates {
    root: String,
    server: (String, String),
    client: (String, String),
}

impl Certificates {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let sign = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
        };
        Self { server: sign("localhost"), client: sign("client.example"), root }
    }
}

/// Both ends of every dial.
struct Pair {
    client: ClientTls,
    server: ServerTls,
    connector: TlsConnector<MemoryConnector>,
    listener: MemoryListener,
    target: Target,
}

impl Pair {
    fn new(mutual: bool, options: impl FnOnce(ClientTlsBuilder) -> ClientTlsBuilder) -> Self {
        let of = Certificates::new();
        let mut server = ServerTls::builder().identity_pem(&of.server.0, &of.server.1);
        let mut client = ClientTls::builder().roots_pem(&of.root);
        if mutual {
            server = server.client_roots_pem(&of.root);
            client = client.identity_pem(&of.client.0, &of.client.1);
        }
        let client = options(client).build().unwrap();
        let (inner, listener) = in_memory(1 << 16);
        Self {
            connector: TlsConnector::new(inner, client.clone()),
            client,
            server: server.build().unwrap(),
            listener,
            target: Target::parse("https://localhost").unwrap(),
        }
    }

    /// One dial, the server's tickets taken in.
    async fn dial(&mut self) {
        let client = async {
            let mut connected = self.connector.connect(self.target.clone()).await.unwrap();
            black_box(connected.io.read_u8().await.unwrap());
        };
        let server = async {
            let io = self.listener.accept().await.unwrap().io;
            let (mut io, _) = accept(io, &self.server).await.unwrap();
            io.write_all(b"!").await.unwrap();
            io.flush().await.unwrap();
        };
        tokio::join!(client, server);
    }
}

fn bench(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut group = c.benchmark_group("tls_dial");
    group.throughput(Throughput::Elements(1));
    for (name, mutual) in [("", false), ("_mutual", true)] {
        for tickets in [16, 1, 0] {
            // A replaced configuration has no sessions: the next handshake is full.
            let asking = |client: ClientTlsBuilder| client.ticket_request(Some((tickets, 1)));
            let mut pair = Pair::new(mutual, asking);
            let fresh = pair.client.clone();
            group.bench_function(format!("full{name}_{tickets}_tickets"), |b| {
                b.iter(|| {
                    fresh.replace(&fresh);
                    runtime.block_on(pair.dial());
                });
            });
            assert_eq!(pair.client.stats().resumed.count, 0);
        }
        let mut pair = Pair::new(mutual, |client| client);
        runtime.block_on(pair.dial());
        group.bench_function(format!("resumed{name}"), |b| {
            b.iter(|| runtime.block_on(pair.dial()));
        });
        assert_eq!(pair.client.stats().full.count, 1, "a dial found no ticket");
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
