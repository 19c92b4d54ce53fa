//! TLS and plaintext on one port.

use crate::identity::Identity;
use framewire::client::{Channel, ChannelBuilder};
use framewire::server::{Router, Server};
use framewire::tls::{ClientTls, ServerTls};
use framewire::transport::MemoryConnector;
use framewire::transport::in_memory;
use framewire::transport::{Connect, Target};
use framewire::unstable::grpc::{Method, Raw, Response};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers whether the connection is one of TLS, and with its request.
const HOW: Method<Raw, Raw> = Method::new("/test.Tls/How");

fn serve(identity: &Identity) -> (Server, MemoryConnector) {
    let (connector, listener) = in_memory(64 * 1024);
    let router = Router::new().unary(&HOW, |context, request: Raw| async move {
        let how = if context.connection().unwrap().tls.is_some() { "tls " } else { "plain " };
        Ok(Response::new(Raw([how.as_bytes(), &request.0].concat().into())))
    });
    let tls = ServerTls::builder().identity_pem(&identity.chain, identity.key_pem());
    let builder = Server::builder(router).serve_either(tls.build().unwrap());
    (builder.handshake_timeout(Duration::from_secs(3)).serve(listener).unwrap(), connector)
}

async fn ask(builder: ChannelBuilder, connector: &MemoryConnector) -> Raw {
    let channel = builder.connector(connector.clone()).build().unwrap();
    channel.unary(&HOW, Raw("x".repeat(100_000).into())).await.unwrap().into_inner()
}

#[tokio::test(start_paused = true)]
async fn each_client_is_served_as_it_speaks() {
    let identity = Identity::new("localhost");
    let (_server, connector) = serve(&identity);
    let tls = ClientTls::builder().roots_pem(&identity.root).build().unwrap();
    for _ in 0..2 {
        let secured = ask(Channel::builder("https://localhost").tls(tls.clone()), &connector).await;
        assert_eq!(secured.0, format!("tls {}", "x".repeat(100_000)));
        let plain = ask(Channel::builder("http://localhost"), &connector).await;
        assert_eq!(plain.0, format!("plain {}", "x".repeat(100_000)));
    }
}

/// What the server answers to these bytes, up to the end of the connection.
async fn say(connector: &MemoryConnector, bytes: &[u8]) -> Vec<u8> {
    let target = Target::parse("http://localhost").unwrap();
    let mut io = connector.connect(target).await.unwrap().io;
    io.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let patience = Duration::from_secs(60);
    let read = tokio::time::timeout(patience, io.read_to_end(&mut answer)).await;
    read.expect("the connection is left open").unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn who_speaks_neither_is_shown_out() {
    let (server, connector) = serve(&Identity::new("localhost"));
    let started = tokio::time::Instant::now();
    assert!(say(&connector, b"").await.is_empty(), "nothing was said");
    assert_eq!(started.elapsed().as_secs(), 3, "handshake_time");
    // HTTP/1 is not the preface: SETTINGS and GOAWAY, as on a plaintext port.
    let answer = say(&connector, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(answer.windows(4).any(|four| four[3] == 7), "{answer:?}");
    // A handshake record of a server (ServerHelloDone): an alert, as on a port of TLS.
    let answer = say(&connector, &[0x16, 3, 1, 0, 4, 14, 0, 0, 0]).await;
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    assert_eq!(server.handle().connections(), 0);
}

/// A dripping client is judged by its first byte all the same.
#[tokio::test(start_paused = true)]
async fn one_byte_at_a_time() {
    let (_server, connector) = serve(&Identity::new("localhost"));
    let target = Target::parse("http://localhost").unwrap();
    let mut io = connector.connect(target).await.unwrap().io;
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" {
        io.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut head = [0; 9];
    io.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "the server's SETTINGS");
}
