//! RFC 9113 §6.1: DATA.

use crate::support::*;

/// RFC 9113 §6.1: DATA on stream 0 is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn data_on_stream_0() {
    let mut peer = served().await;
    peer.send(data(0, NONE, *b"x")).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.1: at a client as well.
#[tokio::test(start_paused = true)]
async fn client_data_on_stream_0() {
    let (_client, mut peer) = connected().await;
    peer.send(data(0, NONE, *b"x")).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.1: padding is not part of the data.
#[tokio::test(start_paused = true)]
async fn padding_is_no_data() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    peer.send(data(1, NONE, *b"one ").padded(0)).await;
    peer.send(data(1, NONE, *b"two").padded(255)).await;
    peer.send(data(1, END_STREAM, []).padded(7)).await;
    assert_eq!(peer.expect_response(1).await.body, b"one two");
}

/// RFC 9113 §6.1: padding of a response likewise.
#[tokio::test(start_paused = true)]
async fn client_padding_is_no_data() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, END_HEADERS, response(200, &[])).padded(9)).await;
    peer.send(data(stream, END_STREAM, *b"body").padded(100)).await;
    assert_eq!(outcome(call).await.expect("response").body, b"body");
}

/// RFC 9113 §6.1: padding as long as the payload or longer is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn data_padding_as_long_as_the_payload() {
    for payload in [&[5, 0, 0, 0, 0][..], &[255, 1]] {
        let mut peer = served().await;
        peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
        peer.send(data(1, END_STREAM, payload).flagged(PADDED)).await;
        peer.expect_connection_error(PROTOCOL_ERROR).await;
    }
}

/// RFC 9113 §6.1, §4.2: PADDED without room for the pad length is too small a frame.
#[tokio::test(start_paused = true)]
async fn padded_data_without_pad_length() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    peer.send(data(1, END_STREAM, []).flagged(PADDED)).await;
    peer.expect_error(1, FRAME_SIZE_ERROR).await;
}

/// RFC 9113 §6.1: padding that is not zero may pass; it must not reach the body.
#[tokio::test(start_paused = true)]
async fn nonzero_padding_stays_out_of_the_body() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    peer.send(data(1, END_STREAM, [2, b'x', 9, 9]).flagged(PADDED)).await;
    let heard = peer.gather(std::time::Duration::from_secs(1)).await;
    let errors = heard.iter().filter(|f| f.kind == GOAWAY).map(|f| f.word(4));
    assert!(errors.into_iter().all(|code| code == PROTOCOL_ERROR));
}

/// RFC 9113 §6.1: padding is sent as zeros; ours has none.
#[tokio::test(start_paused = true)]
async fn nothing_is_padded() {
    let mut peer = served().await;
    for (stream, path) in [(1, "/ok"), (3, "/big/1"), (5, "/big/20000")] {
        peer.send(headers(stream, WHOLE, get(path, &[]))).await;
        let sent = peer.gather(std::time::Duration::from_secs(1)).await;
        assert!(sent.iter().any(|f| f.stream == stream && f.ends_stream()), "{sent:?}");
        let padded = |f: &crate::support::raw::Frame| {
            matches!(f.kind, DATA | HEADERS) && f.flags & PADDED != 0
        };
        assert!(!sent.iter().any(padded), "{sent:?}");
    }
}

/// RFC 9113 §6.1: empty DATA with END_STREAM ends the request.
#[tokio::test(start_paused = true)]
async fn empty_data_ends_the_stream() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    peer.send(data(1, END_STREAM, [])).await;
    assert_eq!(peer.expect_response(1).await.body, b"");
}

/// RFC 9113 §6.1: DATA in many frames is one body, in order, a byte of the wire at a time.
#[tokio::test(start_paused = true)]
async fn body_is_the_concatenation_of_its_frames() {
    let mut peer = served().await;
    peer.dribbling = true;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    for byte in b'a'..=b'z' {
        peer.send(data(1, NONE, [byte])).await;
    }
    peer.send(data(1, END_STREAM, [])).await;
    assert_eq!(peer.expect_response(1).await.body, (b'a'..=b'z').collect::<Vec<u8>>());
}
