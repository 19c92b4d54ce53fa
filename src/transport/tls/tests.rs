mod apart;
mod hello;
mod material;
mod not_http2;
#[cfg(feature = "platform-verifier")]
mod platform;
mod reuse;
mod scopes;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::transport::accept::Accept;
use crate::transport::connect::{
    Connect, ConnectError, ConnectErrorKind, ConnectPhase, Connected, Target,
};
use crate::transport::io::BoxedIo;
use crate::transport::tcp::{TcpAcceptor, TcpConnector};
use crate::transport::tls::*;

/// A root that signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

struct Leaf {
    der: CertificateDer<'static>,
    key: Vec<u8>,
    pem: String,
    key_pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Roots of one name would be mistaken for each other until the signature is checked.
        let name = format!("root {:016x}", crate::rt::entropy());
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Self { issuer: Issuer::new(params, key), der, pem }
    }

    fn sign(&self, name: &str) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            der: certificate.der().clone(),
            key: key.serialize_der(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    fn server(&self) -> ServerTls {
        let leaf = self.sign("localhost");
        ServerTls::builder().identity_pem(&leaf.pem, &leaf.key_pem).build().unwrap()
    }

    fn client(&self) -> ClientTlsBuilder {
        ClientTls::builder().roots_pem(&self.pem)
    }

    /// A server that this crate would not build: any ALPN.
    fn raw_server(&self, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let leaf = self.sign("localhost");
        let key = PrivateKeyDer::try_from(leaf.key).unwrap();
        let mut config = ServerConfig::builder_with_provider(Provider::default().crypto())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }

    fn raw_client(&self, alpn: &[&[u8]]) -> ClientConfig {
        self.raw_client_of(rustls::DEFAULT_VERSIONS, None, alpn)
    }

    fn raw_client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Leaf>,
        alpn: &[&[u8]],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Provider::default().crypto())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(leaf) => {
                let key = PrivateKeyDer::try_from(leaf.key.clone()).unwrap();
                config.with_client_auth_cert(vec![leaf.der.clone()], key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config
    }
}

type Outcome = (Result<Connected, ConnectError>, Result<(BoxedIo, TlsInfo), AcceptError>);

async fn pair() -> (TcpAcceptor, Target) {
    let acceptor = TcpAcceptor::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let port = acceptor.local_addr().unwrap().port();
    (acceptor, Target::parse(&format!("https://localhost:{port}")).unwrap())
}

/// One handshake in memory; as [`meet`], both ends' verdicts.
async fn dial(
    client: &ClientTls,
    server: &ServerTls,
) -> (Result<TlsInfo, ConnectError>, Result<TlsInfo, AcceptError>) {
    let (connector, mut listener) = crate::transport::memory::listener(1 << 16);
    let connector = TlsConnector::new(connector, client.clone());
    let client_side = async {
        let mut connected = connector.connect(localhost()).await?;
        // The server's tickets come before its byte; its alert comes instead of it.
        drop(connected.io.read_u8().await);
        Ok(connected.info.tls.unwrap())
    };
    let server_side = async {
        let io = listener.accept().await.unwrap().io;
        let (mut io, info) = accept(io, server).await?;
        io.write_all(b"!").await.unwrap();
        io.flush().await.unwrap();
        Ok(info)
    };
    tokio::join!(client_side, server_side)
}

/// Whether a dial between two that trust each other was resumed; both ends must say the same.
async fn resumes(client: &ClientTls, server: &ServerTls) -> bool {
    let (dialled, accepted) = dial(client, server).await;
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    assert_eq!(dialled.resumed, accepted.resumed);
    dialled.resumed
}

fn localhost() -> Target {
    Target::parse("https://localhost").unwrap()
}

/// One handshake over a loopback socket. A client that is content greets with a byte and is
/// greeted back, so that late alerts and tickets arrive; the byte's fate is the third result.
async fn meet(client: &ClientTls, server: &ServerTls) -> (Outcome, std::io::Result<u8>) {
    let (mut acceptor, target) = pair().await;
    let connector = TlsConnector::new(TcpConnector::new(), client.clone());
    let client_side = async {
        let mut dialled = connector.connect(target).await;
        let answer = match &mut dialled {
            Ok(connected) => connected.io.read_u8().await,
            Err(_) => Ok(0),
        };
        (dialled, answer)
    };
    let server_side = async {
        let io = acceptor.accept().await.unwrap().io;
        let mut accepted = accept(io, server).await;
        if let Ok((io, _)) = &mut accepted {
            io.write_all(b"!").await.unwrap();
            io.flush().await.unwrap();
        }
        accepted
    };
    let ((dialled, answer), accepted) = tokio::join!(client_side, server_side);
    ((dialled, accepted), answer)
}

/// Lets a client of ours offer what it never would.
fn offer(client: &ClientTls, alpn: &[&[u8]]) {
    let mut current = client.shared.current.lock();
    Arc::make_mut(&mut current.config).alpn_protocols =
        alpn.iter().map(|name| name.to_vec()).collect();
}

/// Our client against a server of another make.
async fn meet_raw(client: &ClientTls, server: Arc<ServerConfig>) -> ConnectError {
    let (mut acceptor, target) = pair().await;
    let connector = TlsConnector::new(TcpConnector::new(), client.clone());
    let server_side = async {
        let io = acceptor.accept().await.unwrap().io;
        drop(tokio_rustls::TlsAcceptor::from(server).accept(io).await);
    };
    tokio::join!(connector.connect(target), server_side).0.unwrap_err()
}

#[tokio::test]
async fn the_second_handshake_is_resumed_on_both_sides() {
    let authority = Authority::new();
    let (client, server) = (authority.client().build().unwrap(), authority.server());
    for (round, resumed) in [false, true, true].into_iter().enumerate() {
        let ((dialled, accepted), answer) = meet(&client, &server).await;
        let dialled = dialled.unwrap().info.tls.unwrap();
        let accepted = accepted.unwrap().1;
        assert_eq!(answer.unwrap(), b'!');
        assert_eq!((dialled.resumed, accepted.resumed), (resumed, resumed), "round {round}");
        assert_eq!(dialled.alpn.as_deref(), Some(&b"h2"[..]));
        assert_eq!((dialled.version, accepted.version), ("TLSv1_3", "TLSv1_3"));
        assert!(dialled.cipher.starts_with("TLS13_"), "{}", dialled.cipher);
        assert_eq!(dialled.peer_certificates.len(), 1);
    }
    // 16 tickets for the full handshake, one each for the two resumed ones, two of them spent.
    let want = SessionStats { received: 18, taken: 2, held: 16 };
    assert_eq!(client.session_stats(), Some(want));
}

#[tokio::test]
async fn the_store_keeps_to_its_capacity() {
    let authority = Authority::new();
    let client = authority.client().session_capacity(5).build().unwrap();
    let server = authority.server();
    meet(&client, &server).await.0.0.unwrap();
    assert_eq!(client.session_stats(), Some(SessionStats { received: 16, taken: 0, held: 5 }));

    let never = authority.client().session_capacity(0).build().unwrap();
    for _ in 0..2 {
        let ((dialled, _), _) = meet(&never, &server).await;
        assert!(!dialled.unwrap().info.tls.unwrap().resumed);
    }
}

#[tokio::test]
async fn tickets_are_sent_by_wish_and_by_limit() {
    let authority = Authority::new();
    let leaf = authority.sign("localhost");
    let identity = ServerTls::builder().identity_der(&leaf.der, &leaf.key);
    for (request, limit, want) in [(Some((3, 1)), 16, 3), (None, 16, 16), (Some((9, 1)), 4, 4)] {
        let client = authority.client().ticket_request(request).build().unwrap();
        let server = identity.clone().max_tls13_tickets(limit).build().unwrap();
        meet(&client, &server).await.0.0.unwrap();
        assert_eq!(client.session_stats().unwrap().received, want, "{request:?} {limit}");
    }
    let client = authority.client().build().unwrap();
    let server = identity.max_tls13_tickets(0).build().unwrap();
    for _ in 0..2 {
        let ((dialled, _), _) = meet(&client, &server).await;
        assert!(!dialled.unwrap().info.tls.unwrap().resumed);
    }
}

#[tokio::test]
async fn a_server_that_chooses_http11() {
    let authority = Authority::new();
    let client = authority.client().build().unwrap();
    // rustls servers choose only what is offered; others choose http/1.1 unasked.
    offer(&client, &[b"h2", b"http/1.1"]);
    let error = meet_raw(&client, authority.raw_server(&[b"http/1.1"])).await;
    assert_eq!((error.kind(), error.phase()), (ConnectErrorKind::AlpnHttp11, ConnectPhase::Tls));
}

#[tokio::test]
async fn a_server_that_ignores_alpn() {
    let authority = Authority::new();
    let client = authority.client().build().unwrap();
    let error = meet_raw(&client, authority.raw_server(&[])).await;
    assert_eq!(error.kind(), ConnectErrorKind::AlpnNone);
}

#[tokio::test]
async fn a_server_that_refuses_alpn_with_alert_120() {
    let authority = Authority::new();
    let client = authority.client().build().unwrap();
    let error = meet_raw(&client, authority.raw_server(&[b"http/1.1"])).await;
    assert_eq!(error.kind(), ConnectErrorKind::AlpnRefused);
}

#[tokio::test]
async fn a_certificate_for_another_name() {
    let authority = Authority::new();
    let leaf = authority.sign("other.example");
    let server = ServerTls::builder().identity_pem(&leaf.pem, &leaf.key_pem).build().unwrap();
    let client = authority.client().build().unwrap();
    let ((dialled, accepted), _) = meet(&client, &server).await;
    let error = dialled.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::CertificateName);
    assert!(error.to_string().contains("other.example"), "{error}");
    assert_eq!(accepted.err().unwrap().kind(), AcceptErrorKind::RefusedServerCertificate);

    let named = client.with_server_name("other.example").unwrap();
    meet(&named, &server).await.0.0.unwrap();
}

#[tokio::test]
async fn a_certificate_of_an_unknown_root() {
    let client = Authority::new().client().build().unwrap();
    let ((dialled, _), _) = meet(&client, &Authority::new().server()).await;
    assert_eq!(dialled.unwrap_err().kind(), ConnectErrorKind::CertificateUntrusted);
}

#[tokio::test]
async fn an_expired_certificate() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let leaf = params.signed_by(&key, &authority.issuer).unwrap();
    let server = ServerTls::builder().identity_der(leaf.der(), key.serialize_der());
    let client = authority.client().build().unwrap();
    let ((dialled, _), _) = meet(&client, &server.build().unwrap()).await;
    assert_eq!(dialled.unwrap_err().kind(), ConnectErrorKind::CertificateExpired);
}

/// A server that wants clients of `clients`.
fn mutual(authority: &Authority, clients: &Authority) -> ServerTlsBuilder {
    let leaf = authority.sign("localhost");
    ServerTls::builder().identity_pem(&leaf.pem, &leaf.key_pem).client_roots_pem(&clients.pem)
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_survives_resumption() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = mutual(&authority, &clients).build().unwrap();
    let leaf = clients.sign("client.example");
    let client = authority.client().identity_pem(&leaf.pem, &leaf.key_pem).build().unwrap();
    for resumed in [false, true] {
        let ((dialled, accepted), _) = meet(&client, &server).await;
        dialled.unwrap();
        let info = accepted.unwrap().1;
        assert_eq!(info.resumed, resumed);
        assert_eq!(info.peer_certificates, [leaf.der.to_vec()]);
    }
}

#[tokio::test]
async fn a_resumed_client_is_judged_by_the_present_roots() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = mutual(&authority, &clients).build().unwrap();
    let leaf = clients.sign("client.example");
    let client = authority.client().identity_pem(&leaf.pem, &leaf.key_pem).build().unwrap();
    meet(&client, &server).await.0.1.unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(Authority::new().der).unwrap();
    let crypto = Provider::default().crypto();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto);
    let stricter = server.with_client_verifier(verifier.build().unwrap());
    let ((_, accepted), _) = meet(&client, &stricter).await;
    assert_eq!(accepted.err().unwrap().kind(), AcceptErrorKind::ResumedIdentityInvalid);
}

#[tokio::test]
async fn a_client_certificate_that_is_missing_or_foreign() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = mutual(&authority, &clients).build().unwrap();
    let nobody = authority.client().build().unwrap();
    let ((_, accepted), answer) = meet(&nobody, &server).await;
    assert_eq!(accepted.err().unwrap().kind(), AcceptErrorKind::ClientCertificateMissing);
    // In TLS 1.3 the client learns it with its first read.
    let error = answer.unwrap_err();
    assert_eq!(connect_error_kind(&error), Some(ConnectErrorKind::ClientCertificate), "{error}");
    let target = Target::parse("https://localhost").unwrap();
    let error = ConnectError::from_io(ConnectPhase::Http2, &target, error);
    assert_eq!(error.kind(), ConnectErrorKind::ClientCertificate);

    let leaf = Authority::new().sign("stranger.example");
    let stranger = authority.client().identity_pem(&leaf.pem, &leaf.key_pem).build().unwrap();
    let ((_, accepted), answer) = meet(&stranger, &server).await;
    assert_eq!(accepted.err().unwrap().kind(), AcceptErrorKind::ClientCertificateInvalid);
    let kind = connect_error_kind(&answer.unwrap_err());
    assert_eq!(kind, Some(ConnectErrorKind::ClientCertificate));

    let lenient = mutual(&authority, &clients).client_certificate_optional().build().unwrap();
    let ((_, accepted), _) = meet(&nobody, &lenient).await;
    assert!(accepted.unwrap().1.peer_certificates.is_empty());
}

/// What the TLS listener says to a client that opens with `bytes`.
async fn say_in_plaintext(bytes: &[u8]) -> AcceptError {
    let server = Authority::new().server();
    let (mut acceptor, target) = pair().await;
    let mut connected = TcpConnector::new().connect(target).await.unwrap();
    let io = acceptor.accept().await.unwrap().io;
    connected.io.write_all(bytes).await.unwrap();
    match accept(io, &server).await {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn plaintext_at_a_tls_listener() {
    let error = say_in_plaintext(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert_eq!(error.kind(), AcceptErrorKind::PlaintextHttp2);
    assert!(
        error.to_string().starts_with(
            "TLS handshake failed: the client sent plaintext HTTP/2 to a TLS listener; it should \
                          use https://"
        ),
        "{error}"
    );
    let error = say_in_plaintext(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(error.kind(), AcceptErrorKind::PlaintextHttp1);
    let error = say_in_plaintext(b"\x00\x01\x02\x03\x04\x05\x06\x07").await;
    assert_eq!(error.kind(), AcceptErrorKind::NotTls);
}

#[tokio::test]
async fn a_client_that_leaves() {
    let server = Authority::new().server();
    let (near, far) = tokio::io::duplex(64);
    drop(near);
    let error = accept(Box::new(far), &server).await.err().unwrap();
    assert_eq!(error.kind(), AcceptErrorKind::Closed);
}

#[tokio::test]
async fn tls_at_a_plaintext_listener() {
    let client = Authority::new().client().build().unwrap();
    let (mut acceptor, target) = pair().await;
    let connector = TlsConnector::new(TcpConnector::new(), client);
    let server_side = async {
        let mut io = acceptor.accept().await.unwrap().io;
        let mut head = [0; 24];
        io.read_exact(&mut head).await.unwrap();
        assert!(crate::transport::sniff::looks_like_tls_client_hello(&head), "{head:?}");
        // An empty SETTINGS frame, as an HTTP/2 server sends first.
        io.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        io
    };
    let (dialled, _) = tokio::join!(connector.connect(target), server_side);
    let error = dialled.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::NotTls);
    assert!(error.to_string().contains("use http://"), "{error}");
}

#[tokio::test]
async fn clients_without_h2_are_refused() {
    let authority = Authority::new();
    for (alpn, kind) in [
        (&[][..], AcceptErrorKind::AlpnMissing),
        (&[&b"http/1.1"[..]][..], AcceptErrorKind::AlpnMismatch),
    ] {
        let client = ClientTls::from_rustls(authority.raw_client(&[]));
        offer(&client, alpn);
        let ((_, accepted), _) = meet(&client, &authority.server()).await;
        assert_eq!(accepted.err().unwrap().kind(), kind);
    }
}

#[tokio::test]
async fn foreign_configurations_get_our_alpn() {
    let authority = Authority::new();
    let client = ClientTls::from_rustls(authority.raw_client(&[b"http/1.1", b"x"]));
    let server = ServerTls::from_rustls((*authority.raw_server(&[b"http/1.1"])).clone());
    let ((dialled, accepted), _) = meet(&client, &server).await;
    assert_eq!(dialled.unwrap().info.tls.unwrap().alpn.as_deref(), Some(&b"h2"[..]));
    assert_eq!(accepted.unwrap().1.alpn.as_deref(), Some(&b"h2"[..]));
}

#[test]
fn early_data_is_off_whoever_asks_for_it() {
    let authority = Authority::new();
    let mut client = authority.raw_client(&[]);
    client.enable_early_data = true;
    let mut server = (*authority.raw_server(&[])).clone();
    server.max_early_data_size = 1024;
    let (client, server) = (ClientTls::from_rustls(client), ServerTls::from_rustls(server));
    assert!(!client.shared.current.lock().config.enable_early_data);
    assert_eq!(server.shared.current.lock().config.max_early_data_size, 0);
    client.replace(&authority.client().build().unwrap());
    assert!(!client.shared.current.lock().config.enable_early_data);
}

#[tokio::test]
async fn a_certificate_is_replaced_without_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = old.server();
    let clone = server.clone();
    let (of_old, of_new) = (old.client().build().unwrap(), new.client().build().unwrap());
    meet(&of_old, &clone).await.0.0.unwrap();
    server.replace(&new.server());
    meet(&of_new, &clone).await.0.0.unwrap();
    let ((dialled, _), _) = meet(&of_old, &clone).await;
    assert_eq!(dialled.unwrap_err().kind(), ConnectErrorKind::CertificateUntrusted);
}

#[tokio::test]
async fn plaintext_targets_are_not_served_in_silence() {
    let client = Authority::new().client().build().unwrap();
    let connector = TlsConnector::new(TcpConnector::new(), client);
    let error = connector.connect(Target::parse("http://localhost").unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Unsupported);
}

#[test]
fn bad_material_is_named() {
    let authority = Authority::new();
    let leaf = authority.sign("localhost");
    let other = authority.sign("localhost");
    let texts = [
        ClientTls::builder().roots_pem("nothing").build().err().unwrap().to_string(),
        authority.client().server_name("a b").build().err().unwrap().to_string(),
        authority.client().identity_pem(&leaf.pem, "no key").build().err().unwrap().to_string(),
        ServerTls::builder().build().err().unwrap().to_string(),
        ServerTls::builder()
            .identity_pem(&leaf.pem, &other.key_pem)
            .build()
            .err()
            .unwrap()
            .to_string(),
    ];
    let wanted = ["roots", "server name", "identity's key", "identity", "identity"];
    for (text, want) in texts.iter().zip(wanted) {
        assert!(text.starts_with(&format!("TLS configuration: {want}: ")), "{text}");
    }
}
