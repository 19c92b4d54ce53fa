//! RFC 9113 §5.2, §6.9: what a sender may send, and what a receiver must take.

use super::*;

/// The bytes of DATA of each stream that came until nothing more came.
async fn bytes_of(peer: &mut RawPeer, stream: u32) -> usize {
    let frames = peer.gather(Duration::from_secs(5)).await;
    let data = frames.iter().filter(|frame| frame.kind == DATA && frame.stream == stream);
    data.map(|frame| frame.payload.len()).sum()
}

async fn peer_with(values: &[(u16, u32)]) -> RawPeer {
    let mut peer = serve();
    peer.handshake_with(values).await;
    peer.crediting = false;
    peer
}

fn get_big(stream: u32, bytes: usize) -> RawFrame {
    headers(stream, WHOLE, get(&format!("/big/{bytes}"), &[]))
}

/// §6.9.2: both windows begin with 65,535 bytes.
#[tokio::test(start_paused = true)]
async fn windows_begin_with_65535() {
    let mut peer = peer_with(&[]).await;
    peer.send(get_big(1, 200_000)).await;
    assert_eq!(bytes_of(&mut peer, 1).await, 65_535);
    peer.send(window_update(1, 1_000)).await;
    assert_eq!(bytes_of(&mut peer, 1).await, 0, "the connection's window is spent");
    peer.send(window_update(0, 5_000)).await;
    assert_eq!(bytes_of(&mut peer, 1).await, 1_000, "the stream's window binds");
}

/// §6.9.2: SETTINGS_INITIAL_WINDOW_SIZE does not change the connection's window.
#[tokio::test(start_paused = true)]
async fn the_connections_window_changes_by_window_update_only() {
    let mut peer = peer_with(&[(INITIAL_WINDOW_SIZE, 1 << 20)]).await;
    peer.send(get_big(1, 200_000)).await;
    assert_eq!(bytes_of(&mut peer, 1).await, 65_535);
    peer.send(window_update(0, 1)).await;
    assert_eq!(bytes_of(&mut peer, 1).await, 1);
}

/// §6.9.2: a window may become negative, and nothing is sent until it is positive again.
#[tokio::test(start_paused = true)]
async fn a_negative_window_is_filled_first() {
    let mut peer = peer_with(&[(INITIAL_WINDOW_SIZE, 10_000)]).await;
    peer.send(get_big(1, 30_000)).await;
    assert_eq!(bytes_of(&mut peer, 1).await, 10_000);
    peer.send(settings(&[(INITIAL_WINDOW_SIZE, 4_000)])).await;
    peer.send(window_update(1, 6_000)).await;
    assert_eq!(bytes_of(&mut peer, 1).await, 0, "-6,000 + 6,000");
    peer.send(window_update(1, 1)).await;
    assert_eq!(bytes_of(&mut peer, 1).await, 1);
    peer.send(settings(&[(INITIAL_WINDOW_SIZE, 4_500)])).await;
    assert_eq!(bytes_of(&mut peer, 1).await, 500, "a change moves every stream's window");
}

/// §6.9.1: a frame of length 0 with END_STREAM needs no window; HEADERS are not flow-controlled (§5.2.1).
#[tokio::test(start_paused = true)]
async fn without_a_window_messages_without_data_pass() {
    let mut peer = peer_with(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    peer.send(whole(1)).await;
    assert_eq!(peer.expect_message(1).await.status(), "200");
    peer.send(open(3)).await;
    peer.send(data(3, END_STREAM, [])).await;
    assert_eq!(peer.expect_message(3).await.status(), "200");
}

/// §5.2: one stream whose window is spent does not stop the others.
#[tokio::test(start_paused = true)]
async fn a_stream_without_window_stops_itself_only() {
    let mut peer = peer_with(&[(INITIAL_WINDOW_SIZE, 100)]).await;
    peer.send(get_big(1, 5_000)).await;
    assert_eq!(bytes_of(&mut peer, 1).await, 100);
    peer.send(get_big(3, 50)).await;
    assert_eq!(peer.expect_message(3).await.body.len(), 50);
}

/// §4.2: no frame is larger than the peer's SETTINGS_MAX_FRAME_SIZE.
#[tokio::test(start_paused = true)]
async fn frames_keep_to_the_peers_size() {
    // The peer checks every frame against 16,384.
    let mut peer = peer_with(&[(INITIAL_WINDOW_SIZE, 1 << 20)]).await;
    peer.send(window_update(0, 1 << 20)).await;
    peer.send(get_big(1, 300_000)).await;
    assert_eq!(bytes_of(&mut peer, 1).await, 300_000);
}

/// §6.9: padding counts, and so does its length byte; what was counted comes back.
#[tokio::test(start_paused = true)]
async fn padding_is_counted_and_given_back() {
    let mut peer = served().await;
    // Twenty times the smallest window, in frames that are nearly all padding.
    for round in 0..20u32 {
        let stream = 2 * round + 1;
        peer.send(open(stream)).await;
        for _ in 0..255 {
            peer.send(data(stream, NONE, [1]).padded(255)).await;
        }
        peer.send(data(stream, END_STREAM, [])).await;
        assert_eq!(peer.expect_response(stream).await.body.len(), 255);
    }
}

/// §6.9.1: a sender that exceeds a window gets FLOW_CONTROL_ERROR for the stream or the connection.
#[tokio::test(start_paused = true)]
async fn bytes_over_the_window_are_an_error() {
    let mut peer = served().await;
    peer.polite = true;
    // /hang reads nothing.
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    let mut left = 64usize << 20;
    while left > 0 && peer.send_bytes(&data(1, NONE, [0; 16_384]).bytes()).await {
        left -= 16_384;
    }
    let mut seen = Seen::default();
    peer.send(ping(OPAQUE)).await;
    seen.listen(&mut peer).await;
    assert!(seen.judge(Either(1, &[FLOW_CONTROL_ERROR])), "{seen:?}");
}

/// §5.2.2: DATA that is discarded still gives its part of the connection's window back.
#[tokio::test(start_paused = true)]
async fn discarded_data_gives_the_window_back() {
    let mut peer = served().await;
    for round in 0..100u32 {
        let stream = 2 * round + 1;
        // Refused at its head: the body goes nowhere.
        peer.send(headers(stream, END_HEADERS, post("/ok", &[]))).await;
        for _ in 0..3 {
            peer.send(data(stream, NONE, [0; 16_000])).await;
        }
        peer.send(data(stream, END_STREAM, [])).await;
    }
    peer.expect_serves(LAST).await;
    peer.send(open(LAST + 2)).await;
    peer.send(data(LAST + 2, END_STREAM, [9; 16_000])).await;
    assert_eq!(peer.expect_response(LAST + 2).await.body.len(), 16_000);
}
