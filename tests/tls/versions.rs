//! TLS 1.2 beside 1.3 (RFC 9113 §9.2): with suites that HTTP/2 allows, and ALPN checked all the
//! same.

use crate::identity::Identity;
use framewire::client::Channel;
use framewire::server::{Router, Server};
use framewire::tls::{ClientTls, ServerTls};
use framewire::transport::Accept;
use framewire::transport::TlsInfo;
use framewire::transport::in_memory;
use framewire::unstable::grpc::{Method, Raw, Response};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};
use std::sync::Arc;

/// Answers with what the server knows of the connection's TLS.
const TLS: Method<Raw, Raw> = Method::new("/test.Tls/Tls");

fn words(tls: &TlsInfo) -> String {
    let alpn = String::from_utf8_lossy(tls.alpn.as_deref().unwrap_or(b"none")).into_owned();
    format!("{} {} {alpn}", tls.version, tls.cipher)
}

fn router() -> Router {
    Router::new().unary(&TLS, |context, _: Raw| async move {
        let tls = context.connection().unwrap().tls.unwrap();
        Ok(Response::new(Raw(words(&tls).into())))
    })
}

/// rustls' own configurations, of one version and one suite; ALPN is left out.
fn provider(suite: SupportedCipherSuite) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() })
}

fn client_config(suite: SupportedCipherSuite, identity: &Identity) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(identity.root.as_bytes()).unwrap()).unwrap();
    ClientConfig::builder_with_provider(provider(suite))
        .with_protocol_versions(&[version(suite)])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn server_config(suite: SupportedCipherSuite, identity: &Identity) -> ServerConfig {
    let (chain, key) = identity.parts();
    ServerConfig::builder_with_provider(provider(suite))
        .with_protocol_versions(&[version(suite)])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

fn version(suite: SupportedCipherSuite) -> &'static rustls::SupportedProtocolVersion {
    if suite.tls13().is_some() { &TLS13 } else { &TLS12 }
}

/// One call; what the server knew, and what the client did.
async fn meet(client: ClientTls, server: ServerTls) -> (String, String) {
    let (connector, listener) = in_memory(64 * 1024);
    let _server = Server::builder(router()).tls(server).serve(listener).unwrap();
    let channel = Channel::builder("https://localhost").connector(connector).tls(client);
    let channel = channel.build().unwrap();
    let answer = channel.unary(&TLS, Raw::default()).await.unwrap().into_inner();
    let far = String::from_utf8(answer.0.to_vec()).unwrap();
    let near = words(channel.unstable_handles()[0].info().tls.as_ref().unwrap());
    (far, near)
}

/// RFC 9113 §9.2.2: ephemeral key exchange and an AEAD cipher.
fn is_allowed(name: &str) -> bool {
    name.starts_with("TLS_ECDHE_")
        && (name.contains("_GCM_") || name.contains("_CHACHA20_POLY1305_"))
}

#[tokio::test(start_paused = true)]
async fn every_suite_that_is_offered_carries_calls() {
    let identity = Identity::new("localhost");
    let ours = || ClientTls::builder().roots_pem(&identity.root).build().unwrap();
    let theirs = || {
        let server = ServerTls::builder().identity_pem(&identity.chain, identity.key_pem());
        server.build().unwrap()
    };
    let mut of_12 = 0;
    for suite in ring::default_provider().cipher_suites {
        let name = suite.suite().as_str().unwrap();
        if suite.tls13().is_none() {
            assert!(is_allowed(name), "{name} is forbidden for HTTP/2");
        }
        // The certificate is ECDSA.
        if name.contains("_RSA_") {
            continue;
        }
        let version = if suite.tls13().is_some() { "TLSv1_3" } else { "TLSv1_2" };
        of_12 += usize::from(suite.tls13().is_none());
        let want = format!("{version} {name} h2");
        for (client, server) in [
            (ClientTls::from_rustls(client_config(suite, &identity)), theirs()),
            (ours(), ServerTls::from_rustls(server_config(suite, &identity))),
        ] {
            let (far, near) = meet(client, server).await;
            assert_eq!((far, near), (want.clone(), want.clone()));
        }
    }
    assert_eq!(of_12, 3, "suites of TLS 1.2 with ECDSA");
}

/// Both sides prefer the newer one.
#[tokio::test(start_paused = true)]
async fn two_that_know_both_take_the_newer() {
    let identity = Identity::new("localhost");
    let client = ClientTls::builder().roots_pem(&identity.root).build().unwrap();
    let server = ServerTls::builder().identity_pem(&identity.chain, identity.key_pem());
    let (far, near) = meet(client, server.build().unwrap()).await;
    assert!(far.starts_with("TLSv1_3 TLS13_") && far.ends_with(" h2"), "{far}");
    assert_eq!(far, near);
}

/// ALPN is no less binding in TLS 1.2: neither role goes on without `h2`.
#[tokio::test(start_paused = true)]
async fn without_h2_there_is_no_connection() {
    let identity = Identity::new("localhost");
    let suite = ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    for alpn in [&[][..], &[b"http/1.1".to_vec()][..]] {
        // A server of another make.
        let mut config = server_config(suite, &identity);
        config.alpn_protocols = alpn.to_vec();
        let (connector, mut listener) = in_memory(64 * 1024);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            let io = listener.accept().await.unwrap().io;
            drop(acceptor.accept(io).await);
        });
        let client = ClientTls::from_rustls(client_config(suite, &identity));
        let channel = Channel::builder("https://localhost").connector(connector).tls(client);
        let error = channel.build().unwrap().unary(&TLS, Raw::default()).await.unwrap_err();
        assert!(error.to_string().contains("ALPN"), "{error}");

        // A client of another make.
        let mut config = client_config(suite, &identity);
        config.alpn_protocols = alpn.to_vec();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = ServerTls::from_rustls(server_config(suite, &identity));
        let accepting = framewire::tls::accept(Box::new(far), &server);
        let name = "localhost".try_into().unwrap();
        let dialling = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, near);
        let (accepted, _) = tokio::join!(accepting, dialling);
        let error = accepted.err().expect("served without h2");
        assert!(error.to_string().contains("h2"), "{error}");
    }
}
