//! Clients that say nothing in the handshake.

use crate::identity::Identity;
use framewire::client::Channel;
use framewire::server::{Router, Server};
use framewire::tls::{ClientTls, ServerTls};
use framewire::transport::{Connect, Target, in_memory};
use framewire::unstable::grpc::{Method, Raw, Request, Response};
use std::time::Duration;
use tokio::time::Instant;

const ECHO: Method<Raw, Raw> = Method::new("/test.Silence/Echo");
const LIMIT: usize = 3;

/// They take all of `max_connections`: each new client gets the place of the one that has been silent for longest,
/// long before the time for a handshake is over. A client whose handshake is done, and that has used its
/// connection since, keeps it.
#[tokio::test(start_paused = true)]
async fn they_make_way_for_others() {
    for either in [false, true] {
        let identity = Identity::new("localhost");
        let tls = ServerTls::builder().identity_pem(&identity.chain, identity.key_pem());
        let tls = tls.build().unwrap();
        let router =
            Router::new().unary(&ECHO, |_, request: Raw| async move { Ok(Response::new(request)) });
        let builder = Server::builder(router).max_connections(LIMIT);
        let builder = builder.handshake_timeout(Duration::from_secs(1_000));
        let builder = if either { builder.serve_either(tls) } else { builder.tls(tls) };
        let (connector, listener) = in_memory(64 * 1024);
        let server = builder.serve(listener).unwrap();
        let client = ClientTls::builder().roots_pem(&identity.root).build().unwrap();
        let mut silent = Vec::new();
        for _ in 0..LIMIT {
            let target = Target::parse("http://localhost").unwrap();
            silent.push(connector.connect(target).await.unwrap().io);
        }
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let mut channels = Vec::new();
        for n in 1..=LIMIT {
            let builder = Channel::builder("https://localhost").tls(client.clone());
            let channel = builder.connector(connector.clone()).build().unwrap();
            let began = Instant::now();
            let request = Request::new(Raw("hello".into())).with_timeout(Duration::from_secs(60));
            channel.unary(&ECHO, request.with_wait_for_ready(true)).await.unwrap();
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
            channels.push(channel);
            assert_eq!(server.handle().connections(), n, "serve_either: {either}");
        }
    }
}
