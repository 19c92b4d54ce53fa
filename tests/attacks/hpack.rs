//! Broken and hostile HPACK (rows H2 to H8; H1 and H9 stand with their relatives).

use std::time::Duration;

use crate::honest_request_on_a_new_connection;
use crate::support::hpack::{block, entered, indexed, literal, table_size};
use crate::support::*;

/// A block that cannot be decoded: COMPRESSION_ERROR of the connection, nothing else.
async fn undecodable(bytes: impl Into<Vec<u8>>) {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, bytes)).await;
    peer.expect_connection_error(COMPRESSION_ERROR).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 7541 §5.1, row H2: integers of more bytes than 32 bits need, zeros or not.
#[tokio::test(start_paused = true)]
async fn attack_hpack_endless_integer() {
    undecodable(*b"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00").await;
    undecodable(*b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").await;
    undecodable(*b"\x00\x7f\xff\xff\xff\xff\xff\xff\xff\x01").await;
}

/// RFC 7541 §5.2, row H3: a string of 256 MiB that is only announced.
#[tokio::test(start_paused = true)]
async fn attack_hpack_huge_string() {
    let mut peer = served().await;
    peer.send(headers(1, END_STREAM, *b"\x00\x7f\xff\xff\xff\x7f")).await;
    for _ in 0..8 {
        peer.send(continuation(1, NONE, vec![b'v'; 16_000])).await;
    }
    let heard = peer.gather(Duration::from_secs(5)).await;
    let code = heard.iter().find(|f| f.kind == GOAWAY).map(|f| f.word(4));
    assert!(matches!(code, Some(COMPRESSION_ERROR | ENHANCE_YOUR_CALM)), "{code:?}");
    peer.expect_eof().await;
    honest_request_on_a_new_connection().await;
}

/// RFC 7541 §6.1, row H4: index 0.
#[tokio::test(start_paused = true)]
async fn attack_hpack_index_0() {
    undecodable([0x80]).await;
}

/// RFC 7541 §2.3.3, row H4: an index past both tables, as a field and as a name.
#[tokio::test(start_paused = true)]
async fn attack_hpack_index_past_the_table() {
    undecodable(indexed(62)).await;
    undecodable(*b"\xff\xff\xff\xff\x07").await;
    undecodable(*b"\x7f\x00\x01v").await;
}

/// RFC 7541 §4.2, §6.3, row H5: a table size over the limit, and one after a field.
#[tokio::test(start_paused = true)]
async fn attack_hpack_table_size_misuse() {
    undecodable(*b"\x3f\xe1\xff\x03\x82").await;
    let mut late = get("/ok", &[]);
    late.extend(table_size(100));
    undecodable(late).await;
}

/// RFC 7541 §6.3, row H6: a table resized in every block costs what it evicts, and the state
/// stays right.
#[tokio::test(start_paused = true)]
async fn attack_hpack_table_churn() {
    let mut peer = served().await;
    for n in 0..500 {
        let mut head = table_size(0);
        head.extend(table_size(4_096));
        head.extend(get("/ok", &[]));
        head.extend(entered(b"x-churn", &[b'v'; 1_000]));
        head.extend(indexed(62));
        peer.send(headers(2 * n + 1, WHOLE, head)).await;
        peer.expect_response(2 * n + 1).await;
    }
}

/// RFC 7541 §4.2, row H6: a client that offers a table of 4 GiB gets no encoder of that size.
#[tokio::test(start_paused = true)]
async fn attack_hpack_huge_peer_table() {
    let mut peer = serve();
    peer.handshake_with(&[(HEADER_TABLE_SIZE, u32::MAX)]).await;
    for n in 0..100 {
        peer.expect_serves(2 * n + 1).await;
    }
}

/// RFC 7541 §5.2, row H7: Huffman strings with EOS, with padding of 8 bits or of zeros.
#[tokio::test(start_paused = true)]
async fn attack_hpack_bad_huffman() {
    // The name `x` as a literal and a Huffman value of: EOS; `0` and eight bits; `0` and zeros.
    undecodable(*b"\x00\x01x\x84\xff\xff\xff\xff").await;
    undecodable(*b"\x00\x01x\x82\x07\xff").await;
    undecodable(*b"\x00\x01x\x81\x00").await;
}

/// RFC 9113 §4.3, row H8: a malformed message is decoded to the end of its block: an entry after
/// the fault is there for the next request.
#[tokio::test(start_paused = true)]
async fn attack_hpack_state_after_stream_error() {
    let mut peer = served().await;
    let mut head = block(&[(":method", "GET"), ("connection", "close")]);
    head.extend(literal(b"x", b"a b"));
    head.extend(entered(b":path", b"/ok"));
    peer.send(headers(1, WHOLE, head)).await;
    peer.expect_reset(1, PROTOCOL_ERROR).await;
    let mut next = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")]);
    next.extend(indexed(62));
    peer.send(headers(3, WHOLE, next)).await;
    peer.expect_response(3).await;
}
