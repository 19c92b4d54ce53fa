//! RFC 9113 §6.3 and §6.4: PRIORITY and RST_STREAM.

use std::time::Duration;

use crate::support::*;

/// RFC 9113 §6.3: PRIORITY on stream 0 is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn priority_on_stream_0() {
    let mut peer = served().await;
    peer.send(priority(0, 1)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.3: PRIORITY of another length than 5 is a stream error FRAME_SIZE_ERROR.
#[tokio::test(start_paused = true)]
async fn priority_of_wrong_length() {
    for payload in [&[0, 0, 0, 0][..], &[0; 6], &[]] {
        let mut peer = served().await;
        peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
        peer.send(frame(PRIORITY, NONE, 1, payload)).await;
        peer.expect_reset(1, FRAME_SIZE_ERROR).await;
        peer.expect_serves(3).await;
    }
}

/// RFC 9113 §6.3: PRIORITY comes in any state, closed included.
#[tokio::test(start_paused = true)]
async fn priority_in_any_state() {
    let mut peer = served().await;
    peer.send(priority(1, 0)).await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    peer.send(priority(1, 3)).await;
    peer.send(data(1, END_STREAM, *b"x")).await;
    peer.send(priority(1, 5)).await;
    peer.expect_response(1).await;
    peer.send(priority(1, 7)).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §6.4: RST_STREAM on stream 0 is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn rst_stream_on_stream_0() {
    let mut peer = served().await;
    peer.send(rst_stream(0, CANCEL)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.4: RST_STREAM of another length than 4 is a connection error FRAME_SIZE_ERROR.
#[tokio::test(start_paused = true)]
async fn rst_stream_of_wrong_length() {
    for payload in [&[0, 0, 8][..], &[0, 0, 0, 8, 0], &[]] {
        let mut peer = served().await;
        peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
        peer.send(frame(RST_STREAM, NONE, 1, payload)).await;
        peer.expect_connection_error(FRAME_SIZE_ERROR).await;
    }
}

/// RFC 9113 §6.4: RST_STREAM ends the stream; the sender of the response stops.
#[tokio::test(start_paused = true)]
async fn rst_stream_stops_a_response() {
    let mut peer = served().await;
    peer.crediting = false;
    peer.send(headers(1, WHOLE, get("/big/100000", &[]))).await;
    peer.gather(Duration::from_secs(1)).await;
    peer.send(rst_stream(1, CANCEL)).await;
    peer.send_all(&[window_update(0, 100_000), window_update(1, 100_000)]).await;
    let late = peer.gather(Duration::from_secs(1)).await;
    assert!(late.iter().all(|f| f.stream != 1), "{late:?}");
    peer.expect_serves(3).await;
}

/// RFC 9113 §6.4: its code reaches the caller of a client.
#[tokio::test(start_paused = true)]
async fn rst_stream_reaches_the_caller() {
    for code in [NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, CANCEL, 0xd] {
        let (client, mut peer) = connected().await;
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        peer.send(rst_stream(stream, code)).await;
        let failure = outcome(call).await.expect_err("reset");
        assert_eq!(failure.reset_code, Some(code), "{}", failure.text);
        peer.expect_alive().await;
    }
}

/// RFC 9113 §6.4: at a client, a reset of an idle stream is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn client_rst_stream_on_idle() {
    let (_client, mut peer) = connected().await;
    peer.send(rst_stream(1, CANCEL)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}
