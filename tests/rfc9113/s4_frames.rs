//! RFC 9113 §4: frames, their sizes, and field blocks.

use std::time::Duration;

use crate::support::hpack::{block, entered, indexed, table_size};
use crate::support::*;

/// RFC 9113 §4.1: nine bytes: length in 24 bits, type, flags, a reserved bit, 31 bits of stream.
#[test]
fn frame_header_bytes() {
    use framewire::unstable::http2::StreamId;
    use framewire::unstable::http2::frame::{Flags, FrameHeader, FrameType};
    let bytes = [0x01, 0x02, 0x03, 0x06, 0x01, 0x7f, 0x80, 0x81, 0x82];
    let header =
        FrameHeader::new(0x01_0203, FrameType::Ping, Flags::ACK, StreamId::new(0x7f80_8182));
    assert_eq!(header.bytes(), bytes);
    assert_eq!(FrameHeader::parse(&bytes), header);
    let mut reserved = bytes;
    reserved[5] |= 0x80;
    assert_eq!(FrameHeader::parse(&reserved), header);
    for byte in 0..=0xff {
        assert_eq!(FrameType::from_byte(byte).byte(), byte);
    }
}

/// RFC 9113 §4.1: frames of an unknown type are ignored and discarded.
#[tokio::test(start_paused = true)]
async fn unknown_types_are_discarded() {
    let mut peer = served().await;
    for stream in [0, 1, 2] {
        peer.send(frame(0xfa, 0xff, stream, *b"anything")).await;
    }
    peer.expect_serves(1).await;
    peer.send(frame(0x0b, 0, 1, *b"anything")).await;
    peer.expect_alive().await;
}

/// RFC 9113 §4.1: a client ignores them too, between the frames of a response.
#[tokio::test(start_paused = true)]
async fn client_discards_unknown_types() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(frame(0xfa, 0xff, stream, *b"anything")).await;
    peer.send(headers(stream, END_HEADERS, response(200, &[]))).await;
    peer.send(frame(0xfb, 0x01, stream, *b"anything")).await;
    peer.send(data(stream, END_STREAM, *b"body")).await;
    assert_eq!(outcome(call).await.expect("response").body, b"body");
}

/// RFC 9113 §4.1: flags without a meaning for the type are ignored.
#[tokio::test(start_paused = true)]
async fn unknown_flags_are_ignored() {
    let mut peer = served().await;
    peer.send(ping([7; 8]).flagged(0xfe)).await;
    peer.find("PING ACK", |f| f.kind == PING && f.flags & ACK != 0).await;
    peer.send(settings(&[]).flagged(0xfe)).await;
    peer.expect_settings_ack().await;
    peer.send(headers(1, END_HEADERS | 0xc2, post("/echo", &[]))).await;
    peer.send(data(1, END_STREAM | 0xf6, *b"x")).await;
    assert_eq!(peer.expect_response(1).await.body, b"x");
}

/// RFC 9113 §4.1: the reserved bit is ignored on receipt.
#[tokio::test(start_paused = true)]
async fn reserved_bit_is_ignored() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[])).reserved()).await;
    peer.send(data(1, END_STREAM, *b"x").reserved()).await;
    assert_eq!(peer.expect_response(1).await.body, b"x");
    peer.send(ping([1; 8]).reserved()).await;
    peer.expect_alive().await;
}

/// RFC 9113 §4.1: the flags of our own frames are 0 where they have no meaning.
#[tokio::test(start_paused = true)]
async fn undefined_flags_are_sent_as_zero() {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, get("/big/100", &[]))).await;
    peer.send(ping([1; 8])).await;
    peer.send(headers(3, END_HEADERS, post("/hang", &[]))).await;
    peer.send(window_update(3, 0)).await;
    for frame in peer.gather(Duration::from_secs(1)).await {
        let defined = match frame.kind {
            DATA => END_STREAM | PADDED,
            HEADERS => WHOLE | PADDED | WITH_PRIORITY,
            SETTINGS | PING => ACK,
            _ => NONE,
        };
        assert_eq!(frame.flags & !defined, 0, "{frame:?}");
    }
}

/// RFC 9113 §4.2: every endpoint takes frames of 16,384 bytes.
#[tokio::test(start_paused = true)]
async fn frames_of_16384_bytes_are_taken() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    peer.send(data(1, END_STREAM, vec![b'x'; 16_384])).await;
    assert_eq!(peer.expect_response(1).await.body.len(), 16_384);
}

/// RFC 9113 §4.2: and larger ones as far as it advertised, to the byte.
#[tokio::test(start_paused = true)]
async fn frames_of_the_advertised_size_are_taken() {
    let mut peer = served().await;
    let size = over_limit(&peer) - 1;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    peer.send(data(1, END_STREAM, vec![b'x'; size])).await;
    assert_eq!(peer.expect_response(1).await.body.len(), size);
}

fn over_limit(peer: &RawPeer) -> usize {
    peer.settings.get(&MAX_FRAME_SIZE).map_or(16_384, |n| *n as usize) + 1
}

/// RFC 9113 §4.2: DATA over SETTINGS_MAX_FRAME_SIZE is FRAME_SIZE_ERROR, of the stream at least.
#[tokio::test(start_paused = true)]
async fn oversize_data_is_frame_size_error() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    let size = over_limit(&peer);
    peer.send(data(1, NONE, vec![0; size])).await;
    peer.expect_error(1, FRAME_SIZE_ERROR).await;
}

/// RFC 9113 §4.2: an oversize frame that alters the connection's state ends the connection.
#[tokio::test(start_paused = true)]
async fn oversize_headers_end_the_connection() {
    let mut peer = served().await;
    let mut block = get("/ok", &[]);
    block.resize(over_limit(&peer), 0);
    peer.send(headers(1, WHOLE, block)).await;
    peer.expect_connection_error(FRAME_SIZE_ERROR).await;
}

/// RFC 9113 §4.2: so does an oversize SETTINGS.
#[tokio::test(start_paused = true)]
async fn oversize_settings_end_the_connection() {
    let mut peer = served().await;
    let size = over_limit(&peer).next_multiple_of(6);
    peer.send(frame(SETTINGS, NONE, 0, vec![0xee; size])).await;
    peer.expect_connection_error(FRAME_SIZE_ERROR).await;
}

/// RFC 9113 §4.2: so does any oversize frame on stream 0, told by its length alone.
#[tokio::test(start_paused = true)]
async fn oversize_frame_on_stream_0_ends_the_connection() {
    let mut peer = served().await;
    peer.send(frame(GOAWAY, NONE, 0, []).claiming(0xff_ffff)).await;
    peer.expect_connection_error(FRAME_SIZE_ERROR).await;
}

/// RFC 9113 §4.2: a client answers oversize HEADERS in the same way.
#[tokio::test(start_paused = true)]
async fn client_refuses_oversize_headers() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    let mut block = response(200, &[]);
    block.resize(over_limit(&peer), 0);
    peer.send(headers(stream, WHOLE, block)).await;
    peer.expect_connection_error(FRAME_SIZE_ERROR).await;
    outcome(call).await.expect_err("no response");
}

/// RFC 9113 §4.2: we send no frame over the peer's SETTINGS_MAX_FRAME_SIZE.
#[tokio::test(start_paused = true)]
async fn peers_frame_size_limit_is_kept() {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, get("/big/60000", &[]))).await;
    assert_eq!(peer.expect_response(1).await.body.len(), 60_000);
}

/// RFC 9113 §4.2: nor does a client.
#[tokio::test(start_paused = true)]
async fn client_keeps_the_frame_size_limit() {
    let (client, mut peer) = connected().await;
    let call = client.call("POST", "/x", &[], &[b'x'; 60_000]);
    assert_eq!(peer.expect_message(1).await.body.len(), 60_000);
    peer.respond(1, b"").await;
    outcome(call).await.expect("response");
}

/// RFC 9113 §4.3: a field block that does not decode is COMPRESSION_ERROR of the connection.
#[tokio::test(start_paused = true)]
async fn undecodable_block_is_compression_error() {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, indexed(70))).await;
    peer.expect_connection_error(COMPRESSION_ERROR).await;
}

/// RFC 9113 §4.3: in a response likewise.
#[tokio::test(start_paused = true)]
async fn client_undecodable_block_is_compression_error() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, WHOLE, indexed(70))).await;
    peer.expect_connection_error(COMPRESSION_ERROR).await;
    outcome(call).await.expect_err("no response");
}

/// RFC 9113 §4.3: a block that ends within a representation does not decode.
#[tokio::test(start_paused = true)]
async fn truncated_block_is_compression_error() {
    let mut peer = served().await;
    let mut short = get("/ok", &[("name", "value")]);
    short.pop();
    peer.send(headers(1, WHOLE, short)).await;
    peer.expect_connection_error(COMPRESSION_ERROR).await;
}

/// RFC 9113 §4.3: trailers that do not decode are a connection error too.
#[tokio::test(start_paused = true)]
async fn undecodable_trailers_are_compression_error() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    peer.send(headers(1, WHOLE, indexed(70))).await;
    peer.expect_connection_error(COMPRESSION_ERROR).await;
}

/// RFC 9113 §4.3: the pieces of a block are contiguous; a frame of another type between them is a
/// connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn frame_of_other_type_inside_a_block() {
    let whole = get("/ok", &[]);
    for between in [ping([0; 8]), data(1, NONE, *b"x"), settings(&[]), priority(1, 0)] {
        let mut peer = served().await;
        peer.send(headers(1, END_STREAM, &whole[..5])).await;
        peer.send(between).await;
        peer.expect_connection_error(PROTOCOL_ERROR).await;
    }
}

/// RFC 9113 §4.3: nor may frames of another stream come between, not even of an unknown type.
#[tokio::test(start_paused = true)]
async fn frame_of_other_stream_inside_a_block() {
    let whole = get("/ok", &[]);
    for between in [
        headers(3, WHOLE, whole.clone()),
        continuation(3, END_HEADERS, &whole[5..]),
        frame(0xfa, NONE, 1, *b"unknown"),
    ] {
        let mut peer = served().await;
        peer.send(headers(1, END_STREAM, &whole[..5])).await;
        peer.send(between).await;
        peer.expect_connection_error(PROTOCOL_ERROR).await;
    }
}

/// RFC 9113 §4.3: a block is the concatenation of its fragments, cut wherever.
#[tokio::test(start_paused = true)]
async fn block_in_fragments_is_one_block() {
    let whole = get("/ok", &[("name", "value")]);
    let mut peer = served().await;
    peer.send(headers(1, END_STREAM, &whole[..1])).await;
    peer.send(continuation(1, NONE, &whole[1..2])).await;
    peer.send(continuation(1, NONE, [])).await;
    peer.send(continuation(1, END_HEADERS, &whole[2..])).await;
    peer.expect_response(1).await;
}

/// RFC 9113 §4.3: each block is processed in order on one compression state of the connection.
#[tokio::test(start_paused = true)]
async fn compression_state_spans_streams() {
    let mut peer = served().await;
    let mut first = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")]);
    first.extend(entered(b":path", b"/ok"));
    peer.send(headers(1, WHOLE, first)).await;
    let mut second = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")]);
    second.extend(indexed(62));
    peer.send(headers(3, WHOLE, second)).await;
    peer.expect_response(1).await;
    peer.expect_response(3).await;
}

/// RFC 9113 §4.3.1: a table size update above the acknowledged limit is COMPRESSION_ERROR.
#[tokio::test(start_paused = true)]
async fn table_size_over_the_limit_is_compression_error() {
    let mut peer = served().await;
    let limit = peer.settings.get(&HEADER_TABLE_SIZE).map_or(4_096, |n| *n as usize);
    let mut bytes = table_size(limit + 1);
    bytes.extend(get("/ok", &[]));
    peer.send(headers(1, WHOLE, bytes)).await;
    peer.expect_connection_error(COMPRESSION_ERROR).await;
}

/// RFC 9113 §4.3.1: a table size update after a field is COMPRESSION_ERROR.
#[tokio::test(start_paused = true)]
async fn table_size_after_a_field_is_compression_error() {
    let mut peer = served().await;
    let mut bytes = get("/ok", &[]);
    bytes.extend(table_size(0));
    peer.send(headers(1, WHOLE, bytes)).await;
    peer.expect_connection_error(COMPRESSION_ERROR).await;
}

/// RFC 9113 §4.3.1: an encoder told of a smaller table begins its next block with the update.
/// Decoding fails here if the subject refers to entries that the smaller table evicts.
#[tokio::test(start_paused = true)]
async fn smaller_peer_table_is_announced() {
    let mut peer = served().await;
    peer.expect_serves(1).await;
    peer.send(settings(&[(HEADER_TABLE_SIZE, 0)])).await;
    peer.expect_settings_ack().await;
    peer.send(headers(3, WHOLE, get("/ok", &[]))).await;
    let head = peer.find("HEADERS", |f| f.kind == HEADERS && f.stream == 3).await;
    assert_eq!(head.payload[0] & 0xe0, 0x20, "a table size update begins the block");
    assert_eq!(head.payload[0], 0x20, "of size 0");
}
