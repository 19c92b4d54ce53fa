//! RFC 9113 §6.9: WINDOW_UPDATE and the windows it changes.

use std::time::Duration;

use crate::support::*;

const QUIET: Duration = Duration::from_secs(1);

async fn bytes_sent(peer: &mut RawPeer, stream: u32) -> usize {
    let frames = peer.gather(QUIET).await;
    frames.iter().filter(|f| f.kind == DATA && f.stream == stream).map(|f| f.payload.len()).sum()
}

/// A server that is sending on stream 1 with an initial window of the peer's choice.
async fn sending(window: u32) -> RawPeer {
    let mut peer = serve();
    peer.handshake_with(&[(INITIAL_WINDOW_SIZE, window)]).await;
    peer.crediting = false;
    peer.send(headers(1, WHOLE, get("/big/200000", &[]))).await;
    peer
}

/// RFC 9113 §6.9: an increment of 0 on a stream is a stream error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn stream_increment_of_0() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    peer.send(window_update(1, 0)).await;
    peer.expect_reset(1, PROTOCOL_ERROR).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §6.9: an increment of 0 on the connection is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn connection_increment_of_0() {
    let mut peer = served().await;
    peer.send(window_update(0, 0)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.9: the reserved bit is no part of the increment.
#[tokio::test(start_paused = true)]
async fn reserved_bit_of_the_increment() {
    let mut peer = sending(10).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 10);
    peer.send(window_update(1, 0x8000_0005)).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 5);
}

/// RFC 9113 §6.9: a length other than 4 is a connection error FRAME_SIZE_ERROR.
#[tokio::test(start_paused = true)]
async fn window_update_of_wrong_length() {
    for (stream, payload) in [(0, &[0, 0, 1][..]), (1, &[0, 0, 0, 1, 0]), (0, &[])] {
        let mut peer = served().await;
        peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
        peer.send(frame(WINDOW_UPDATE, NONE, stream, payload)).await;
        peer.expect_connection_error(FRAME_SIZE_ERROR).await;
    }
}

/// RFC 9113 §6.9: WINDOW_UPDATE on a half-closed or closed stream is no error.
#[tokio::test(start_paused = true)]
async fn late_window_update_is_no_error() {
    let mut peer = served().await;
    peer.expect_serves(1).await;
    peer.send(window_update(1, 1_000)).await;
    peer.send(headers(3, WHOLE, get("/hang", &[]))).await;
    peer.send(window_update(3, 1_000)).await;
    peer.expect_serves(5).await;
}

/// RFC 9113 §6.9.1: a stream's window over 2^31-1 is a stream error FLOW_CONTROL_ERROR.
#[tokio::test(start_paused = true)]
async fn stream_window_over_the_maximum() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    peer.send(window_update(1, MAX_WINDOW)).await;
    peer.expect_reset(1, FLOW_CONTROL_ERROR).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §6.9.1: by several increments too.
#[tokio::test(start_paused = true)]
async fn stream_window_over_the_maximum_in_steps() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    peer.send(window_update(1, MAX_WINDOW - 65_535)).await;
    peer.expect_alive().await;
    peer.send(window_update(1, 1)).await;
    peer.expect_reset(1, FLOW_CONTROL_ERROR).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §6.9.1: the connection's window over 2^31-1 is a connection error FLOW_CONTROL_ERROR.
#[tokio::test(start_paused = true)]
async fn connection_window_over_the_maximum() {
    let mut peer = served().await;
    peer.send(window_update(0, MAX_WINDOW)).await;
    peer.expect_connection_error(FLOW_CONTROL_ERROR).await;
}

/// RFC 9113 §6.9.1: exactly 2^31-1 is legal, on both windows.
#[tokio::test(start_paused = true)]
async fn windows_at_the_maximum() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    peer.send_all(&[window_update(0, MAX_WINDOW - 65_535), window_update(1, MAX_WINDOW - 65_535)])
        .await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §6.9.1: a client applies both rules.
#[tokio::test(start_paused = true)]
async fn client_windows_over_the_maximum() {
    let (client, mut peer) = connected().await;
    let (_body, call) = client.open("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(window_update(stream, MAX_WINDOW)).await;
    peer.expect_reset(stream, FLOW_CONTROL_ERROR).await;
    outcome(call).await.expect_err("reset");
    peer.send(window_update(0, MAX_WINDOW)).await;
    peer.expect_connection_error(FLOW_CONTROL_ERROR).await;
}

/// RFC 9113 §6.9.1: a sender sends no more than either window allows, to the byte.
#[tokio::test(start_paused = true)]
async fn sender_keeps_to_both_windows() {
    let mut peer = sending(1).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 1);
    peer.send(window_update(1, 9)).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 9);
    peer.send(window_update(1, 100_000)).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 65_525, "the connection's window");
    peer.send(window_update(0, 10)).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 10);
}

/// RFC 9113 §6.9.1: with the window spent, an empty DATA frame may still end the stream.
#[tokio::test(start_paused = true)]
async fn end_of_stream_needs_no_window() {
    let mut peer = serve();
    peer.handshake_with(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    peer.crediting = false;
    peer.send(headers(1, WHOLE, get("/big/0", &[]))).await;
    assert!(peer.expect_response(1).await.body.is_empty());
}

/// RFC 9113 §6.9.2: SETTINGS_INITIAL_WINDOW_SIZE is the window of new streams.
#[tokio::test(start_paused = true)]
async fn initial_window_of_new_streams() {
    let mut peer = sending(3).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 3);
}

/// RFC 9113 §6.9.2: a change adjusts the windows of streams that exist by the difference.
#[tokio::test(start_paused = true)]
async fn initial_window_raised_for_live_streams() {
    let mut peer = sending(3).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 3);
    peer.send(settings(&[(INITIAL_WINDOW_SIZE, 10)])).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 7);
}

/// RFC 9113 §6.9.2: a window may become negative; nothing is sent until it is positive again.
#[tokio::test(start_paused = true)]
async fn negative_window_holds_back() {
    let mut peer = sending(100).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 100);
    peer.send(settings(&[(INITIAL_WINDOW_SIZE, 40)])).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 0);
    peer.send(window_update(1, 60)).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 0, "at 0, not below");
    peer.send(window_update(1, 5)).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 5);
}

/// RFC 9113 §6.9.2: a client's body obeys a negative window as well.
#[tokio::test(start_paused = true)]
async fn client_negative_window_holds_back() {
    let (client, mut peer) = connect();
    peer.handshake_with(&[(INITIAL_WINDOW_SIZE, 100)]).await;
    peer.crediting = false;
    let call = client.call("POST", "/x", &[], &[b'x'; 1_000]);
    assert_eq!(bytes_sent(&mut peer, 1).await, 100);
    peer.send(settings(&[(INITIAL_WINDOW_SIZE, 0)])).await;
    peer.send(window_update(1, 100)).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 0);
    peer.send(window_update(1, 900)).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 900);
    peer.respond(1, b"").await;
    outcome(call).await.expect("response");
}

/// RFC 9113 §6.9.2: SETTINGS change streams alone; the connection's window stays as it was.
#[tokio::test(start_paused = true)]
async fn initial_window_leaves_the_connection_window() {
    let mut peer = sending(200_000).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 65_535);
}

/// RFC 9113 §6.9.2: a change that lifts a stream's window over 2^31-1 is a connection error
/// FLOW_CONTROL_ERROR.
#[tokio::test(start_paused = true)]
async fn initial_window_lifts_a_stream_over_the_maximum() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    peer.send(window_update(1, 1_000)).await;
    peer.send(settings(&[(INITIAL_WINDOW_SIZE, MAX_WINDOW)])).await;
    peer.expect_connection_error(FLOW_CONTROL_ERROR).await;
}
