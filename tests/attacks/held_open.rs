//! Peers that hold on: no reading, no window, no words (rows A1, A7, A18, A20, A21, A23, A24).

use std::time::Duration;

use crate::honest_request_on_a_new_connection;
use crate::support::*;

/// RFC 9113 §10.5, row A1: credit of one byte at a time. The sender answers with frames in
/// proportion and never resets a stream for a closed window.
#[tokio::test(start_paused = true)]
async fn attack_data_dribble() {
    let mut peer = serve();
    peer.handshake_with(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    peer.crediting = false;
    for stream in [1, 3, 5] {
        peer.send(headers(stream, WHOLE, get("/big/100000", &[]))).await;
    }
    let mut updates = 0;
    for _ in 0..300 {
        peer.send_all(&[window_update(1, 1), window_update(3, 1), window_update(5, 1)]).await;
        updates += 3;
    }
    let heard = peer.gather(Duration::from_secs(1)).await;
    let frames = heard.iter().filter(|f| f.kind == DATA).count();
    let bytes: usize = heard.iter().filter(|f| f.kind == DATA).map(|f| f.payload.len()).sum();
    assert_eq!(bytes, updates);
    assert!(frames <= 2 * updates, "{frames} frames for {updates} updates");
    assert!(heard.iter().all(|f| f.kind != RST_STREAM));
    peer.expect_serves(7).await;
}

/// RFC 9113 §10.5, row A7: a huge window and a peer that never reads: handlers wait, and go with the
/// connection. Nobody else is kept waiting.
#[tokio::test(start_paused = true)]
async fn attack_huge_response_noread() {
    let (mut peer, counters) = serve_counted();
    peer.handshake_with(&[(INITIAL_WINDOW_SIZE, MAX_WINDOW)]).await;
    peer.send(window_update(0, MAX_WINDOW - 65_535)).await;
    peer.deaf = true;
    for stream in (1..64).step_by(2) {
        peer.send(headers(stream, WHOLE, get("/big/10000000", &[]))).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(counters.running(), 32, "a handler ran ahead of the window or was lost");
    honest_request_on_a_new_connection().await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(counters.running(), 32, "a peer that reads slowly was taken for a dead one");
    honest_request_on_a_new_connection().await;
    drop(peer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(counters.running(), 0, "the handlers outlive the connection");
}

/// RFC 9113 §5.1.1, row A18: the last identifier is used up; nothing wraps, nothing panics.
#[tokio::test(start_paused = true)]
async fn attack_max_stream_id() {
    let mut peer = served().await;
    peer.expect_serves(0x7fff_ffff).await;
    peer.send(headers(1, WHOLE, get("/ok", &[]))).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §3.4, row A20: a peer that says nothing has ten seconds.
#[tokio::test(start_paused = true)]
async fn attack_preface_stall() {
    let mut peer = serve();
    tokio::time::sleep(Duration::from_secs(12)).await;
    peer.expect_eof().await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §3.4, row A20: one byte a second does not lengthen them.
#[tokio::test(start_paused = true)]
async fn attack_preface_dribble() {
    let mut peer = serve();
    for byte in &PREFACE[..12] {
        peer.send_bytes(&[*byte]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    peer.expect_eof().await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §3.4, row A20: nor does a preface without SETTINGS.
#[tokio::test(start_paused = true)]
async fn attack_preface_without_settings() {
    let mut peer = serve();
    peer.send_bytes(PREFACE).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    peer.expect_eof().await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §3.4, row A20: text of another protocol ends the connection at once.
#[tokio::test(start_paused = true)]
async fn attack_garbage_preface() {
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x00\xa5\x01", b"\0\0\0\0"] {
        let mut peer = serve();
        let start = tokio::time::Instant::now();
        peer.send_bytes(garbage).await;
        peer.expect_eof().await;
        assert!(start.elapsed() < Duration::from_secs(1));
    }
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §9.1, row A21: two hundred idle connections do not keep the next one out.
#[tokio::test(start_paused = true)]
async fn attack_idle_connections() {
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(served().await);
    }
    honest_request_on_a_new_connection().await;
    for peer in &mut idle {
        peer.expect_serves(1).await;
    }
}

/// RFC 9113 §5.1.2, row A23: requests that never end hold their slots and no more; the connection
/// serves on when they are given up.
#[tokio::test(start_paused = true)]
async fn attack_half_open_requests() {
    let (mut peer, counters) = serve_counted();
    peer.handshake().await;
    for stream in (1..400).step_by(2) {
        peer.send(headers(stream, END_HEADERS, post("/echo", &[]))).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(counters.running() <= 256);
    peer.expect_serves(401).await;
    for stream in (1..400).step_by(2) {
        peer.send(data(stream, END_STREAM, [])).await;
    }
    peer.expect_response(399).await;
}

/// RFC 9113 §5.2, row A24: a window of 0 and large answers asked for on a hundred streams: slow
/// readers are honest, none is reset for it, and each gets its bytes in the end.
#[tokio::test(start_paused = true)]
async fn attack_zero_window_hold() {
    let mut peer = serve();
    peer.handshake_with(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    for stream in (1..200).step_by(2) {
        peer.send(headers(stream, WHOLE, get("/big/300000", &[]))).await;
    }
    let heard = peer.gather(Duration::from_secs(20)).await;
    assert!(heard.iter().all(|f| f.kind != RST_STREAM && f.kind != GOAWAY));
    peer.expect_serves(201).await;
    peer.send(window_update(1, 300_000)).await;
    assert_eq!(peer.expect_message(1).await.body.len(), 300_000);
}

/// A part of a header, of a payload that is needed whole, and of an unknown frame.
fn partial_frames() -> [Vec<u8>; 3] {
    let unknown = frame(0xfa, NONE, 0, [7; 100]);
    let cut = |frame: RawFrame, at: usize| frame.bytes()[..at].to_vec();
    [cut(ping([1; 8]), 5), cut(ping([1; 8]), 12), cut(unknown, 30)]
}

/// RFC 9113 §10.5, row A20: a frame that stays a part ends the connection after 30 s, if no stream is open.
#[tokio::test(start_paused = true)]
async fn attack_frame_stall() {
    for part in partial_frames() {
        let mut peer = served().await;
        peer.expect_serves(1).await;
        peer.send_bytes(&part).await;
        let early = peer.gather(Duration::from_secs(29)).await;
        assert!(early.iter().all(|frame| frame.kind != GOAWAY), "ended too early: {part:?}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        peer.expect_connection_error(PROTOCOL_ERROR).await;
    }
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §10.5, row A20: a byte now and then does not lengthen the time.
#[tokio::test(start_paused = true)]
async fn attack_frame_dribble() {
    let mut peer = served().await;
    for byte in &ping([1; 8]).bytes()[..16] {
        peer.send_bytes(&[*byte]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    peer.expect_connection_error(PROTOCOL_ERROR).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §10.5, row A20: frames that each arrive in time are slow and no more.
#[tokio::test(start_paused = true)]
async fn honest_slow_frames() {
    let mut peer = served().await;
    peer.expect_serves(1).await;
    for frame in [
        settings(&[]),
        frame(0xfa, NONE, 0, [7; 10]),
        frame(0xfa, NONE, 0, []),
        window_update(0, 1),
    ]
    .into_iter()
    .cycle()
    .take(12)
    {
        let bytes = frame.bytes();
        peer.send_bytes(&bytes[..5]).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        peer.send_bytes(&bytes[5..]).await;
    }
    peer.expect_serves(3).await;
}

/// RFC 9113 §10.5, row A20: with a stream open the peer may take its time. The time begins when the last
/// stream has ended.
#[tokio::test(start_paused = true)]
async fn honest_partial_frame_of_a_stream() {
    let mut peer = serve();
    peer.handshake().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    let bytes = data(1, END_STREAM, [7; 100]).bytes();
    peer.send_bytes(&bytes[..50]).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    peer.send_bytes(&bytes[50..]).await;
    assert_eq!(peer.expect_message(1).await.body.len(), 100);
}
