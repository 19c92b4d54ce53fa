//! RFC 9113 §5.1, §5.3, §5.5: states, identifiers, priorities, extensions.

use super::*;

const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];
const CLOSED: &[u32] = &[STREAM_CLOSED];
const CLOSED_OR_PROTOCOL: &[u32] = &[STREAM_CLOSED, PROTOCOL_ERROR];
const REFUSED: &[u32] = &[REFUSED_STREAM, PROTOCOL_ERROR];

/// §5.1, idle: "Receiving any frame other than HEADERS or PRIORITY on a stream in this state MUST be
/// treated as a connection error of type PROTOCOL_ERROR."
#[tokio::test(start_paused = true)]
async fn idle() {
    let only = "frames on an idle stream";
    judge_server(vec![
        case("5.1", only, [data(1, NONE, *b"x")], Connection(PROTOCOL)),
        case("5.1", only, [data(1, END_STREAM, [])], Connection(PROTOCOL)),
        case("5.1", only, [rst_stream(1, CANCEL)], Connection(PROTOCOL)),
        case("5.1", only, [rst_stream(1, NO_ERROR)], Connection(PROTOCOL)),
        case("5.1", only, [window_update(1, 1)], Connection(PROTOCOL)),
        case("5.1", only, [window_update(2, 1)], Connection(PROTOCOL)),
        case("5.1", only, [data(2, NONE, *b"x")], Connection(PROTOCOL)),
        case("5.1", only, [rst_stream(2, CANCEL)], Connection(PROTOCOL)),
        case("5.1", only, [whole(1), window_update(3, 1)], Connection(PROTOCOL)),
        case("5.1", only, [whole(1), data(3, END_STREAM, *b"x")], Connection(PROTOCOL)),
        case("5.1", only, [continuation(1, END_HEADERS, get("/ok", &[]))], Connection(PROTOCOL)),
        case("5.1", "PRIORITY is allowed", [priority(1, 0), priority(7, 3), whole(9)], Answer(9)),
        case("5.1", "PRIORITY opens nothing", [priority(3, 0), whole(1), whole(3)], Answer(3)),
    ])
    .await;
}

/// §5.1, half-closed (remote): "additional frames, other than WINDOW_UPDATE, PRIORITY, or RST_STREAM
/// [...] MUST respond with a stream error of type STREAM_CLOSED."
#[tokio::test(start_paused = true)]
async fn half_closed_remote() {
    let more = "a frame after END_STREAM";
    judge_server(vec![
        case("5.1", more, [hang(1), data(1, NONE, *b"x")], Either(1, CLOSED)),
        case("5.1", more, [hang(1), data(1, END_STREAM, [])], Either(1, CLOSED)),
        case("5.1", more, [hang(1), trailers(1)], Either(1, CLOSED)),
        case("5.1", more, [open(1), data(1, END_STREAM, []), trailers(1)], Either(1, CLOSED)),
        case("5.1", "WINDOW_UPDATE is allowed", [hang(1), window_update(1, 9)], Fine),
        case("5.1", "PRIORITY is allowed", [hang(1), priority(1, 0)], Fine),
        case("5.1", "RST_STREAM is allowed", [hang(1), rst_stream(1, CANCEL)], Fine),
    ])
    .await;
}

/// §5.1, closed: frames other than PRIORITY may be a connection error of type STREAM_CLOSED; WINDOW_UPDATE
/// and RST_STREAM may have crossed the frame that closed the stream.
#[tokio::test(start_paused = true)]
async fn closed() {
    let after = |frame: RawFrame| vec![whole(1).into(), Step::Answered(1), frame.into()];
    let reset = |frame: RawFrame| vec![hang(1).into(), rst_stream(1, CANCEL).into(), frame.into()];
    let sent = "a frame on a closed stream";
    let crossed = "a frame that may have crossed";
    judge_server(vec![
        Case("5.1", sent, after(data(1, NONE, *b"x")), Either(1, CLOSED)),
        Case("5.1.1", sent, after(whole(1)), Either(1, CLOSED_OR_PROTOCOL)),
        Case("5.1", crossed, after(window_update(1, 1)), Fine),
        Case("5.1", crossed, after(rst_stream(1, CANCEL)), Fine),
        Case("5.1", "PRIORITY is allowed", after(priority(1, 0)), Fine),
        Case("5.1", "after the peer's reset", reset(data(1, NONE, *b"x")), Either(1, CLOSED)),
        Case("5.1", "after the peer's reset", reset(whole(1)), Either(1, CLOSED_OR_PROTOCOL)),
        Case("5.1", "PRIORITY is allowed", reset(priority(1, 0)), Fine),
    ])
    .await;
}

/// §5.1, closed: after the endpoint's own RST_STREAM it "MUST minimally process and then discard any
/// frames": field blocks are decoded, DATA counts.
#[tokio::test(start_paused = true)]
async fn discarded_after_our_reset() {
    let malformed = headers(1, END_HEADERS, get("/ok", &[("Upper", "x")]));
    let late = |more: Vec<RawFrame>| {
        let mut steps = vec![Step::from(malformed.clone())];
        steps.extend(more.into_iter().map(Step::from));
        steps
    };
    let says = "what the peer had sent already is discarded";
    let table = headers(1, WHOLE, hpack::entered(b"x-kept", b"1"));
    let named = {
        let mut block = get("/ok", &[]);
        block.extend(hpack::indexed(62));
        headers(3, WHOLE, block)
    };
    judge_server(vec![
        Case("5.1", says, late(vec![data(1, NONE, *b"x")]), Stream(1, PROTOCOL)),
        Case("5.1", says, late(vec![data(1, END_STREAM, *b"x")]), Stream(1, PROTOCOL)),
        Case("5.1", says, late(vec![trailers(1)]), Stream(1, PROTOCOL)),
        Case("5.1", says, late(vec![window_update(1, 1)]), Stream(1, PROTOCOL)),
        Case("5.1", says, late(vec![rst_stream(1, CANCEL)]), Stream(1, PROTOCOL)),
        Case(
            "5.1",
            "the compression state is updated",
            late(vec![table, named]),
            Stream(1, PROTOCOL),
        ),
    ])
    .await;
}

/// §5.1.1: identifiers.
#[tokio::test(start_paused = true)]
async fn identifiers() {
    let lower = "identifiers increase";
    judge_server(vec![
        case("5.1.1", "a client's streams are odd", [whole(2)], Connection(PROTOCOL)),
        case("5.1.1", "a client's streams are odd", [whole(1), whole(4)], Connection(PROTOCOL)),
        case("5.1.1", "0 opens nothing", [whole(0)], Connection(PROTOCOL)),
        case("5.1.1", lower, [hang(5), whole(3)], Connection(PROTOCOL)),
        case("5.1.1", lower, [hang(5), data(3, NONE, *b"x")], Either(3, CLOSED_OR_PROTOCOL)),
        case("5.1.1", "identifiers may be skipped", [whole(1), whole(77)], Answer(77)),
        case(
            "5.1.1",
            "a lower stream goes on",
            [open(1), open(7), data(1, END_STREAM, *b"x")],
            Answer(1),
        ),
    ])
    .await;
}

/// §5.1.2: more streams than the endpoint allows are a stream error of type PROTOCOL_ERROR or
/// REFUSED_STREAM; closed ones do not count.
#[tokio::test(start_paused = true)]
async fn concurrency() {
    let mut peer = served().await;
    let most =
        peer.settings.get(&MAX_CONCURRENT_STREAMS).copied().expect("a server names its limit");
    assert!(most >= 100, "§6.5.2 recommends no less than 100, got {most}");
    let frames: Vec<_> = (0..most).map(|n| hang(2 * n + 1)).collect();
    for some in frames.chunks(50) {
        peer.send_all(some).await;
    }
    let (last, next) = (2 * most - 1, 2 * most + 1);
    peer.send(hang(next)).await;
    let mut seen = Seen::default();
    peer.send(ping(OPAQUE)).await;
    seen.listen(&mut peer).await;
    assert!(seen.judge(Stream(next, REFUSED)), "{seen:?}");
    // A place that became free is one again.
    peer.send_all(&[rst_stream(last, CANCEL), whole(next + 2)]).await;
    seen.listen(&mut peer).await;
    assert!(seen.answers.contains(&(next + 2, "200".to_owned())), "{seen:?}");
}

/// §5.3: the signals of RFC 7540 are ignored, whatever they say, but their form is judged (§6.2, §6.3).
#[tokio::test(start_paused = true)]
async fn priorities() {
    let ignored = "a priority signal changes nothing";
    let with_priority = |depends: u32| {
        let mut payload = depends.to_be_bytes().to_vec();
        payload.push(255);
        payload.extend(get("/ok", &[]));
        headers(1, WHOLE, payload).flagged(WITH_PRIORITY)
    };
    judge_server(vec![
        case("5.3.2", ignored, [with_priority(0)], Answer(1)),
        case("5.3.2", ignored, [with_priority(99)], Answer(1)),
        case("5.3.2", ignored, [with_priority(0x8000_0000)], Answer(1)),
        case("5.3.2", ignored, [priority(1, 1), whole(1)], Answer(1)),
        case("5.3.2", ignored, [priority(5, 0x8000_0003), whole(1)], Answer(1)),
    ])
    .await;
}

/// §5.5 and §4.1: unknown types, flags and settings are ignored; a frame of an unknown type inside a field
/// block is a connection error of type PROTOCOL_ERROR.
#[tokio::test(start_paused = true)]
async fn extensions() {
    let half = headers(1, END_STREAM, get("/ok", &[]));
    judge_server(vec![
        case("5.5", "unknown types", [frame(0x42, 0xff, 0, *b"abc"), whole(1)], Answer(1)),
        case("5.5", "unknown types", [frame(0xff, 0, 99, []), whole(1)], Answer(1)),
        case(
            "5.5",
            "unknown types",
            [open(1), frame(0x16, 7, 1, *b"x"), data(1, END_STREAM, [])],
            Answer(1),
        ),
        case(
            "5.5",
            "in a field block",
            [half.clone(), frame(0x42, 0, 1, [])],
            Connection(PROTOCOL),
        ),
        case("5.5", "in a field block", [half, frame(0x42, 0, 0, [])], Connection(PROTOCOL)),
        case("4.1", "unused flags", [whole(1).flagged(0xc2)], Answer(1)),
        case(
            "4.1",
            "unused flags",
            [open(1), data(1, END_STREAM, *b"x").flagged(0xf6 & !PADDED)],
            Answer(1),
        ),
        case("4.1", "the reserved bit", [whole(1).reserved()], Answer(1)),
        case(
            "6.5.2",
            "unknown settings",
            [settings(&[(0x0, 1), (0xf00d, u32::MAX)]), whole(1)],
            Answer(1),
        ),
        case("7", "unknown codes", [hang(1), rst_stream(1, 0xdead_beef), whole(3)], Answer(3)),
    ])
    .await;
}
