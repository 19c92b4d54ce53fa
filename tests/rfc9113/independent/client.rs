//! RFC 9113 §5, §6 and §8 at a client whose request is open on stream 1.

use super::Told::*;
use super::*;

const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];
const SIZE: &[u32] = &[FRAME_SIZE_ERROR];
const FLOW: &[u32] = &[FLOW_CONTROL_ERROR];
const COMPRESSION: &[u32] = &[COMPRESSION_ERROR];
const CLOSED: &[u32] = &[STREAM_CLOSED];

fn head(status: u16, flags: u8) -> RawFrame {
    headers(1, flags, response(status, &[]))
}

fn fields(flags: u8, fields: &[(&str, &str)]) -> RawFrame {
    headers(1, flags, block(fields))
}

/// §5, §6: errors of the connection.
#[tokio::test(start_paused = true)]
async fn connection_errors() {
    let set = |id, value| settings(&[(id, value)]);
    let promise = push_promise(1, 2, &get("/x", &[]));
    let broken =
        |says, frame: RawFrame, codes| (case("5, 6", says, [frame], Connection(codes)), Failure);
    judge_client(vec![
        broken("DATA on stream 0", data(0, NONE, *b"x"), PROTOCOL),
        broken("HEADERS on stream 0", head(200, WHOLE).on(0), PROTOCOL),
        broken("an idle stream of the client", data(3, NONE, *b"x"), PROTOCOL),
        broken("an idle stream of the client", head(200, WHOLE).on(3), PROTOCOL),
        broken("an idle stream of the client", window_update(3, 1), PROTOCOL),
        broken("an idle stream of the client", rst_stream(3, CANCEL), PROTOCOL),
        broken("a stream of the server without promise", head(200, WHOLE).on(2), PROTOCOL),
        broken("a stream of the server without promise", data(2, NONE, *b"x"), PROTOCOL),
        broken("a promise that was forbidden", promise.clone(), PROTOCOL),
        broken("a promise on stream 0", promise.clone().on(0), PROTOCOL),
        broken("a promise on an idle stream", promise.on(3), PROTOCOL),
        broken("push cannot be allowed by a server", set(ENABLE_PUSH, 1), PROTOCOL),
        broken("a window above 2^31-1", set(INITIAL_WINDOW_SIZE, 1 << 31), FLOW),
        broken("a frame size out of range", set(MAX_FRAME_SIZE, 1 << 24), PROTOCOL),
        broken("a frame size out of range", set(MAX_FRAME_SIZE, 1), PROTOCOL),
        broken("a long acknowledgement", set(1, 1).flagged(ACK), SIZE),
        broken("half a setting", frame(SETTINGS, NONE, 0, [0; 3]), SIZE),
        broken("a short PING", frame(PING, NONE, 0, [0; 4]), SIZE),
        broken("PING on a stream", ping([0; 8]).on(1), PROTOCOL),
        broken("a short GOAWAY", frame(GOAWAY, NONE, 0, [0; 4]), SIZE),
        broken("GOAWAY on a stream", goaway(1, NO_ERROR).on(1), PROTOCOL),
        broken("an increment of 0", window_update(0, 0), PROTOCOL),
        broken("a window that overflows", window_update(0, MAX_WINDOW), FLOW),
        broken("a short WINDOW_UPDATE", frame(WINDOW_UPDATE, NONE, 0, [1; 3]), SIZE),
        broken("a short RST_STREAM", frame(RST_STREAM, NONE, 1, [0; 3]), SIZE),
        broken("RST_STREAM on stream 0", rst_stream(0, CANCEL), PROTOCOL),
        broken("CONTINUATION after nothing", continuation(1, END_HEADERS, [0x88]), PROTOCOL),
        broken("a block that does not decode", headers(1, WHOLE, [0x80]), COMPRESSION),
        broken("too much padding", headers(1, WHOLE, [9, 0x88]).flagged(PADDED), PROTOCOL),
    ])
    .await;
}

/// §8.1: the order of a response's frames.
#[tokio::test(start_paused = true)]
async fn responses() {
    let (ok, end) = (head(200, END_HEADERS), data(1, END_STREAM, *b"x"));
    let interim = head(103, END_HEADERS);
    let trail = fields(WHOLE, &[("x-end", "1")]);
    let bad = Stream(1, PROTOCOL);
    judge_client(vec![
        (case("8.1", "a head that ends", [head(200, WHOLE)], Fine), Response),
        (case("8.1", "head and body", [ok.clone(), end.clone()], Fine), Response),
        (case("8.1", "head and trailers", [ok.clone(), trail.clone()], Fine), Response),
        (
            case(
                "8.1",
                "interim heads first",
                [interim.clone(), interim.clone(), ok.clone(), end.clone()],
                Fine,
            ),
            Response,
        ),
        (case("8.1", "an interim head alone", [interim.clone()], Fine), Nothing),
        (case("8.1", "no end so far", [ok.clone(), data(1, NONE, *b"x")], Fine), Nothing),
        (case("8.1", "DATA first", [end.clone()], bad), Failure),
        (case("8.1", "DATA after an interim head", [interim, end.clone()], bad), Failure),
        (case("8.1", "an interim head that ends", [head(100, WHOLE)], bad), Failure),
        (case("8.6", "101", [head(101, END_HEADERS), ok.clone(), end.clone()], bad), Failure),
        (case("8.1", "two heads", [ok.clone(), ok.clone(), end.clone()], bad), Failure),
        (
            case(
                "8.1",
                "trailers that do not end",
                [ok.clone(), fields(END_HEADERS, &[("x", "1")])],
                bad,
            ),
            Failure,
        ),
        (
            case(
                "8.1",
                "pseudo-header fields in trailers",
                [ok.clone(), fields(WHOLE, &[(":status", "200")])],
                bad,
            ),
            Failure,
        ),
        (
            case(
                "5.1",
                "DATA after the end",
                [ok.clone(), end.clone(), end.clone()],
                Either(1, CLOSED),
            ),
            Response,
        ),
    ])
    .await;
}

/// §8.2, §8.3.2: fields of responses.
#[tokio::test(start_paused = true)]
async fn fields_of_responses() {
    let refused: &[(&'static str, &[(&str, &str)])] = &[
        ("no status", &[("x", "y")]),
        ("nothing", &[]),
        ("two statuses", &[(":status", "200"), (":status", "200")]),
        ("a status after a regular field", &[("x", "y"), (":status", "200")]),
        ("of requests", &[(":status", "200"), (":path", "/")]),
        ("unknown", &[(":status", "200"), (":x", "y")]),
        ("no number", &[(":status", "abc")]),
        ("two digits", &[(":status", "20")]),
        ("four digits", &[(":status", "2000")]),
        ("an empty status", &[(":status", "")]),
        ("an upper-case name", &[(":status", "200"), ("X", "y")]),
        ("a connection-specific field", &[(":status", "200"), ("connection", "close")]),
        ("transfer-encoding", &[(":status", "200"), ("transfer-encoding", "chunked")]),
        ("LF in a value", &[(":status", "200"), ("x", "a\nb")]),
        ("NUL in a value", &[(":status", "200"), ("x", "a\0b")]),
        ("SP at an edge", &[(":status", "200"), ("x", " a")]),
        ("content-length without content", &[(":status", "200"), ("content-length", "5")]),
        ("content-length no number", &[(":status", "200"), ("content-length", "x")]),
    ];
    let row = |(says, list): &(&'static str, &[(&str, &str)])| {
        (case("8.2, 8.3.2", says, [fields(WHOLE, list)], Stream(1, PROTOCOL)), Failure)
    };
    let mut cases: Vec<_> = refused.iter().map(row).collect();
    let taken: &[(&'static str, &[(&str, &str)])] = &[
        ("any status", &[(":status", "599")]),
        ("no content", &[(":status", "204")]),
        ("not modified, with a length", &[(":status", "304"), ("content-length", "5")]),
        ("an empty value", &[(":status", "200"), ("x", "")]),
    ];
    let row = |(says, list): &(&'static str, &[(&str, &str)])| {
        (case("8.3.2", says, [fields(WHOLE, list)], Fine), Response)
    };
    cases.extend(taken.iter().map(row));
    judge_client(cases).await;
}

/// §5.1, §6.4, §8.1: ends by RST_STREAM.
#[tokio::test(start_paused = true)]
async fn resets() {
    let (ok, end) = (head(200, END_HEADERS), data(1, END_STREAM, *b"x"));
    let early = rst_stream(1, NO_ERROR);
    judge_client(vec![
        (case("6.4", "a reset ends the call", [rst_stream(1, INTERNAL_ERROR)], Fine), Failure),
        (case("7", "of an unknown code", [rst_stream(1, 0xabcd_0123)], Fine), Failure),
        (
            case(
                "6.4",
                "in the middle",
                [ok.clone(), data(1, NONE, *b"x"), rst_stream(1, CANCEL)],
                Fine,
            ),
            Failure,
        ),
        (case("8.1", "NO_ERROR after a whole response", [ok, end, early.clone()], Fine), Response),
        (case("8.1", "NO_ERROR without a response", [early], Fine), Failure),
    ])
    .await;
}

/// §8.7: REFUSED_STREAM and a stream above that of GOAWAY say that nothing was processed.
#[tokio::test(start_paused = true)]
async fn what_was_not_processed_is_said() {
    for refusal in [vec![rst_stream(1, REFUSED_STREAM); 1], vec![goaway(0, NO_ERROR)]] {
        let (client, mut peer) = connected().await;
        let call = client.get("/x");
        assert_eq!(peer.expect_request().await.0, 1);
        peer.send_all(&refusal).await;
        // It may be sent again, on this connection or another; then it is refused again.
        for _ in 0..64 {
            match peer.hear(Duration::from_secs(5)).await {
                Heard::Frame(frame) if frame.kind == HEADERS => {
                    peer.send(rst_stream(frame.stream, REFUSED_STREAM)).await;
                }
                Heard::Frame(_) => {}
                _ => break,
            }
        }
        let failure = outcome(call).await.expect_err("nobody answered");
        assert!(!failure.may_have_been_processed, "{failure:?}");
    }
}

/// §6.8: GOAWAY lets the streams up to its own go on, and no new one begins.
#[tokio::test(start_paused = true)]
async fn streams_up_to_goaways_go_on() {
    let (client, mut peer) = connected().await;
    let call = client.get("/x");
    peer.expect_request().await;
    peer.send(goaway(1, NO_ERROR)).await;
    let late = client.get("/late");
    let frames = peer.gather(Duration::from_secs(2)).await;
    assert!(frames.iter().all(|frame| frame.kind != HEADERS), "{frames:?}");
    peer.respond(1, b"still").await;
    assert_eq!(outcome(call).await.expect("a response").body, b"still");
    late.abort();
}

/// §6.8: "Endpoints MUST NOT increase the value they send in the last stream identifier."
#[tokio::test(start_paused = true)]
async fn goaway_does_not_rise() {
    let (client, mut peer) = connected().await;
    let _call = client.get("/x");
    peer.expect_request().await;
    peer.send_all(&[goaway(1, NO_ERROR), goaway(5, NO_ERROR)]).await;
    peer.expect_connection_error(PROTOCOL_ERROR).await;
}

/// §5.1.1, §5.1.2: odd identifiers that rise, and no more of them than the server allows.
#[tokio::test(start_paused = true)]
async fn identifiers_and_the_servers_limit() {
    let (client, mut peer) = connect();
    peer.handshake_with(&[(MAX_CONCURRENT_STREAMS, 2)]).await;
    let _calls: Vec<_> = (0..5).map(|_| client.get("/x")).collect();
    let frames = peer.gather(Duration::from_secs(2)).await;
    let begun: Vec<_> = frames.iter().filter(|f| f.kind == HEADERS).map(|f| f.stream).collect();
    assert_eq!(begun, [1, 3]);
    peer.respond(1, b"").await;
    let frames = peer.gather(Duration::from_secs(2)).await;
    let begun: Vec<_> = frames.iter().filter(|f| f.kind == HEADERS).map(|f| f.stream).collect();
    assert_eq!(begun, [5]);
}

/// §6.5.2, §8.4, §3.4: the client forbids push; its preface begins with SETTINGS.
#[tokio::test(start_paused = true)]
async fn push_is_forbidden() {
    let (_client, mut peer) = connected().await;
    peer.expect_alive().await;
    assert_eq!(peer.settings.get(&ENABLE_PUSH), Some(&0));
}
