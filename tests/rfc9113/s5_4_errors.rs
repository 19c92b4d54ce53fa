//! RFC 9113 §5.3 to §5.5: priority, error handling, extensions.

use std::time::Duration;

use crate::support::hpack::indexed;
use crate::support::*;

/// RFC 9113 §5.3.2: priority signals of RFC 7540 are parsed and change nothing.
#[tokio::test(start_paused = true)]
async fn priority_signals_change_nothing() {
    let mut peer = served().await;
    let mut payload = vec![0x80, 0, 0, 3, 255];
    payload.extend(get("/ok", &[]));
    peer.send(priority(3, 1)).await;
    peer.send(headers(1, WHOLE | WITH_PRIORITY, payload)).await;
    peer.expect_response(1).await;
}

/// RFC 9113 §5.4.1: a connection error sends GOAWAY with the last stream that may have been
/// processed, and closes.
#[tokio::test(start_paused = true)]
async fn connection_error_names_the_last_stream() {
    let mut peer = served().await;
    peer.expect_serves(1).await;
    peer.expect_serves(7).await;
    peer.send(data(0, NONE, *b"x")).await;
    assert_eq!(peer.expect_connection_error(PROTOCOL_ERROR).await, 7);
}

/// RFC 9113 §5.4.1: before any stream that identifier is 0.
#[tokio::test(start_paused = true)]
async fn connection_error_without_streams_names_0() {
    let mut peer = served().await;
    peer.send(data(0, NONE, *b"x")).await;
    assert_eq!(peer.expect_connection_error(PROTOCOL_ERROR).await, 0);
}

/// RFC 9113 §5.4.1: the calls of a connection that failed fail with it.
#[tokio::test(start_paused = true)]
async fn connection_error_ends_the_clients_calls() {
    let (client, mut peer) = connected().await;
    let calls = [client.get("/x"), client.get("/y")];
    peer.expect_request().await;
    peer.expect_request().await;
    peer.send(data(0, NONE, *b"x")).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
    for call in calls {
        let failure = outcome(call).await.expect_err("no response");
        assert!(failure.may_have_been_processed, "{}", failure.text);
    }
}

/// RFC 9113 §5.4.2: a stream error resets that stream and leaves the others.
#[tokio::test(start_paused = true)]
async fn stream_error_leaves_other_streams() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    peer.send(headers(3, WHOLE, get("/ok", &[("connection", "close")]))).await;
    peer.expect_reset(3, PROTOCOL_ERROR).await;
    peer.send(data(1, END_STREAM, *b"whole")).await;
    assert_eq!(peer.expect_response(1).await.body, b"whole");
}

/// RFC 9113 §5.4.2: RST_STREAM is never answered with RST_STREAM.
#[tokio::test(start_paused = true)]
async fn reset_is_not_answered_with_reset() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    peer.send(rst_stream(1, CANCEL)).await;
    peer.send(rst_stream(1, CANCEL)).await;
    for frame in peer.gather(Duration::from_secs(1)).await {
        assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
    }
    peer.expect_serves(3).await;
}

/// RFC 9113 §5.4.2: no frame of a stream follows its RST_STREAM.
#[tokio::test(start_paused = true)]
async fn nothing_follows_our_reset() {
    let mut peer = served().await;
    peer.crediting = false;
    peer.send(headers(1, END_HEADERS, post("/big/100000", &[("content-length", "1")]))).await;
    peer.send(data(1, END_STREAM, *b"two")).await;
    peer.expect_reset(1, PROTOCOL_ERROR).await;
    peer.send(window_update(0, 100_000)).await;
    for frame in peer.gather(Duration::from_secs(1)).await {
        assert_ne!(frame.stream, 1, "{frame:?}");
    }
}

/// RFC 9113 §5.4.2: a client that gives a call up resets it with CANCEL.
#[tokio::test(start_paused = true)]
async fn dropped_call_is_cancelled() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    call.abort();
    peer.expect_reset(stream, CANCEL).await;
    let call = client.get("/y");
    let (stream, _) = peer.expect_request().await;
    peer.respond(stream, b"").await;
    outcome(call).await.expect("response");
}

/// RFC 9113 §5.4.3: a transport that ends early ends the calls; a client does not hang.
#[tokio::test(start_paused = true)]
async fn end_of_transport_ends_the_calls() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    peer.expect_request().await;
    drop(peer);
    let failure = outcome(call).await.expect_err("no response");
    assert!(failure.may_have_been_processed);
}

/// RFC 9113 §5.4.3: a server drops its handlers when the transport ends.
#[tokio::test(start_paused = true)]
async fn end_of_transport_drops_the_handlers() {
    let (mut peer, counters) = serve_counted();
    peer.handshake().await;
    peer.send(headers(1, WHOLE, get("/drop", &[]))).await;
    peer.expect_alive().await;
    assert_eq!(counters.running(), 1);
    drop(peer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((counters.started(), counters.running()), (1, 0));
}

/// RFC 9113 §5.5: unknown settings, error codes and frame types are no error.
#[tokio::test(start_paused = true)]
async fn extensions_are_ignored() {
    let mut peer = served().await;
    peer.send(settings(&[(0xfafa, 0xffff_ffff)])).await;
    peer.expect_settings_ack().await;
    peer.send(headers(1, WHOLE, get("/hang", &[]))).await;
    peer.send(rst_stream(1, 0xdead_beef)).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §5.5: an extension frame inside a field block is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn extension_frame_inside_a_block() {
    let mut peer = served().await;
    peer.send(headers(1, END_STREAM, indexed(2))).await;
    peer.send(frame(0xfa, NONE, 0, [])).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §7: an unknown code of a reset reaches the caller and triggers nothing else.
#[tokio::test(start_paused = true)]
async fn unknown_error_codes_trigger_nothing() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(rst_stream(stream, 0x1234_5678)).await;
    let failure = outcome(call).await.expect_err("reset");
    assert_eq!(failure.reset_code, Some(0x1234_5678));
    peer.expect_alive().await;
}
