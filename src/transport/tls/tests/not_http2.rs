//! A target that does not speak HTTP/2, or no longer does: one event, whichever way it says so.

use rustls::version::{TLS12, TLS13};

use crate::transport::tls::tests::*;

/// Names of protocols, as ALPN has them.
type Names = &'static [&'static [u8]];

/// Our client, of one TLS version, and what it offers.
fn client_of(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    alpn: &[&[u8]],
) -> ClientTls {
    let client = ClientTls::from_rustls(authority.raw_client_of(&[version], None, &[]));
    offer(&client, alpn);
    client
}

#[tokio::test]
async fn each_way_to_say_it_is_the_same_event() {
    let authority = Authority::new();
    let both: Names = &[b"h2", b"http/1.1"];
    let rows: [(Names, Names, ConnectErrorKind); 4] = [
        // A server that chooses unasked is had by offering, against our rule, what it chooses.
        (both, &[b"http/1.1"], ConnectErrorKind::AlpnHttp11),
        (&[b"h2", b"x"], &[b"x"], ConnectErrorKind::AlpnOther),
        (&[b"h2"], &[], ConnectErrorKind::AlpnNone),
        (&[b"h2"], &[b"http/1.1"], ConnectErrorKind::AlpnRefused),
    ];
    for version in [&TLS12, &TLS13] {
        for (offered, chosen, kind) in rows {
            let client = client_of(&authority, version, offered);
            let error = meet_raw(&client, authority.raw_server(chosen)).await;
            assert_eq!((error.kind(), error.phase()), (kind, ConnectPhase::Tls), "{version:?}");
            assert!(error.is_not_http2() && !error.is_transient(), "{error}");
            assert_eq!(client.stats().failed.count, 1);
            assert_eq!(client.stats().resumption_ratio(), None);
        }
    }
}

#[tokio::test]
async fn other_failures_are_other_events() {
    let authority = Authority::new();
    let stranger = Authority::new().client().build().unwrap();
    let error = meet_raw(&stranger, authority.raw_server(&[b"http/1.1"])).await;
    // The server judges ALPN before it shows its certificate.
    assert!(error.is_not_http2());
    let error = meet_raw(&stranger, authority.raw_server(&[b"h2"])).await;
    assert!(!error.is_not_http2(), "{error}");
}

/// The server speaks h2, stops, and speaks it again, all under one ticketer: the client comes with
/// tickets, and a resumed session has no say in ALPN.
#[tokio::test]
async fn a_target_that_stops_speaking_http2_and_resumes_it() {
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let client = client_of(&authority, version, &[b"h2"]);
        let mut config = (*authority.raw_server(&[b"h2"])).clone();
        config.ticketer = Provider::default().ticketer().unwrap();
        let serving = |alpn: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        let h2 = ServerTls::from_rustls(config.clone());
        assert!(!resumes(&client, &h2).await);
        assert!(resumes(&client, &h2).await);
        for (alpn, kind) in [
            (&[][..], ConnectErrorKind::AlpnNone),
            (&[&b"http/1.1"[..]][..], ConnectErrorKind::AlpnRefused),
        ] {
            let error = meet_raw(&client, serving(alpn)).await;
            assert_eq!(error.kind(), kind, "{version:?}");
            assert!(error.is_not_http2());
        }
        meet(&client, &h2).await.0.0.unwrap();
        let stats = client.stats();
        assert_eq!((stats.full.count + stats.resumed.count, stats.failed.count), (3, 2));
    }
}
