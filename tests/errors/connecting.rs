//! Dials that end in a phase of their own: the name, TLS, ALPN.

use crate::identity::Identity;
use crate::{UNARY, normal};
use framewire::client::Channel;
use framewire::error::Phase;
use framewire::server::{Router, Server};
use framewire::tls::{ClientTls, ServerTls};
use framewire::transport::Accept;
use framewire::transport::in_memory;
use framewire::transport::{
    Connect, ConnectError, ConnectErrorKind, ConnectFuture, ConnectPhase, Target,
};
use framewire::transport::{MemoryConnector, MemoryListener};
use framewire::unstable::grpc::Raw;
use std::error::Error as _;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn serve(identity: &Identity, listener: MemoryListener) {
    let tls = ServerTls::builder().identity_pem(&identity.chain, identity.key_pem());
    Server::builder(Router::new()).tls(tls.build().unwrap()).serve(listener).unwrap();
}

/// A server of another make, that knows these protocols.
fn serve_foreign(identity: &Identity, alpn: &[&[u8]], mut listener: MemoryListener) {
    let (chain, key) = identity.parts();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        let io = listener.accept().await.unwrap().io;
        drop(acceptor.accept(io).await);
    });
}

/// The line of a call, and the phase it ended in.
async fn line(connector: MemoryConnector, root: &str) -> (String, Option<Phase>) {
    let tls = ClientTls::builder().roots_pem(root).build().unwrap();
    let channel = Channel::builder("https://localhost").connector(connector).tls(tls);
    let error = channel.build().unwrap().unary(&UNARY, Raw::default()).await.unwrap_err();
    (normal(&error), error.phase())
}

fn tls_line(reason: &str, fault: &str) -> (String, Option<Phase>) {
    let line = format!(
        "UNAVAILABLE: cannot connect to https://localhost:443 (the TLS handshake): {reason} \
         [fault: {fault}], while in the TLS handshake; not processed, a retry is safe"
    );
    (line, Some(Phase::Tls))
}

#[tokio::test(start_paused = true)]
async fn a_certificate_for_another_name() {
    let (connector, listener) = in_memory(64 * 1024);
    let other = Identity::new("other.example");
    serve(&other, listener);
    let want = tls_line(
        "the server's certificate is not valid for this name: invalid peer certificate: \
         certificate not valid for name \"localhost\"; certificate is only valid for \
         DnsName(\"other.example\")",
        "server",
    );
    assert_eq!(line(connector, &other.root).await, want);
}

#[tokio::test(start_paused = true)]
async fn a_root_that_nobody_trusts() {
    let (connector, listener) = in_memory(64 * 1024);
    serve(&Identity::new("localhost"), listener);
    let want = tls_line(
        "the server's certificate is not signed by a trusted root; add its root to the \
         client's if it is right: invalid peer certificate: UnknownIssuer",
        "client",
    );
    assert_eq!(line(connector, &Identity::new("elsewhere").root).await, want);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_h2() {
    let ours = Identity::new("localhost");
    let refused = "the server refused ALPN h2 (alert 120, no_application_protocol); gRPC needs \
                   HTTP/2, enable h2 on the server: received fatal alert: \
                   NoApplicationProtocol";
    let none = "the server chose no protocol by ALPN; gRPC needs HTTP/2, enable ALPN h2 on the \
                server";
    for (alpn, reason) in [(&[&b"http/1.1"[..]][..], refused), (&[], none)] {
        let (connector, listener) = in_memory(64 * 1024);
        serve_foreign(&ours, alpn, listener);
        assert_eq!(line(connector, &ours.root).await, tls_line(reason, "server"));
    }
}

/// A dial that ends like this.
struct Ends(ConnectErrorKind, ConnectPhase);

impl Connect for Ends {
    fn connect(&self, target: Target) -> ConnectFuture {
        let error = ConnectError::new(self.0, self.1, &target);
        Box::pin(async move { Err(error) })
    }
}

/// What no server of ours can be made to do, and the phases that no other test meets.
#[tokio::test(start_paused = true)]
async fn a_dial_that_ends_in_each_phase() {
    let rows = [
        (
            Ends(ConnectErrorKind::AlpnHttp11, ConnectPhase::Tls),
            "UNAVAILABLE: cannot connect to http://localhost:80 (the TLS handshake): the server \
             chose http/1.1 by ALPN; gRPC needs HTTP/2, enable h2 on the server [fault: server], \
             while in the TLS handshake; not processed, a retry is safe",
        ),
        (
            Ends(ConnectErrorKind::TimedOut, ConnectPhase::Http2),
            "UNAVAILABLE: cannot connect to http://localhost:80 (waiting for the first \
             SETTINGS): no answer in time [fault: network], while waiting for the peer's \
             SETTINGS; not processed, a retry is safe",
        ),
        (
            Ends(ConnectErrorKind::Resolve, ConnectPhase::Resolve),
            "UNAVAILABLE: cannot connect to http://localhost:80 (resolving the name): the name \
             could not be resolved [fault: client], while resolving the name; not processed, a \
             retry is safe",
        ),
    ];
    for (ends, want) in rows {
        let channel = Channel::builder("http://localhost").connector(ends).build().unwrap();
        let error = channel.unary(&UNARY, Raw::default()).await.unwrap_err();
        assert_eq!(normal(&error), want);
    }
}

/// The system's resolver and its own words, which differ from machine to machine.
#[tokio::test]
async fn a_name_that_does_not_resolve() {
    let channel = Channel::builder("http://no-such-host.invalid:1").build().unwrap();
    let error = channel.unary(&UNARY, Raw::default()).await.unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Resolve));
    let line = normal(&error);
    let (before, words) = line.split_once("could not be resolved: ").unwrap();
    assert_eq!(
        before,
        "UNAVAILABLE: cannot connect to http://no-such-host.invalid:1 (resolving the name): the \
         name "
    );
    let (words, after) = words.rsplit_once(" [").unwrap();
    assert!(!words.is_empty());
    assert_eq!(after, "fault: client], while resolving the name; not processed, a retry is safe");
}

/// A connection that was in use: the error of the system is the cause.
#[tokio::test]
async fn a_connection_that_is_reset() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        // An empty SETTINGS frame; then the request is read, and the connection reset.
        io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let (mut bytes, mut at) = (Vec::new(), 24);
        // RFC 9113 §4.1: nine bytes of header, the fourth is the type; §6.2: HEADERS is 1
        while bytes.get(at + 3) != Some(&1) {
            match bytes.get(at..at + 3) {
                Some(&[0, high, low]) => at += 9 + usize::from(high) * 256 + usize::from(low),
                _ => assert!(io.read_buf(&mut bytes).await.unwrap() > 0, "a request comes"),
            }
        }
        socket2::SockRef::from(&io).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    });
    let channel = Channel::builder(&target).build().unwrap();
    let error = channel.unary(&UNARY, Raw::default()).await.unwrap_err();
    server.await.unwrap();
    let io = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(io.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
}
