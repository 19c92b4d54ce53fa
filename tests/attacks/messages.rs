//! Hostile messages (rows G9 to G13 and G15).

use std::time::Duration;

use crate::honest_request_on_a_new_connection;
use crate::support::hpack::{block, literal};
use crate::support::*;

const METHOD: (&str, &str) = (":method", "POST");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/ok");

/// The reactions a server has to a request it will not route: PROTOCOL_ERROR of the stream, or a
/// status of 4xx; the handler of `/ok` is never reached. The connection goes on.
async fn refused(fields: &[(&str, &str)]) {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, block(fields))).await;
    let answer = peer
        .find("a refusal", |f| f.stream == 1 && (f.kind == RST_STREAM || f.fields.is_some()))
        .await;
    match answer.fields {
        Some(got) => assert!(got[0].1.starts_with('4'), "{fields:?} was answered {got:?}"),
        None => assert_eq!(answer.word(0), PROTOCOL_ERROR, "{fields:?}"),
    }
    peer.expect_serves(3).await;
}

/// RFC 9113 §8.3.1, row G9: paths that are not in the one canonical form reach no handler.
#[tokio::test(start_paused = true)]
async fn attack_path_confusion() {
    for path in ["ok", "//ok", "/ok/", "/./ok", "/x/../ok", "*", "/%6fk", "/ok\0", "/OK", ""] {
        refused(&[METHOD, SCHEME, (":path", path), (":authority", "localhost")]).await;
    }
}

/// RFC 9113 §8.3.1, row G10: two authorities, userinfo, or a Host that says otherwise.
#[tokio::test(start_paused = true)]
async fn attack_authority_confusion() {
    let authority = (":authority", "localhost");
    refused(&[METHOD, SCHEME, PATH, authority, (":authority", "other")]).await;
    refused(&[METHOD, SCHEME, PATH, authority, ("host", "other")]).await;
    refused(&[METHOD, SCHEME, PATH, (":authority", "localhost@other")]).await;
    refused(&[METHOD, SCHEME, PATH, ("host", "one"), ("host", "two")]).await;
}

/// RFC 9113 §8.3, row G10: pseudo-header fields out of place.
#[tokio::test(start_paused = true)]
async fn attack_pseudo_header_confusion() {
    let authority = (":authority", "localhost");
    refused(&[METHOD, SCHEME, ("x", "y"), PATH, authority]).await;
    refused(&[METHOD, SCHEME, PATH, authority, (":status", "200")]).await;
    refused(&[METHOD, SCHEME, PATH, authority, (":Path", "/ok")]).await;
}

/// RFC 9113 §8.2.1, §10.3, row G11: bytes that would split a message further on.
#[tokio::test(start_paused = true)]
async fn attack_field_injection() {
    let wrong: [(&[u8], &[u8]); 6] = [
        (b"x", b"a\r\nset-cookie: b"),
        (b"x", b"a\0b"),
        (b"x", b"\nb"),
        (b"x:y", b"a"),
        (b"x\r\ny", b"a"),
        (b"x", b" a"),
    ];
    for (name, value) in wrong {
        let mut peer = served().await;
        let mut head = get("/ok", &[]);
        head.extend(literal(name, value));
        peer.send(headers(1, WHOLE, head)).await;
        peer.expect_malformed(1).await;
        peer.expect_serves(3).await;
    }
}

/// RFC 9113 §8.2.2, row G12: a request that smuggles HTTP/1.1 framing.
#[tokio::test(start_paused = true)]
async fn attack_connection_fields() {
    let authority = (":authority", "localhost");
    for field in [
        ("transfer-encoding", "chunked"),
        ("connection", "x-hidden"),
        ("upgrade", "websocket"),
        ("proxy-connection", "close"),
        ("keep-alive", "1"),
        ("te", "chunked"),
    ] {
        refused(&[METHOD, SCHEME, PATH, authority, field]).await;
    }
}

/// RFC 9113 §8.1.1, row G13: a length that lies, either way.
#[tokio::test(start_paused = true)]
async fn attack_content_length_lies() {
    for body in [&b"1234"[..], b"123456"] {
        let mut peer = served().await;
        peer.send(headers(1, END_HEADERS, post("/hang", &[("content-length", "5")]))).await;
        peer.send(data(1, END_STREAM, body)).await;
        peer.expect_malformed(1).await;
        peer.expect_serves(3).await;
    }
}

/// RFC 9113 §6.5.2, row G15: values that would make a sender loop.
#[tokio::test(start_paused = true)]
async fn attack_settings_bad_values() {
    for (id, value, code) in [
        (MAX_FRAME_SIZE, 0, PROTOCOL_ERROR),
        (MAX_FRAME_SIZE, 16_383, PROTOCOL_ERROR),
        (MAX_FRAME_SIZE, 1 << 24, PROTOCOL_ERROR),
        (INITIAL_WINDOW_SIZE, 1 << 31, FLOW_CONTROL_ERROR),
        (ENABLE_PUSH, 2, PROTOCOL_ERROR),
    ] {
        let mut peer = served().await;
        peer.send(settings(&[(id, value)])).await;
        peer.expect_connection_error(code).await;
    }
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §6.5.2, row G15: MAX_FRAME_SIZE 0 with the preface, and a request right behind it:
/// an error, not a loop that cuts a block into frames of nothing.
#[tokio::test(start_paused = true)]
async fn attack_frame_size_0_in_the_preface() {
    let mut peer = serve();
    peer.send_bytes(PREFACE).await;
    peer.send(settings(&[(MAX_FRAME_SIZE, 0)])).await;
    peer.send(headers(1, WHOLE, get("/big/100", &[]))).await;
    let heard = peer.gather(Duration::from_secs(1)).await;
    assert!(heard.iter().any(|f| f.kind == GOAWAY && f.word(4) == PROTOCOL_ERROR), "{heard:?}");
    peer.expect_eof().await;
    honest_request_on_a_new_connection().await;
}
