//! Clients whose handshake is rejected while they are still sending: they read why.

use crate::identity::Authority;
use crate::parties::server_of;
use framewire::server::{Router, Server};
use framewire::tls::ServerTls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore};
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More than the server has read when it rejects the handshake.
const MUCH: usize = 1 << 20;

fn client(authority: &Authority, alpn: &[&[u8]]) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    client.set_buffer_limit(None);
    client
}

fn serve(tls: ServerTls) -> (Server, SocketAddr) {
    let server = Server::builder(Router::new()).tls(tls);
    let server = server.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.local_addr().unwrap();
    (server, address)
}

/// What a client reads that has sent much behind its last flight and closes nothing, and how long the
/// server goes on reading.
fn meet(client: &mut ClientConnection, at: SocketAddr) -> (Result<(), rustls::Error>, Duration) {
    let mut socket = TcpStream::connect(at).unwrap();
    while client.is_handshaking() {
        while client.wants_write() {
            client.write_tls(&mut socket).unwrap();
        }
        client.read_tls(&mut socket).unwrap();
        client.process_new_packets().unwrap();
    }
    client.writer().write_all(&vec![7; MUCH]).unwrap();
    while client.wants_write() {
        client.write_tls(&mut socket).expect("the server takes what comes");
    }
    let rejected = Instant::now();
    let mut result = Ok(());
    // To the end: FIN, and not the reset of a socket that was closed with bytes in it.
    while client.read_tls(&mut socket).expect("a reset instead of the end") > 0 {
        let processed = client.process_new_packets().map(drop);
        result = result.and(processed);
    }
    socket.set_nodelay(true).unwrap();
    let ended = loop {
        std::thread::sleep(Duration::from_millis(50));
        if let Err(error) = socket.write_all(&[0]) {
            break error.kind();
        }
        assert!(rejected.elapsed() < Duration::from_secs(30), "the server keeps the socket");
    };
    assert!(matches!(ended, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{ended}");
    (result, rejected.elapsed())
}

/// No certificate where one is required, then no ALPN: the alert, or the end, arrives before a reset, and the
/// server does not go on for long, whatever the client sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_rejected_client_reads_why() {
    let authority = Authority::new("root");
    let leaf = authority.sign(&["localhost"], |_| {});
    let open =
        ServerTls::builder().identity_pem(&leaf.pem, leaf.key.serialize_pem()).build().unwrap();
    let cases =
        [(server_of(&authority).build().unwrap(), &[&b"h2"[..]][..], true), (open, &[][..], false)];
    for (tls, alpn, alerts) in cases {
        let (server, at) = serve(tls);
        let mut client = client(&authority, alpn);
        let met = tokio::task::spawn_blocking(move || meet(&mut client, at));
        let (result, took) = met.await.unwrap();
        let required = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(result, if alerts { Err(required) } else { Ok(()) });
        assert!(took >= Duration::from_secs(2), "not read any longer: {took:?}");
        assert!(took < Duration::from_secs(15), "read for {took:?}");
        server.shutdown(Duration::ZERO).await;
    }
}
