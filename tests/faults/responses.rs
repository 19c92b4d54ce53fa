//! Resets and broken messages (rows F20, F21, G11, G14, G16, G17).

use crate::next_call_succeeds;
use crate::support::hpack::{block, literal};
use crate::support::*;

/// RFC 9113 §8.1, row F20: a complete response followed by RST_STREAM NO_ERROR is used, whether
/// the request had ended or not.
#[tokio::test(start_paused = true)]
async fn fault_rst_no_error_after_response() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.respond(stream, b"whole").await;
    peer.send(rst_stream(stream, NO_ERROR)).await;
    assert_eq!(outcome(call).await.expect("response").body, b"whole");
    let (body, call) = client.open("/y");
    let (stream, _) = peer.expect_request().await;
    peer.respond(stream, b"enough").await;
    peer.send(rst_stream(stream, NO_ERROR)).await;
    assert_eq!(outcome(call).await.expect("response").body, b"enough");
    drop(body);
    next_call_succeeds(&client, &mut peer).await;
}

/// RFC 9113 §8.1, row F20: NO_ERROR before the response is complete makes it no response.
#[tokio::test(start_paused = true)]
async fn fault_rst_no_error_within_response() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, END_HEADERS, response(200, &[]))).await;
    peer.send(data(stream, NONE, *b"half")).await;
    peer.send(rst_stream(stream, NO_ERROR)).await;
    outcome(call).await.expect_err("half a response");
    next_call_succeeds(&client, &mut peer).await;
}

/// RFC 9113 §7, row F21: every code reaches the caller as it was sent, and costs one stream.
#[tokio::test(start_paused = true)]
async fn fault_rst_codes() {
    let (client, mut peer) = connected().await;
    for code in (0x0..=0xd).chain([0xff, u32::MAX]) {
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        peer.send(rst_stream(stream, code)).await;
        let failure = outcome(call).await.expect_err("reset");
        assert_eq!(failure.reset_code, Some(code), "{}", failure.text);
        assert_eq!(failure.may_have_been_processed, code != REFUSED_STREAM);
    }
    next_call_succeeds(&client, &mut peer).await;
}

/// RFC 9113 §8.4, row G14: a push is a connection error PROTOCOL_ERROR, and so is one whose block
/// goes on in CONTINUATION for ever.
#[tokio::test(start_paused = true)]
async fn fault_push_promise() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(push_promise(stream, 2, &get("/pushed", &[]))).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
    outcome(call).await.expect_err("the connection failed");

    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    let mut open = push_promise(stream, 2, &get("/pushed", &[]));
    open.flags = NONE;
    peer.send(open).await;
    let filler = literal(b"x-filler", &[b'v'; 16_000]);
    for _ in 0..300 {
        peer.send(continuation(stream, NONE, filler.clone())).await;
    }
    let heard = peer.gather(std::time::Duration::from_secs(1)).await;
    let code = heard.iter().find(|f| f.kind == GOAWAY).map(|f| f.word(4));
    assert!(matches!(code, Some(PROTOCOL_ERROR | ENHANCE_YOUR_CALM)), "{code:?}");
    peer.expect_eof().await;
    outcome(call).await.expect_err("the connection failed");
}

/// RFC 9113 §10.5, row G16: interim responses without end: more than sixteen are too many for the
/// stream; the connection goes on.
#[tokio::test(start_paused = true)]
async fn fault_informational_flood() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    for _ in 0..100 {
        peer.send(headers(stream, END_HEADERS, response(103, &[("link", "x")]))).await;
    }
    peer.expect_reset(stream, ENHANCE_YOUR_CALM).await;
    outcome(call).await.expect_err("reset");
    next_call_succeeds(&client, &mut peer).await;
}

/// RFC 9113 §10.5, row G16: ten are not.
#[tokio::test(start_paused = true)]
async fn honest_informational() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    for _ in 0..10 {
        peer.send(headers(stream, END_HEADERS, response(103, &[("link", "x")]))).await;
    }
    peer.respond(stream, b"final").await;
    outcome(call).await.expect("response");
}

/// RFC 9113 §5.1, row G17: DATA after trailers is STREAM_CLOSED, of the stream or of the
/// connection, unless the client has closed the rest of its request already; a call that had its
/// response keeps it.
#[tokio::test(start_paused = true)]
async fn fault_data_after_trailers() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, END_HEADERS, response(200, &[]))).await;
    peer.send(headers(stream, WHOLE, block(&[("x-trailer", "last")]))).await;
    assert!(outcome(call).await.expect("response").trailers.is_some());
    peer.send(data(stream, NONE, *b"late")).await;
    let heard = peer.gather(std::time::Duration::from_secs(1)).await;
    let ended = heard.iter().any(|f| match f.kind {
        RST_STREAM => matches!(f.word(0), STREAM_CLOSED | CANCEL | NO_ERROR),
        GOAWAY => f.word(4) == STREAM_CLOSED,
        _ => f.ends_stream(),
    });
    assert!(ended, "{heard:?}");
    let wrong = heard.iter().any(|f| f.kind == GOAWAY && f.word(4) != STREAM_CLOSED);
    assert!(!wrong, "{heard:?}");
}

/// RFC 9113 §8.1, row G17: trailers without END_STREAM are malformed.
#[tokio::test(start_paused = true)]
async fn fault_trailers_without_end_stream() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, END_HEADERS, response(200, &[]))).await;
    peer.send(data(stream, NONE, *b"body")).await;
    peer.send(headers(stream, END_HEADERS, block(&[("x-trailer", "last")]))).await;
    peer.expect_reset(stream, PROTOCOL_ERROR).await;
    outcome(call).await.expect_err("malformed");
    next_call_succeeds(&client, &mut peer).await;
}

/// RFC 9113 §8.1, row G17: pseudo-header fields in trailers are malformed.
#[tokio::test(start_paused = true)]
async fn fault_pseudo_header_in_trailers() {
    for pseudo in [(":status", "200"), (":path", "/")] {
        let (client, mut peer) = connected().await;
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        peer.send(headers(stream, END_HEADERS, response(200, &[]))).await;
        peer.send(headers(stream, WHOLE, block(&[pseudo]))).await;
        outcome(call).await.expect_err("malformed");
        next_call_succeeds(&client, &mut peer).await;
    }
}

/// RFC 9113 §8.2.1, row G11: fields that would split a message are malformed in a response.
#[tokio::test(start_paused = true)]
async fn fault_bad_response_headers() {
    let wrong: [(&[u8], &[u8]); 6] = [
        (b"x", b"a\r\nb: c"),
        (b"x", b"a\0"),
        (b"x", b" a"),
        (b"x:y", b"a"),
        (b"Upper", b"a"),
        (b"", b"a"),
    ];
    for (name, value) in wrong {
        let (client, mut peer) = connected().await;
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        let mut head = response(200, &[]);
        head.extend(literal(name, value));
        peer.send(headers(stream, END_HEADERS, head)).await;
        peer.expect_reset(stream, PROTOCOL_ERROR).await;
        outcome(call).await.expect_err("malformed");
        next_call_succeeds(&client, &mut peer).await;
    }
}

/// RFC 9113 §10.5.1: a field section over the limit costs its stream, and the dynamic
/// table stays right.
#[tokio::test(start_paused = true)]
async fn fault_oversize_response_head() {
    use crate::support::hpack::{entered, indexed};
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    let mut head = response(200, &[]);
    head.extend(literal(b"x-long", &[b'v'; 15_000]));
    peer.send(headers(stream, END_STREAM, head)).await;
    let mut rest = literal(b"x-more", &[b'v'; 10_000]);
    rest.extend(entered(b"x-last", b"in the table"));
    peer.send(continuation(stream, END_HEADERS, rest)).await;
    outcome(call).await.expect_err("too large");
    let call = client.get("/y");
    let (stream, _) = peer.expect_request().await;
    let mut head = response(200, &[]);
    head.extend(indexed(62));
    peer.send(headers(stream, WHOLE, head)).await;
    let answer = outcome(call).await.expect("response");
    assert_eq!(answer.fields, [("x-last".to_owned(), "in the table".to_owned())]);
}
