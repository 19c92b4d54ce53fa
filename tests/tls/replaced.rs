//! What users see of TLS: a channel and a server over a pipe, both replaced while they serve.

use crate::identity::Authority;
use crate::parties::{client_of, der, serve, server_of};

#[tokio::test]
async fn a_channel_shows_its_replaced_identity_on_its_next_connection() {
    let authority = Authority::new("root");
    let (old, new) =
        (authority.sign(&["old.example"], |_| {}), authority.sign(&["new.example"], |_| {}));
    let (client, server) =
        (client_of(&authority, &old).build().unwrap(), server_of(&authority).build().unwrap());
    let served = serve(server.clone());
    let channel = served.channel(&client);
    let first = served.ask(&channel).await.tls.unwrap();
    assert_eq!((first.generation, first.resumed), (1, false));
    assert_eq!(first.peer_certificates, [der(&old)]);

    client.replace(&client_of(&authority, &new).build().unwrap());
    server.replace(&server_of(&authority).build().unwrap());
    // Open connections stay as they are; whoever connects now is new on both sides.
    assert_eq!(served.ask(&channel).await.tls.unwrap(), first);
    let next = served.channel(&client);
    let info = served.ask(&next).await.tls.unwrap();
    assert_eq!((info.generation, info.resumed), (2, false));
    assert_eq!(info.peer_certificates, [der(&new)]);
    assert_eq!((client.stats().full.count, server.stats().full.count), (2, 2));
    served.server.shutdown(std::time::Duration::ZERO).await;
}

/// Whatever channels share, sessions they do not; each resumes its own whenever it connects again.
#[tokio::test]
async fn a_channel_resumes_its_own_sessions_and_no_others() {
    let authority = Authority::new("root");
    let leaf = authority.sign(&["client.example"], |_| {});
    let (client, server) =
        (client_of(&authority, &leaf).build().unwrap(), server_of(&authority).build().unwrap());
    let served = serve(server.clone());
    for _ in 0..2 {
        let channel = served.channel(&client);
        for dial in 0..4 {
            let info = served.ask(&channel).await;
            let tls = info.tls.unwrap();
            assert_eq!(tls.resumed, dial > 0);
            let shown = [der(&leaf)];
            assert_eq!(tls.peer_certificates, shown, "known from the first one");
            assert_eq!(info.timings.tls, tls.handshake);
            channel.unstable_handles()[0].goodbye();
            while !channel.unstable_handles().is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }
    assert_eq!(server.stats().resumption_ratio(), Some(6.0 / 8.0));
    assert_eq!(client.stats().resumption_ratio(), Some(6.0 / 8.0));
    assert_eq!(client.session_stats().unwrap().taken, 6);
    served.server.shutdown(std::time::Duration::ZERO).await;
}

/// On request the connections made before a replacement go, once younger ones are ready: no call
/// meets a gap.
#[tokio::test]
async fn connections_of_a_replaced_identity_are_drained_on_request() {
    let authority = Authority::new("root");
    let (old, new) =
        (authority.sign(&["old.example"], |_| {}), authority.sign(&["new.example"], |_| {}));
    let (client, server) =
        (client_of(&authority, &old).build().unwrap(), server_of(&authority).build().unwrap());
    let served = serve(server.clone());
    let channel = served.channel(&client);
    let shown = served.ask(&channel).await.tls.unwrap();
    assert_eq!(shown.peer_certificates, [der(&old)]);
    assert_eq!(channel.drain_replaced(), 0, "nothing was replaced");

    client.replace(&client_of(&authority, &new).build().unwrap());
    assert_eq!(channel.drain_replaced(), 1);
    let mut seen = Vec::new();
    for _ in 0..2000 {
        let shown = served.ask(&channel).await.tls.unwrap();
        let new = shown.peer_certificates == [der(&new)];
        seen.push(new);
        if new {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(seen.last(), Some(&true), "the new one took over: {}", channel.stats());
    while channel.unstable_handles().len() > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(channel.stats().counted(framewire::client::Count::Replaced), 1);
    assert_eq!(channel.drain_replaced(), 0);
    served.server.shutdown(std::time::Duration::ZERO).await;
}
