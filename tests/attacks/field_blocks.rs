//! Field blocks without end or measure (rows A6, A11 to A13, A25).

use std::time::Duration;

use crate::honest_request_on_a_new_connection;
use crate::support::hpack::{block, entered, indexed, literal};
use crate::support::*;

/// RFC 9113 §8.2.1, row A6: fields without a name: the request is malformed, and each costs 32
/// bytes of the list.
#[tokio::test(start_paused = true)]
async fn attack_empty_name_headers() {
    let mut peer = served().await;
    let mut head = get("/ok", &[]);
    for _ in 0..50 {
        head.extend(literal(b"", b""));
    }
    peer.send(headers(1, WHOLE, head)).await;
    peer.expect_malformed(1).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §10.5.1, row A11: a block that goes on and on ends in ENHANCE_YOUR_CALM well before
/// 4 MiB.
#[tokio::test(start_paused = true)]
async fn attack_continuation_flood() {
    let mut peer = served().await;
    peer.send(headers(1, END_STREAM, get("/ok", &[]))).await;
    let filler = literal(b"x-filler", &[b'v'; 1_000]).repeat(16);
    for _ in 0..256 {
        peer.send(continuation(1, NONE, filler.clone())).await;
    }
    peer.expect_connection_error(ENHANCE_YOUR_CALM).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §10.5.1, row A11: small fragments count as frames.
#[tokio::test(start_paused = true)]
async fn attack_continuation_small_fragments() {
    let mut peer = served().await;
    peer.send(headers(1, END_STREAM, get("/ok", &[]))).await;
    for byte in literal(b"x-filler", &[b'v'; 10_000]) {
        peer.send(continuation(1, NONE, [byte])).await;
    }
    peer.expect_connection_error(ENHANCE_YOUR_CALM).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §10.5, row A12: CONTINUATION of no bytes counts all the same.
#[tokio::test(start_paused = true)]
async fn attack_continuation_empty() {
    let mut peer = served().await;
    peer.send(headers(1, END_STREAM, get("/ok", &[]))).await;
    let frames = vec![continuation(1, NONE, []); 10_000];
    peer.send_all(&frames).await;
    peer.expect_connection_error(ENHANCE_YOUR_CALM).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §10.5, row A13: a block that is never ended holds its connection ten seconds.
#[tokio::test(start_paused = true)]
async fn attack_continuation_stall() {
    let mut peer = served().await;
    peer.send(headers(1, END_STREAM, &get("/ok", &[])[..5])).await;
    let start = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(12)).await;
    peer.expect_eof().await;
    assert!(start.elapsed() < Duration::from_secs(15));
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §10.5, row A13: a byte now and then does not lengthen the ten seconds.
#[tokio::test(start_paused = true)]
async fn attack_continuation_drip() {
    let mut peer = served().await;
    peer.send(headers(1, END_STREAM, &get("/ok", &[])[..5])).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        peer.send(continuation(1, NONE, [])).await;
    }
    peer.expect_eof().await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §10.5, row A13: a HEADERS frame of which a byte comes now and then, beside a stream that is open,
/// has ten seconds as well.
#[tokio::test(start_paused = true)]
async fn attack_headers_drip() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    for byte in &headers(3, WHOLE, get("/ok", &[])).bytes()[..12] {
        peer.send_bytes(&[*byte]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    peer.expect_connection_error(PROTOCOL_ERROR).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §10.5.1, row A11: a block of a few CONTINUATION frames under the limit is honest.
#[tokio::test(start_paused = true)]
async fn honest_continuation() {
    let mut peer = served().await;
    let long = "v".repeat(2_000);
    let head = get("/ok", &[("a", &long), ("b", &long), ("c", &long)]);
    let mut pieces = head.chunks(1_200).peekable();
    peer.send(headers(1, END_STREAM, pieces.next().expect("a piece"))).await;
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { NONE };
        peer.send(continuation(1, flags, piece)).await;
    }
    peer.expect_response(1).await;
}

/// A stream refused for its fields: 431, or a reset that says why.
async fn expect_too_many_fields(peer: &mut RawPeer, stream: u32) {
    let wanted = "431 or RST_STREAM";
    let answer = peer
        .find(wanted, |f| f.stream == stream && (f.kind == RST_STREAM || f.fields.is_some()))
        .await;
    match answer.fields {
        Some(fields) => assert_eq!(fields[0], (":status".into(), "431".into())),
        None => assert_eq!(answer.word(0), ENHANCE_YOUR_CALM),
    }
}

/// RFC 9113 §10.5.1, rows A25 and H1: one entry of 4 KiB and references to it: the decoded size
/// counts, the stream alone pays, and no more is kept than the limit.
#[tokio::test(start_paused = true)]
async fn attack_hpack_bomb() {
    let mut peer = served().await;
    let mut head = get("/ok", &[]);
    head.extend(entered(b"x-bomb", &[b'v'; 4_000]));
    // About 20 KiB when decoded: over the list's limit, under four times that.
    head.extend(indexed(62).repeat(4));
    peer.send(headers(1, WHOLE, head)).await;
    expect_too_many_fields(&mut peer, 1).await;
    let mut next = get("/ok", &[]);
    next.extend(indexed(62));
    peer.send(headers(3, WHOLE, next)).await;
    peer.expect_response(3).await;
}

/// RFC 9113 §10.5.1, row A25: 16,000 references on each of a hundred streams: each is refused for
/// its fields, or the connection ends with ENHANCE_YOUR_CALM.
#[tokio::test(start_paused = true)]
async fn attack_hpack_bomb_full() {
    let mut peer = serve();
    peer.handshake_with(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    let mut head = get("/ok", &[]);
    head.extend(entered(b"x-bomb", &[b'v'; 4_000]));
    peer.send(headers(1, WHOLE, head)).await;
    peer.expect_response(1).await;
    let mut bomb = get("/ok", &[]);
    bomb.extend(indexed(62).repeat(16_000));
    for stream in (3..200).step_by(2) {
        peer.send(headers(stream, WHOLE, bomb.clone())).await;
    }
    let heard = peer.gather(Duration::from_secs(1)).await;
    if let Some(frame) = heard.iter().find(|f| f.kind == GOAWAY) {
        assert_eq!(frame.word(4), ENHANCE_YOUR_CALM);
        peer.expect_eof().await;
    } else {
        for frame in heard.iter().filter(|f| f.kind == HEADERS) {
            assert_eq!(frame.fields.as_ref().expect("fields")[0].1, "431");
        }
        for frame in heard.iter().filter(|f| f.kind == RST_STREAM) {
            assert_eq!(frame.word(0), ENHANCE_YOUR_CALM);
        }
        peer.expect_serves(201).await;
    }
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §8.2.3, row A25: crumbs of a cookie are fields: more than 128 are too many for the
/// stream, though their bytes are few.
#[tokio::test(start_paused = true)]
async fn attack_cookie_crumbs() {
    let mut peer = served().await;
    let mut head = get("/ok", &[]);
    head.extend(block(&[("cookie", "a")]).repeat(200));
    peer.send(headers(1, WHOLE, head)).await;
    expect_too_many_fields(&mut peer, 1).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §10.5.1, row A25: a hundred fields are honest.
#[tokio::test(start_paused = true)]
async fn honest_hundred_fields() {
    let mut peer = served().await;
    let mut head = get("/ok", &[]);
    head.extend(block(&[("x-field", "value")]).repeat(100));
    peer.send(headers(1, WHOLE, head)).await;
    peer.expect_response(1).await;
}
