//! What changes nothing (rows F28 to F30).

use crate::next_call_succeeds;
use crate::support::hpack::block;
use crate::support::*;

/// The frames of one answer with everything in it that a client has to look past.
fn noisy_answer(stream: u32) -> Vec<RawFrame> {
    let head = response(200, &[("name", "value")]);
    let mut prioritised = vec![0x80, 0, 0, 0, 200];
    prioritised.extend(&head[..7]);
    vec![
        frame(0xfa, 0xff, 0, *b"grease"),
        settings(&[(0x0a0a, 0xdead_beef), (0x1a1a, 0)]),
        priority(stream, 0),
        headers(stream, END_HEADERS, response(103, &[("link", "x")])),
        headers(stream, WITH_PRIORITY, prioritised).padded(33),
        continuation(stream, NONE, []),
        continuation(stream, END_HEADERS, &head[7..]),
        frame(0x0a, NONE, 0, *b"\0\x01alt-svc"),
        frame(0x0c, NONE, 0, *b"\0\x06origin"),
        data(stream, 0x40, *b"one ").padded(255),
        frame(0xfb, END_STREAM, stream, *b"unknown"),
        data(stream, NONE, []).padded(0),
        priority(stream + 100, stream),
        window_update(0, 7),
        data(stream, NONE, *b"two").reserved(),
        headers(stream, WHOLE, block(&[("x-trailer", "last")])).padded(1),
    ]
}

async fn answers_noisily(client: &crate::support::subject::ClientUnderTest, peer: &mut RawPeer) {
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send_all(&noisy_answer(stream)).await;
    let answer = outcome(call).await.expect("response");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.fields, [("name".to_owned(), "value".to_owned())]);
    assert_eq!(answer.body, b"one two");
    assert_eq!(answer.trailers, Some(vec![("x-trailer".into(), "last".into())]));
}

/// RFC 9113 §4.1, §5.5, row F29: padding, unknown frames and settings, PRIORITY, ALTSVC, ORIGIN.
#[tokio::test(start_paused = true)]
async fn fault_noise() {
    let (client, mut peer) = connected().await;
    for _ in 0..20 {
        answers_noisily(&client, &mut peer).await;
    }
    next_call_succeeds(&client, &mut peer).await;
}

/// RFC 9113 §10.5, row F28: the same one byte at a time, prefaces included.
#[tokio::test(start_paused = true)]
async fn fault_byte_at_a_time() {
    let (client, mut peer) = connect();
    peer.dribbling = true;
    peer.handshake().await;
    for _ in 0..5 {
        answers_noisily(&client, &mut peer).await;
    }
}

/// RFC 9113 §4.1, row F28: many answers in one write.
#[tokio::test(start_paused = true)]
async fn fault_coalesced() {
    let (client, mut peer) = connected().await;
    let calls: Vec<_> = (0..20).map(|_| client.get("/x")).collect();
    let mut frames = Vec::new();
    for _ in &calls {
        let (stream, _) = peer.expect_request().await;
        frames.extend(noisy_answer(stream));
    }
    peer.send_all(&frames).await;
    for call in calls {
        assert_eq!(outcome(call).await.expect("response").body, b"one two");
    }
}

/// RFC 9113 §8.1, row F30: interim responses before the final one are passed over.
#[tokio::test(start_paused = true)]
async fn fault_informational() {
    for status in [100, 102, 103, 199] {
        let (client, mut peer) = connected().await;
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        peer.send(headers(stream, END_HEADERS, response(status, &[("x", "y")]))).await;
        peer.respond(stream, b"final").await;
        let answer = outcome(call).await.expect("response");
        assert_eq!((answer.status, &answer.body[..]), (200, &b"final"[..]));
    }
}

/// RFC 9113 §10.5, row F28: a server that ends in the middle of a frame while no call is in flight. Its
/// connection is given up after 30 s, and the next call dials.
#[tokio::test(start_paused = true)]
async fn fault_partial_frame_of_an_idle_server() {
    let (client, mut peer) = connected().await;
    next_call_succeeds(&client, &mut peer).await;
    peer.send_bytes(&ping([1; 8]).bytes()[..12]).await;
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §10.5, row F28: the same while a call waits: a slow server is not given up.
#[tokio::test(start_paused = true)]
async fn fault_partial_frame_of_a_slow_server() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    let head = headers(stream, END_HEADERS, response(200, &[])).bytes();
    peer.send_bytes(&head[..7]).await;
    tokio::time::sleep(std::time::Duration::from_secs(9)).await;
    peer.send_bytes(&head[7..]).await;
    let bytes = data(stream, END_STREAM, *b"whole").bytes();
    peer.send_bytes(&bytes[..7]).await;
    tokio::time::sleep(std::time::Duration::from_secs(200)).await;
    peer.send_bytes(&bytes[7..]).await;
    assert_eq!(outcome(call).await.expect("response").body, b"whole");
}
