//! A server's SETTINGS in the flight of its TLS handshake: the client has them when the handshake ends.

use crate::identity::Identity;
use framewire::server::{Router, Server};
use framewire::tls::{ServerTls, ServerTlsBuilder};
use framewire::transport::{BoxedIo, Connect, MemoryConnector, Target, in_memory};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::client::TlsStream;

/// Sends one flight. Later ones are held until `release`.
struct OneFlight {
    io: BoxedIo,
    sent: bool,
    release: bool,
    held: Vec<u8>,
}

impl AsyncRead for OneFlight {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for OneFlight {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.sent && !self.release {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.sent = true;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn builder(identity: &Identity) -> ServerTlsBuilder {
    ServerTls::builder().identity_pem(&identity.chain, identity.key_pem())
}

/// The frames, other than acknowledgements, that begin in `bytes`, by type.
fn frame_types(mut bytes: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = bytes {
        if !(*kind == 4 && flags & 1 == 1) {
            types.push(*kind);
        }
        let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        bytes = rest.get(len..).unwrap_or_default();
    }
    types
}

fn client_config(identity: &Identity, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(identity.root.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// A client whose handshake is over, while the server waits for its second flight.
async fn connect(connector: &MemoryConnector, config: ClientConfig) -> TlsStream<OneFlight> {
    let io = connector.connect(Target::parse("https://localhost").unwrap()).await.unwrap().io;
    let io = OneFlight { io, sent: false, release: false, held: Vec::new() };
    let name = "localhost".try_into().unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, io).await.unwrap()
}

/// Sends what was held.
async fn release(stream: &mut TlsStream<OneFlight>) {
    let below = stream.get_mut().0;
    below.release = true;
    let held = std::mem::take(&mut below.held);
    below.io.write_all(&held).await.unwrap();
}

/// What a client reads before the server has seen more than its first flight, and what it reads in all
/// after it has sent its preface.
async fn read(tls: ServerTls, identity: &Identity, alpn: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
    let config = client_config(identity, alpn);
    let (connector, listener) = in_memory(64 * 1024);
    let _server = Server::builder(Router::new()).tls(tls).serve(listener).unwrap();
    let mut stream = connect(&connector, config).await;
    let mut early = vec![0; 4096];
    let some = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut early)).await;
    early.truncate(some.map_or(0, Result::unwrap));

    release(&mut stream).await;
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let _ = stream.write_all(hello).await;
    let mut all = early.clone();
    let mut more = vec![0; 4096];
    while let Ok(Ok(n @ 1..)) =
        tokio::time::timeout(Duration::from_secs(1), stream.read(&mut more)).await
    {
        all.extend_from_slice(&more[..n]);
    }
    (early, all)
}

const SETTINGS_AND_WINDOW: [u8; 2] = [4, 8];

#[tokio::test(start_paused = true)]
async fn settings_come_with_the_end_of_the_handshake_and_once() {
    let identity = Identity::new("localhost");
    let (early, all) = read(builder(&identity).build().unwrap(), &identity, &[b"h2"]).await;
    assert_eq!(frame_types(&early), SETTINGS_AND_WINDOW);
    assert_eq!(frame_types(&all), SETTINGS_AND_WINDOW, "SETTINGS are said once");
}

/// Where client certificates are asked for, or may be, nothing is said to an unproved client.
#[tokio::test(start_paused = true)]
async fn an_unproved_client_is_told_nothing() {
    let identity = Identity::new("localhost");
    let asks = builder(&identity).client_roots_pem(&identity.root).client_certificate_optional();
    let (chain, key) = identity.parts();
    let unknown = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    for tls in [asks.build().unwrap(), ServerTls::from_rustls(unknown)] {
        let (early, all) = read(tls, &identity, &[b"h2"]).await;
        assert_eq!(early, b"");
        assert_eq!(frame_types(&all), SETTINGS_AND_WINDOW);
    }
}

/// RFC 9113 §3.2: HTTP/2 is spoken to a client that offers `h2` and to no other.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_offer_h2_is_told_nothing() {
    let identity = Identity::new("localhost");
    let (early, all) = read(builder(&identity).build().unwrap(), &identity, &[]).await;
    assert_eq!((early.as_slice(), all.as_slice()), (&b""[..], &b""[..]));
}

/// A client that has the server's SETTINGS counts on its connection: a drain that begins meanwhile does not
/// forget it. One that never ends its handshake holds the drain up for a second.
#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_a_handshake_in_flight() {
    let identity = Identity::new("localhost");
    for ends in [true, false] {
        let (connector, listener) = in_memory(64 * 1024);
        let tls = builder(&identity).build().unwrap();
        let server = Server::builder(Router::new()).tls(tls).serve(listener).unwrap();
        let mut stream = connect(&connector, client_config(&identity, &[b"h2"])).await;
        let began = tokio::time::Instant::now();
        let draining = tokio::spawn(server.shutdown(Duration::from_secs(600)));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!draining.is_finished(), "the drain has forgotten a connection");
        if ends {
            release(&mut stream).await;
            stream
                .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                .await
                .unwrap();
            let mut all = Vec::new();
            while !frame_types(&all).contains(&7) {
                assert!(stream.read_buf(&mut all).await.unwrap() > 0, "no GOAWAY: {all:?}");
            }
            drop(stream);
            draining.await.unwrap();
        } else {
            draining.await.unwrap();
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        }
    }
}
