//! RFC 9113 §5.2: flow control, as seen from both ends of a window.

use std::time::Duration;

use crate::support::*;

const QUIET: Duration = Duration::from_secs(1);

/// The bytes of DATA on a stream, read until nothing more comes.
async fn bytes_sent(peer: &mut RawPeer, stream: u32) -> usize {
    let frames = peer.gather(QUIET).await;
    frames.iter().filter(|f| f.kind == DATA && f.stream == stream).map(|f| f.payload.len()).sum()
}

/// RFC 9113 §5.2.1: both windows begin at 65,535 bytes, and a sender keeps to them.
#[tokio::test(start_paused = true)]
async fn server_stops_at_the_initial_window() {
    let mut peer = served().await;
    peer.crediting = false;
    peer.send(headers(1, WHOLE, get("/big/100000", &[]))).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 65_535);
}

/// RFC 9113 §5.2.1: a client's request body keeps to them too.
#[tokio::test(start_paused = true)]
async fn client_stops_at_the_initial_window() {
    let (client, mut peer) = connected().await;
    peer.crediting = false;
    let call = client.call("POST", "/x", &[], &[b'x'; 100_000]);
    assert_eq!(bytes_sent(&mut peer, 1).await, 65_535);
    peer.send_all(&[window_update(0, 40_000), window_update(1, 40_000)]).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 34_465);
    peer.respond(1, b"").await;
    outcome(call).await.expect("response");
}

/// RFC 9113 §5.2.1: the connection's window is shared by all streams.
#[tokio::test(start_paused = true)]
async fn streams_share_the_connection_window() {
    let mut peer = served().await;
    peer.crediting = false;
    for stream in [1, 3, 5] {
        peer.send(headers(stream, WHOLE, get("/big/40000", &[]))).await;
    }
    let frames = peer.gather(QUIET).await;
    let sent: usize = frames.iter().filter(|f| f.kind == DATA).map(|f| f.payload.len()).sum();
    assert_eq!(sent, 65_535);
}

/// RFC 9113 §5.2.1: only DATA is flow controlled; heads and control frames pass a spent window.
#[tokio::test(start_paused = true)]
async fn control_frames_pass_a_spent_window() {
    let mut peer = served().await;
    peer.crediting = false;
    peer.send(headers(1, WHOLE, get("/big/100000", &[]))).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 65_535);
    peer.expect_serves(3).await;
    peer.expect_alive().await;
}

/// RFC 9113 §5.2.2: a stream with window 0 does not hold up the others.
#[tokio::test(start_paused = true)]
async fn one_stalled_stream_stalls_no_other() {
    let mut peer = serve();
    peer.handshake_with(&[(INITIAL_WINDOW_SIZE, 10)]).await;
    peer.crediting = false;
    peer.send(headers(1, WHOLE, get("/big/1000", &[]))).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 10);
    peer.send(headers(3, WHOLE, get("/big/1000", &[]))).await;
    peer.send(window_update(3, 2_000)).await;
    assert_eq!(peer.expect_response(3).await.body.len(), 1_000);
}

/// RFC 9113 §5.2.1: a receiver gives credit back as it consumes: a body of many windows ends.
#[tokio::test(start_paused = true)]
async fn server_gives_credit_back() {
    let mut peer = served().await;
    let (window, connection) = offered(&mut peer).await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    let mut room = [connection as i64, window as i64];
    let whole = 4 * window.max(connection);
    let mut left = whole;
    while left > 0 {
        let now = left.min(8_192).min(room[0].max(0) as usize).min(room[1].max(0) as usize);
        if now > 0 {
            left -= now;
            room = room.map(|n| n - now as i64);
            let flags = if left == 0 { END_STREAM } else { NONE };
            peer.send(data(1, flags, vec![b'x'; now])).await;
        } else {
            let more = peer.find("credit", |f| f.kind == WINDOW_UPDATE).await;
            room[usize::from(more.stream != 0)] += i64::from(more.word(0));
        }
    }
    assert_eq!(peer.expect_response(1).await.body.len(), whole);
}

/// The windows a subject offers: the stream's from its SETTINGS, the connection's with the
/// WINDOW_UPDATEs of its first flight.
async fn offered(peer: &mut RawPeer) -> (usize, usize) {
    let stream = peer.settings.get(&INITIAL_WINDOW_SIZE).map_or(65_535, |n| *n as usize);
    let early = peer.gather(QUIET).await;
    let more: u32 = early.iter().filter(|f| f.kind == WINDOW_UPDATE).map(|f| f.word(0)).sum();
    (stream, 65_535 + more as usize)
}

/// Floods a stream whose request is never read, past the smaller of the two windows.
async fn overrun(peer: &mut RawPeer) {
    let (stream, connection) = offered(peer).await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    let mut left = stream.min(connection) + 1;
    while left > 0 {
        let now = left.min(16_384);
        left -= now;
        peer.send(data(1, NONE, vec![0; now])).await;
    }
}

/// RFC 9113 §5.2.2, §6.9.1: DATA past a window we never raised is FLOW_CONTROL_ERROR.
#[tokio::test(start_paused = true)]
async fn data_past_the_window_is_flow_control_error() {
    let mut peer = served().await;
    overrun(&mut peer).await;
    // Credit that came back for the connection alone does not raise the stream's window.
    peer.expect_error(1, FLOW_CONTROL_ERROR).await;
}

/// RFC 9113 §5.2: the whole payload counts, padding and pad length included.
#[tokio::test(start_paused = true)]
async fn padding_counts_in_the_windows() {
    let mut peer = served().await;
    let (stream, connection) = offered(&mut peer).await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[]))).await;
    let mut left = stream.min(connection) - 100;
    while left > 0 {
        let now = left.min(16_384);
        left -= now;
        peer.send(data(1, NONE, vec![0; now])).await;
    }
    // One byte of data fits in the 100 that are left; with its padding it does not.
    peer.send(data(1, NONE, *b"x").padded(200)).await;
    peer.expect_error(1, FLOW_CONTROL_ERROR).await;
}

/// RFC 9113 §5.2, §6.9: padding that is discarded at once is credited, or a sender of padded
/// frames would stall.
#[tokio::test(start_paused = true)]
async fn padding_is_credited() {
    let mut peer = served().await;
    let (stream, connection) = offered(&mut peer).await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    let mut room = [connection as i64, stream as i64];
    for _ in 0..2 * stream.max(connection) / 257 {
        while room[0] < 257 || room[1] < 257 {
            let more = peer.find("credit", |f| f.kind == WINDOW_UPDATE).await;
            room[usize::from(more.stream != 0)] += i64::from(more.word(0));
        }
        room = room.map(|n| n - 257);
        peer.send(data(1, NONE, *b"x").padded(255)).await;
    }
    peer.send(data(1, END_STREAM, [])).await;
    peer.expect_response(1).await;
}

/// RFC 9113 §5.1, §6.9: DATA on a stream we reset counts in the connection's window and comes
/// back, or the connection would run dry.
#[tokio::test(start_paused = true)]
async fn discarded_data_is_credited_to_the_connection() {
    let mut peer = served().await;
    let (_, connection) = offered(&mut peer).await;
    peer.send(headers(1, END_HEADERS, post("/hang", &[("connection", "close")]))).await;
    peer.expect_reset(1, PROTOCOL_ERROR).await;
    let mut sent = 0;
    while sent + 16_384 <= connection {
        peer.send(data(1, NONE, vec![0; 16_384])).await;
        sent += 16_384;
    }
    peer.find("credit for stream 0", |f| f.kind == WINDOW_UPDATE && f.stream == 0).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §5.2.2: a client enforces its windows on responses.
#[tokio::test(start_paused = true)]
async fn client_enforces_its_window() {
    let (client, mut peer) = connected().await;
    let (stream, connection) = offered(&mut peer).await;
    let call = client.get_unread("/x");
    let (id, _) = peer.expect_request().await;
    peer.send(headers(id, END_HEADERS, response(200, &[]))).await;
    let mut left = stream.min(connection) + 1;
    while left > 0 {
        let now = left.min(16_384);
        left -= now;
        peer.send(data(id, NONE, vec![0; now])).await;
    }
    peer.expect_error(id, FLOW_CONTROL_ERROR).await;
    call.abort();
}
