//! Channels by key, with real handshakes: what differs in one part shares neither a connection nor
//! a session.

use crate::identity::Authority;
use crate::parties::{client_of, serve};
use framewire::client::{Channel, ChannelBuilder, Channels};
use framewire::tls::ServerTls;

/// The first of them, and each part changed alone.
fn all(authority: &Authority, connector: &framewire::transport::MemoryConnector) -> Vec<Builder> {
    let (leaf, other) =
        (authority.sign(&["one.example"], |_| {}), authority.sign(&["two.example"], |_| {}));
    let tls = client_of(authority, &leaf).build().unwrap();
    let identity = client_of(authority, &other).build().unwrap();
    // The same roots and one more.
    let more = Authority::new("more");
    let roots = client_of(authority, &leaf).roots_pem(&more.pem).build().unwrap();
    let named = tls.clone().with_server_name("other.example").unwrap();
    let at = |target: &'static str, via: &'static str, tls: &framewire::tls::ClientTls| {
        let (connector, tls) = (connector.clone(), tls.clone());
        move || Channel::builder(target).connector(connector.clone()).via(via).tls(tls.clone())
    };
    let base = at("https://localhost", "a", &tls);
    vec![
        ("the first", Box::new(base.clone())),
        ("host", Box::new(at("https://other.example", "a", &tls))),
        ("port", Box::new(at("https://localhost:8443", "a", &tls))),
        ("way", Box::new(at("https://localhost", "b", &tls))),
        ("identity", Box::new(at("https://localhost", "a", &identity))),
        ("roots", Box::new(at("https://localhost", "a", &roots))),
        ("server name", Box::new(at("https://localhost", "a", &named))),
        (
            "authority",
            Box::new({
                let base = base.clone();
                move || base().authority("third.example")
            }),
        ),
        (
            "tenant",
            Box::new({
                let base = base.clone();
                move || base().shard("red")
            }),
        ),
        ("interceptors", Box::new(move || base().intercept(|_| Ok(())).intercepted_as("token"))),
    ]
}

type Builder = (&'static str, Box<dyn Fn() -> ChannelBuilder>);

#[tokio::test]
async fn no_part_of_a_key_shares_a_connection_or_a_session_with_another() {
    let authority = Authority::new("root");
    let leaf = authority.sign(&["localhost", "other.example"], |_| {});
    let server = ServerTls::builder().identity_pem(&leaf.pem, leaf.key.serialize_pem());
    let server = server.client_roots_pem(&authority.pem).build().unwrap();
    let served = serve(server.clone());
    let all = all(&authority, &served.connector);
    let channels = Channels::new(16, 4, 100);
    for (dialled, (part, builder)) in all.iter().enumerate() {
        let channel = channels.get(builder()).unwrap();
        let tls = served.ask(&channel).await.tls.unwrap();
        assert!(!tls.resumed, "{part}: the session is another one's");
        assert_eq!(
            server.stats().full.count as usize,
            dialled + 1,
            "{part}: a connection of its own"
        );
        // Named again it is the same one: neither dials nor hands shakes.
        served.ask(&channels.get(builder()).unwrap()).await;
        assert_eq!(server.stats().full.count as usize, dialled + 1);
    }
    assert_eq!((channels.len(), server.stats().resumed.count), (all.len(), 0));
    // Each has a session by now, and comes back with its own.
    for (resumed, (part, builder)) in all.iter().enumerate() {
        let channel = channels.get(builder()).unwrap();
        channel.unstable_handles()[0].goodbye();
        while !channel.unstable_handles().is_empty() {
            tokio::task::yield_now().await;
        }
        let tls = served.ask(&channel).await.tls.unwrap();
        assert!(tls.resumed, "{part}");
        let stats = server.stats();
        assert_eq!(
            (stats.full.count as usize, stats.resumed.count as usize),
            (all.len(), resumed + 1)
        );
        let shown = &tls.peer_certificates;
        let other = *part == "identity";
        let first = served.ask(&channels.get(all[0].1()).unwrap()).await.tls.unwrap();
        assert_eq!(*shown != first.peer_certificates, other, "{part}");
    }
    served.server.shutdown(std::time::Duration::ZERO).await;
}
