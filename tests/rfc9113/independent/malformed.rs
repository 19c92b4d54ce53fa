//! RFC 9113 §8.2, §8.3: fields of requests. A malformed message is a stream error of type PROTOCOL_ERROR.

use super::*;

const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];

/// Rows of requests that differ in their fields only, on stream 1 with END_STREAM.
fn rows(section: &'static str, rows: &[(&'static str, &[(&str, &str)])], then: Then) -> Vec<Case> {
    let row = |(says, fields): &(&'static str, &[(&str, &str)])| {
        case(section, says, [headers(1, WHOLE, block(fields))], then)
    };
    rows.iter().map(row).collect()
}

/// A good request with one more field.
fn with(name: &[u8], value: &[u8]) -> RawFrame {
    let mut fields = get("/ok", &[]);
    fields.extend(hpack::literal(name, value));
    headers(1, WHOLE, fields)
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/ok");
const AUTHORITY: (&str, &str) = (":authority", "localhost");

/// §8.2.1: names.
#[tokio::test(start_paused = true)]
async fn names() {
    let bad = "characters that no name may have";
    let mut cases = Vec::new();
    for byte in (0..=0x20).chain(b'A'..=b'Z').chain(0x7f..=0xff) {
        cases.push(case("8.2.1", bad, [with(&[b'x', byte, b'y'], b"1")], Stream(1, PROTOCOL)));
    }
    cases.push(case("8.2.1", "a colon within", [with(b"x:y", b"1")], Stream(1, PROTOCOL)));
    cases.push(case("8.2.1", "an empty name", [with(b"", b"1")], Stream(1, PROTOCOL)));
    cases.push(case("8.2.1", "a token", [with(b"x-!#$%&'*+.^_`|~09", b"1")], Answer(1)));
    judge_server(cases).await;
}

/// §8.2.1: values.
#[tokio::test(start_paused = true)]
async fn values() {
    let bad = "NUL, LF and CR anywhere";
    let edges = "SP or HTAB at an edge";
    let mut cases = Vec::new();
    for byte in [0u8, b'\n', b'\r'] {
        for value in [vec![byte], vec![b'a', byte, b'b'], vec![byte, b'a'], vec![b'a', byte]] {
            cases.push(case("8.2.1", bad, [with(b"x", &value)], Stream(1, PROTOCOL)));
        }
    }
    for value in [" a", "a ", "\ta", "a\t", " ", "\t"] {
        cases.push(case("8.2.1", edges, [with(b"x", value.as_bytes())], Stream(1, PROTOCOL)));
    }
    for value in [&b""[..], b"a b", b"a\tb", b"\x80\xff", b":", b"\""] {
        cases.push(case("8.2.1", "allowed", [with(b"x", value)], Answer(1)));
    }
    judge_server(cases).await;
}

/// §8.2.2: connection-specific fields.
#[tokio::test(start_paused = true)]
async fn connection_specific() {
    let names = ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"];
    let mut cases = Vec::new();
    for name in names {
        cases.push(case("8.2.2", name, [with(name.as_bytes(), b"x")], Stream(1, PROTOCOL)));
    }
    let te = "te other than trailers";
    cases.push(case("8.2.2", te, [with(b"te", b"gzip")], Stream(1, PROTOCOL)));
    cases.push(case("8.2.2", te, [with(b"te", b"trailers, gzip")], Stream(1, PROTOCOL)));
    cases.push(case("8.2.2", "te: trailers", [with(b"te", b"trailers")], Answer(1)));
    judge_server(cases).await;
}

/// §8.2.3: cookies may come in crumbs.
#[tokio::test(start_paused = true)]
async fn cookies() {
    let fields = get("/ok", &[("cookie", "a=b"), ("cookie", "c=d"), ("x", "y"), ("cookie", "e=f")]);
    judge_server(vec![case("8.2.3", "crumbs", [headers(1, WHOLE, fields)], Answer(1))]).await;
}

/// §8.3: pseudo-header fields.
#[tokio::test(start_paused = true)]
async fn pseudo_header_fields() {
    let refused: &[(&'static str, &[(&str, &str)])] = &[
        ("unknown", &[METHOD, SCHEME, PATH, AUTHORITY, (":unknown", "x")]),
        ("of responses", &[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")]),
        ("only a colon", &[METHOD, SCHEME, PATH, AUTHORITY, (":", "x")]),
        ("after a regular field", &[METHOD, SCHEME, ("x", "y"), PATH, AUTHORITY]),
        ("all after a regular field", &[("x", "y"), METHOD, SCHEME, PATH, AUTHORITY]),
        ("twice: method", &[METHOD, METHOD, SCHEME, PATH, AUTHORITY]),
        ("twice: scheme", &[METHOD, SCHEME, SCHEME, PATH, AUTHORITY]),
        ("twice: path", &[METHOD, SCHEME, PATH, PATH, AUTHORITY]),
        ("twice: authority", &[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY]),
        ("twice with other values", &[METHOD, SCHEME, PATH, (":path", "/other"), AUTHORITY]),
        (
            "protocol without extended CONNECT",
            &[METHOD, SCHEME, PATH, AUTHORITY, (":protocol", "x")],
        ),
    ];
    judge_server(rows("8.3", refused, Stream(1, PROTOCOL))).await;
}

/// §8.3.1: what a request must have.
#[tokio::test(start_paused = true)]
async fn requests() {
    let refused: &[(&'static str, &[(&str, &str)])] = &[
        ("no method", &[SCHEME, PATH, AUTHORITY]),
        ("no scheme", &[METHOD, PATH, AUTHORITY]),
        ("no path", &[METHOD, SCHEME, AUTHORITY]),
        ("nothing", &[]),
        ("an empty path", &[METHOD, SCHEME, (":path", ""), AUTHORITY]),
        ("userinfo", &[METHOD, SCHEME, PATH, (":authority", "u:p@localhost")]),
        ("CONNECT with scheme and path", &[(":method", "CONNECT"), SCHEME, PATH, AUTHORITY]),
        ("CONNECT with a path", &[(":method", "CONNECT"), PATH, AUTHORITY]),
        ("CONNECT with a scheme", &[(":method", "CONNECT"), SCHEME, AUTHORITY]),
        ("CONNECT without authority", &[(":method", "CONNECT")]),
    ];
    let mut cases = rows("8.3.1", refused, Stream(1, PROTOCOL));
    let told: &[(&'static str, &[(&str, &str)])] = &[
        ("host and authority differ", &[METHOD, SCHEME, PATH, AUTHORITY, ("host", "other")]),
        ("http names an authority", &[METHOD, SCHEME, PATH]),
    ];
    cases.extend(rows("8.3.1", told, Refused(1)));
    let taken: &[(&'static str, &[(&str, &str)])] = &[
        ("in any order", &[AUTHORITY, PATH, SCHEME, METHOD]),
        ("host in its place", &[METHOD, SCHEME, PATH, ("host", "localhost")]),
        ("host the same", &[METHOD, SCHEME, PATH, AUTHORITY, ("host", "localhost")]),
        ("any scheme", &[METHOD, (":scheme", "coap"), PATH, AUTHORITY]),
        ("HEAD", &[(":method", "HEAD"), SCHEME, PATH, AUTHORITY]),
        ("any method", &[(":method", "FROBNICATE"), SCHEME, PATH, AUTHORITY]),
    ];
    cases.extend(rows("8.3.1", taken, Answer(1)));
    let star: &[(&'static str, &[(&str, &str)])] =
        &[("OPTIONS *", &[(":method", "OPTIONS"), SCHEME, (":path", "*"), AUTHORITY])];
    cases.extend(rows("8.3.1", star, Fine));
    judge_server(cases).await;
}
