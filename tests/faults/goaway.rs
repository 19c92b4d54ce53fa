//! GOAWAY accounting and refused streams (rows A17, F4, F5, F19).

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::next_call_succeeds;
use crate::support::subject::{ClientUnderTest, Outcome};
use crate::support::*;

/// `n` calls under way, with the streams they are on.
async fn under_way(
    client: &ClientUnderTest,
    peer: &mut RawPeer,
    n: usize,
) -> Vec<(u32, JoinHandle<Outcome>)> {
    let mut calls = Vec::new();
    for _ in 0..n {
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        calls.push((stream, call));
    }
    calls
}

/// RFC 9113 §6.8, row F4: of a hundred calls those up to the last identifier end well, those above
/// it are known to be unprocessed; none is lost between.
#[tokio::test(start_paused = true)]
async fn fault_goaway_mid_burst() {
    for last in [0, 1, 99, 101, 199] {
        let (client, mut peer) = connected().await;
        let calls = under_way(&client, &mut peer, 100).await;
        peer.send(goaway(last, NO_ERROR)).await;
        for (stream, _) in calls.iter().filter(|(stream, _)| *stream <= last) {
            peer.respond(*stream, b"whole").await;
        }
        for (stream, call) in calls {
            match outcome(call).await {
                Ok(answer) => assert!(stream <= last && answer.body == b"whole"),
                Err(failure) => {
                    assert!(stream > last, "stream {stream} was lost: {}", failure.text);
                    assert!(!failure.may_have_been_processed, "stream {stream}");
                }
            }
        }
    }
}

/// RFC 9113 §6.8, row F4: an error code changes nothing in that account.
#[tokio::test(start_paused = true)]
async fn fault_goaway_with_error() {
    for code in [PROTOCOL_ERROR, INTERNAL_ERROR, ENHANCE_YOUR_CALM] {
        let (client, mut peer) = connected().await;
        let calls = under_way(&client, &mut peer, 4).await;
        peer.send(goaway(3, code)).await;
        for (stream, call) in calls {
            if stream <= 3 {
                // The server may still answer, and a client may wait for it.
                call.abort();
            } else {
                let failure = outcome(call).await.expect_err("unprocessed");
                assert!(!failure.may_have_been_processed, "stream {stream}: {}", failure.text);
            }
        }
    }
}

/// RFC 9113 §6.8, row F4: GOAWAY and the end of the connection at once: calls up to the last
/// identifier may have been processed, those above were not.
#[tokio::test(start_paused = true)]
async fn fault_goaway_then_close() {
    let (client, mut peer) = connected().await;
    let calls = under_way(&client, &mut peer, 4).await;
    peer.send(goaway(3, NO_ERROR)).await;
    drop(peer);
    for (stream, call) in calls {
        let failure = outcome(call).await.expect_err("closed");
        assert_eq!(failure.may_have_been_processed, stream <= 3, "stream {stream}");
    }
}

/// RFC 9113 §6.8, row F5: the warning GOAWAY(2^31-1) fails no call; the final one names the last
/// that counts; nothing new is opened after the first.
#[tokio::test(start_paused = true)]
async fn fault_goaway_graceful() {
    let (client, mut peer) = connected().await;
    let calls = under_way(&client, &mut peer, 10).await;
    peer.send(goaway(0x7fff_ffff, NO_ERROR)).await;
    peer.expect_alive().await;
    let late = client.get("/late");
    let heard = peer.gather(Duration::from_secs(1)).await;
    assert!(heard.iter().all(|f| f.kind != HEADERS), "a stream opened after GOAWAY");
    let last = calls.last().expect("ten calls").0;
    peer.send(goaway(last, NO_ERROR)).await;
    for (stream, _) in &calls {
        peer.respond(*stream, b"whole").await;
    }
    for (_, call) in calls {
        assert_eq!(outcome(call).await.expect("response").body, b"whole");
    }
    assert!(!outcome(late).await.expect_err("no connection").may_have_been_processed);
    peer.expect_eof().await;
}

/// RFC 9113 §6.8, row F4: the last identifier may go down again and again.
#[tokio::test(start_paused = true)]
async fn fault_goaway_going_down() {
    let (client, mut peer) = connected().await;
    let calls = under_way(&client, &mut peer, 10).await;
    for last in (1..=19).rev().step_by(2) {
        peer.send(goaway(last, NO_ERROR)).await;
    }
    peer.respond(1, b"whole").await;
    for (stream, call) in calls {
        match outcome(call).await {
            Ok(_) => assert_eq!(stream, 1),
            Err(failure) => assert!(stream > 1 && !failure.may_have_been_processed),
        }
    }
}

/// RFC 9113 §6.8, row A17: a last identifier that goes up is a connection error PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn fault_goaway_increasing() {
    let (client, mut peer) = connected().await;
    let calls = under_way(&client, &mut peer, 5).await;
    peer.send(goaway(5, NO_ERROR)).await;
    peer.send(goaway(9, NO_ERROR)).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
    for (_, call) in calls {
        outcome(call).await.expect_err("the connection failed");
    }
}

/// RFC 9113 §8.7, row F19: REFUSED_STREAM says that nothing was executed; the connection is whole.
#[tokio::test(start_paused = true)]
async fn fault_refused_stream_once() {
    let (client, mut peer) = connected().await;
    for _ in 0..3 {
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        peer.send(rst_stream(stream, REFUSED_STREAM)).await;
        let failure = outcome(call).await.expect_err("refused");
        assert!(!failure.may_have_been_processed, "{}", failure.text);
        assert_eq!(failure.reset_code, Some(REFUSED_STREAM));
    }
    next_call_succeeds(&client, &mut peer).await;
}

/// RFC 9113 §8.7, row F19: REFUSED_STREAM after response HEADERS is a lie: something was
/// processed, and a retry is not safe.
#[tokio::test(start_paused = true)]
async fn fault_refused_stream_after_head() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, END_HEADERS, response(200, &[]))).await;
    peer.send(rst_stream(stream, REFUSED_STREAM)).await;
    assert!(outcome(call).await.expect_err("reset").may_have_been_processed);
}

/// RFC 9113 §5.4.3, row F3: the transport cut in mid-stream: calls written may have been processed.
#[tokio::test(start_paused = true)]
async fn fault_cut_mid_stream() {
    let (client, mut peer) = connected().await;
    let calls = under_way(&client, &mut peer, 3).await;
    let head = headers(1, END_HEADERS, response(200, &[]));
    peer.send_all(&[head, data(1, NONE, *b"half")]).await;
    drop(peer);
    for (_, call) in calls {
        assert!(outcome(call).await.expect_err("cut").may_have_been_processed);
    }
}

/// RFC 9113 §5.4.3: a response cut within a frame is not a short response.
#[tokio::test(start_paused = true)]
async fn fault_cut_within_a_frame() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, END_HEADERS, response(200, &[]))).await;
    let bytes = data(stream, END_STREAM, *b"ten bytes").bytes();
    peer.send_bytes(&bytes[..15]).await;
    drop(peer);
    outcome(call).await.expect_err("cut");
}
