//! RFC 9113 §8.3.1 and §8.5: the head of a request.

use crate::support::hpack::block;
use crate::support::*;

async fn malformed(fields: &[(&str, &str)]) {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, block(fields))).await;
    peer.expect_malformed(1).await;
    peer.expect_serves(3).await;
}

/// Where the RFC leaves it to the server: a stream error, or an answer of 4xx.
async fn refused(fields: &[(&str, &str)]) {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, block(fields))).await;
    let wanted = "RST_STREAM PROTOCOL_ERROR or 4xx on stream 1";
    let answer =
        peer.find(wanted, |f| f.stream == 1 && (f.kind == RST_STREAM || f.fields.is_some())).await;
    match answer.fields {
        Some(fields) => assert!(fields[0].1.starts_with('4'), "{wanted}: {fields:?}"),
        None => assert_eq!(answer.word(0), PROTOCOL_ERROR, "{wanted}"),
    }
    peer.expect_serves(3).await;
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/ok");
const AUTHORITY: (&str, &str) = (":authority", "localhost");

/// RFC 9113 §8.3: an unknown pseudo-header field is malformed.
#[tokio::test(start_paused = true)]
async fn unknown_pseudo_header() {
    malformed(&[METHOD, SCHEME, PATH, AUTHORITY, (":test", "x")]).await;
}

/// RFC 9113 §8.3: the response's pseudo-header field does not belong in a request.
#[tokio::test(start_paused = true)]
async fn status_in_a_request() {
    malformed(&[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")]).await;
}

/// RFC 9113 §8.3: pseudo-header fields come before all others.
#[tokio::test(start_paused = true)]
async fn pseudo_header_after_a_regular_field() {
    malformed(&[METHOD, SCHEME, ("x", "y"), PATH, AUTHORITY]).await;
    malformed(&[METHOD, SCHEME, PATH, ("x", "y"), AUTHORITY]).await;
}

/// RFC 9113 §8.3: each pseudo-header field comes once.
#[tokio::test(start_paused = true)]
async fn repeated_pseudo_header() {
    for twice in [METHOD, SCHEME, PATH, AUTHORITY] {
        malformed(&[METHOD, SCHEME, PATH, AUTHORITY, twice]).await;
    }
    malformed(&[METHOD, SCHEME, PATH, AUTHORITY, (":authority", "other")]).await;
}

/// RFC 9113 §8.3.1: `:method`, `:scheme` and `:path` are mandatory.
#[tokio::test(start_paused = true)]
async fn missing_pseudo_header() {
    malformed(&[SCHEME, PATH, AUTHORITY]).await;
    malformed(&[METHOD, PATH, AUTHORITY]).await;
    malformed(&[METHOD, SCHEME, AUTHORITY]).await;
    malformed(&[("x", "y")]).await;
}

/// RFC 9113 §8.3.1: `:path` is not empty for http and https.
#[tokio::test(start_paused = true)]
async fn empty_path() {
    malformed(&[METHOD, SCHEME, (":path", ""), AUTHORITY]).await;
}

/// RFC 9113 §8.3.1: a path begins with a slash, unless it is `*` for OPTIONS.
#[tokio::test(start_paused = true)]
async fn path_without_a_slash() {
    refused(&[METHOD, SCHEME, (":path", "ok"), AUTHORITY]).await;
    refused(&[METHOD, SCHEME, (":path", "*"), AUTHORITY]).await;
}

/// RFC 9113 §8.3.1: the asterisk for OPTIONS is well-formed and gets an answer.
#[tokio::test(start_paused = true)]
async fn asterisk_for_options() {
    let mut peer = served().await;
    let fields = [(":method", "OPTIONS"), SCHEME, (":path", "*"), AUTHORITY];
    peer.send(headers(1, WHOLE, block(&fields))).await;
    assert_eq!(peer.expect_message(1).await.status(), "404");
}

/// RFC 9113 §8.3.1: a method is a token and not empty (RFC 9110 §9.1).
#[tokio::test(start_paused = true)]
async fn method_that_is_no_token() {
    for method in ["", "GE T", "GET\u{1}", "(GET)"] {
        refused(&[(":method", method), SCHEME, PATH, AUTHORITY]).await;
    }
}

/// RFC 9113 §8.3.1: `:authority` has no userinfo.
#[tokio::test(start_paused = true)]
async fn authority_with_userinfo() {
    malformed(&[METHOD, SCHEME, PATH, (":authority", "user:secret@localhost")]).await;
}

/// RFC 9113 §8.3.1: a request with Host and no `:authority` is legal.
#[tokio::test(start_paused = true)]
async fn host_without_authority() {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, block(&[METHOD, SCHEME, PATH, ("host", "localhost")]))).await;
    peer.expect_response(1).await;
}

/// RFC 9113 §8.3.1: the same host in both is legal.
#[tokio::test(start_paused = true)]
async fn host_equal_to_authority() {
    let mut peer = served().await;
    let fields = [METHOD, SCHEME, PATH, AUTHORITY, ("host", "localhost")];
    peer.send(headers(1, WHOLE, block(&fields))).await;
    peer.expect_response(1).await;
}

/// RFC 9113 §8.3: the order among pseudo-header fields is free.
#[tokio::test(start_paused = true)]
async fn pseudo_headers_in_any_order() {
    let mut peer = served().await;
    peer.send(headers(1, WHOLE, block(&[AUTHORITY, PATH, SCHEME, METHOD]))).await;
    peer.expect_response(1).await;
}

/// RFC 9113 §8.5: CONNECT has `:authority`, and neither `:scheme` nor `:path`.
#[tokio::test(start_paused = true)]
async fn connect_with_scheme_or_path() {
    let connect = (":method", "CONNECT");
    malformed(&[connect, SCHEME, PATH, AUTHORITY]).await;
    malformed(&[connect, PATH, AUTHORITY]).await;
    malformed(&[connect, SCHEME, AUTHORITY]).await;
    malformed(&[connect]).await;
}

/// RFC 9113 §8.5: a server without tunnels answers a right CONNECT and lives on.
#[tokio::test(start_paused = true)]
async fn connect_is_answered() {
    let mut peer = served().await;
    let head = block(&[(":method", "CONNECT"), (":authority", "localhost:80")]);
    peer.send(headers(1, END_HEADERS, head)).await;
    let answer = peer
        .find("an answer on stream 1", |f| {
            f.stream == 1 && (f.kind == HEADERS || f.kind == RST_STREAM)
        })
        .await;
    if let Some(fields) = answer.fields {
        assert!(fields[0].1.starts_with('4'), "a tunnel was opened: {fields:?}");
    }
    peer.expect_serves(3).await;
}

/// RFC 9113 §8.3.1: our client sends the four pseudo-header fields, once, before all others, in
/// lower case throughout.
#[tokio::test(start_paused = true)]
async fn client_request_head() {
    let (client, mut peer) = connected().await;
    let call = client.call("POST", "/some/path?q=1", &[("x-field", "Value")], b"body");
    let (stream, fields) = peer.expect_request().await;
    let pseudo = fields.iter().take_while(|(n, _)| n.starts_with(':')).count();
    assert!(fields[pseudo..].iter().all(|(n, _)| !n.starts_with(':')), "{fields:?}");
    let mut names: Vec<_> = fields[..pseudo].iter().map(|(n, _)| n.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, [":authority", ":method", ":path", ":scheme"]);
    assert!(fields.contains(&(":path".into(), "/some/path?q=1".into())));
    assert!(fields.contains(&("x-field".into(), "Value".into())));
    assert!(fields.iter().all(|(n, _)| n.chars().all(|c| !c.is_ascii_uppercase())));
    peer.respond(stream, b"").await;
    outcome(call).await.expect("response");
}

/// RFC 9113 §8.2.2: our client sends no connection-specific field.
#[tokio::test(start_paused = true)]
async fn client_sends_no_connection_fields() {
    let (client, mut peer) = connected().await;
    let call = client.call("POST", "/x", &[("te", "trailers")], b"body");
    let (stream, fields) = peer.expect_request().await;
    let banned = ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"];
    assert!(fields.iter().all(|(n, _)| !banned.contains(&n.as_str())), "{fields:?}");
    peer.respond(stream, b"").await;
    outcome(call).await.expect("response");
}

/// RFC 9113 §8.2.2: nor does it when its user asks for one: the call fails or the field is gone.
#[tokio::test(start_paused = true)]
async fn client_user_asks_for_a_connection_field() {
    for (name, value) in [("connection", "close"), ("transfer-encoding", "chunked")] {
        let (client, mut peer) = connected().await;
        let call = client.call("GET", "/x", &[(name, value)], b"");
        let heard = peer.gather(std::time::Duration::from_secs(1)).await;
        let fields = heard.iter().filter_map(|f| f.fields.as_ref()).flatten();
        assert!(fields.into_iter().all(|(n, _)| n != name), "{heard:?}");
        call.abort();
    }
}

/// RFC 9113 §8.8: a request without body ends with its head; one with a body with its last DATA.
#[tokio::test(start_paused = true)]
async fn client_request_ends() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    let head = peer.find("HEADERS", |f| f.kind == HEADERS).await;
    assert!(head.ends_stream());
    call.abort();
    let call = client.call("POST", "/x", &[], b"body");
    let message = peer.expect_message(3).await;
    assert_eq!(message.body, b"body");
    call.abort();
}
