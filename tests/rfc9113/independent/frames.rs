//! RFC 9113 §6: the form of each frame, and §4.2, §4.3 for what belongs to it.

use super::*;

const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];
const SIZE: &[u32] = &[FRAME_SIZE_ERROR];
const FLOW: &[u32] = &[FLOW_CONTROL_ERROR];
const SIZE_OR_PROTOCOL: &[u32] = &[FRAME_SIZE_ERROR, PROTOCOL_ERROR];
const COMPRESSION: &[u32] = &[COMPRESSION_ERROR];

/// A payload with this pad length in front of it.
fn pad(frame: RawFrame, length: u8) -> RawFrame {
    let mut frame = frame.flagged(PADDED);
    frame.payload.insert(0, length);
    frame
}

/// §6.1.
#[tokio::test(start_paused = true)]
async fn data_frames() {
    let padding = "padding of the payload's length or more";
    judge_server(vec![
        case("6.1", "on stream 0", [data(0, NONE, *b"x")], Connection(PROTOCOL)),
        case("6.1", "on stream 0, empty", [data(0, END_STREAM, [])], Connection(PROTOCOL)),
        case("6.1", padding, [open(1), pad(data(1, NONE, *b"ab"), 3)], Connection(PROTOCOL)),
        case("6.1", padding, [open(1), pad(data(1, NONE, []), 1)], Connection(PROTOCOL)),
        case("6.1", padding, [open(1), pad(data(1, NONE, *b"ab"), 255)], Connection(PROTOCOL)),
        case("6.1", "all of it padding", [open(1), pad(data(1, END_STREAM, *b"ab"), 2)], Answer(1)),
        case("6.1", "no padding", [open(1), pad(data(1, END_STREAM, []), 0)], Answer(1)),
        case(
            "6.1",
            "padded and empty",
            [open(1), data(1, NONE, []).flagged(PADDED)],
            Either(1, SIZE_OR_PROTOCOL),
        ),
        case("6.1", "empty", [open(1), data(1, NONE, []), data(1, END_STREAM, [])], Answer(1)),
        case("6.1", "the largest", [open(1), data(1, END_STREAM, [7; 16_384])], Answer(1)),
    ])
    .await;
}

/// §6.2, §6.10 and §4.3.
#[tokio::test(start_paused = true)]
async fn headers_and_continuation() {
    let fields = get("/ok", &[("x-a", "1")]);
    let (front, back) = fields.split_at(9);
    let half = headers(1, END_STREAM, front);
    let rest = continuation(1, END_HEADERS, back);
    let between = "a frame inside a field block";
    judge_server(vec![
        case("6.2", "on stream 0", [headers(0, WHOLE, fields.clone())], Connection(PROTOCOL)),
        case("6.2", "too much padding", [pad(headers(1, WHOLE, *b"ab"), 3)], Connection(PROTOCOL)),
        case(
            "6.2",
            "padding and priority",
            [pad(headers(1, WHOLE, [0, 0, 0, 0, 1]), 2).flagged(WITH_PRIORITY)],
            Connection(PROTOCOL),
        ),
        case(
            "6.2",
            "no pad length",
            [headers(1, WHOLE, []).flagged(PADDED)],
            Connection(SIZE_OR_PROTOCOL),
        ),
        case(
            "6.2",
            "a short priority",
            [headers(1, WHOLE, [0; 4]).flagged(WITH_PRIORITY)],
            Connection(SIZE_OR_PROTOCOL),
        ),
        case("6.2", "padded", [headers(1, WHOLE, fields.clone()).padded(200)], Answer(1)),
        case("6.10", "continued", [half.clone(), rest.clone()], Answer(1)),
        case(
            "6.10",
            "continued by nothing",
            [half.clone(), continuation(1, NONE, []), rest.clone()],
            Answer(1),
        ),
        case(
            "6.10",
            "begun with nothing",
            [headers(1, END_STREAM, []), continuation(1, END_HEADERS, fields.clone())],
            Answer(1),
        ),
        case("6.10", between, [half.clone(), ping([0; 8])], Connection(PROTOCOL)),
        case("6.10", between, [half.clone(), settings(&[])], Connection(PROTOCOL)),
        case("6.10", between, [half.clone(), data(1, NONE, *b"x")], Connection(PROTOCOL)),
        case("6.10", between, [half.clone(), window_update(0, 1)], Connection(PROTOCOL)),
        case("6.10", between, [half.clone(), priority(1, 0)], Connection(PROTOCOL)),
        case("6.10", between, [half.clone(), rst_stream(1, CANCEL)], Connection(PROTOCOL)),
        case("6.10", between, [half.clone(), goaway(0, NO_ERROR)], Connection(PROTOCOL)),
        case("6.2", between, [half.clone(), whole(1)], Connection(PROTOCOL)),
        case("6.2", between, [half.clone(), whole(3)], Connection(PROTOCOL)),
        case("6.10", "of another stream", [half.clone(), rest.clone().on(3)], Connection(PROTOCOL)),
        case("6.10", "on stream 0", [half, rest.clone().on(0)], Connection(PROTOCOL)),
        case("6.10", "after nothing", [rest.clone()], Connection(PROTOCOL)),
        case("6.10", "after END_HEADERS", [hang(1), rest.clone()], Connection(PROTOCOL)),
        case("6.10", "after DATA", [open(1), data(1, NONE, *b"x"), rest], Connection(PROTOCOL)),
        case("4.3", "an index of 0", [headers(1, WHOLE, [0x80])], Connection(COMPRESSION)),
        case(
            "4.3",
            "an index of nothing",
            [headers(1, WHOLE, [0xff, 0x40])],
            Connection(COMPRESSION),
        ),
        case(
            "4.3",
            "a cut block",
            [headers(1, WHOLE, [0x00, 0x05, b'a'])],
            Connection(COMPRESSION),
        ),
        case(
            "4.3",
            "also of trailers",
            [open(1), headers(1, WHOLE, [0x80])],
            Connection(COMPRESSION),
        ),
    ])
    .await;
}

/// §6.3, §6.4.
#[tokio::test(start_paused = true)]
async fn priority_and_reset() {
    let long = |length: usize| frame(PRIORITY, NONE, 1, vec![0; length]);
    let reset = |length: usize| frame(RST_STREAM, NONE, 1, vec![0; length]);
    judge_server(vec![
        case("6.3", "on stream 0", [priority(0, 1)], Connection(PROTOCOL)),
        case("6.3", "a length other than 5", [open(1), long(4)], Either(1, SIZE)),
        case("6.3", "a length other than 5", [open(1), long(6)], Either(1, SIZE)),
        case("6.3", "a length other than 5", [open(1), long(0)], Either(1, SIZE)),
        case("6.4", "on stream 0", [rst_stream(0, CANCEL)], Connection(PROTOCOL)),
        case("6.4", "a length other than 4", [hang(1), reset(3)], Connection(SIZE)),
        case("6.4", "a length other than 4", [hang(1), reset(5)], Connection(SIZE)),
        case("6.4", "a length other than 4", [hang(1), reset(0)], Connection(SIZE)),
        case(
            "5.4.2",
            "no reset answers one",
            [open(1), rst_stream(1, CANCEL), whole(3)],
            Answer(3),
        ),
    ])
    .await;
}

/// §6.5.
#[tokio::test(start_paused = true)]
async fn settings_frames() {
    let range = "a value out of its range";
    let set = |id, value| settings(&[(id, value)]);
    judge_server(vec![
        case("6.5", "on a stream", [set(INITIAL_WINDOW_SIZE, 1).on(1)], Connection(PROTOCOL)),
        case("6.5", "an acknowledgement on a stream", [settings_ack().on(1)], Connection(PROTOCOL)),
        case(
            "6.5",
            "an acknowledgement with a payload",
            [set(1, 1).flagged(ACK)],
            Connection(SIZE),
        ),
        case(
            "6.5",
            "a length no multiple of 6",
            [frame(SETTINGS, NONE, 0, [0; 5])],
            Connection(SIZE),
        ),
        case(
            "6.5",
            "a length no multiple of 6",
            [frame(SETTINGS, NONE, 0, [0; 7])],
            Connection(SIZE),
        ),
        case("6.5.2", range, [set(ENABLE_PUSH, 2)], Connection(PROTOCOL)),
        case("6.5.2", range, [set(ENABLE_PUSH, u32::MAX)], Connection(PROTOCOL)),
        case("6.5.2", range, [set(INITIAL_WINDOW_SIZE, 0x8000_0000)], Connection(FLOW)),
        case("6.5.2", range, [set(INITIAL_WINDOW_SIZE, u32::MAX)], Connection(FLOW)),
        case("6.5.2", range, [set(MAX_FRAME_SIZE, 16_383)], Connection(PROTOCOL)),
        case("6.5.2", range, [set(MAX_FRAME_SIZE, 0)], Connection(PROTOCOL)),
        case("6.5.2", range, [set(MAX_FRAME_SIZE, 1 << 24)], Connection(PROTOCOL)),
        case(
            "6.5.2",
            "the ends of the ranges",
            [
                set(MAX_FRAME_SIZE, 16_384),
                set(MAX_FRAME_SIZE, (1 << 24) - 1),
                set(INITIAL_WINDOW_SIZE, MAX_WINDOW),
                set(ENABLE_PUSH, 0),
                set(ENABLE_PUSH, 1),
                whole(1),
            ],
            Answer(1),
        ),
        case(
            "6.5.2",
            "zeros that are allowed",
            [
                settings(&[
                    (HEADER_TABLE_SIZE, 0),
                    (MAX_CONCURRENT_STREAMS, 0),
                    (MAX_HEADER_LIST_SIZE, 100_000),
                ]),
                whole(1),
            ],
            Answer(1),
        ),
        case(
            "6.5.3",
            "the last of several values",
            [
                settings(&[(INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 70_000)]),
                open(1),
                data(1, END_STREAM, [1; 100]),
            ],
            Answer(1),
        ),
        case(
            "6.5.3",
            "one wrong value among right ones",
            [settings(&[(HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 3)])],
            Connection(PROTOCOL),
        ),
    ])
    .await;
}

/// §6.5.3: each SETTINGS is acknowledged, in order, without a payload.
#[tokio::test(start_paused = true)]
async fn settings_are_acknowledged_one_by_one() {
    let mut peer = served().await;
    peer.send_all(&[settings(&[]), settings(&[(INITIAL_WINDOW_SIZE, 9)]), settings(&[])]).await;
    for _ in 0..3 {
        peer.expect_settings_ack().await;
    }
    let more = peer.gather(Duration::from_secs(1)).await;
    assert!(more.iter().all(|frame| frame.kind != SETTINGS), "{more:?}");
}

/// §6.6, §6.7, §6.8.
#[tokio::test(start_paused = true)]
async fn push_ping_goaway() {
    let short = |kind: u8, length: usize| frame(kind, NONE, 0, vec![0; length]);
    judge_server(vec![
        case(
            "8.4",
            "a client cannot push",
            [open(1), push_promise(1, 2, &get("/ok", &[]))],
            Connection(PROTOCOL),
        ),
        case("6.6", "on stream 0", [push_promise(0, 2, &get("/ok", &[]))], Connection(PROTOCOL)),
        case("6.7", "on a stream", [ping([1; 8]).on(1)], Connection(PROTOCOL)),
        case("6.7", "a length other than 8", [short(PING, 7)], Connection(SIZE)),
        case("6.7", "a length other than 8", [short(PING, 9)], Connection(SIZE)),
        case("6.7", "a length other than 8", [short(PING, 0)], Connection(SIZE)),
        case("6.7", "an answer nobody asked for", [ping([3; 8]).flagged(ACK), whole(1)], Answer(1)),
        case("6.7", "unused flags", [ping([3; 8]).flagged(0xfe), whole(1)], Answer(1)),
        case("6.8", "on a stream", [goaway(0, NO_ERROR).on(1)], Connection(PROTOCOL)),
        case("6.8", "shorter than 8", [short(GOAWAY, 7)], Connection(SIZE)),
    ])
    .await;
}

/// §6.7: the answer has the same payload, and the flag ACK; an answer is not answered.
#[tokio::test(start_paused = true)]
async fn ping_is_answered_with_its_payload() {
    let mut peer = served().await;
    peer.send(ping(*b"\x00\xffabcdef")).await;
    let frames = peer.gather(Duration::from_secs(1)).await;
    let pings: Vec<_> = frames.iter().filter(|frame| frame.kind == PING).collect();
    assert!(matches!(pings[..], [one] if one.flags == ACK && one.payload == b"\x00\xffabcdef"));
    peer.send(frame(PING, ACK, 0, *b"12345678")).await;
    let frames = peer.gather(Duration::from_secs(1)).await;
    assert!(frames.iter().all(|frame| frame.kind != PING), "{frames:?}");
}

/// §6.8: after the client's GOAWAY the streams that it has opened are served to their end.
#[tokio::test(start_paused = true)]
async fn streams_go_on_after_goaway() {
    let mut peer = served().await;
    peer.send_all(&[open(1), goaway(0, NO_ERROR), data(1, END_STREAM, *b"still")]).await;
    assert_eq!(peer.expect_response(1).await.body, b"still");
}

/// §6.9.
#[tokio::test(start_paused = true)]
async fn window_updates() {
    let long = |length: usize, stream| frame(WINDOW_UPDATE, NONE, stream, vec![1; length]);
    let most = MAX_WINDOW;
    judge_server(vec![
        case("6.9", "a length other than 4", [long(3, 0)], Connection(SIZE)),
        case("6.9", "a length other than 4", [open(1), long(5, 1)], Connection(SIZE)),
        case("6.9", "an increment of 0", [window_update(0, 0)], Connection(PROTOCOL)),
        case("6.9", "an increment of 0", [hang(1), window_update(1, 0)], Either(1, PROTOCOL)),
        case("6.9", "the reserved bit", [hang(1), window_update(1, 0x8000_0001)], Fine),
        case("6.9.1", "more than 2^31-1", [window_update(0, most)], Connection(FLOW)),
        case("6.9.1", "more than 2^31-1", [hang(1), window_update(1, most)], Stream(1, FLOW)),
        case("6.9.1", "exactly 2^31-1", [window_update(0, most - 65_535), whole(1)], Answer(1)),
        case("6.9.1", "exactly 2^31-1", [hang(1), window_update(1, most - 65_535)], Fine),
        case(
            "6.9.2",
            "SETTINGS that overflow a window",
            [hang(1), window_update(1, 1), settings(&[(INITIAL_WINDOW_SIZE, most)])],
            Connection(FLOW),
        ),
        case(
            "6.9",
            "on a closed stream",
            [hang(1), rst_stream(1, CANCEL), window_update(1, 5)],
            Fine,
        ),
    ])
    .await;
}

/// §4.2: a frame above SETTINGS_MAX_FRAME_SIZE. One that could alter the state of the connection is a
/// connection error of type FRAME_SIZE_ERROR, DATA may be a stream error.
#[tokio::test(start_paused = true)]
async fn oversized_frames() {
    let limit = {
        let peer = served().await;
        peer.settings.get(&MAX_FRAME_SIZE).copied().unwrap_or(16_384) as usize
    };
    let over = vec![0; limit + 1];
    judge_server(vec![
        case("4.2", "HEADERS", [headers(1, WHOLE, over.clone())], Connection(SIZE)),
        case(
            "4.2",
            "SETTINGS",
            [frame(SETTINGS, NONE, 0, vec![0; (limit / 6 + 1) * 6])],
            Connection(SIZE),
        ),
        case("4.2", "DATA", [open(1), data(1, NONE, over.clone())], Either(1, SIZE)),
        case(
            "4.2",
            "CONTINUATION",
            [headers(1, END_STREAM, get("/ok", &[])), continuation(1, END_HEADERS, over)],
            Connection(SIZE),
        ),
    ])
    .await;
}
