//! RFC 9113 §6.6 to §6.8: PUSH_PROMISE, PING and GOAWAY.

use std::time::Duration;

use crate::support::*;

/// RFC 9113 §6.6, §8.4: a client cannot push; a server takes PUSH_PROMISE as a connection error
/// PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn push_promise_from_a_client() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    peer.send(push_promise(1, 2, &get("/ok", &[]))).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.6: after acknowledged SETTINGS_ENABLE_PUSH 0, PUSH_PROMISE is a connection error
/// PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn client_refuses_push_promise() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(push_promise(stream, 2, &get("/pushed", &[]))).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
    outcome(call).await.expect_err("no response");
}

/// RFC 9113 §6.6: PUSH_PROMISE on stream 0 is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn client_push_promise_on_stream_0() {
    let (_client, mut peer) = connected().await;
    peer.send(push_promise(0, 2, &get("/pushed", &[]))).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.7: PING is answered with ACK and the same eight bytes.
#[tokio::test(start_paused = true)]
async fn ping_is_answered() {
    let mut peer = served().await;
    peer.send(ping(*b"12345678")).await;
    let pong = peer.find("PING ACK", |f| f.kind == PING).await;
    assert_eq!((pong.flags & ACK, &pong.payload[..]), (ACK, &b"12345678"[..]));
}

/// RFC 9113 §6.7: a client answers too, ahead of what a closed window holds back.
#[tokio::test(start_paused = true)]
async fn client_answers_ping() {
    let (client, mut peer) = connected().await;
    peer.crediting = false;
    let call = client.call("POST", "/x", &[], &[b'x'; 100_000]);
    peer.gather(Duration::from_secs(1)).await;
    peer.send(ping(*b"abcdefgh")).await;
    let pong = peer.find("PING ACK", |f| f.kind == PING && f.flags & ACK != 0).await;
    assert_eq!(pong.payload, b"abcdefgh");
    call.abort();
}

/// RFC 9113 §6.7: an acknowledgement is not answered, asked for or not.
#[tokio::test(start_paused = true)]
async fn ping_ack_is_not_answered() {
    let mut peer = served().await;
    peer.polite = false;
    peer.send(ping([9; 8]).flagged(ACK)).await;
    let heard = peer.gather(Duration::from_secs(1)).await;
    assert!(heard.iter().all(|f| f.kind != PING || f.payload != [9; 8]), "{heard:?}");
    peer.expect_serves(1).await;
}

/// RFC 9113 §6.7: PING on a stream is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn ping_on_a_stream() {
    let mut peer = served().await;
    peer.send(ping([0; 8]).on(1)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.7: PING of another length than 8 is a connection error FRAME_SIZE_ERROR.
#[tokio::test(start_paused = true)]
async fn ping_of_wrong_length() {
    for length in [0, 7, 9] {
        let mut peer = served().await;
        peer.send(frame(PING, NONE, 0, vec![0; length])).await;
        peer.expect_connection_error(FRAME_SIZE_ERROR).await;
    }
}

/// RFC 9113 §6.8: GOAWAY on a stream is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn goaway_on_a_stream() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    peer.send(goaway(0, NO_ERROR).on(1)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.8, §4.2: GOAWAY without its two mandatory fields is FRAME_SIZE_ERROR.
#[tokio::test(start_paused = true)]
async fn goaway_too_short() {
    let mut peer = served().await;
    peer.send(frame(GOAWAY, NONE, 0, [0; 7])).await;
    peer.expect_connection_error(FRAME_SIZE_ERROR).await;
}

/// RFC 9113 §6.8: a client's GOAWAY does not cut the responses that it waits for.
#[tokio::test(start_paused = true)]
async fn goaway_from_a_client_leaves_its_streams() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    peer.send(goaway(0, NO_ERROR)).await;
    peer.send(data(1, END_STREAM, *b"still")).await;
    assert_eq!(peer.expect_response(1).await.body, b"still");
}

/// RFC 9113 §6.8: debug data is opaque and harmless.
#[tokio::test(start_paused = true)]
async fn goaway_with_debug_data() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    let mut frame = goaway(0, NO_ERROR);
    frame.payload.extend_from_slice(b"\xff\x00\nnot text");
    peer.send(frame).await;
    peer.send(data(1, END_STREAM, *b"still")).await;
    peer.expect_response(1).await;
}

/// RFC 9113 §6.8: after a GOAWAY the client opens no stream on the connection.
#[tokio::test(start_paused = true)]
async fn client_opens_nothing_after_goaway() {
    let (client, mut peer) = connected().await;
    let first = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(goaway(stream, NO_ERROR)).await;
    // An answered PING shows that the GOAWAY was read.
    peer.expect_alive().await;
    let second = client.get("/y");
    let heard = peer.gather(Duration::from_secs(1)).await;
    assert!(heard.iter().all(|f| f.kind != HEADERS), "{heard:?}");
    peer.respond(stream, b"whole").await;
    assert_eq!(outcome(first).await.expect("response").body, b"whole");
    let failure = outcome(second).await.expect_err("no connection");
    assert!(!failure.may_have_been_processed, "{}", failure.text);
}

/// RFC 9113 §6.8: streams above the last identifier were not processed and are safe to retry; the
/// others go on.
#[tokio::test(start_paused = true)]
async fn client_tells_unprocessed_streams_apart() {
    let (client, mut peer) = connected().await;
    let first = client.get("/x");
    let (low, _) = peer.expect_request().await;
    let second = client.get("/y");
    let (high, _) = peer.expect_request().await;
    assert!(low < high);
    peer.send(goaway(low, NO_ERROR)).await;
    let failure = outcome(second).await.expect_err("unprocessed");
    assert!(!failure.may_have_been_processed, "{}", failure.text);
    peer.respond(low, b"whole").await;
    assert_eq!(outcome(first).await.expect("response").body, b"whole");
}

/// RFC 9113 §6.8: a last identifier that goes up is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn client_refuses_a_rising_last_identifier() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(goaway(stream, NO_ERROR)).await;
    peer.send(goaway(stream + 4, NO_ERROR)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
    outcome(call).await.expect_err("no response");
}

/// RFC 9113 §6.8: a connection that drained after GOAWAY is closed.
#[tokio::test(start_paused = true)]
async fn client_closes_after_the_last_stream() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(goaway(stream, NO_ERROR)).await;
    peer.respond(stream, b"").await;
    outcome(call).await.expect("response");
    peer.expect_eof().await;
}
