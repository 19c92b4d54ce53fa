//! Streams opened to be reset, by the client or by force (rows A4, A9, A10, A22, H9).

use std::sync::Arc;
use std::time::Duration;

use crate::honest_request_on_a_new_connection;
use crate::support::hpack::{block, entered, indexed};
use crate::support::subject::Counters;
use crate::support::*;

/// The most handlers that may ever live on one connection.
const CONCURRENT: usize = 256;

/// More requests that are reset at once than one connection may cause at one instant of virtual time.
const MANY: u32 = 30_000;

/// Runs `streams` rounds of frames, all at one instant of virtual time. Most of the requests are refused,
/// and the connection ends with ENHANCE_YOUR_CALM.
async fn provoke(streams: u32, round: impl Fn(u32) -> Vec<RawFrame>) {
    let (mut peer, counters) = serve_counted();
    peer.handshake().await;
    flood(&mut peer, &counters, streams, round).await;
    let heard = peer.gather(Duration::from_secs(1)).await;
    let goaway = heard.iter().find(|f| f.kind == GOAWAY && f.word(4) != NO_ERROR);
    assert_eq!(goaway.expect("GOAWAY").word(4), ENHANCE_YOUR_CALM);
    peer.expect_eof().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(counters.running(), 0, "handlers outlive their connection");
    assert!(counters.started() < streams as usize / 2, "{} handlers", counters.started());
    honest_request_on_a_new_connection().await;
}

/// Writes rounds, fifty at a time, until one is not taken for five seconds. How many were taken.
async fn flood(
    peer: &mut RawPeer,
    counters: &Arc<Counters>,
    streams: u32,
    round: impl Fn(u32) -> Vec<RawFrame>,
) -> u32 {
    for taken in (0..streams).step_by(50) {
        let frames: Vec<_> = (0..50).flat_map(|k| round(2 * (taken + k) + 1)).collect();
        if !peer.send_bytes(&wire(&frames)).await {
            return taken;
        }
        assert!(counters.running() <= CONCURRENT, "{} handlers live", counters.running());
    }
    streams
}

/// RFC 9113 §10.5, row A9: requests, each reset at once.
#[tokio::test(start_paused = true)]
async fn attack_rapid_reset() {
    provoke(MANY, |n| vec![headers(n, WHOLE, get("/hang", &[])), rst_stream(n, CANCEL)]).await;
}

/// RFC 9113 §10.5, row A9: with each reset two requests that are answered without a handler.
#[tokio::test(start_paused = true)]
async fn attack_rapid_reset_paired_with_cheap_answers() {
    provoke(MANY, |n| {
        let cheap = |k| headers(3 * n + k, WHOLE, get("/nothing", &[]));
        let reset = [headers(3 * n, WHOLE, get("/hang", &[])), rst_stream(3 * n, CANCEL)];
        reset.into_iter().chain([cheap(2), cheap(4)]).collect()
    })
    .await;
}

/// RFC 9113 §10.5, row A4: 10,000 malformed requests, each of which we must reset. They are cheap: no
/// handler starts, and the peer is served.
#[tokio::test(start_paused = true)]
async fn attack_reset_flood() {
    let (mut peer, counters) = serve_counted();
    peer.handshake().await;
    let malformed = get("/ok", &[("connection", "close")]);
    flood(&mut peer, &counters, 10_000, |n| vec![headers(n, WHOLE, malformed.clone())]).await;
    assert_eq!(counters.started(), 0, "a malformed request has reached a handler");
    peer.expect_serves(30_001).await;
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §6.9, row A10: resets forced by a WINDOW_UPDATE of 0.
#[tokio::test(start_paused = true)]
async fn attack_madeyoureset_window_zero() {
    provoke(MANY, |n| vec![headers(n, WHOLE, get("/hang", &[])), window_update(n, 0)]).await;
}

/// RFC 9113 §6.9.1, row A10: by a window over 2^31-1.
#[tokio::test(start_paused = true)]
async fn attack_madeyoureset_window_overflow() {
    provoke(MANY, |n| vec![headers(n, WHOLE, get("/hang", &[])), window_update(n, MAX_WINDOW)])
        .await;
}

/// RFC 9113 §5.1, row A10: by DATA after END_STREAM.
#[tokio::test(start_paused = true)]
async fn attack_madeyoureset_data_after_end() {
    provoke(MANY, |n| vec![headers(n, WHOLE, get("/hang", &[])), data(n, NONE, *b"x")]).await;
}

/// RFC 9113 §5.1, row A10: by HEADERS after END_STREAM.
#[tokio::test(start_paused = true)]
async fn attack_madeyoureset_headers_after_end() {
    let late = block(&[("x", "y")]);
    provoke(MANY, |n| vec![headers(n, WHOLE, get("/hang", &[])), headers(n, WHOLE, late.clone())])
        .await;
}

/// RFC 9113 §6.3, row A10: by PRIORITY of a wrong length.
#[tokio::test(start_paused = true)]
async fn attack_madeyoureset_priority_length() {
    provoke(MANY, |n| vec![headers(n, WHOLE, get("/hang", &[])), frame(PRIORITY, NONE, n, [0; 4])])
        .await;
}

/// RFC 9113 §8.1.1, row A10: by a `content-length` that lies.
#[tokio::test(start_paused = true)]
async fn attack_madeyoureset_content_length() {
    provoke(MANY, |n| {
        let head = post("/hang", &[("content-length", "1")]);
        vec![headers(n, END_HEADERS, head), data(n, END_STREAM, *b"two")]
    })
    .await;
}

/// RFC 9113 §5.3.2, row A10: a stream that depends on itself is no error any more: PRIORITY is
/// parsed and ignored, so nothing can be forced with it.
#[tokio::test(start_paused = true)]
async fn attack_madeyoureset_priority_on_itself() {
    let mut peer = served().await;
    for stream in (1..200).step_by(2) {
        peer.send_all(&[headers(stream, WHOLE, get("/ok", &[])), priority(stream, stream)]).await;
        peer.expect_response(stream).await;
    }
}

/// RFC 9113 §5.1.2, row A22: ten times the advertised streams: the excess is refused or the
/// connection told to calm down, and no more handlers live than streams are allowed.
#[tokio::test(start_paused = true)]
async fn attack_over_concurrency() {
    let (mut peer, counters) = serve_counted();
    peer.handshake().await;
    flood(&mut peer, &counters, 2_560, |n| vec![headers(n, WHOLE, get("/hang", &[]))]).await;
    let heard = peer.gather(Duration::from_secs(5)).await;
    for frame in &heard {
        match frame.kind {
            RST_STREAM => assert_eq!(frame.word(0), REFUSED_STREAM),
            GOAWAY => assert_eq!(frame.word(4), ENHANCE_YOUR_CALM),
            _ => {}
        }
    }
    assert!(heard.iter().any(|f| f.kind == RST_STREAM), "nothing was refused");
    assert!(counters.started() <= CONCURRENT, "{} handlers", counters.started());
    honest_request_on_a_new_connection().await;
}

/// RFC 9113 §4.3, row H9: field blocks of streams that are refused or reset still build the
/// dynamic table.
#[tokio::test(start_paused = true)]
async fn attack_rapid_reset_then_indexed() {
    let mut peer = served().await;
    for n in 0..10 {
        let mut head = get("/hang", &[]);
        head.extend(entered(b"x-number", n.to_string().as_bytes()));
        peer.send_all(&[headers(2 * n + 1, WHOLE, head), rst_stream(2 * n + 1, CANCEL)]).await;
    }
    let mut head = post("/echo", &[]);
    // The oldest of the ten entries: lost if any block was skipped.
    head.extend(indexed(62 + 9));
    peer.send(headers(101, WHOLE, head)).await;
    peer.expect_response(101).await;
}

/// RFC 9113 §8.7, row A9: calls that expire in the ordinary way are no attack: 1,000
/// cancelled 200 ms after they began.
#[tokio::test(start_paused = true)]
async fn honest_cancellations() {
    let mut peer = served().await;
    for batch in 0..10 {
        let first = 200 * batch + 1;
        let streams: Vec<u32> = (first..first + 200).step_by(2).collect();
        let open: Vec<_> = streams.iter().map(|n| headers(*n, WHOLE, get("/hang", &[]))).collect();
        peer.send_all(&open).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let cancel: Vec<_> = streams.iter().map(|n| rst_stream(*n, CANCEL)).collect();
        peer.send_all(&cancel).await;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    peer.expect_serves(9_001).await;
}

/// RFC 9113 §8.7, row A9: hedges: of two calls one is reset young and one answered.
#[tokio::test(start_paused = true)]
async fn honest_hedges() {
    let mut peer = served().await;
    for pair in 0..500 {
        let stream = 4 * pair + 1;
        peer.send(headers(stream, WHOLE, get("/ok", &[]))).await;
        peer.send(headers(stream + 2, WHOLE, get("/hang", &[]))).await;
        peer.expect_response(stream).await;
        peer.send(rst_stream(stream + 2, CANCEL)).await;
    }
    peer.expect_serves(9_001).await;
}
