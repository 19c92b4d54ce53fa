//! RFC 9113 §3: starting HTTP/2.

use std::time::Duration;

use crate::support::*;

/// RFC 9113 §3.4: the server's first frame is SETTINGS, which may be empty.
#[tokio::test(start_paused = true)]
async fn server_preface_is_settings() {
    let mut peer = serve();
    peer.send_bytes(PREFACE).await;
    peer.send(settings(&[])).await;
    peer.expect_settings().await;
}

/// RFC 9113 §3.4: the client begins with the 24 bytes and a SETTINGS frame.
#[tokio::test(start_paused = true)]
async fn client_preface_is_magic_and_settings() {
    let (_client, mut peer) = connect();
    peer.expect_preface().await;
    peer.expect_settings().await;
}

/// RFC 9113 §3.4: the peer's preface SETTINGS are acknowledged.
#[tokio::test(start_paused = true)]
async fn server_acknowledges_preface_settings() {
    let mut peer = serve();
    peer.begin_with(&[]).await;
    peer.expect_settings_ack().await;
}

/// RFC 9113 §3.4: as above, by a client.
#[tokio::test(start_paused = true)]
async fn client_acknowledges_preface_settings() {
    let (_client, mut peer) = connect();
    peer.begin_with(&[]).await;
    peer.expect_settings_ack().await;
}

/// RFC 9113 §3.4: a client may send frames before it has seen the server's preface.
#[tokio::test(start_paused = true)]
async fn requests_may_follow_the_client_preface_at_once() {
    let mut peer = serve();
    let mut first = PREFACE.to_vec();
    first.extend(wire(&[settings(&[]), headers(1, WHOLE, get("/ok", &[]))]));
    peer.send_bytes(&first).await;
    peer.expect_settings().await;
    peer.expect_response(1).await;
}

/// RFC 9113 §3.4: our client may do so, and by default does not: no request precedes the server's
/// SETTINGS.
#[tokio::test(start_paused = true)]
async fn client_requests_wait_for_settings() {
    let (client, mut peer) = connect();
    let call = client.get("/x");
    peer.expect_preface().await;
    peer.expect_settings().await;
    let early = peer.gather(Duration::from_secs(5)).await;
    assert!(early.iter().all(|frame| frame.kind != HEADERS), "{early:?}");
    peer.send(settings(&[])).await;
    let (stream, _) = peer.expect_request().await;
    peer.respond(stream, b"").await;
    outcome(call).await.expect("response");
}

/// RFC 9113 §3.4: the preface may come in any pieces.
#[tokio::test(start_paused = true)]
async fn preface_one_byte_at_a_time() {
    let mut peer = serve();
    peer.dribbling = true;
    peer.handshake().await;
    peer.expect_serves(1).await;
}

async fn refuses_preface(bytes: &[u8]) {
    let mut peer = serve();
    peer.send_bytes(bytes).await;
    // A GOAWAY may be omitted here, but a code that is sent is PROTOCOL_ERROR.
    for frame in peer.gather(Duration::from_secs(5)).await {
        if frame.kind == GOAWAY {
            assert_eq!(frame.word(4), PROTOCOL_ERROR);
        }
    }
    peer.expect_eof().await;
}

/// RFC 9113 §3.4: an invalid preface is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn wrong_preface_ends_the_connection() {
    refuses_preface(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX").await;
}

/// RFC 9113 §3.4: HTTP/1.1 text is no preface.
#[tokio::test(start_paused = true)]
async fn http1_request_ends_the_connection() {
    refuses_preface(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
}

/// RFC 9113 §3.4: an invalid preface is known by its first wrong byte.
#[tokio::test(start_paused = true)]
async fn wrong_first_bytes_end_the_connection() {
    refuses_preface(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
}

/// RFC 9113 §3.4: the client's preface ends with SETTINGS; another first frame is an error.
#[tokio::test(start_paused = true)]
async fn server_wants_settings_first() {
    let mut peer = serve();
    peer.send_bytes(PREFACE).await;
    peer.send(headers(1, WHOLE, get("/ok", &[]))).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §3.4: an acknowledgement is not the client's preface SETTINGS.
#[tokio::test(start_paused = true)]
async fn server_takes_no_ack_for_a_preface() {
    let mut peer = serve();
    peer.send_bytes(PREFACE).await;
    peer.send(settings_ack()).await;
    peer.send(headers(1, WHOLE, get("/ok", &[]))).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §3.4: the server's first frame is SETTINGS; the client refuses another.
#[tokio::test(start_paused = true)]
async fn client_wants_settings_first() {
    let (_client, mut peer) = connect();
    peer.expect_preface().await;
    peer.send(ping([1; 8])).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §3.4: an HTTP/1.1 answer is no server preface.
#[tokio::test(start_paused = true)]
async fn client_refuses_http1_answer() {
    let (client, mut peer) = connect();
    peer.expect_preface().await;
    let call = client.get("/ok");
    peer.send_bytes(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    peer.expect_eof().await;
    outcome(call).await.expect_err("no answer is possible");
}
