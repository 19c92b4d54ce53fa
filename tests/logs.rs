//! What is logged, and at which level: nothing of an ordinary life above DEBUG, what peers do at most
//! once in ten seconds, ERROR only for what an operator must mend.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/log.rs"]
mod log;

use framewire::client::Channel;
use framewire::server::{Router, Server};
use framewire::transport::{Accept, AcceptFuture, Connect, Connected, Target, in_memory};
use framewire::{Code, Method, Raw, Request, Response, Status};
use log::Log;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tracing::Level;

const ECHO: Method<Raw, Raw> = Method::new("/test.Echo/Echo");
const FAILS: Method<Raw, Raw> = Method::new("/test.Echo/Fails");
const PANICS: Method<Raw, Raw> = Method::new("/test.Echo/Panics");
const NEVER: Method<Raw, Raw> = Method::new("/test.Echo/Never");

fn router() -> Router {
    Router::new()
        .unary(&ECHO, |_context, request| async move { Ok(Response::new(request)) })
        .unary(&FAILS, |_context, _request: Raw| async {
            Err::<Response<Raw>, _>(Status::new(Code::NotFound, "no"))
        })
        .unary(&PANICS, |_context, _request: Raw| async {
            if true {
                panic!("on purpose")
            }
            Ok(Response::new(Raw::default()))
        })
        .unary(&NEVER, |_context, _request: Raw| {
            std::future::pending::<Result<Response<Raw>, Status>>()
        })
}

/// Calls that succeed, fail, are cancelled and expire; then everything ends, in either order.
#[tokio::test(start_paused = true)]
async fn an_ordinary_life_logs_nothing_above_debug() {
    let log = Log::new();
    for server_first in [true, false] {
        let (connector, listener) = in_memory(64 * 1024);
        let server = Server::builder(router()).serve(listener).unwrap();
        let channel = Channel::builder("http://test").connector(connector).build().unwrap();
        channel.unary(&ECHO, Raw::default()).await.unwrap();
        channel.unary(&FAILS, Raw::default()).await.unwrap_err();
        let late = Request::new(Raw::default()).with_timeout(Duration::from_millis(10));
        channel.unary(&NEVER, late).await.unwrap_err();
        drop(
            tokio::time::timeout(Duration::from_millis(10), channel.unary(&NEVER, Raw::default()))
                .await,
        );
        if server_first {
            server.shutdown(Duration::from_secs(5)).await;
            drop(channel);
        } else {
            // The listener ends with the last connector.
            drop(channel);
            server.wait().await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert!(log.has("connection closed") && log.has("the listener has ended"), "lines are seen");
    assert_eq!(log.above(Level::INFO), [""; 0]);
}

/// As above, over TCP and, where it is built in, TLS.
#[tokio::test]
async fn an_ordinary_life_on_sockets_logs_nothing_above_debug() {
    let log = Log::new();
    let server = Server::builder(router()).bind(([127, 0, 0, 1], 0).into()).unwrap();
    let target = format!("http://{}", server.local_addr().unwrap());
    let channel = Channel::builder(&target).build().unwrap();
    channel.unary(&ECHO, Raw::default()).await.unwrap();
    server.shutdown(Duration::from_secs(5)).await;
    // Nobody listens any more.
    channel.unary(&ECHO, Raw::default()).await.unwrap_err();
    drop(channel);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(log.above(Level::INFO), [""; 0]);
}

/// A hundred clients that do what they should not: one line for each kind of it, and none is an ERROR.
#[cfg(feature = "tls-ring")]
#[tokio::test(start_paused = true)]
async fn what_clients_do_is_bounded() {
    let log = Log::new();
    let own = rcgen::generate_simple_self_signed(vec!["test".to_owned()]).unwrap();
    let tls = framewire::tls::ServerTls::builder()
        .identity_pem(own.cert.pem(), own.signing_key.serialize_pem())
        .build()
        .unwrap();
    let (connector, listener) = in_memory(64 * 1024);
    let _server = Server::builder(router()).tls(tls).max_connections(50).serve(listener).unwrap();
    let target: Target = "http://test".parse().unwrap();
    let dial = || async { connector.connect(target.clone()).await.unwrap().io };
    let bytes: [&[u8]; 4] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"nonsense",
    ];
    for first in bytes.into_iter().cycle().take(100) {
        let mut io = dial().await;
        io.write_all(first).await.unwrap();
        let mut answer = Vec::new();
        drop(io.read_to_end(&mut answer).await);
    }
    let lines = log.above(Level::INFO);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("INFO") && lines[0].contains("plaintext HTTP/2"), "{lines:?}");
    // A probe that only connects is no event.
    tokio::time::sleep(Duration::from_secs(20)).await;
    drop(dial().await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(log.above(Level::INFO).len(), 1);
    // Ten seconds later there may be another line, with the number of those between.
    let mut io = dial().await;
    io.write_all(b"nonsense").await.unwrap();
    drop(io.read_to_end(&mut Vec::new()).await);
    let lines = log.above(Level::INFO);
    assert!(lines.len() == 2 && lines[1].contains("more=99"), "{lines:?}");
    // More connections than allowed.
    let mut held = Vec::new();
    for _ in 0..150 {
        held.push(dial().await);
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let lines = log.above(Level::INFO);
    assert!(lines.len() == 3 && lines[2].contains("max_connections"), "{lines:?}");
    assert_eq!(log.above(Level::ERROR), [""; 0]);
}

/// On a plaintext port: what breaks HTTP/2 is the peer's business.
#[tokio::test(start_paused = true)]
async fn what_breaks_http2_is_no_error_of_ours() {
    let log = Log::new();
    let (connector, listener) = in_memory(64 * 1024);
    let _server = Server::builder(router()).serve(listener).unwrap();
    for first in [&b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"[..], b"nonsense, and more than 24 bytes of it", b""] {
        let mut io = connector.connect("http://test".parse().unwrap()).await.unwrap().io;
        io.write_all(first).await.unwrap();
        drop(tokio::time::timeout(Duration::from_secs(30), io.read_to_end(&mut Vec::new())).await);
    }
    assert!(log.has("a TLS ClientHello on a plaintext port"), "it is said");
    assert_eq!(log.above(Level::INFO), [""; 0]);
}

/// An acceptor that fails.
struct Fails;

impl Accept for Fails {
    fn accept(&mut self) -> AcceptFuture<'_> {
        Box::pin(async { Err(std::io::Error::other("the descriptor is gone")) })
    }
}

/// An acceptor that panics before some connections, and in some of its futures.
struct Panics<A> {
    inner: A,
    calls: u32,
}

impl<A: Accept> Accept for Panics<A> {
    fn accept(&mut self) -> AcceptFuture<'_> {
        self.calls += 1;
        match self.calls {
            1 | 6.. => self.inner.accept(),
            2 | 3 => std::panic::panic_any("a secret"),
            _ => Box::pin(async { std::panic::panic_any("a secret") }),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_goes_on_after_a_pause() {
    let log = Log::new();
    let (connector, inner) = in_memory(64 * 1024);
    let _server = Server::builder(router()).serve(Panics { inner, calls: 0 }).unwrap();
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        let channel = Channel::builder("http://test").connector(connector.clone());
        channel.build().unwrap().unary(&ECHO, Raw::default()).await.unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(10 + 20 + 40 + 80));
    let lines = log.above(Level::ERROR);
    assert!(lines.len() == 4 && !lines.concat().contains("secret"), "{lines:?}");
    for (line, pause) in lines.iter().zip(["10ms", "20ms", "40ms", "80ms"]) {
        assert!(line.contains("the listener panicked") && line.contains(pause), "{line}");
    }
}

/// A byte stream that panics as soon as it is read, and when it is dropped.
struct Bomb;

impl AsyncRead for Bomb {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::panic::panic_any("a secret")
    }
}

impl AsyncWrite for Bomb {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::panic::panic_any("a secret")
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any("a secret");
    }
}

/// An acceptor whose first byte streams panic; of these, the first half comes at once.
struct Bombs<A> {
    inner: A,
    left: u32,
}

const BOMBS: u32 = 20;

impl<A: Accept> Accept for Bombs<A> {
    fn accept(&mut self) -> AcceptFuture<'_> {
        if self.left == 0 {
            return self.inner.accept();
        }
        let pause = if self.left > BOMBS / 2 { 0 } else { 10 };
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            self.left -= 1;
            Ok(Connected::new(Bomb))
        })
    }
}

/// The end of such a connection is noted: it counts no longer, and a shutdown does not wait for it.
#[tokio::test(start_paused = true)]
async fn a_byte_stream_that_panics_ends_its_connection_alone() {
    let log = Log::new();
    let (connector, inner) = in_memory(64 * 1024);
    let server = Server::builder(router()).max_connections(2);
    let server = server.serve(Bombs { inner, left: BOMBS }).unwrap();
    let channel = Channel::builder("http://test").connector(connector).build().unwrap();
    channel.unary(&ECHO, Raw::default()).await.unwrap();
    drop(channel);
    let began = tokio::time::Instant::now();
    server.shutdown(Duration::from_secs(60)).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    let lines = log.above(Level::ERROR);
    assert!(!lines.concat().contains("secret"), "{lines:?}");
}

/// What an operator must know: a listener that failed, a handler that panicked.
#[tokio::test(start_paused = true)]
async fn what_must_be_mended_is_an_error() {
    let log = Log::new();
    Server::builder(router()).serve(Fails).unwrap().wait().await;
    let lines = log.above(Level::ERROR);
    assert!(lines.len() == 1 && lines[0].contains("the descriptor is gone"), "{lines:?}");
    let (connector, listener) = in_memory(64 * 1024);
    let _server = Server::builder(router()).serve(listener).unwrap();
    let channel = Channel::builder("http://test").connector(connector).build().unwrap();
    channel.unary(&PANICS, Raw::default()).await.unwrap_err();
    let lines = log.above(Level::ERROR);
    assert!(lines.len() == 2 && lines[1].contains("/test.Echo/Panics"), "{lines:?}");
}
