//! Settings and windows that move under a client (rows F8 to F10, F22, F23, F27, G15, H6).

use std::time::Duration;

use crate::next_call_succeeds;
use crate::support::*;

const QUIET: Duration = Duration::from_secs(1);

async fn bytes_sent(peer: &mut RawPeer, stream: u32) -> usize {
    let frames = peer.gather(QUIET).await;
    frames.iter().filter(|f| f.kind == DATA && f.stream == stream).map(|f| f.payload.len()).sum()
}

/// RFC 9113 §6.5.3, row F8: a server that never acknowledges our SETTINGS still answers calls.
#[tokio::test(start_paused = true)]
async fn fault_no_settings_ack() {
    let (client, mut peer) = connect();
    peer.polite = false;
    peer.handshake().await;
    for _ in 0..4 {
        next_call_succeeds(&client, &mut peer).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// RFC 9113 §5.1.2, row F9: the limit drops to 0 while a call runs: that one goes on, the next
/// waits without a stream, and leaves when the limit rises.
#[tokio::test(start_paused = true)]
async fn fault_max_streams_zero_then_up() {
    let (client, mut peer) = connected().await;
    let first = client.get("/first");
    let (stream, _) = peer.expect_request().await;
    peer.send(settings(&[(MAX_CONCURRENT_STREAMS, 0)])).await;
    peer.expect_settings_ack().await;
    let second = client.get("/second");
    let heard = peer.gather(QUIET).await;
    assert!(heard.iter().all(|f| f.kind != HEADERS), "over the limit: {heard:?}");
    peer.respond(stream, b"first").await;
    assert_eq!(outcome(first).await.expect("response").body, b"first");
    let heard = peer.gather(QUIET).await;
    assert!(heard.iter().all(|f| f.kind != HEADERS), "over the limit: {heard:?}");
    peer.send(settings(&[(MAX_CONCURRENT_STREAMS, 10)])).await;
    let (stream, _) = peer.expect_request().await;
    peer.respond(stream, b"second").await;
    assert_eq!(outcome(second).await.expect("response").body, b"second");
}

/// RFC 9113 §5.1.2, row F9: with one stream allowed calls follow each other, and one that is given
/// up in the queue leaves it and is never seen.
#[tokio::test(start_paused = true)]
async fn fault_max_streams_one() {
    let (client, mut peer) = connect();
    peer.handshake_with(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let calls: Vec<_> = ["/0", "/1", "/2", "/3"].into_iter().map(|path| client.get(path)).collect();
    let mut open = peer.expect_request().await;
    calls[2].abort();
    let mut paths = Vec::new();
    for _ in 0..2 {
        let heard = peer.gather(QUIET).await;
        assert!(heard.iter().all(|f| f.kind != HEADERS), "two at once: {heard:?}");
        paths.extend(open.1.into_iter().filter(|(n, _)| n == ":path").map(|(_, v)| v));
        peer.respond(open.0, b"").await;
        open = peer.expect_request().await;
    }
    paths.extend(open.1.into_iter().filter(|(n, _)| n == ":path").map(|(_, v)| v));
    peer.respond(open.0, b"").await;
    assert_eq!(paths, ["/0", "/1", "/3"]);
    assert!(peer.gather(QUIET).await.iter().all(|f| f.kind != HEADERS));
}

/// RFC 9113 §5.1.2, row F9: a limit lowered under what is open takes nothing away; new streams
/// wait until enough have closed.
#[tokio::test(start_paused = true)]
async fn fault_max_streams_lowered() {
    let (client, mut peer) = connected().await;
    let calls: Vec<_> = (0..4).map(|_| client.get("/x")).collect();
    for _ in &calls {
        peer.expect_request().await;
    }
    peer.send(settings(&[(MAX_CONCURRENT_STREAMS, 2)])).await;
    peer.expect_settings_ack().await;
    let fifth = client.get("/fifth");
    for stream in [1, 3] {
        peer.respond(stream, b"").await;
        let heard = peer.gather(QUIET).await;
        assert!(heard.iter().all(|f| f.kind != HEADERS), "over the limit: {heard:?}");
    }
    peer.respond(5, b"").await;
    let (stream, _) = peer.expect_request().await;
    peer.respond(stream, b"").await;
    peer.respond(7, b"").await;
    outcome(fifth).await.expect("response");
    for call in calls {
        outcome(call).await.expect("response");
    }
}

/// RFC 9113 §6.9.2, row F10: the window shrinks below what is out: not a byte more until it is
/// positive, then the rest, whole.
#[tokio::test(start_paused = true)]
async fn fault_window_shrink_negative() {
    let (client, mut peer) = connected().await;
    peer.crediting = false;
    let call = client.call("POST", "/x", &[], &[b'x'; 80_000]);
    assert_eq!(bytes_sent(&mut peer, 1).await, 65_535);
    peer.send(window_update(0, 1_000_000)).await;
    peer.send(settings(&[(INITIAL_WINDOW_SIZE, 1_000)])).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 0);
    peer.send(window_update(1, 64_535)).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 0, "the window is 0 again, not more");
    peer.send(window_update(1, 465)).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 465);
    peer.send(settings(&[(INITIAL_WINDOW_SIZE, 15_000)])).await;
    assert_eq!(bytes_sent(&mut peer, 1).await, 14_000);
    peer.respond(1, b"done").await;
    assert_eq!(outcome(call).await.expect("response").body, b"done");
}

/// RFC 9113 §5.4.2, row F22: a server that never answers sees CANCEL when the call is given up,
/// and the stream's slot is free.
#[tokio::test(start_paused = true)]
async fn fault_never_answers() {
    let (client, mut peer) = connect();
    peer.handshake_with(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    call.abort();
    peer.expect_reset(stream, CANCEL).await;
    next_call_succeeds(&client, &mut peer).await;
}

/// RFC 9113 §5.1, row F23: data that comes after a cancel is discarded and given back to the
/// connection's window: 1,000 cancels leak nothing.
#[tokio::test(start_paused = true)]
async fn fault_late_data_window() {
    let (client, mut peer) = connected().await;
    let early = peer.gather(QUIET).await;
    let more: u32 = early.iter().filter(|f| f.kind == WINDOW_UPDATE).map(|f| f.word(0)).sum();
    let mut room = 65_535 + i64::from(more);
    for _ in 0..1_000 {
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        call.abort();
        peer.expect_reset(stream, CANCEL).await;
        while room < 10_000 {
            let credit = peer
                .find("credit for the connection", |f| f.kind == WINDOW_UPDATE && f.stream == 0)
                .await;
            room += i64::from(credit.word(0));
        }
        peer.send(headers(stream, END_HEADERS, response(200, &[]))).await;
        peer.send(data(stream, END_STREAM, vec![b'x'; 10_000])).await;
        room -= 10_000;
    }
    next_call_succeeds(&client, &mut peer).await;
}

/// RFC 9113 §5.2.2, row F27: a response that nobody reads holds its own window and no other's.
#[tokio::test(start_paused = true)]
async fn fault_one_stream_stalled() {
    let (client, mut peer) = connected().await;
    let early = peer.gather(QUIET).await;
    let more: u32 = early.iter().filter(|f| f.kind == WINDOW_UPDATE).map(|f| f.word(0)).sum();
    let connection = 65_535 + more as usize;
    let stream = peer.settings.get(&INITIAL_WINDOW_SIZE).map_or(65_535, |n| *n as usize);
    let stalled = client.get_unread("/stalled");
    let (first, _) = peer.expect_request().await;
    peer.send(headers(first, END_HEADERS, response(200, &[]))).await;
    // Half of what the connection could take, or all that the stream may.
    let mut left = stream.min(connection / 2);
    while left > 0 {
        let now = left.min(16_384);
        left -= now;
        peer.send(data(first, NONE, vec![b'x'; now])).await;
    }
    for _ in 0..50 {
        next_call_succeeds(&client, &mut peer).await;
    }
    stalled.abort();
}

/// RFC 9113 §6.5.2, row G15: settings with values that are none end the connection with the code
/// the RFC names, and the call with it; nothing loops.
#[tokio::test(start_paused = true)]
async fn fault_settings_bad_values() {
    for (id, value, code) in [
        (MAX_FRAME_SIZE, 0, PROTOCOL_ERROR),
        (MAX_FRAME_SIZE, 16_383, PROTOCOL_ERROR),
        (MAX_FRAME_SIZE, 1 << 24, PROTOCOL_ERROR),
        (INITIAL_WINDOW_SIZE, 1 << 31, FLOW_CONTROL_ERROR),
        (ENABLE_PUSH, 2, PROTOCOL_ERROR),
    ] {
        let (client, mut peer) = connected().await;
        let call = client.call("POST", "/x", &[], b"body");
        peer.expect_request().await;
        peer.send(settings(&[(id, value)])).await;
        peer.expect_connection_error(code).await;
        outcome(call).await.expect_err("the connection failed");
    }
}

/// RFC 9113 §6.5.2, row G15: the same as the server's first frame.
#[tokio::test(start_paused = true)]
async fn fault_settings_bad_preface() {
    let (client, mut peer) = connect();
    let call = client.get("/x");
    peer.expect_preface().await;
    peer.send(settings(&[(MAX_FRAME_SIZE, 0)])).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
    outcome(call).await.expect_err("the connection failed");
}

/// RFC 7541 §4.2, row H6: a server's table of 4 GiB, or of none, or another each time.
#[tokio::test(start_paused = true)]
async fn fault_settings_huge_table() {
    let (client, mut peer) = connected().await;
    for size in [u32::MAX, 0, 4_096, 1, u32::MAX, 0] {
        peer.send(settings(&[(HEADER_TABLE_SIZE, size)])).await;
        peer.expect_settings_ack().await;
        next_call_succeeds(&client, &mut peer).await;
    }
}

/// RFC 9113 §5.2, row F6: a server that stops reading stops the body, and not the process: the
/// call can be given up at any time.
#[tokio::test(start_paused = true)]
async fn fault_server_stops_reading() {
    let (client, mut peer) = connect();
    peer.handshake_with(&[(INITIAL_WINDOW_SIZE, MAX_WINDOW)]).await;
    peer.send(window_update(0, MAX_WINDOW - 65_535)).await;
    let call = client.call("POST", "/x", &[], &vec![b'x'; 4_000_000]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!call.is_finished());
    call.abort();
    assert!(call.await.expect_err("aborted").is_cancelled());
}
