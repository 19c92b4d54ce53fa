//! RFC 9113 §6.2 and §6.10: HEADERS and CONTINUATION.

use crate::support::*;

/// RFC 9113 §6.2: HEADERS on stream 0 is a connection error PROTOCOL_ERROR, at a client too.
#[tokio::test(start_paused = true)]
async fn client_headers_on_stream_0() {
    let (_client, mut peer) = connected().await;
    peer.send(headers(0, WHOLE, response(200, &[]))).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.2: padding of HEADERS is discarded.
#[tokio::test(start_paused = true)]
async fn headers_with_padding() {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, get("/ok", &[])).padded(200)).await;
    peer.expect_response(1).await;
    peer.send(headers(3, WHOLE, get("/ok", &[])).padded(0)).await;
    peer.expect_response(3).await;
}

/// RFC 9113 §6.2: padding and priority fields together.
#[tokio::test(start_paused = true)]
async fn headers_with_padding_and_priority() {
    let mut peer = served().await;
    let mut payload = vec![0, 0, 0, 0, 16];
    payload.extend(get("/ok", &[]));
    peer.send(headers(1, WHOLE | WITH_PRIORITY, payload).padded(10)).await;
    peer.expect_response(1).await;
}

/// RFC 9113 §6.2: padding longer than what is left for the block is a connection error
/// PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn headers_padding_too_long() {
    let mut payload = vec![255];
    payload.extend(get("/ok", &[]));
    assert!(payload.len() < 255);
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, payload).flagged(PADDED)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.2: the priority fields count against the room for padding.
#[tokio::test(start_paused = true)]
async fn headers_padding_into_the_priority_fields() {
    let mut peer = served().await;
    let flags = WHOLE | WITH_PRIORITY | PADDED;
    peer.send(headers(1, flags, [3, 0, 0, 0, 0, 16, 0x82, 0x86])).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.2, §4.2: HEADERS too short for its mandatory fields is FRAME_SIZE_ERROR, of the
/// connection, as a field block changes its state.
#[tokio::test(start_paused = true)]
async fn headers_too_short_for_priority() {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE | WITH_PRIORITY, [0, 0, 0])).await;
    peer.expect_connection_error(FRAME_SIZE_ERROR).await;
}

/// RFC 9113 §6.2, §4.2: nor may the pad length be missing.
#[tokio::test(start_paused = true)]
async fn headers_too_short_for_pad_length() {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE | PADDED, [])).await;
    peer.expect_connection_error(FRAME_SIZE_ERROR).await;
}

/// RFC 9113 §6.2: END_STREAM on HEADERS holds although CONTINUATION follows.
#[tokio::test(start_paused = true)]
async fn end_stream_holds_over_continuation() {
    let whole = get("/echo", &[]);
    let mut peer = served().await;
    peer.send(headers(1, END_STREAM, &whole[..3])).await;
    peer.send(continuation(1, END_HEADERS, &whole[3..])).await;
    assert_eq!(peer.expect_response(1).await.body, b"");
}

/// RFC 9113 §6.2: a padded HEADERS may be followed by CONTINUATION.
#[tokio::test(start_paused = true)]
async fn padded_headers_and_continuation() {
    let whole = get("/ok", &[]);
    let mut peer = served().await;
    peer.send(headers(1, END_STREAM, &whole[..3]).padded(20)).await;
    peer.send(continuation(1, END_HEADERS, &whole[3..])).await;
    peer.expect_response(1).await;
}

/// RFC 9113 §6.10: CONTINUATION without an open block is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn continuation_without_headers() {
    let mut peer = served().await;
    peer.send(continuation(1, END_HEADERS, get("/ok", &[]))).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.10: nor may it follow a block that has ended.
#[tokio::test(start_paused = true)]
async fn continuation_after_end_headers() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    peer.send(continuation(1, END_HEADERS, [])).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.10: nor a CONTINUATION that ended the block.
#[tokio::test(start_paused = true)]
async fn continuation_after_continuation_with_end_headers() {
    let whole = post("/hang", &[]);
    let mut peer = served().await;
    peer.send(headers(1, NONE, &whole[..3])).await;
    peer.send(continuation(1, END_HEADERS, &whole[3..])).await;
    peer.send(continuation(1, END_HEADERS, [])).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.10: nor DATA.
#[tokio::test(start_paused = true)]
async fn continuation_after_data() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    peer.send(data(1, NONE, *b"x")).await;
    peer.send(continuation(1, END_HEADERS, [])).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.10: CONTINUATION on stream 0 is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn continuation_on_stream_0() {
    let mut peer = served().await;
    peer.send(headers(1, NONE, &get("/ok", &[])[..3])).await;
    peer.send(continuation(0, END_HEADERS, [])).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.10: a client puts CONTINUATION together as well, a byte of the wire at a time.
#[tokio::test(start_paused = true)]
async fn client_takes_continuation() {
    let (client, mut peer) = connected().await;
    peer.dribbling = true;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    let whole = response(200, &[("name", "value")]);
    peer.send(headers(stream, END_STREAM, &whole[..4])).await;
    peer.send(continuation(stream, NONE, &whole[4..5])).await;
    peer.send(continuation(stream, END_HEADERS, &whole[5..])).await;
    let answer = outcome(call).await.expect("response");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.fields, [("name".to_owned(), "value".to_owned())]);
}

/// RFC 9113 §6.10: a client refuses CONTINUATION on its own.
#[tokio::test(start_paused = true)]
async fn client_continuation_without_headers() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(continuation(stream, END_HEADERS, response(200, &[]))).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
    outcome(call).await.expect_err("no response");
}

/// RFC 9113 §6.2, §6.10: a block over the peer's frame size is sent as HEADERS and CONTINUATION.
#[tokio::test(start_paused = true)]
async fn long_block_is_sent_in_continuation() {
    let (client, mut peer) = connected().await;
    let long = "~".repeat(15_000);
    let call = client.call("GET", "/x", &[("one", &long), ("two", &long)], b"");
    let (stream, fields) = peer.expect_request().await;
    let lengths = fields.iter().filter(|(_, v)| v.len() == long.len()).count();
    assert_eq!(lengths, 2);
    peer.respond(stream, b"").await;
    outcome(call).await.expect("response");
}
