//! RFC 9113 §8.3.2, §8.4, §8.6 and §8.7: responses, push, refused requests.

use crate::support::hpack::block;
use crate::support::*;

/// A response head that the client must take as malformed, and the connection goes on.
async fn malformed(fields: &[(&str, &str)]) {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, END_HEADERS, block(fields))).await;
    peer.expect_reset(stream, PROTOCOL_ERROR).await;
    outcome(call).await.expect_err("malformed");
    peer.expect_alive().await;
}

/// RFC 9113 §8.3.2: `:status` is mandatory.
#[tokio::test(start_paused = true)]
async fn response_without_status() {
    malformed(&[("x", "y")]).await;
}

/// RFC 9113 §8.3: it comes once, and first.
#[tokio::test(start_paused = true)]
async fn response_with_misplaced_status() {
    malformed(&[(":status", "200"), (":status", "200")]).await;
    malformed(&[("x", "y"), (":status", "200")]).await;
}

/// RFC 9113 §8.3: the request's pseudo-header fields do not belong in a response.
#[tokio::test(start_paused = true)]
async fn response_with_request_pseudo_headers() {
    for pseudo in [":method", ":path", ":scheme", ":authority", ":other"] {
        malformed(&[(":status", "200"), (pseudo, "x")]).await;
    }
}

/// RFC 9113 §8.3.2: a status is three digits (RFC 9110 §15).
#[tokio::test(start_paused = true)]
async fn response_with_a_broken_status() {
    for status in ["", "20", "2000", "abc", "+20", "099"] {
        malformed(&[(":status", status)]).await;
    }
}

/// RFC 9113 §8.6: 101 does not exist in HTTP/2.
#[tokio::test(start_paused = true)]
async fn response_101() {
    malformed(&[(":status", "101")]).await;
}

/// RFC 9113 §8.1: interim responses precede the final one.
#[tokio::test(start_paused = true)]
async fn interim_responses_pass() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    for status in [100, 103, 103] {
        peer.send(headers(stream, END_HEADERS, response(status, &[("link", "x")]))).await;
    }
    peer.respond(stream, b"final").await;
    let answer = outcome(call).await.expect("response");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"final"[..]));
}

/// RFC 9113 §8.1: an interim response that ends the stream is malformed.
#[tokio::test(start_paused = true)]
async fn interim_response_with_end_stream() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, WHOLE, response(103, &[]))).await;
    outcome(call).await.expect_err("malformed");
    peer.expect_alive().await;
}

/// RFC 9113 §8.1: DATA before the final head is malformed.
#[tokio::test(start_paused = true)]
async fn data_before_the_head() {
    for interim in [false, true] {
        let (client, mut peer) = connected().await;
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        if interim {
            peer.send(headers(stream, END_HEADERS, response(100, &[]))).await;
        }
        peer.send(data(stream, NONE, *b"x")).await;
        peer.expect_error(stream, PROTOCOL_ERROR).await;
        outcome(call).await.expect_err("malformed");
    }
}

/// RFC 9113 §8.3.2: our server's response begins with one `:status`, in lower case throughout.
#[tokio::test(start_paused = true)]
async fn server_response_head() {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, get("/ok", &[]))).await;
    let answer = peer.expect_message(1).await;
    assert_eq!(answer.fields[0], (":status".into(), "200".into()));
    assert!(answer.fields[1..].iter().all(|(n, _)| !n.starts_with(':')));
    let banned = ["connection", "keep-alive", "transfer-encoding", "upgrade"];
    assert!(answer.fields.iter().all(|(n, _)| !banned.contains(&n.as_str())));
}

/// RFC 9113 §8.1: END_STREAM comes exactly once, and nothing of the stream after it.
#[tokio::test(start_paused = true)]
async fn response_ends_once() {
    let mut peer = served().await;
    for (stream, path) in [(1, "/ok"), (3, "/big/5"), (5, "/big/0")] {
        peer.send(headers(stream, WHOLE, get(path, &[]))).await;
    }
    let heard = peer.gather(std::time::Duration::from_secs(1)).await;
    for stream in [1, 3, 5] {
        let own: Vec<_> = heard.iter().filter(|f| f.stream == stream).collect();
        assert_eq!(own.iter().filter(|f| f.ends_stream()).count(), 1, "{own:?}");
        assert!(own.last().is_some_and(|f| f.ends_stream()), "{own:?}");
    }
}

/// RFC 9113 §8.4: a promise on a stream that may not carry one is refused whatever it promises.
#[tokio::test(start_paused = true)]
async fn push_of_any_kind_is_refused() {
    for promised in [0, 1, 2, 3] {
        let (client, mut peer) = connected().await;
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        peer.send(push_promise(stream, promised, &get("/p", &[]))).await;
        peer.expect_connection_error(PROTOCOL_ERROR).await;
        call.abort();
    }
}

/// RFC 9113 §8.7: REFUSED_STREAM says that nothing was processed.
#[tokio::test(start_paused = true)]
async fn refused_stream_is_safe_to_retry() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(rst_stream(stream, REFUSED_STREAM)).await;
    let failure = outcome(call).await.expect_err("refused");
    assert_eq!(failure.reset_code, Some(REFUSED_STREAM));
    assert!(!failure.may_have_been_processed);
    peer.expect_alive().await;
}

/// RFC 9113 §8.7: no other code says so.
#[tokio::test(start_paused = true)]
async fn other_resets_may_have_been_processed() {
    for code in [PROTOCOL_ERROR, CANCEL, INTERNAL_ERROR, ENHANCE_YOUR_CALM] {
        let (client, mut peer) = connected().await;
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        peer.send(rst_stream(stream, code)).await;
        assert!(outcome(call).await.expect_err("reset").may_have_been_processed);
    }
}
