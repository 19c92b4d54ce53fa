//! RFC 9113 §6.5: SETTINGS and their acknowledgement.

use std::time::Duration;

use crate::support::*;

/// RFC 9113 §6.5: SETTINGS with ACK and a payload is a connection error FRAME_SIZE_ERROR.
#[tokio::test(start_paused = true)]
async fn settings_ack_with_payload() {
    let mut peer = served().await;
    peer.send(settings(&[(ENABLE_PUSH, 0)]).flagged(ACK)).await;
    peer.expect_connection_error(FRAME_SIZE_ERROR).await;
}

/// RFC 9113 §6.5: SETTINGS on a stream is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn settings_on_a_stream() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    peer.send(settings(&[]).on(1)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.5: a length that is no multiple of 6 is a connection error FRAME_SIZE_ERROR.
#[tokio::test(start_paused = true)]
async fn settings_of_wrong_length() {
    for length in [1, 5, 7] {
        let mut peer = served().await;
        peer.send(frame(SETTINGS, NONE, 0, vec![0; length])).await;
        peer.expect_connection_error(FRAME_SIZE_ERROR).await;
    }
}

/// RFC 9113 §6.5: a client enforces the same three.
#[tokio::test(start_paused = true)]
async fn client_refuses_broken_settings() {
    for (wrong, code) in [
        (settings(&[(ENABLE_PUSH, 0)]).flagged(ACK), FRAME_SIZE_ERROR),
        (settings(&[]).on(1), PROTOCOL_ERROR),
        (frame(SETTINGS, NONE, 0, [0; 7]), FRAME_SIZE_ERROR),
    ] {
        let (_client, mut peer) = connected().await;
        peer.send(wrong).await;
        peer.expect_connection_error(code).await;
    }
}

/// RFC 9113 §6.5.2: SETTINGS_ENABLE_PUSH over 1 is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn enable_push_over_1() {
    let mut peer = served().await;
    peer.send(settings(&[(ENABLE_PUSH, 2)])).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.5.2: a server never offers push; a client takes 1 as a connection error
/// PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn client_refuses_enable_push_from_a_server() {
    for value in [1, 2] {
        let (_client, mut peer) = connected().await;
        peer.send(settings(&[(ENABLE_PUSH, value)])).await;
        peer.expect_connection_error(PROTOCOL_ERROR).await;
    }
}

/// RFC 9113 §6.5.2: our server's SETTINGS_ENABLE_PUSH is absent or 0.
#[tokio::test(start_paused = true)]
async fn server_offers_no_push() {
    let peer = served().await;
    assert!(matches!(peer.settings.get(&ENABLE_PUSH), None | Some(0)));
}

/// RFC 9113 §6.5.2: our client, which has no use for push, turns it off.
#[tokio::test(start_paused = true)]
async fn client_turns_push_off() {
    let (_client, peer) = connected().await;
    assert_eq!(peer.settings.get(&ENABLE_PUSH), Some(&0));
}

/// RFC 9113 §6.5.2: SETTINGS_INITIAL_WINDOW_SIZE over 2^31-1 is a connection error
/// FLOW_CONTROL_ERROR.
#[tokio::test(start_paused = true)]
async fn initial_window_over_the_maximum() {
    for value in [MAX_WINDOW + 1, u32::MAX] {
        let mut peer = served().await;
        peer.send(settings(&[(INITIAL_WINDOW_SIZE, value)])).await;
        peer.expect_connection_error(FLOW_CONTROL_ERROR).await;
    }
}

/// RFC 9113 §6.5.2: SETTINGS_MAX_FRAME_SIZE outside 2^14..2^24-1 is a connection error
/// PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn max_frame_size_out_of_range() {
    for value in [0, 16_383, 1 << 24, u32::MAX] {
        let mut peer = served().await;
        peer.send(settings(&[(MAX_FRAME_SIZE, value)])).await;
        peer.expect_connection_error(PROTOCOL_ERROR).await;
    }
}

/// RFC 9113 §6.5.2: both ends of the range are taken.
#[tokio::test(start_paused = true)]
async fn max_frame_size_at_its_ends() {
    for value in [16_384, (1 << 24) - 1] {
        let mut peer = served().await;
        peer.max_frame_size = value as usize;
        peer.send(settings(&[(MAX_FRAME_SIZE, value)])).await;
        peer.expect_settings_ack().await;
        peer.expect_serves(1).await;
    }
}

/// RFC 9113 §6.5.2: what we advertise is itself in range.
#[tokio::test(start_paused = true)]
async fn our_settings_are_in_range() {
    for peer in [served().await, connected().await.1] {
        if let Some(size) = peer.settings.get(&MAX_FRAME_SIZE) {
            assert!((16_384..1 << 24).contains(size));
        }
        if let Some(window) = peer.settings.get(&INITIAL_WINDOW_SIZE) {
            assert!(*window <= MAX_WINDOW);
        }
    }
}

/// RFC 9113 §6.5.2: an unknown identifier is ignored, and acknowledged with the rest.
#[tokio::test(start_paused = true)]
async fn unknown_settings_are_ignored() {
    let mut peer = served().await;
    peer.send(settings(&[(0, 5), (0x10, u32::MAX), (0x7fff, 1), (0xffff, 2)])).await;
    peer.expect_settings_ack().await;
    peer.expect_serves(1).await;
}

/// RFC 9113 §6.5.2: MAX_HEADER_LIST_SIZE is advisory; any value is legal.
#[tokio::test(start_paused = true)]
async fn any_header_list_size_is_legal() {
    for value in [1_000, u32::MAX] {
        let mut peer = served().await;
        peer.send(settings(&[(MAX_HEADER_LIST_SIZE, value)])).await;
        peer.expect_settings_ack().await;
        peer.expect_serves(1).await;
    }
}

/// RFC 9113 §6.5.2: so is any HEADER_TABLE_SIZE.
#[tokio::test(start_paused = true)]
async fn any_header_table_size_is_legal() {
    for value in [0, 1, u32::MAX] {
        let mut peer = served().await;
        peer.send(settings(&[(HEADER_TABLE_SIZE, value)])).await;
        peer.expect_settings_ack().await;
        peer.expect_serves(1).await;
        peer.expect_serves(3).await;
    }
}

/// RFC 9113 §6.5.3: values are processed in order, so the last of a repeated one stands.
#[tokio::test(start_paused = true)]
async fn last_value_stands() {
    let mut peer = serve();
    let ours = [(INITIAL_WINDOW_SIZE, 50), (INITIAL_WINDOW_SIZE, 20)];
    peer.handshake_with(&ours).await;
    peer.crediting = false;
    peer.send(headers(1, WHOLE, get("/big/1000", &[]))).await;
    let frames = peer.gather(Duration::from_secs(1)).await;
    let sent: usize = frames.iter().filter(|f| f.kind == DATA).map(|f| f.payload.len()).sum();
    assert_eq!(sent, 20);
}

/// RFC 9113 §6.5.3: an invalid value is an error even if a valid one follows.
#[tokio::test(start_paused = true)]
async fn invalid_value_before_a_valid_one() {
    let mut peer = served().await;
    peer.send(settings(&[(ENABLE_PUSH, 7), (ENABLE_PUSH, 0)])).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// RFC 9113 §6.5.3: every SETTINGS frame gets its own acknowledgement, at once.
#[tokio::test(start_paused = true)]
async fn each_settings_is_acknowledged() {
    let mut peer = served().await;
    let one = settings(&[(MAX_CONCURRENT_STREAMS, 50)]);
    peer.send_all(&[one, settings(&[]), settings(&[(ENABLE_PUSH, 0)])]).await;
    for _ in 0..3 {
        peer.expect_settings_ack().await;
    }
    let more = peer.gather(Duration::from_secs(1)).await;
    assert!(more.iter().all(|f| f.kind != SETTINGS), "and no more than three");
}

/// RFC 9113 §6.5.3: a client acknowledges as well.
#[tokio::test(start_paused = true)]
async fn client_acknowledges_each_settings() {
    let (_client, mut peer) = connected().await;
    peer.send_all(&[settings(&[]), settings(&[(MAX_CONCURRENT_STREAMS, 5)])]).await;
    peer.expect_settings_ack().await;
    peer.expect_settings_ack().await;
}

/// RFC 9113 §6.5.3: an acknowledgement is not acknowledged.
#[tokio::test(start_paused = true)]
async fn acknowledgement_is_not_acknowledged() {
    let mut peer = serve();
    peer.polite = false;
    peer.handshake().await;
    peer.send(settings_ack()).await;
    let late = peer.gather(Duration::from_secs(1)).await;
    assert!(late.iter().all(|f| f.kind != SETTINGS), "{late:?}");
}

/// RFC 9113 §6.5.3: values apply at the acknowledgement: data after it obeys a changed window.
#[tokio::test(start_paused = true)]
async fn settings_apply_by_their_acknowledgement() {
    let mut peer = served().await;
    peer.crediting = false;
    peer.send(settings(&[(INITIAL_WINDOW_SIZE, 7)])).await;
    peer.expect_settings_ack().await;
    peer.send(headers(1, WHOLE, get("/big/1000", &[]))).await;
    let frames = peer.gather(Duration::from_secs(1)).await;
    let sent: usize = frames.iter().filter(|f| f.kind == DATA).map(|f| f.payload.len()).sum();
    assert_eq!(sent, 7);
}
