//! Replacement at run time, counters, and the tickets of a pool.

use std::time::Duration;

use rustls::server::StoresServerSessions;
use rustls::version::{TLS12, TLS13};

use crate::rt;
use crate::rt::sync::{AtomicUsize, Ordering};
use crate::transport::memory;
use crate::transport::tls::tests::*;

#[tokio::test]
async fn a_replaced_identity_is_the_one_the_server_sees() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = mutual(&authority, &clients).build().unwrap();
    let (old, new) = (clients.sign("old.example"), clients.sign("new.example"));
    let of = |leaf: &Leaf| authority.client().identity_pem(&leaf.pem, &leaf.key_pem);
    let client = of(&old).build().unwrap();
    let clone = client.clone();
    let connector = TlsConnector::new(memory::listener(1).0, clone);
    assert_eq!(connector.tls_generation(), Some(1));
    for resumed in [false, true] {
        let (dialled, accepted) = dial(&client, &server).await;
        let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        assert_eq!((dialled.resumed, dialled.generation), (resumed, 1));
        assert_eq!(accepted.peer_certificates, [old.der.to_vec()]);
    }

    client.replace(&of(&new).build().unwrap());
    // The connector holds a clone made before: it knows all the same.
    assert_eq!((client.generation(), connector.tls_generation()), (2, Some(2)));
    for resumed in [false, true] {
        let (dialled, accepted) = dial(&client, &server).await;
        let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        assert_eq!((dialled.resumed, dialled.generation), (resumed, 2));
        assert_eq!(accepted.peer_certificates, [new.der.to_vec()]);
    }
}

#[tokio::test]
async fn replaced_roots_judge_the_next_dial() {
    let (old, new) = (Authority::new(), Authority::new());
    let client = old.client().build().unwrap();
    let server = old.server();
    assert!(!resumes(&client, &server).await);
    client.replace(&new.client().build().unwrap());
    // With a session left over the server would show no certificate, and nothing would be judged.
    let error = dial(&client, &server).await.0.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::CertificateUntrusted);
    assert!(!resumes(&client, &new.server()).await);
}

/// A replacement by the very same configuration is one all the same.
#[tokio::test]
async fn no_session_outlives_a_replacement_nor_wanders_between_owners() {
    let authority = Authority::new();
    let server = authority.server();
    let client = authority.client().build().unwrap();
    let other = authority.client().session_capacity(3).build().unwrap();
    assert!(!resumes(&client, &server).await && !resumes(&other, &server).await);
    client.replace(&other);
    assert!(!resumes(&client, &server).await);
    assert_eq!(client.session_stats().unwrap().held, 3, "the capacity comes along");
    client.replace(&client.clone());
    assert!(!resumes(&client, &server).await);
    assert!(resumes(&other, &server).await, "the other's sessions are its own");
    assert_eq!((client.generation(), other.generation()), (3, 1));

    client.replace(&authority.client().session_capacity(0).build().unwrap());
    assert!(!resumes(&client, &server).await && !resumes(&client, &server).await);
}

#[tokio::test]
async fn each_clone_keeps_its_server_name() {
    let authority = Authority::new();
    let leaf = authority.sign("other.example");
    let server = ServerTls::builder().identity_pem(&leaf.pem, &leaf.key_pem).build().unwrap();
    let client = authority.client().build().unwrap();
    let named = client.clone().with_server_name("other.example").unwrap();
    client.replace(&authority.client().server_name("third.example").build().unwrap());
    assert!(!resumes(&named, &server).await);
    let error = dial(&client, &server).await.0.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::CertificateName);
}

#[tokio::test]
async fn a_handshake_under_way_belongs_to_the_configuration_it_began_with() {
    let authority = Authority::new();
    let (client, server) = (authority.client().build().unwrap(), authority.server());
    let (connector, mut listener) = memory::listener(1 << 16);
    let dialling = TlsConnector::new(connector, client.clone());
    let under_way = tokio::spawn(async move {
        let mut connected = dialling.connect(localhost()).await.unwrap();
        connected.io.read_u8().await.unwrap();
        connected.info.tls.unwrap()
    });
    // The ClientHello has left; then the configuration changes.
    let mut io = listener.accept().await.unwrap().io;
    let mut hello = [0; 6];
    io.read_exact(&mut hello).await.unwrap();
    client.replace(&authority.client().build().unwrap());
    let (reader, writer) = tokio::io::split(io);
    let io = tokio::io::join(std::io::Cursor::new(hello).chain(reader), writer);
    let (mut io, _) = accept(Box::new(io), &server).await.unwrap();
    io.write_all(b"!").await.unwrap();
    io.flush().await.unwrap();
    assert_eq!(under_way.await.unwrap().generation, 1);
    // Its tickets came after the replacement, and are the old configuration's.
    assert!(!resumes(&client, &server).await);
}

#[tokio::test]
async fn a_server_knows_its_generation() {
    let authority = Authority::new();
    let (client, server) = (authority.client().build().unwrap(), authority.server());
    assert_eq!(dial(&client, &server).await.1.unwrap().generation, 1);
    server.clone().replace(&authority.server());
    assert_eq!(server.generation(), 2);
    let info = dial(&client, &server).await.1.unwrap();
    assert_eq!((info.generation, info.resumed), (2, false));
}

#[tokio::test(start_paused = true)]
async fn handshakes_are_counted_with_their_times_on_both_sides() {
    let authority = Authority::new();
    let (client, server) = (authority.client().build().unwrap(), authority.server());
    for _ in 0..4 {
        resumes(&client, &server).await;
    }
    let error = dial(&client, &Authority::new().server()).await.0.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::CertificateUntrusted);
    dial(&Authority::new().client().build().unwrap(), &server).await.1.unwrap_err();

    for stats in [client.stats(), server.stats()] {
        let counts = [stats.full.count, stats.resumed.count, stats.failed.count];
        assert_eq!((counts, stats.abandoned.count), ([1, 3, 1], 0));
        assert_eq!(stats.resumption_ratio(), Some(0.75));
    }

    // Replacing and cloning begin no new count.
    client.replace(&authority.client().build().unwrap());
    assert!(!resumes(&client.clone(), &server).await);
    assert_eq!((client.stats().full.count, server.stats().full.count), (2, 2));
}

/// A server that takes its time: the client waits for it, and the caller may have none.
#[tokio::test(start_paused = true)]
async fn times_are_those_of_the_handshake() {
    let authority = Authority::new();
    let (client, server) = (authority.client().build().unwrap(), authority.server());
    let (connector, mut listener) = memory::listener(1 << 16);
    let connector = TlsConnector::new(connector, client.clone());
    let wait = Duration::from_millis(30);
    let late = async {
        let io = listener.accept().await.unwrap().io;
        rt::sleep(wait).await;
        accept(io, &server).await
    };
    let (dialled, accepted) = tokio::join!(connector.connect(localhost()), late);
    let (info, accepted) = (dialled.unwrap().info, accepted.unwrap().1);
    assert_eq!((info.timings.tls, info.tls.unwrap().handshake), (wait, wait));
    assert_eq!(accepted.handshake, Duration::ZERO);
    let full = client.stats().full;
    assert_eq!((full.time, full.longest, full.mean()), (wait, wait, Some(wait)));

    // A limit passes on either side.
    rt::timeout(wait, connector.connect(localhost())).await.unwrap_err();
    let abandoned = Handshakes { count: 1, time: wait, longest: wait };
    assert_eq!(client.stats().abandoned, abandoned);
    let (_silent, io) = tokio::io::duplex(64);
    assert!(rt::timeout(wait, accept(Box::new(io), &server)).await.is_err());
    assert_eq!(server.stats().abandoned, abandoned);
}

#[tokio::test]
async fn of_eight_dials_one_after_another_seven_resume() {
    let authority = Authority::new();
    for max in [16, 1] {
        let leaf = authority.sign("localhost");
        let server = ServerTls::builder().identity_pem(&leaf.pem, &leaf.key_pem);
        let server = server.max_tls13_tickets(max).build().unwrap();
        let client = authority.client().build().unwrap();
        for _ in 0..8 {
            resumes(&client, &server).await;
        }
        let stats = server.stats();
        assert_eq!((stats.full.count, stats.resumed.count), (1, 7), "{max} tickets a handshake");
        assert_eq!(client.stats().resumption_ratio(), Some(7.0 / 8.0));
    }
}

/// Eight dials whose ClientHellos all leave before the first answer; how many resumed.
async fn eight_at_once(client: &ClientTls, server: &ServerTls) -> u64 {
    let before = server.stats().resumed.count;
    let dials: Vec<_> = (0..8)
        .map(|_| {
            let (client, server) = (client.clone(), server.clone());
            tokio::spawn(async move { resumes(&client, &server).await })
        })
        .collect();
    for dial in dials {
        dial.await.unwrap();
    }
    server.stats().resumed.count - before
}

#[tokio::test]
async fn of_eight_dials_at_once_as_many_resume_as_there_are_tickets() {
    let authority = Authority::new();
    // The client's wish, the server's bound, the client's store, and what comes of it.
    let rows = [
        (Some((16, 1)), 16, 64, 8),
        (None, 16, 64, 8),
        (Some((3, 1)), 16, 64, 3),
        (Some((16, 1)), 5, 64, 5),
        (Some((16, 1)), 16, 2, 2),
        (Some((0, 0)), 16, 64, 0),
    ];
    for (wish, bound, capacity, want) in rows {
        let leaf = authority.sign("localhost");
        let server = ServerTls::builder().identity_pem(&leaf.pem, &leaf.key_pem);
        let server = server.max_tls13_tickets(bound).build().unwrap();
        let client = authority.client().ticket_request(wish).session_capacity(capacity);
        let client = client.build().unwrap();
        assert!(!resumes(&client, &server).await);
        assert_eq!(eight_at_once(&client, &server).await, want, "{wish:?} {bound} {capacity}");
    }
}

/// TLS 1.2 has one ticket for all of them, and it may be shown again.
#[tokio::test]
async fn of_eight_dials_at_once_all_resume_in_tls_1_2() {
    let authority = Authority::new();
    let config = authority.raw_client_of(&[&TLS12], None, &[]);
    let (client, server) = (ClientTls::from_rustls(config), authority.server());
    assert!(!resumes(&client, &server).await);
    assert_eq!(eight_at_once(&client, &server).await, 8);
}

/// Counts what a server is asked to remember, and remembers nothing.
#[derive(Debug, Default)]
struct Remembered(AtomicUsize);

impl StoresServerSessions for Remembered {
    fn put(&self, _: Vec<u8>, _: Vec<u8>) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        false
    }
    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
    fn can_cache(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn what_a_ticket_resumes_stands_in_the_ticket() {
    let authority = Authority::new();
    // In TLS 1.2 the session is also kept, in a bounded cache, for clients that know no tickets.
    for (version, kept) in [(&TLS12, 1), (&TLS13, 0)] {
        let server = authority.server();
        let remembered = Arc::new(Remembered::default());
        let storage: Arc<dyn StoresServerSessions> = remembered.clone();
        Arc::make_mut(&mut server.shared.current.lock().config).session_storage = storage;
        let client = ClientTls::from_rustls(authority.raw_client_of(&[version], None, &[]));
        assert!(!resumes(&client, &server).await && resumes(&client, &server).await);
        assert_eq!(remembered.0.load(Ordering::Relaxed), kept, "{version:?}");
    }
}

#[tokio::test]
async fn no_tickets_means_no_resumption_in_either_version() {
    let authority = Authority::new();
    let leaf = authority.sign("localhost");
    let server = ServerTls::builder().identity_pem(&leaf.pem, &leaf.key_pem);
    let server = server.max_tls13_tickets(0).build().unwrap();
    for version in [&TLS12, &TLS13] {
        let client = ClientTls::from_rustls(authority.raw_client_of(&[version], None, &[]));
        assert!(!resumes(&client, &server).await && !resumes(&client, &server).await);
    }
}

#[test]
fn tickets_live_for_twelve_hours() {
    let ticketer = Provider::default().ticketer().unwrap();
    assert!(ticketer.enabled());
    assert_eq!(ticketer.lifetime(), 12 * 60 * 60);
    // Each server has keys of its own: nobody reads another's tickets.
    let ticket = ticketer.encrypt(b"session").unwrap();
    assert_eq!(ticketer.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
    assert_eq!(Provider::default().ticketer().unwrap().decrypt(&ticket), None);
}
