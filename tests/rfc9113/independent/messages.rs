//! RFC 9113 §8.1, §8.7: the frames of a message, and the promise of GOAWAY.

use super::*;

const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];

fn post_with(stream: u32, flags: u8, more: &[(&str, &str)]) -> RawFrame {
    headers(stream, flags, post("/echo", more))
}

fn trailers_of(stream: u32, flags: u8, fields: &[(&str, &str)]) -> RawFrame {
    headers(stream, flags, block(fields))
}

/// §8.1: trailers end the message, and have no pseudo-header fields.
#[tokio::test(start_paused = true)]
async fn trailers_of_requests() {
    let body = data(1, NONE, *b"x");
    let second = "a second field section without END_STREAM";
    let pseudo = "pseudo-header fields in trailers";
    let section = |fields| vec![open(1).into(), Step::from(trailers_of(1, WHOLE, fields))];
    judge_server(vec![
        case("8.1", "trailers", [open(1), body.clone(), trailers(1)], Answer(1)),
        case("8.1", "trailers without a body", [open(1), trailers(1)], Answer(1)),
        case(
            "8.1",
            second,
            [open(1), body.clone(), trailers_of(1, END_HEADERS, &[("x", "y")])],
            Stream(1, PROTOCOL),
        ),
        case(
            "8.1",
            second,
            [open(1), trailers_of(1, END_HEADERS, &[("x", "y")]), body],
            Stream(1, PROTOCOL),
        ),
        Case("8.1", pseudo, section(&[(":method", "GET")]), Stream(1, PROTOCOL)),
        Case("8.1", pseudo, section(&[(":path", "/x")]), Stream(1, PROTOCOL)),
        Case("8.1", pseudo, section(&[(":status", "200")]), Stream(1, PROTOCOL)),
        Case("8.2.1", "a bad name in trailers", section(&[("Upper", "1")]), Stream(1, PROTOCOL)),
        Case("8.2.1", "a bad value in trailers", section(&[("x", "a\nb")]), Stream(1, PROTOCOL)),
        Case(
            "8.2.2",
            "a connection-specific field in trailers",
            section(&[("connection", "close")]),
            Stream(1, PROTOCOL),
        ),
    ])
    .await;
}

/// §8.1.1: content-length and the sum of DATA.
#[tokio::test(start_paused = true)]
async fn content_length() {
    let promised = |length, flags| post_with(1, flags, &[("content-length", length)]);
    let more = "more than promised";
    let less = "less than promised";
    let none = "no number";
    judge_server(vec![
        case(
            "8.1.1",
            "as promised",
            [promised("3", END_HEADERS), data(1, END_STREAM, *b"abc")],
            Answer(1),
        ),
        case(
            "8.1.1",
            "padding is not content",
            [promised("3", END_HEADERS), data(1, END_STREAM, *b"abc").padded(9)],
            Answer(1),
        ),
        case("8.1.1", "0 and nothing", [promised("0", WHOLE)], Answer(1)),
        case(
            "8.1.1",
            more,
            [promised("2", END_HEADERS), data(1, END_STREAM, *b"abc")],
            Stream(1, PROTOCOL),
        ),
        case(
            "8.1.1",
            more,
            [promised("0", END_HEADERS), data(1, NONE, *b"a")],
            Stream(1, PROTOCOL),
        ),
        case(
            "8.1.1",
            less,
            [promised("4", END_HEADERS), data(1, END_STREAM, *b"abc")],
            Stream(1, PROTOCOL),
        ),
        case(
            "8.1.1",
            less,
            [promised("4", END_HEADERS), data(1, NONE, *b"abc"), trailers(1)],
            Stream(1, PROTOCOL),
        ),
        case("8.1.1", less, [promised("1", WHOLE)], Stream(1, PROTOCOL)),
        case("8.1.1", none, [promised("x", END_HEADERS)], Stream(1, PROTOCOL)),
        case("8.1.1", none, [promised("-1", END_HEADERS)], Stream(1, PROTOCOL)),
        case("8.1.1", none, [promised("+3", END_HEADERS)], Stream(1, PROTOCOL)),
        case(
            "8.1.1",
            none,
            [promised("99999999999999999999999", END_HEADERS)],
            Stream(1, PROTOCOL),
        ),
        case(
            "8.1.1",
            "two values",
            [post_with(1, END_HEADERS, &[("content-length", "3"), ("content-length", "4")])],
            Stream(1, PROTOCOL),
        ),
    ])
    .await;
}

/// §8.1: a malformed request is never answered as if it were whole.
#[tokio::test(start_paused = true)]
async fn a_malformed_request_gets_no_success() {
    let mut peer = served().await;
    peer.send(post_with(1, END_HEADERS, &[("content-length", "4")])).await;
    peer.send(data(1, END_STREAM, *b"abc")).await;
    let mut seen = Seen::default();
    seen.listen(&mut peer).await;
    assert!(seen.answers.iter().all(|(_, status)| status != "200"), "{seen:?}");
}

/// §5.4.1, §6.8: the GOAWAY of an error names the last stream that may have been acted upon.
#[tokio::test(start_paused = true)]
async fn goaway_names_the_last_stream() {
    let mut peer = served().await;
    peer.send_all(&[hang(1), hang(3), hang(5)]).await;
    peer.expect_alive().await;
    peer.send(data(0, NONE, *b"x")).await;
    assert_eq!(peer.expect_connection_error(PROTOCOL_ERROR).await, 5);
    let mut peer = served().await;
    peer.send(data(0, NONE, *b"x")).await;
    assert_eq!(peer.expect_connection_error(PROTOCOL_ERROR).await, 0);
}

/// §8.1: a body and trailers come back as they were sent.
#[tokio::test(start_paused = true)]
async fn an_exchange_is_whole() {
    let mut peer = served().await;
    peer.send(open(1)).await;
    for piece in [&b"a"[..], b"", b"bc"] {
        peer.send(data(1, NONE, piece)).await;
    }
    peer.send(trailers(1)).await;
    let message = peer.expect_response(1).await;
    assert_eq!(message.body, b"abc");
    assert_eq!(message.trailers, Some(vec![("x-end".to_owned(), "1".to_owned())]));
}
