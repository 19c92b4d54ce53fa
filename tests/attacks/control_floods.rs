//! Floods of frames that are small for the sender (rows A2, A3, A5, A8, A14 to A17, A19).

use std::time::Duration;

use crate::honest_request_on_a_new_connection;
use crate::support::*;

/// Writes `frames` again and again without reading. How many rounds were taken.
async fn flood_unread(peer: &mut RawPeer, frames: &[RawFrame], rounds: usize) -> usize {
    peer.deaf = true;
    let bytes = wire(frames).repeat(100);
    let mut taken = 0;
    while taken < rounds && peer.send_bytes(&bytes).await {
        taken += 100;
    }
    peer.deaf = false;
    taken
}

/// RFC 9113 §10.5, row A2: 100,000 PINGs, never read. Acknowledgements queue up to a bound, then
/// the connection ends with ENHANCE_YOUR_CALM.
#[tokio::test(start_paused = true)]
async fn attack_ping_flood() {
    let mut peer = served().await;
    let taken = flood_unread(&mut peer, &[ping([0; 8])], 100_000).await;
    assert!(taken < 100_000, "every PING was read although no answer could be written");
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §10.5, row A2: a peer that does not read is read: answers that wait behind DATA stop nothing until
/// there are too many of them. Two sides that both stopped reading would wait for each other.
#[tokio::test(start_paused = true)]
async fn attack_unread_answers() {
    let (mut peer, counters) = serve_counted();
    peer.handshake_with(&[(INITIAL_WINDOW_SIZE, MAX_WINDOW)]).await;
    peer.send(window_update(0, MAX_WINDOW - 65_535)).await;
    peer.deaf = true;
    peer.send_all(&[1, 3].map(|stream| headers(stream, WHOLE, get("/big/10000000", &[])))).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(counters.running(), 2);
    let bound = framewire::Limits::server().control_frames_queued as usize;
    peer.send_bytes(&settings(&[]).bytes().repeat(bound - 1)).await;
    peer.send(rst_stream(1, CANCEL)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(counters.running(), 1, "the reset was not read");
    peer.send_bytes(&settings(&[]).bytes().repeat(2)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(counters.running(), 0, "the connection did not end");
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §10.5, row A2: PINGs that come far too often end in ENHANCE_YOUR_CALM.
#[tokio::test(start_paused = true)]
async fn attack_ping_flood_read() {
    let mut peer = served().await;
    for _ in 0..100 {
        peer.send(ping([0; 8])).await;
    }
    peer.expect_connection_error(ENHANCE_YOUR_CALM).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §6.7, row A2: a PING each ten seconds is honest.
#[tokio::test(start_paused = true)]
async fn honest_pings() {
    let mut peer = served().await;
    for n in 0..30 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        peer.send(ping([n; 8])).await;
        peer.find("PING ACK", |f| f.kind == PING && f.payload == [n; 8]).await;
    }
    peer.expect_serves(1).await;
}

/// RFC 9113 §5.3.2, row A3: 20,000 PRIORITY frames on idle streams leave no trace.
#[tokio::test(start_paused = true)]
async fn attack_priority_flood() {
    let mut peer = served().await;
    for n in 0..200 {
        let frames: Vec<_> =
            (0..100).map(|k| priority(2 * (100 * n + k) + 1, 2 * (k * n % 999) + 1)).collect();
        peer.send_all(&frames).await;
    }
    peer.expect_serves(50_001).await;
}

/// RFC 9113 §10.5, row A5: 100,000 SETTINGS, never read: as for PING.
#[tokio::test(start_paused = true)]
async fn attack_settings_flood() {
    let mut peer = served().await;
    let taken = flood_unread(&mut peer, &[settings(&[])], 100_000).await;
    assert!(taken < 100_000, "every SETTINGS was read although no ACK could be written");
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §10.5, row A5: more than 32 values in one frame are too many.
#[tokio::test(start_paused = true)]
async fn attack_settings_many_entries() {
    let mut peer = served().await;
    let values: Vec<_> = (0..2_700).map(|n| (INITIAL_WINDOW_SIZE, n)).collect();
    peer.send(settings(&values)).await;
    peer.expect_connection_error(ENHANCE_YOUR_CALM).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §10.5, row A5: 32 values, most of them unknown, are honest.
#[tokio::test(start_paused = true)]
async fn honest_settings_of_32_entries() {
    let mut peer = served().await;
    let values: Vec<_> = (0..32).map(|n| (0x1000 + n, u32::from(n))).collect();
    peer.send(settings(&values)).await;
    peer.expect_settings_ack().await;
    peer.expect_serves(1).await;
}

/// RFC 9113 §10.5, row A8: 10,000 empty DATA frames without END_STREAM are no progress.
#[tokio::test(start_paused = true)]
async fn attack_empty_data_flood() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    let frames = vec![data(1, NONE, []); 10_000];
    peer.send_all(&frames).await;
    peer.expect_connection_error(ENHANCE_YOUR_CALM).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §10.5, row A8: empty DATA with padding is the same in other clothes.
#[tokio::test(start_paused = true)]
async fn attack_padded_empty_data_flood() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    let frames = vec![data(1, NONE, []).padded(0); 10_000];
    peer.send_all(&frames).await;
    peer.expect_connection_error(ENHANCE_YOUR_CALM).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §6.1, rows A8 and A14: 100,000 DATA frames of one byte are an honest stream of small
/// messages and must pass.
#[tokio::test(start_paused = true)]
async fn honest_small_messages() {
    const ALL: usize = 100_000;
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    let stream = peer.settings.get(&INITIAL_WINDOW_SIZE).map_or(65_535, |n| i64::from(*n));
    let mut room = [65_535, stream];
    let mut left = ALL;
    while left > 0 {
        let now = (left as i64).min(1_000).min(room[0]).min(room[1]).max(0) as usize;
        if now > 0 {
            let bytes = data(1, NONE, *b"x").bytes().repeat(now);
            peer.send_bytes(&bytes).await;
            left -= now;
            room = room.map(|n| n - now as i64);
        } else {
            let more = peer.find("credit", |f| f.kind == WINDOW_UPDATE).await;
            room[usize::from(more.stream != 0)] += i64::from(more.word(0));
        }
    }
    peer.send(data(1, END_STREAM, [])).await;
    assert_eq!(peer.expect_response(1).await.body.len(), ALL);
    peer.expect_serves(3).await;
}

/// RFC 9113 §6.9, row A15: 100,000 WINDOW_UPDATEs of 1 change a number and no more.
#[tokio::test(start_paused = true)]
async fn attack_window_update_flood() {
    let mut peer = served().await;
    let bytes = window_update(0, 1).bytes().repeat(1_000);
    for _ in 0..100 {
        peer.send_bytes(&bytes).await;
    }
    peer.expect_serves(1).await;
}

/// RFC 9113 §6.9.1, row A15: carried on over 2^31-1 they are FLOW_CONTROL_ERROR.
#[tokio::test(start_paused = true)]
async fn attack_window_update_overflow() {
    let mut peer = served().await;
    for _ in 0..20 {
        peer.send(window_update(0, MAX_WINDOW / 16)).await;
    }
    peer.expect_connection_error(FLOW_CONTROL_ERROR).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §4.1, §5.5, row A16: unknown frames of 16 KiB are discarded as they come; at most
/// they are charged like empty ones.
#[tokio::test(start_paused = true)]
async fn attack_unknown_frames_flood() {
    let mut peer = served().await;
    let bytes = frame(0xfa, 0xff, 0, vec![0xee; 16_384]).bytes();
    let mut taken = 0;
    while taken < 300 && peer.send_bytes(&bytes).await {
        taken += 1;
    }
    if taken < 300 {
        peer.expect_connection_error(ENHANCE_YOUR_CALM).await;
    } else {
        peer.expect_serves(1).await;
    }
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §6.8, row A17: 10,000 GOAWAYs change one number; the client's streams go on.
#[tokio::test(start_paused = true)]
async fn attack_goaway_flood() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    let bytes = goaway(0, NO_ERROR).bytes().repeat(100);
    for _ in 0..100 {
        peer.send_bytes(&bytes).await;
    }
    peer.send(data(1, END_STREAM, *b"x")).await;
    peer.expect_response(1).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §4.2, row A19: a length over the limit is refused at its nine bytes, before any of
/// the payload was sent.
#[tokio::test(start_paused = true)]
async fn attack_oversize_frame_header() {
    for kind in [HEADERS, SETTINGS, PUSH_PROMISE, CONTINUATION] {
        let mut peer = served().await;
        let stream = u32::from(kind != SETTINGS);
        peer.send(frame(kind, NONE, stream, []).claiming(0xff_ffff)).await;
        peer.expect_connection_error(FRAME_SIZE_ERROR).await;
    }
    honest_request_on_a_new_connection().await;
}
