//! Channels keep their sessions apart: each has a store of its own, as large as its pool.

use rustls::client::{Resumption, Tls12Resumption};
use rustls::version::{TLS12, TLS13};

use crate::transport::memory;
use crate::transport::tls::tests::*;

/// A channel's connector and the listener that it reaches.
fn channel(tls: &ClientTls) -> (TlsConnector<memory::MemoryConnector>, memory::MemoryListener) {
    let (connector, listener) = memory::listener(1 << 16);
    (TlsConnector::apart(connector, tls.clone()), listener)
}

/// Whether the channel's next dial resumes a session.
async fn resumes(
    (connector, listener): &mut (TlsConnector<memory::MemoryConnector>, memory::MemoryListener),
    server: &ServerTls,
) -> bool {
    let accepting = async {
        let (mut io, _) = accept(listener.accept().await.unwrap().io, server).await.unwrap();
        io.write_all(b"!").await.unwrap();
        io.flush().await.unwrap();
        io
    };
    let dialling = async {
        let mut connected = connector.connect(localhost()).await.unwrap();
        // Tickets come before it.
        connected.io.read_u8().await.unwrap();
        connected.info.tls.unwrap().resumed
    };
    tokio::join!(dialling, accepting).0
}

#[tokio::test]
async fn channels_of_one_configuration_do_not_resume_each_others_sessions() {
    let authority = Authority::new();
    let server = authority.server();
    for raw in [false, true] {
        let tls = match raw {
            false => authority.client().build().unwrap(),
            true => ClientTls::from_rustls(authority.raw_client(&[])),
        };
        let mut channels = [channel(&tls), channel(&tls), channel(&tls)];
        for one in &mut channels {
            assert!(!resumes(one, &server).await, "another's session was resumed");
        }
        for one in &mut channels {
            assert!(resumes(one, &server).await && resumes(one, &server).await);
        }
        // A clone is the same channel.
        let [first, ..] = &mut channels;
        first.0 = first.0.clone();
        assert!(resumes(first, &server).await);
        let stats = tls.session_stats().unwrap();
        assert_eq!(stats.taken, 7, "all channels together");
        assert!(raw || stats.received == 3 * 16 + 7, "{stats:?}");
        drop(channels);
        let left = tls.session_stats().unwrap();
        assert_eq!((left.received, left.held), (stats.received, 0), "what is gone holds none");
    }
}

#[tokio::test]
async fn a_replacement_empties_the_store_of_every_channel() {
    let authority = Authority::new();
    let server = authority.server();
    let tls = authority.client().build().unwrap();
    let mut channels = [channel(&tls), channel(&tls)];
    for one in &mut channels {
        assert!(!resumes(one, &server).await && resumes(one, &server).await);
    }
    tls.replace(&authority.client().build().unwrap());
    assert_eq!(tls.session_stats(), Some(SessionStats::default()));
    for one in &mut channels {
        assert!(!resumes(one, &server).await, "a session outlived the replacement");
        assert!(resumes(one, &server).await);
    }
    // Resumption as the new configuration has it, in channels made before.
    tls.replace(&authority.client().session_capacity(0).build().unwrap());
    for one in &mut channels {
        assert!(!resumes(one, &server).await && !resumes(one, &server).await);
    }
    assert_eq!(tls.session_stats(), None);
}

#[tokio::test]
async fn a_store_is_as_large_as_the_pool() {
    let authority = Authority::new();
    // Asked for, what the pool may hold, and what is kept of forty handshakes with 16 tickets each.
    let rows = [(None, 0, 64), (None, 40, 64), (None, 100, 100), (Some(5), 100, 5)];
    for (capacity, pool, want) in rows {
        let builder = authority.client().ticket_request(Some((16, 16)));
        let tls = match capacity {
            Some(tickets) => builder.session_capacity(tickets).build().unwrap(),
            None => builder.build().unwrap(),
        };
        let mut one = channel(&tls);
        let server = authority.server();
        // Before the first dial and later: the resolver may name more.
        one.0.provide_for(pool / 2);
        for dial in 0..40 {
            if dial == 3 {
                one.0.provide_for(pool);
                one.0.provide_for(1);
            }
            resumes(&mut one, &server).await;
        }
        assert_eq!(tls.session_stats().unwrap().held, want, "{capacity:?} for {pool}");
    }
}

/// What rustls was told of resumption holds in a channel too: it does as a connector of its own.
#[tokio::test]
async fn a_foreign_configuration_keeps_its_mind_about_resumption() {
    let authority = Authority::new();
    let server = authority.server();
    let kept = || Resumption::in_memory_sessions(8);
    let (off, names) = (Tls12Resumption::Disabled, Tls12Resumption::SessionIdOnly);
    let all = Tls12Resumption::SessionIdOrTickets;
    // How it resumes TLS 1.2, and whether it resumes 1.3 and 1.2; rustls itself knows sessions of
    // TLS 1.2 by name even where it is to use none.
    let rows: [(&dyn Fn() -> Resumption, _, _); 6] = [
        (&Resumption::disabled, off, [false, false]),
        (&|| Resumption::disabled().tls12_resumption(names), names, [false, false]),
        (&Resumption::default, all, [true, true]),
        (&kept, all, [true, true]),
        (&|| kept().tls12_resumption(off), off, [true, true]),
        (&|| kept().tls12_resumption(names), names, [true, true]),
    ];
    for (row, (resumption, resumed_by, want)) in rows.into_iter().enumerate() {
        for (version, want) in [&TLS13, &TLS12].into_iter().zip(want) {
            let mut config = authority.raw_client_of(&[version], None, &[]);
            config.resumption = resumption();
            let tls = ClientTls::from_rustls(config);
            let mut one = channel(&tls);
            assert!(!resumes(&mut one, &server).await, "row {row}");
            assert_eq!(resumes(&mut one, &server).await, want, "row {row}, {version:?}");
            assert!(
                !crate::transport::tls::tests::resumes(&tls, &server).await,
                "its own store is another"
            );
            assert_eq!(
                crate::transport::tls::tests::resumes(&tls, &server).await,
                want,
                "row {row}, {version:?}"
            );
            assert_eq!(tls.session_stats().is_some(), row > 1, "row {row}");
            assert_eq!(tls.shared.current.lock().plan.tls12, resumed_by, "row {row}");
        }
    }
}
