//! RFC 9113 §8.1 and §8.2: the framing of messages, and fields.

use std::time::Duration;

use crate::support::hpack::{block, literal};
use crate::support::*;

/// RFC 9113 §8.1: a request is HEADERS, DATA and at most one block of trailers.
#[tokio::test(start_paused = true)]
async fn request_with_trailers() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[("te", "trailers")]))).await;
    peer.send(data(1, NONE, *b"body")).await;
    peer.send(headers(1, WHOLE, block(&[("x-trailer", "last")]))).await;
    let answer = peer.expect_response(1).await;
    assert_eq!(answer.body, b"body");
    assert_eq!(answer.trailers, Some(vec![("x-trailer".into(), "last".into())]));
}

/// RFC 9113 §8.1: a response likewise.
#[tokio::test(start_paused = true)]
async fn response_with_trailers() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, END_HEADERS, response(200, &[]))).await;
    peer.send(data(stream, NONE, *b"body")).await;
    peer.send(headers(stream, WHOLE, block(&[("x-trailer", "last")]))).await;
    let answer = outcome(call).await.expect("response");
    assert_eq!(answer.body, b"body");
    assert_eq!(answer.trailers, Some(vec![("x-trailer".into(), "last".into())]));
}

/// RFC 9113 §8.1: HEADERS after the first that does not end the stream is malformed.
#[tokio::test(start_paused = true)]
async fn trailers_without_end_stream() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
    peer.send(data(1, NONE, *b"body")).await;
    peer.send(headers(1, END_HEADERS, block(&[("x-trailer", "last")]))).await;
    peer.expect_malformed(1).await;
}

/// RFC 9113 §8.1: in a response, after the final head, too.
#[tokio::test(start_paused = true)]
async fn client_trailers_without_end_stream() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, END_HEADERS, response(200, &[]))).await;
    peer.send(headers(stream, END_HEADERS, block(&[("x-trailer", "last")]))).await;
    peer.expect_reset(stream, PROTOCOL_ERROR).await;
    outcome(call).await.expect_err("malformed");
}

/// RFC 9113 §8.1: trailers carry no pseudo-header fields.
#[tokio::test(start_paused = true)]
async fn pseudo_header_in_trailers() {
    for pseudo in [":path", ":method", ":status", ":unknown"] {
        let mut peer = served().await;
        peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
        peer.send(headers(1, WHOLE, block(&[(pseudo, "x")]))).await;
        peer.expect_malformed(1).await;
    }
}

/// RFC 9113 §8.1: nor do those of a response.
#[tokio::test(start_paused = true)]
async fn client_pseudo_header_in_trailers() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let (stream, _) = peer.expect_request().await;
    peer.send(headers(stream, END_HEADERS, response(200, &[]))).await;
    peer.send(headers(stream, WHOLE, block(&[(":status", "200")]))).await;
    peer.expect_reset(stream, PROTOCOL_ERROR).await;
    outcome(call).await.expect_err("malformed");
}

/// RFC 9113 §8.1: a server may answer before the request ended, and then ask the client to stop
/// with RST_STREAM NO_ERROR; the client keeps the response.
#[tokio::test(start_paused = true)]
async fn early_response_with_no_error_is_kept() {
    let (client, mut peer) = connected().await;
    let (body, call) = client.open("/x");
    let (stream, _) = peer.expect_request().await;
    peer.respond(stream, b"enough").await;
    peer.send(rst_stream(stream, NO_ERROR)).await;
    let answer = outcome(call).await.expect("response");
    assert_eq!(answer.body, b"enough");
    drop(body);
}

/// RFC 9113 §8.1.1: `content-length` that is not the sum of the DATA is malformed.
#[tokio::test(start_paused = true)]
async fn content_length_differs_from_the_body() {
    for body in [&b"four"[..], b"sixsix", b""] {
        let mut peer = served().await;
        peer.send(headers(1, END_HEADERS, post("/echo", &[("content-length", "5")]))).await;
        peer.send(data(1, END_STREAM, body)).await;
        peer.expect_malformed(1).await;
    }
}

/// RFC 9113 §8.1.1: the length is wrong as well if HEADERS end the stream, or trailers.
#[tokio::test(start_paused = true)]
async fn content_length_without_data() {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, post("/echo", &[("content-length", "5")]))).await;
    peer.expect_reset(1, PROTOCOL_ERROR).await;
    peer.send(headers(3, END_HEADERS, post("/echo", &[("content-length", "5")]))).await;
    peer.send(data(3, NONE, *b"four")).await;
    peer.send(headers(3, WHOLE, block(&[("x-trailer", "last")]))).await;
    peer.expect_malformed(3).await;
}

/// RFC 9113 §8.1.1: more than the declared length is known before the stream ends.
#[tokio::test(start_paused = true)]
async fn content_length_exceeded_in_mid_stream() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[("content-length", "5")]))).await;
    peer.send(data(1, NONE, *b"123")).await;
    peer.send(data(1, NONE, *b"456")).await;
    peer.expect_malformed(1).await;
}

/// RFC 9113 §8.1.1: a right `content-length` passes; padding does not count.
#[tokio::test(start_paused = true)]
async fn content_length_equals_the_body() {
    let mut peer = served().await;
    peer.send(headers(1, END_HEADERS, post("/echo", &[("content-length", "5")]))).await;
    peer.send(data(1, NONE, *b"123").padded(9)).await;
    peer.send(data(1, END_STREAM, *b"45")).await;
    assert_eq!(peer.expect_response(1).await.body, b"12345");
}

/// RFC 9113 §8.1.1: a `content-length` that is no number, or two that differ, is malformed.
#[tokio::test(start_paused = true)]
async fn content_length_that_is_none() {
    let lengths: [&[(&str, &str)]; 4] = [
        &[("content-length", "five")],
        &[("content-length", "-5")],
        &[("content-length", "99999999999999999999999")],
        &[("content-length", "5"), ("content-length", "6")],
    ];
    for more in lengths {
        let mut peer = served().await;
        peer.send(headers(1, END_HEADERS, post("/echo", more))).await;
        peer.send(data(1, END_STREAM, *b"12345")).await;
        peer.expect_malformed(1).await;
    }
}

/// RFC 9113 §8.1.1: a client checks the length of a response.
#[tokio::test(start_paused = true)]
async fn client_content_length_differs() {
    for body in [&b"four"[..], b"sixsix"] {
        let (client, mut peer) = connected().await;
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        let head = response(200, &[("content-length", "5")]);
        peer.send(headers(stream, END_HEADERS, head)).await;
        peer.send(data(stream, END_STREAM, body)).await;
        outcome(call).await.expect_err("malformed");
        peer.expect_alive().await;
    }
}

/// RFC 9113 §8.1.1: answers to HEAD, and 204 and 304, may declare what they do not carry.
#[tokio::test(start_paused = true)]
async fn content_length_of_responses_without_content() {
    for (method, status) in [("HEAD", 200), ("GET", 304), ("GET", 204)] {
        let (client, mut peer) = connected().await;
        let call = client.call(method, "/x", &[], b"");
        let (stream, _) = peer.expect_request().await;
        peer.send(headers(stream, WHOLE, response(status, &[("content-length", "5")]))).await;
        assert_eq!(outcome(call).await.expect("response").status, status);
    }
}

async fn malformed_field(name: &[u8], value: &[u8]) {
    let mut peer = served().await;
    let mut bytes = get("/ok", &[]);
    bytes.extend(literal(name, value));
    peer.send(headers(1, WHOLE, bytes)).await;
    peer.expect_malformed(1).await;
    peer.expect_serves(3).await;
}

/// RFC 9113 §8.2: field names are lower case; a request with an upper-case one is malformed.
#[tokio::test(start_paused = true)]
async fn upper_case_name() {
    malformed_field(b"X-Upper", b"v").await;
}

/// RFC 9113 §8.2.1: a name has no byte of 0x00-0x20, 0x41-0x5a or 0x7f-0xff.
#[tokio::test(start_paused = true)]
async fn forbidden_bytes_in_a_name() {
    for byte in (0..=0x20).chain(0x41..=0x5a).chain(0x7f..=0xff) {
        malformed_field(&[b'x', byte, b'y'], b"v").await;
    }
}

/// RFC 9113 §8.2.1: a colon is only the first byte of a pseudo-header field's name.
#[tokio::test(start_paused = true)]
async fn colon_in_a_name() {
    malformed_field(b"x:y", b"v").await;
    malformed_field(b"x:", b"v").await;
}

/// RFC 9113 §8.2.1: a name is not empty.
#[tokio::test(start_paused = true)]
async fn empty_name() {
    malformed_field(b"", b"v").await;
}

/// RFC 9113 §8.2.1: a value has no NUL, LF or CR at any place.
#[tokio::test(start_paused = true)]
async fn forbidden_bytes_in_a_value() {
    for value in [&b"\0"[..], b"a\0b", b"a\nb", b"a\rb", b"a\r\nx: y", b"\na", b"a\r"] {
        malformed_field(b"x-value", value).await;
    }
}

/// RFC 9113 §8.2.1: nor does it begin or end with a space or a tab.
#[tokio::test(start_paused = true)]
async fn blanks_round_a_value() {
    for value in [&b" a"[..], b"a ", b"\ta", b"a\t", b" "] {
        malformed_field(b"x-value", value).await;
    }
}

/// RFC 9113 §8.2.1: other bytes pass: an empty value, inner blanks, obs-text.
#[tokio::test(start_paused = true)]
async fn legal_values_pass() {
    let mut peer = served().await;
    let mut bytes = get("/ok", &[("x-empty", ""), ("x-inner", "a b\tc")]);
    bytes.extend(literal(b"x-obs", b"\x80\xff"));
    bytes.extend(literal(b"!#$%&'*+-.^_`|~09", b"token characters"));
    peer.send(headers(1, WHOLE, bytes)).await;
    peer.expect_response(1).await;
}

/// RFC 9113 §8.2.1: a client refuses the same in a response.
#[tokio::test(start_paused = true)]
async fn client_malformed_fields() {
    let wrong: [(&[u8], &[u8]); 6] = [
        (b"Upper", b"v"),
        (b"x y", b"v"),
        (b"", b"v"),
        (b"x", b"a\nb"),
        (b"x", b" a"),
        (b"connection", b"close"),
    ];
    for (name, value) in wrong {
        let (client, mut peer) = connected().await;
        let call = client.get("/x");
        let (stream, _) = peer.expect_request().await;
        let mut head = response(200, &[]);
        head.extend(literal(name, value));
        peer.send(headers(stream, WHOLE, head)).await;
        // The stream is closed by the response itself, so there may be nothing left to reset.
        outcome(call).await.expect_err("malformed");
        peer.expect_alive().await;
    }
}

/// RFC 9113 §8.2.1: the rules hold for trailers.
#[tokio::test(start_paused = true)]
async fn malformed_fields_in_trailers() {
    let wrong: [(&[u8], &[u8]); 3] = [(b"X-Upper", b"v"), (b"x", b"a\0"), (b"upgrade", b"h2c")];
    for (name, value) in wrong {
        let mut peer = served().await;
        peer.send(headers(1, END_HEADERS, post("/echo", &[]))).await;
        peer.send(headers(1, WHOLE, literal(name, value))).await;
        peer.expect_malformed(1).await;
    }
}

/// RFC 9113 §8.2.2: fields of an HTTP/1.1 connection are malformed.
#[tokio::test(start_paused = true)]
async fn connection_specific_fields() {
    for (name, value) in [
        ("connection", "close"),
        ("proxy-connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
    ] {
        malformed_field(name.as_bytes(), value.as_bytes()).await;
    }
}

/// RFC 9113 §8.2.2: TE says nothing but `trailers`.
#[tokio::test(start_paused = true)]
async fn te_other_than_trailers() {
    malformed_field(b"te", b"gzip").await;
    malformed_field(b"te", b"trailers, gzip").await;
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, get("/ok", &[("te", "trailers")]))).await;
    peer.expect_response(1).await;
}

/// RFC 9113 §8.2.3: a cookie may come in crumbs.
#[tokio::test(start_paused = true)]
async fn cookie_crumbs_pass() {
    let mut peer = served().await;
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
    peer.send(headers(1, WHOLE, get("/ok", &crumbs))).await;
    peer.expect_response(1).await;
}

/// RFC 9113 §8.1.1: a malformed request reaches no handler.
#[tokio::test(start_paused = true)]
async fn malformed_request_reaches_no_handler() {
    let (mut peer, counters) = serve_counted();
    peer.handshake().await;
    peer.send(headers(1, WHOLE, get("/hang", &[("connection", "close")]))).await;
    peer.expect_malformed(1).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(counters.started(), 0);
}
