//! What a caller and a server read when certificates, or the two ends' protocols, do not fit: real
//! handshakes through a channel and a server.

use crate::identity::{Authority, Leaf};
use crate::log::Log;
use crate::{UNARY, normal};
use framewire::client::Channel;
use framewire::error::{Error, Initiator, Kind, Processed};
use framewire::server::{Router, Server};
use framewire::tls::{ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder};
use framewire::transport::{Connect, ConnectFuture, Connected, Target, in_memory};
use framewire::unstable::grpc::{Raw, Request, Response};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

fn ca(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn past(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
}

fn future(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(4000, 1, 1);
    params.not_after = rcgen::date_time_ymd(4001, 1, 1);
}

/// A call from `client` to `server`, over memory: the caller's error, and what the server has logged of
/// the handshake.
async fn call(
    scheme: &str,
    client: Option<ClientTls>,
    server: Option<ServerTls>,
) -> (Error, String) {
    let (connector, listener) = in_memory(64 * 1024);
    let log = Log::new();
    let router =
        Router::new().unary(&UNARY, |_, request: Raw| async move { Ok(Response::new(request)) });
    let mut builder = Server::builder(router);
    if let Some(tls) = server {
        builder = builder.tls(tls);
    }
    let _server = builder.serve(listener).unwrap();
    let mut builder = Channel::builder(&format!("{scheme}://localhost")).connector(connector);
    if let Some(tls) = client {
        builder = builder.tls(tls);
    }
    let error = builder.build().unwrap().unary(&UNARY, Raw::default()).await.unwrap_err();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    (error, log.text())
}

/// The reason in a caller's error, and the reason that the server logs.
type Row = (&'static str, Leaf, &'static str, &'static str);

fn client(root: &Authority) -> ClientTlsBuilder {
    ClientTls::builder().roots_pem(&root.pem)
}

fn server(leaf: &Leaf) -> ServerTlsBuilder {
    ServerTls::builder().identity_pem(&leaf.pem, leaf.key.serialize_pem())
}

/// Numbers of days differ from day to day.
fn without_days(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let is_days = |i: usize| words.get(i + 1).is_some_and(|word| word.starts_with("days"));
    let word = |i: usize| if is_days(i) { "N" } else { words[i] };
    (0..words.len()).map(word).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(what: &str, (error, log): &(Error, String), step: &str, reason: &str, logged: &str) {
    let facts = (error.kind(), error.initiator(), error.processed(), error.is_retry_safe());
    assert_eq!(facts, (Kind::Connect, Initiator::Io, Processed::No, true), "{what}: {error}");
    let line = without_days(&normal(error));
    let want = format!("UNAVAILABLE: cannot connect to {step}: {reason}");
    assert!(line.starts_with(&want), "{what}\n  wanted {want}\n  got    {line}");
    assert!(line.ends_with("; not processed, a retry is safe"), "{line}");
    assert!(without_days(log).contains(logged), "{what}\n  wanted {logged}\n  got    {log}");
}

const HANDSHAKE: &str = "https://localhost:443 (the TLS handshake)";

#[tokio::test(start_paused = true)]
async fn a_server_certificate_that_is_not_accepted() {
    let (root, other) = (Authority::new("root"), Authority::new("other"));
    let for_clients = |p: &mut CertificateParams| {
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let rows: [Row; 7] = [
        (
            "a CA",
            root.sign(&["localhost"], ca),
            "the server's certificate cannot be used: it is the certificate of a CA \
             (basicConstraints CA:TRUE), which may not identify a peer; issue one with CA:FALSE \
             [fault: server]",
            "the client did not accept this server's certificate: the log of the peer may say why \
             (alert CertificateUnknown)",
        ),
        (
            "expired",
            root.sign(&["localhost"], past),
            "the server's certificate is not valid at this time: it expired N days ago, by the \
             clock of this machine [fault: server]",
            "the client did not accept this server's certificate: it is not valid at this time, by \
             the peer's clock (alert CertificateExpired)",
        ),
        (
            "not yet valid",
            root.sign(&["localhost"], future),
            "the server's certificate is not valid at this time: it becomes valid in N days, by \
             the clock of this machine [fault: server]",
            "this server's certificate: it is not valid at this time",
        ),
        (
            "another name",
            root.sign(&["a.example", "*.b.example"], |_| {}),
            "the server's certificate is not valid for this name: invalid peer certificate: \
             certificate not valid for name \"localhost\"; certificate is only valid for \
             DnsName(\"a.example\") or DnsName(\"*.b.example\") [fault: server]",
            "this server's certificate: it is malformed, for another name, or was not sent (alert \
             BadCertificate)",
        ),
        (
            "no name",
            root.sign(&[], |_| {}),
            "the server's certificate is not valid for this name: invalid peer certificate: \
             certificate not valid for name \"localhost\"; certificate is not valid for any names \
             (according to its subjectAltName extension) [fault: server]",
            "this server's certificate: ",
        ),
        (
            "unknown issuer",
            other.sign(&["localhost"], |_| {}),
            "the server's certificate is not signed by a trusted root; add its root to the \
             client's if it is right: invalid peer certificate: UnknownIssuer [fault: client]",
            "this server's certificate: it does not trust the CA that signed it (alert UnknownCA)",
        ),
        (
            "another purpose",
            root.sign(&["localhost"], for_clients),
            "the server's certificate cannot be used: invalid peer certificate: certificate does \
             not allow extended key usage for server authentication, allows client authentication \
             [fault: server]",
            "this server's certificate: it is of a type or for a purpose that is not accepted \
             (alert UnsupportedCertificate)",
        ),
    ];
    for (what, leaf, reason, logged) in rows {
        let tls = (client(&root).build().unwrap(), server(&leaf).build().unwrap());
        let found = call("https", Some(tls.0), Some(tls.1)).await;
        check(what, &found, HANDSHAKE, reason, logged);
    }
}

/// A server that presents what this crate does not: `tests/data` of the TLS module, made with OpenSSL.
#[derive(Debug)]
struct Presents(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Presents {
    fn resolve(
        &self,
        _: rustls::server::ClientHello<'_>,
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_certificate_of_version_1() {
    let root = include_str!("../../src/transport/tls/tests/data/root.pem");
    let chain = include_bytes!("../../src/transport/tls/tests/data/v1.pem");
    let key = include_bytes!("../../src/transport/tls/tests/data/v1.key");
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_slice(key).unwrap();
    let key = crypto.key_provider.load_private_key(key).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(chain).unwrap()];
    let config = rustls::ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Presents(Arc::new(rustls::sign::CertifiedKey::new(
            chain, key,
        )))));
    let client = ClientTls::builder().roots_pem(root).build().unwrap();
    let found = call("https", Some(client), Some(ServerTls::from_rustls(config))).await;
    let reason = "the server's certificate cannot be used: it has X.509 version 1; issue it with \
                  version 3, that is with extensions such as subjectAltName [fault: server]";
    check("version 1", &found, HANDSHAKE, reason, "this server's certificate: ");
}

/// Reasons for which a server refuses a client: what the client reads, and what the server logs.
fn refused_clients(
    root: &Authority,
    other: &Authority,
) -> [(&'static str, Option<Leaf>, &'static str, &'static str); 5] {
    let for_servers = |p: &mut CertificateParams| {
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    [
        (
            "none",
            None,
            "it requires one and got none; set it with ClientTlsBuilder::identity_pem (alert \
             CertificateRequired) [fault: client]",
            "the client sent no certificate, and this server requires one",
        ),
        (
            "a CA",
            Some(root.sign(&["c"], ca)),
            "the log of the peer may say why (alert CertificateUnknown) [fault: client]",
            "the client's certificate is not valid here: it is the certificate of a CA \
             (basicConstraints CA:TRUE), which may not identify a peer; issue one with CA:FALSE",
        ),
        (
            "expired",
            Some(root.sign(&["c"], past)),
            "it is not valid at this time, by the peer's clock (alert CertificateExpired) [fault: \
             client]",
            "the client's certificate is not valid here: it expired N days ago, by the clock of \
             this machine",
        ),
        (
            "unknown issuer",
            Some(other.sign(&["c"], |_| {})),
            "it does not trust the CA that signed it (alert UnknownCA) [fault: client]",
            "the client's certificate is not valid here: none of the client roots has signed it",
        ),
        (
            "another purpose",
            Some(root.sign(&["c"], for_servers)),
            "it is of a type or for a purpose that is not accepted (alert UnsupportedCertificate) \
             [fault: client]",
            "the client's certificate is not valid here: invalid peer certificate: certificate \
             does not allow extended key usage for client authentication, allows server \
             authentication",
        ),
    ]
}

/// In TLS 1.2 the refusal is part of the handshake.
#[tokio::test(start_paused = true)]
async fn a_client_certificate_that_is_not_accepted_in_tls_1_2() {
    let (root, other) = (Authority::new("root"), Authority::new("other"));
    let good = root.sign(&["localhost"], |_| {});
    for (what, leaf, reason, logged) in refused_clients(&root, &other) {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.pem.as_bytes()).unwrap()).unwrap();
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(crypto)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots);
        let config = match &leaf {
            None => config.with_no_client_auth(),
            Some(Leaf { pem: chain, key }) => {
                let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let server = server(&good).client_roots_pem(&root.pem).build().unwrap();
        let found = call("https", Some(ClientTls::from_rustls(config)), Some(server)).await;
        let base = "the server did not accept the client's certificate, or got none";
        check(what, &found, HANDSHAKE, &format!("{base}: {reason}"), logged);
    }
}

/// In TLS 1.3 a server refuses after the client has finished, so the refusal comes in place of SETTINGS.
#[tokio::test(start_paused = true)]
async fn a_client_certificate_that_is_not_accepted() {
    let (root, other) = (Authority::new("root"), Authority::new("other"));
    let good = root.sign(&["localhost"], |_| {});
    for (what, leaf, reason, logged) in refused_clients(&root, &other) {
        let mut client = client(&root);
        if let Some(Leaf { pem: chain, key }) = &leaf {
            client = client.identity_pem(chain, key.serialize_pem());
        }
        let server = server(&good).client_roots_pem(&root.pem).build().unwrap();
        let found = call("https", Some(client.build().unwrap()), Some(server)).await;
        let base = "the server did not accept the client's certificate, or got none";
        check(what, &found, SETTINGS, &format!("{base}: {reason}"), logged);
        // The chain leads to rustls.
        let dial = found.0.source().unwrap();
        let io = dial.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
        assert!(io.get_ref().unwrap().is::<rustls::Error>(), "{io:?}");
    }
}

const SETTINGS: &str = "https://localhost:443 (waiting for the first SETTINGS)";

#[tokio::test(start_paused = true)]
async fn plaintext_to_a_tls_port() {
    let good = Authority::new("root").sign(&["localhost"], |_| {});
    let found = call("http", None, Some(server(&good).build().unwrap())).await;
    let reason = "the server speaks TLS on this port; use https:// if it is a TLS server [fault: \
                  client]";
    let logged = "the client sent plaintext HTTP/2 to a TLS listener; it should use https://";
    let step = "http://localhost:80 (waiting for the first SETTINGS)";
    check("plaintext to TLS", &found, step, reason, logged);
}

#[tokio::test(start_paused = true)]
async fn tls_to_a_plaintext_port() {
    let root = Authority::new("root");
    let found = call("https", Some(client(&root).build().unwrap()), None).await;
    let reason = "the server does not speak TLS on this port; use http:// if it is a plaintext \
                  server: received corrupt message of type InvalidContentType [fault: server]";
    let logged = "a TLS ClientHello on a plaintext port; use http://, or TLS on both sides";
    check("TLS to plaintext", &found, HANDSHAKE, reason, logged);
}

/// A stream that ends with the alert of a server that refuses the client's certificate.
struct Refused(tokio::io::DuplexStream);

impl AsyncRead for Refused {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.0).poll_read(cx, buf);
        if read.is_ready() && buf.filled().len() == before {
            let alert = rustls::AlertDescription::CertificateRequired;
            let error = rustls::Error::AlertReceived(alert);
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            return Poll::Ready(Err(error));
        }
        read
    }
}

impl AsyncWrite for Refused {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Reaches a server that sends SETTINGS before it looks at the certificate, reads a request, and refuses.
struct SpeaksFirst;

impl Connect for SpeaksFirst {
    fn connect(&self, _: Target) -> ConnectFuture {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            let mut read = 0;
            // The preface, SETTINGS, their acknowledgement, and a request.
            while read < 200 {
                read += far.read(&mut [0; 1024]).await.unwrap();
            }
        });
        Box::pin(async { Ok(Connected::new(Refused(near))) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_comes_after_settings() {
    let channel = Channel::builder("http://localhost").connector(SpeaksFirst).build().unwrap();
    let request = Request::new(Raw(vec![7; 300].into()));
    let error = channel.unary(&UNARY, request).await.unwrap_err();
    let facts = (error.kind(), error.initiator(), error.processed(), error.is_retry_safe());
    assert_eq!(facts, (Kind::Connect, Initiator::Remote, Processed::No, true), "{error}");
    let line = "UNAVAILABLE: the server did not accept the client's certificate, or got none: it \
                requires one and got none; set it with ClientTlsBuilder::identity_pem (alert \
                CertificateRequired), while waiting for the response; not processed, a retry is \
                safe; connection N to an unnamed peer, 0.0 s old, stream 1";
    assert_eq!(normal(&error), line);
}
