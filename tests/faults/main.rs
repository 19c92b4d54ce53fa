//! What a broken or hostile server may do to a client, as seen from one connection: each row once,
//! with the account of every call. Everything is written as raw bytes in virtual time.

#[cfg(test)]
mod goaway;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod noise;
#[cfg(test)]
mod responses;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;

/// A call made now is answered: the connection and its HPACK state are whole.
#[cfg(test)]
async fn next_call_succeeds(
    client: &support::subject::ClientUnderTest,
    peer: &mut support::RawPeer,
) {
    let call = client.get("/next");
    let wanted = (":path".to_owned(), "/next".to_owned());
    let head = peer
        .find("the next request", |f| f.fields.as_ref().is_some_and(|all| all.contains(&wanted)))
        .await;
    peer.respond(head.stream, b"next").await;
    assert_eq!(support::outcome(call).await.expect("response").body, b"next");
}
