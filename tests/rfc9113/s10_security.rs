//! RFC 9113 §9 and §10: connections, limits, abuse. The floods stand in `tests/attacks`.

use std::time::Duration;

use crate::support::hpack::{block, indexed};
use crate::support::*;

/// RFC 9113 §9.1: a client opens one connection and keeps it open between requests.
#[tokio::test(start_paused = true)]
async fn connection_outlives_its_requests() {
    let (client, mut peer) = connected().await;
    for _ in 0..3 {
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        peer.respond(stream, b"").await;
        outcome(call).await.expect("response");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// RFC 9113 §9.1: a server keeps an idle connection open for a minute at least.
#[tokio::test(start_paused = true)]
async fn idle_connection_stays_open() {
    let mut peer = served().await;
    peer.expect_serves(1).await;
    for _ in 0..6 {
        let heard = peer.gather(Duration::from_secs(10)).await;
        let quiet = |kind| matches!(kind, PING | SETTINGS | WINDOW_UPDATE);
        assert!(heard.iter().all(|f| quiet(f.kind)), "{heard:?}");
    }
    peer.expect_serves(3).await;
}

/// RFC 9113 §10.3: what HTTP/1.1 would split on is refused in a path too.
#[tokio::test(start_paused = true)]
async fn line_breaks_in_pseudo_headers() {
    for path in ["/a\r\nx: y", "/a\nb", "/a\0b", "/a b"] {
        let mut peer = served().await;
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")];
        peer.send(headers(1, WHOLE, block(&fields))).await;
        peer.expect_malformed(1).await;
    }
}

/// RFC 9113 §10.5.1: a field section over the limit may be refused with 431 or a stream error;
/// the block is decoded on, and the connection lives.
#[tokio::test(start_paused = true)]
async fn oversize_field_section_costs_its_stream() {
    let mut peer = served().await;
    let limit = peer.settings.get(&MAX_HEADER_LIST_SIZE).copied();
    let limit = limit.expect("an advertised limit") as usize;
    let long = "v".repeat(limit + 1_000 - 200);
    let mut bytes = get("/ok", &[("x-long", &long)]);
    bytes.extend(crate::support::hpack::entered(b"x-last", b"kept in the table"));
    send_block(&mut peer, 1, &bytes).await;
    let answer = peer
        .find("431 or RST_STREAM", |f| {
            f.stream == 1 && (f.kind == RST_STREAM || f.fields.is_some())
        })
        .await;
    if let Some(fields) = answer.fields {
        assert_eq!(fields[0], (":status".into(), "431".into()));
    }
    let mut next = get("/ok", &[]);
    next.extend(indexed(62));
    peer.send(headers(3, WHOLE, next)).await;
    peer.expect_response(3).await;
}

/// A request's block in as many frames as it takes.
async fn send_block(peer: &mut RawPeer, stream: u32, bytes: &[u8]) {
    let mut pieces = bytes.chunks(16_384).peekable();
    let mut kind = HEADERS;
    let mut flags = END_STREAM;
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() { END_HEADERS } else { NONE };
        peer.send(frame(kind, flags | end, stream, piece)).await;
        (kind, flags) = (CONTINUATION, NONE);
    }
}

/// RFC 9113 §10.5.1: our client honours the peer's limit or fails the call; it never cuts fields.
#[tokio::test(start_paused = true)]
async fn client_heeds_the_peers_header_limit() {
    let (client, mut peer) = connect();
    peer.handshake_with(&[(MAX_HEADER_LIST_SIZE, 500)]).await;
    let long = "v".repeat(2_000);
    let call = client.call("GET", "/x", &[("x-long", &long)], b"");
    let heard = peer.gather(Duration::from_secs(1)).await;
    assert!(heard.iter().all(|f| f.kind != HEADERS), "over the peer's limit");
    assert!(!outcome(call).await.expect_err("too large").may_have_been_processed);
}

/// RFC 9113 §10.5: a peer that sends one byte at a time is served like any other.
#[tokio::test(start_paused = true)]
async fn whole_connection_one_byte_at_a_time() {
    let mut peer = serve();
    peer.dribbling = true;
    peer.handshake().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[("x", "y")])).padded(3)).await;
    peer.send(data(1, NONE, *b"one ")).await;
    peer.send(ping([5; 8])).await;
    peer.send(data(1, NONE, *b"two").padded(2)).await;
    peer.send(headers(1, WHOLE, block(&[("x-trailer", "last")]))).await;
    let answer = peer.expect_response(1).await;
    assert_eq!(answer.body, b"one two");
    assert!(answer.trailers.is_some());
}

/// RFC 9113 §10.5: everything in one write is the same.
#[tokio::test(start_paused = true)]
async fn whole_connection_in_one_write() {
    let mut peer = serve();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(wire(&[
        settings(&[]),
        headers(1, END_HEADERS, post("/echo", &[])),
        data(1, END_STREAM, *b"one"),
        headers(3, WHOLE, get("/ok", &[])),
        headers(5, END_HEADERS, post("/echo", &[])),
        data(5, END_STREAM, *b"five"),
    ]));
    peer.send_bytes(&bytes).await;
    peer.expect_settings().await;
    assert_eq!(peer.expect_response(1).await.body, b"one");
    peer.expect_response(3).await;
    assert_eq!(peer.expect_response(5).await.body, b"five");
}

/// RFC 9113 §10.7: padding of a refused frame is no way out of a limit: over-long padding ends
/// the connection at once.
#[tokio::test(start_paused = true)]
async fn padding_over_the_frame_ends_the_connection() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, END_HEADERS, response(200, &[]))).await;
    peer.send(data(stream, END_STREAM, [200, 1, 2]).flagged(PADDED)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
    outcome(call).await.expect_err("no response");
}
