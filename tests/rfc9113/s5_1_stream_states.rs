//! RFC 9113 §5.1: stream states, identifiers and concurrency.

use std::time::Duration;

use crate::support::hpack::block;
use crate::support::*;

/// RFC 9113 §5.1: DATA on an idle stream is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn idle_data() {
    let mut peer = served().await;
    peer.send(data(1, END_STREAM, *b"x")).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §5.1: RST_STREAM on an idle stream is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn idle_rst_stream() {
    let mut peer = served().await;
    peer.send(rst_stream(1, CANCEL)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §5.1: WINDOW_UPDATE on an idle stream is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn idle_window_update() {
    let mut peer = served().await;
    peer.send(window_update(1, 100)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §5.1: PRIORITY is allowed on an idle stream.
#[tokio::test(start_paused = true)]
async fn idle_priority_is_allowed() {
    let mut peer = served().await;
    peer.send(priority(1, 0)).await;
    peer.send(priority(101, 99)).await;
    peer.expect_serves(1).await;
}

/// RFC 9113 §5.1: for a client too, frames on a stream it never opened are PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn client_idle_frames() {
    for wrong in [
        headers(5, WHOLE, response(200, &[])),
        data(5, END_STREAM, *b"x"),
        rst_stream(5, CANCEL),
        window_update(5, 1),
    ] {
        let (_client, mut peer) = connected().await;
        peer.send(wrong).await;
        peer.expect_connection_error(PROTOCOL_ERROR).await;
    }
}

/// RFC 9113 §5.1: DATA on a half-closed (remote) stream is a stream error STREAM_CLOSED.
#[tokio::test(start_paused = true)]
async fn half_closed_remote_data() {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, get("/hang", &[]))).await;
    peer.send(data(1, END_STREAM, *b"x")).await;
    peer.expect_reset(1, STREAM_CLOSED).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §5.1: HEADERS on a half-closed (remote) stream is a stream error STREAM_CLOSED.
#[tokio::test(start_paused = true)]
async fn half_closed_remote_headers() {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, get("/hang", &[]))).await;
    peer.send(headers(1, WHOLE, block(&[("trailer", "late")]))).await;
    peer.expect_reset(1, STREAM_CLOSED).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §5.1: END_STREAM on DATA half-closes just as on HEADERS.
#[tokio::test(start_paused = true)]
async fn half_closed_by_data() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    peer.send(data(1, END_STREAM, *b"x")).await;
    peer.send(data(1, NONE, *b"y")).await;
    peer.expect_reset(1, STREAM_CLOSED).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §5.1: WINDOW_UPDATE, PRIORITY and RST_STREAM are taken when half-closed (remote).
#[tokio::test(start_paused = true)]
async fn half_closed_remote_takes_control_frames() {
    let (mut peer, counters) = serve_counted();
    peer.handshake().await;
    peer.send(headers(1, WHOLE, get("/drop", &[]))).await;
    peer.send_all(&[window_update(1, 10), priority(1, 0)]).await;
    peer.expect_alive().await;
    assert_eq!(counters.running(), 1);
    peer.send(rst_stream(1, CANCEL)).await;
    peer.expect_alive().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(counters.running(), 0, "the handler is dropped at RST_STREAM");
}

/// RFC 9113 §5.1: half-closed (local) still receives: a client that has ended its request takes
/// the whole response, and any type of frame.
#[tokio::test(start_paused = true)]
async fn half_closed_local_receives() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send_all(&[window_update(stream, 5), priority(stream, 0)]).await;
    peer.respond(stream, b"body").await;
    assert_eq!(outcome(call).await.expect("response").body, b"body");
}

/// RFC 9113 §5.1: an open stream answers before the request ended; the request may go on.
#[tokio::test(start_paused = true)]
async fn open_stream_takes_both_directions() {
    let (client, mut peer) = connected().await;
    let (body, call) = client.open("/x");
    body.send(b"one".to_vec()).await.expect("send");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, END_HEADERS, response(200, &[]))).await;
    body.send(b"two".to_vec()).await.expect("send");
    drop(body);
    peer.find("the end of the request", |f| f.stream == stream && f.ends_stream()).await;
    peer.send(data(stream, END_STREAM, *b"late")).await;
    assert_eq!(outcome(call).await.expect("response").body, b"late");
}

/// RFC 9113 §5.1: WINDOW_UPDATE and RST_STREAM may still come on a stream just closed.
#[tokio::test(start_paused = true)]
async fn closed_takes_window_update_and_rst() {
    let mut peer = served().await;
    peer.expect_serves(1).await;
    peer.send(window_update(1, 1)).await;
    peer.send(rst_stream(1, NO_ERROR)).await;
    peer.send(priority(1, 0)).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §5.1, §6.1: DATA on a closed stream is STREAM_CLOSED, of the stream or, as §5.1
/// allows, of the connection.
#[tokio::test(start_paused = true)]
async fn closed_data() {
    let mut peer = served().await;
    peer.expect_serves(1).await;
    peer.send(data(1, END_STREAM, *b"x")).await;
    peer.expect_error(1, STREAM_CLOSED).await;
}

/// RFC 9113 §5.1: HEADERS on a stream that the peer itself ended and we answered is STREAM_CLOSED.
#[tokio::test(start_paused = true)]
async fn closed_headers() {
    let mut peer = served().await;
    peer.expect_serves(1).await;
    peer.send(headers(1, WHOLE, get("/ok", &[]))).await;
    peer.expect_error(1, STREAM_CLOSED).await;
}

/// RFC 9113 §5.1: frames after the peer's own RST_STREAM are STREAM_CLOSED.
#[tokio::test(start_paused = true)]
async fn frames_after_the_peers_reset() {
    for late in [data(1, NONE, *b"x"), headers(1, WHOLE, block(&[("late", "1")]))] {
        let mut peer = served().await;
        peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
        peer.send(rst_stream(1, CANCEL)).await;
        peer.send(late).await;
        peer.expect_error(1, STREAM_CLOSED).await;
    }
}

/// RFC 9113 §5.1: frames that were on their way when we reset a stream are processed as far as the
/// connection needs, and discarded.
#[tokio::test(start_paused = true)]
async fn frames_after_our_reset_are_discarded() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[("connection", "close")]))).await;
    peer.expect_reset(1, PROTOCOL_ERROR).await;
    peer.send(data(1, NONE, *b"on its way")).await;
    peer.send(window_update(1, 5)).await;
    peer.send(headers(1, WHOLE, block(&[("late", "trailer")]))).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §5.1: the field blocks among them still update the compression state.
#[tokio::test(start_paused = true)]
async fn discarded_blocks_update_the_compression_state() {
    use crate::support::hpack::{entered, indexed};
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[("connection", "close")]))).await;
    peer.expect_reset(1, PROTOCOL_ERROR).await;
    peer.send(headers(1, WHOLE, entered(b"x-late", b"/ok"))).await;
    let mut next = post("/echo", &[]);
    next.extend(indexed(62));
    peer.send(headers(3, END_HEADERS, next)).await;
    peer.send(data(3, END_STREAM, *b"x")).await;
    peer.expect_response(3).await;
}

/// RFC 9113 §5.1.1: streams opened by a client have odd identifiers.
#[tokio::test(start_paused = true)]
async fn even_stream_from_a_client() {
    let mut peer = served().await;
    peer.send(headers(2, WHOLE, get("/ok", &[]))).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §5.1.1: a new identifier is greater than all before it.
#[tokio::test(start_paused = true)]
async fn identifiers_go_up() {
    let mut peer = served().await;
    peer.expect_serves(5).await;
    peer.send(headers(3, WHOLE, get("/ok", &[]))).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §5.1.1: identifiers may be skipped; the skipped ones are closed.
#[tokio::test(start_paused = true)]
async fn identifiers_may_skip() {
    let mut peer = served().await;
    peer.expect_serves(7).await;
    peer.expect_serves(0x7fff_fffd).await;
}

/// RFC 9113 §5.1.1: stream 0 opens nothing.
#[tokio::test(start_paused = true)]
async fn stream_0_is_no_request() {
    let mut peer = served().await;
    peer.send(headers(0, WHOLE, get("/ok", &[]))).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §5.1.1: our client uses odd identifiers, each above the last, from 1.
#[tokio::test(start_paused = true)]
async fn client_identifiers_are_odd_and_go_up() {
    let (client, mut peer) = connected().await;
    for wanted in [1, 3, 5, 7] {
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        assert_eq!(stream, wanted);
        peer.respond(stream, b"").await;
        outcome(call).await.expect("response");
    }
}

/// RFC 9113 §5.1.2: streams over the advertised limit are refused: PROTOCOL_ERROR or, as a retry
/// is safe, REFUSED_STREAM.
#[tokio::test(start_paused = true)]
async fn streams_over_the_limit_are_refused() {
    let mut peer = served().await;
    let limit = *peer.settings.get(&MAX_CONCURRENT_STREAMS).expect("an advertised limit");
    for n in 0..limit {
        peer.send(headers(2 * n + 1, WHOLE, get("/hang", &[]))).await;
    }
    let over = 2 * limit + 1;
    peer.send(headers(over, WHOLE, get("/hang", &[]))).await;
    peer.expect_reset(over, REFUSED_STREAM).await;
    peer.send(rst_stream(1, CANCEL)).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    peer.expect_serves(over + 2).await;
}

/// RFC 9113 §5.1.2: our client opens no more streams than the peer allows; the next request leaves
/// when one has closed.
#[tokio::test(start_paused = true)]
async fn client_keeps_the_peers_limit() {
    let (client, mut peer) = connect();
    peer.handshake_with(&[(MAX_CONCURRENT_STREAMS, 2)]).await;
    let calls: Vec<_> = (0..3).map(|_| client.get("/x")).collect();
    let (first, _) = peer.expect_request().await;
    peer.expect_request().await;
    let third = peer.gather(Duration::from_secs(1)).await;
    assert!(third.iter().all(|f| f.kind != HEADERS), "a third stream: {third:?}");
    peer.respond(first, b"").await;
    let (stream, _) = peer.expect_request().await;
    assert_eq!(stream, 5);
    drop(calls);
}
