//! What a client's hello says.

use crate::transport::tls::tests::*;

/// What clients say of themselves: the name they want and the suites they offer.
#[derive(Debug, Default)]
struct Heard(crate::rt::sync::Mutex<Vec<(Option<String>, Vec<rustls::CipherSuite>)>>);

impl rustls::server::ResolvesServerCert for Heard {
    fn resolve(
        &self,
        hello: rustls::server::ClientHello<'_>,
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        let name = hello.server_name().map(str::to_owned);
        self.0.lock().push((name, hello.cipher_suites().to_vec()));
        None
    }
}

#[tokio::test]
async fn a_name_is_sent_and_an_address_is_not() {
    let authority = Authority::new();
    let client = authority.client().build().unwrap();
    let heard = Arc::new(Heard::default());
    let mut config = (*authority.raw_server(&[b"h2"])).clone();
    config.cert_resolver = heard.clone();
    let config = Arc::new(config);
    for host in ["localhost", "127.0.0.1"] {
        let (mut acceptor, target) = pair().await;
        let target = Target::parse(&format!("https://{host}:{}", target.port())).unwrap();
        let connector = TlsConnector::new(TcpConnector::new(), client.clone());
        let server_side = async {
            let io = acceptor.accept().await.unwrap().io;
            drop(tokio_rustls::TlsAcceptor::from(config.clone()).accept(io).await);
        };
        tokio::join!(connector.connect(target), server_side).0.unwrap_err();
    }
    let heard = heard.0.lock().clone();
    let names: Vec<_> = heard.iter().map(|(name, _)| name.as_deref()).collect();
    assert_eq!(names, [Some("localhost"), None]);
    // Ephemeral keys and AEAD alone, in TLS 1.2 too.
    for suite in &heard[0].1 {
        let name = suite.as_str().unwrap();
        let aead = name.contains("GCM") || name.contains("CHACHA20_POLY1305");
        let modern = name.starts_with("TLS13_") || (name.starts_with("TLS_ECDHE_") && aead);
        assert!(modern || name == "TLS_EMPTY_RENEGOTIATION_INFO_SCSV", "{name}");
    }
}
