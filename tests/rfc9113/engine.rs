//! Rules whose bounds are large on a wire: the engine alone, with bounds of the test's choice.

use std::time::Instant;

use bytes::Bytes;
use framewire::unstable::http2::{
    Connection, ConnectionError, ErrorCode, Event, Fields, Limits, OpenRefusal, Payload,
    RecvBuffer, Role, SendBuffer, SendError, SendHead, StreamId, StreamKey, Violation,
};

use crate::support::hpack::{block, entered, indexed, table_size};
use crate::support::*;

/// One side of a connection, fed with bytes.
pub(crate) struct Engine {
    pub(crate) connection: Connection<u32>,
    pub(crate) input: RecvBuffer,
    pub(crate) out: SendBuffer,
    pub(crate) now: Instant,
}

impl Engine {
    pub(crate) fn new(role: Role, limits: Limits) -> Self {
        let now = Instant::now();
        let mut connection = Connection::new(role, limits, now);
        let mut out = SendBuffer::new();
        connection.start(&mut out);
        if role == Role::Client {
            out.advance(PREFACE.len());
        }
        Self { connection, input: RecvBuffer::new(), out, now }
    }

    /// A server that has the client's preface and empty SETTINGS, not yet their acknowledgement.
    pub(crate) fn server(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::server();
        change(&mut limits);
        let mut engine = Self::new(Role::Server, limits);
        engine.bytes(PREFACE).expect("a preface");
        engine.feed(&[settings(&[])]).expect("SETTINGS");
        engine
    }

    /// Feeds bytes; the streams whose head or trailers, and those whose reset, were handed up.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(Vec<u32>, Vec<u32>), ConnectionError> {
        self.input.extend(bytes);
        let (mut heads, mut resets) = (Vec::new(), Vec::new());
        loop {
            let key = match self.connection.next_event(&mut self.input, &mut self.out, self.now)? {
                Some(Event::Head { id, .. }) => {
                    heads.push(id.value());
                    continue;
                }
                Some(Event::Trailers { key, .. }) => (key, true),
                Some(Event::Reset { key, .. }) => (key, false),
                Some(_) => continue,
                None => return Ok((heads, resets)),
            };
            let id = self.connection.stream_id(key.0).expect("a stream").value();
            if key.1 { heads.push(id) } else { resets.push(id) }
        }
    }

    fn feed(&mut self, frames: &[RawFrame]) -> Result<(Vec<u32>, Vec<u32>), ConnectionError> {
        self.bytes(&wire(frames))
    }

    /// The frames written since the last look: type, stream, first number of the payload.
    fn written(&mut self) -> Vec<(u8, u32, u32)> {
        let number = |payload: &[u8]| payload.first_chunk().map_or(0, |n| u32::from_be_bytes(*n));
        self.frames().iter().map(|f| (f.kind, f.stream, number(&f.payload))).collect()
    }

    /// The same, whole.
    fn frames(&mut self) -> Vec<RawFrame> {
        let bytes: Vec<u8> = self.out.slices().collect::<Vec<_>>().concat();
        self.out.advance(bytes.len());
        let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
        while let Some((head, after)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            frames.push(frame(head[3], head[4], stream, &after[..length]));
            rest = &after[length..];
        }
        frames
    }

    /// Sends what waits.
    fn schedule(&mut self) {
        self.connection.schedule(&mut self.out, usize::MAX, self.now);
    }

    fn key(&self, id: u32) -> StreamKey {
        let named = |key: &StreamKey| self.connection.stream_id(*key) == Some(StreamId::new(id));
        self.connection.keys().into_iter().find(named).expect("a stream")
    }
}

fn broken(result: Result<(Vec<u32>, Vec<u32>), ConnectionError>) -> Violation {
    result.expect_err("a connection error").violation
}

/// RFC 9113 §3.4: what is no preface is named if it is a protocol that people mistake for it.
#[test]
fn other_protocols_are_named() {
    for (bytes, rule) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], Violation::PrefaceTls),
        (b"GET / HTTP/1.1\r\n", Violation::PrefaceHttp1),
        (b"POST / HTTP/1.1\r\n", Violation::PrefaceHttp1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\0", Violation::Preface),
        (b"\x00\x01\x02", Violation::Preface),
    ] {
        let mut server = Engine::new(Role::Server, Limits::server());
        assert_eq!(broken(server.bytes(bytes)), rule, "{bytes:?}");
        assert_eq!(rule.code(), ErrorCode::PROTOCOL_ERROR);
    }
    let mut client = Engine::new(Role::Client, Limits::client());
    let answer = client.bytes(b"HTTP/1.1 400 Bad Request\r\n");
    assert_eq!(broken(answer), Violation::PrefaceHttp1);
}

/// RFC 9113 §6.5.3, §6.9.3: a small window of ours binds from its acknowledgement on; before it the
/// peer may use the initial 65,535.
#[test]
fn a_small_window_binds_once_acknowledged() {
    let mut server = Engine::server(|limits| limits.stream_window = 1_000);
    server.feed(&[headers(1, END_HEADERS, post("/", &[]))]).expect("a request");
    let early: Vec<_> = [16_384, 16_384, 16_384, 16_383].map(|n| data(1, NONE, vec![0; n])).into();
    assert_eq!(server.feed(&early).expect("all of the initial window").1, []);
    assert_eq!(server.feed(&[data(1, NONE, [0])]).expect("a stream error").1, [1]);

    let mut server = Engine::server(|limits| limits.stream_window = 1_000);
    let both = [headers(1, END_HEADERS, post("/", &[])), headers(3, END_HEADERS, post("/", &[]))];
    server.feed(&both).expect("requests");
    server.feed(&[data(1, NONE, vec![0; 1_001]), settings_ack()]).expect("early DATA");
    assert_eq!(server.feed(&[data(3, NONE, vec![0; 1_000])]).expect("the window").1, []);
    assert_eq!(server.feed(&[data(3, NONE, [0])]).expect("a stream error").1, [3]);
    // The window of stream 1 is below zero now, as its sender counts it.
    assert_eq!(server.feed(&[data(1, NONE, [0])]).expect("a stream error").1, [1]);
}

/// RFC 9113 §4.3.1, §6.5.3: a small table of ours binds the peer's encoder once acknowledged, and
/// its next block must say so.
#[test]
fn a_small_table_binds_once_acknowledged() {
    let mut first = get("/", &[]);
    first.extend(entered(b"x-name", b"value"));
    let mut second = get("/", &[]);
    second.extend(indexed(62));
    let mut told = table_size(0);
    told.extend(get("/", &[]));

    let mut server = Engine::server(|limits| limits.header_table_bytes = 0);
    let early = [headers(1, WHOLE, first.clone()), headers(3, WHOLE, second.clone())];
    assert_eq!(server.feed(&early).expect("the initial table").0, [1, 3]);
    server.feed(&[settings_ack()]).expect("an acknowledgement");
    assert_eq!(server.feed(&[headers(5, WHOLE, told)]).expect("an update").0, [5]);
    assert_eq!(
        broken(server.feed(&[headers(7, WHOLE, second)])),
        Violation::FieldBlockUndecodable,
        "the table holds nothing"
    );

    let mut server = Engine::server(|limits| limits.header_table_bytes = 0);
    server.feed(&[headers(1, WHOLE, first), settings_ack()]).expect("the initial table");
    let silent = server.feed(&[headers(3, WHOLE, get("/", &[]))]);
    assert_eq!(broken(silent), Violation::FieldBlockUndecodable, "no update after a reduction");
}

/// RFC 9113 §4.3.1: a larger table of ours is used by the peer when its encoder says so; until then
/// both evict at 4,096 bytes.
#[test]
fn a_large_table_begins_at_the_initial_size() {
    let large = |limits: &mut Limits| limits.header_table_bytes = 8_192;
    let mut blocks = Vec::new();
    for n in 0..5 {
        let mut one = get("/", &[]);
        one.extend(entered(b"x", &[b'a' + n; 1_000]));
        blocks.push(headers(2 * u32::from(n) + 1, WHOLE, one));
    }
    let mut oldest = get("/", &[]);
    oldest.extend(indexed(62 + 4));
    let mut server = Engine::server(large);
    server.feed(&blocks).expect("requests");
    let fifth = server.feed(&[headers(21, WHOLE, oldest.clone())]);
    assert_eq!(broken(fifth), Violation::FieldBlockUndecodable, "evicted at 4,096 bytes");

    let mut server = Engine::server(large);
    server.feed(&[settings_ack()]).expect("an acknowledgement");
    let mut update = table_size(8_192);
    update.append(&mut blocks[0].payload);
    blocks[0].payload = update;
    server.feed(&blocks).expect("requests");
    assert_eq!(server.feed(&[headers(21, WHOLE, oldest)]).expect("all five stand").0, [21]);
}

/// RFC 9113 §6.8: streams above the identifier of our GOAWAY are ignored; their field blocks are
/// decoded all the same and their DATA comes back to the connection's window.
#[test]
fn streams_above_our_goaway_are_ignored() {
    let mut server = Engine::server(|limits| limits.connection_window = 100_000);
    server.feed(&[headers(1, END_HEADERS, post("/", &[]))]).expect("a request");
    server.connection.goaway_now(&mut server.out, ErrorCode::NO_ERROR, "");
    server.written();
    let mut late = post("/", &[]);
    late.extend(entered(b"x-late", b"value"));
    let (heads, resets) = server.feed(&[headers(3, END_HEADERS, late)]).expect("ignored");
    assert_eq!((heads, resets), (vec![], vec![]));
    for _ in 0..4 {
        server.feed(&[data(3, NONE, vec![0; 16_384])]).expect("ignored");
    }
    let mut credit = server.written();
    credit.retain(|frame| frame.0 != PING);
    assert!(credit.iter().all(|frame| (frame.0, frame.1) == (WINDOW_UPDATE, 0)), "{credit:?}");
    assert!(credit.iter().map(|frame| frame.2).sum::<u32>() >= 50_000, "{credit:?}");
    let trailers = [data(3, END_STREAM, []), headers(1, WHOLE, indexed(62))];
    assert_eq!(server.feed(&trailers).expect("an entry of the ignored block").0, [1]);
}

/// RFC 9113 §6.8: the identifier of our GOAWAYs never goes up.
#[test]
fn our_goaway_only_goes_down() {
    let mut server = Engine::server(|_| {});
    server.feed(&[headers(1, WHOLE, get("/", &[]))]).expect("a request");
    server.written();
    server.connection.goaway_soon(&mut server.out);
    server.feed(&[headers(3, WHOLE, get("/", &[]))]).expect("a request under way");
    server.connection.goaway_now(&mut server.out, ErrorCode::NO_ERROR, "");
    server.feed(&[headers(5, WHOLE, get("/", &[]))]).expect("ignored");
    server.connection.goaway_now(&mut server.out, ErrorCode::NO_ERROR, "");
    server.connection.goaway_soon(&mut server.out);
    let said: Vec<_> = server.written().into_iter().filter(|frame| frame.0 == GOAWAY).collect();
    assert_eq!(said, [(GOAWAY, 0, MAX_WINDOW), (GOAWAY, 0, 3), (GOAWAY, 0, 3)]);
}

/// RFC 9113 §6.9.1: DATA beyond the connection's window is a connection error FLOW_CONTROL_ERROR,
/// though each stream's window has room; to the byte.
#[test]
fn data_past_the_connection_window() {
    let mut server = Engine::server(|limits| {
        limits.connection_window = 70_000;
        limits.unread_free_bytes = 0;
    });
    let open: Vec<_> = [1, 3, 5, 7, 9].map(|id| headers(id, END_HEADERS, post("/", &[]))).into();
    server.feed(&open).expect("requests");
    server.feed(&[1, 3, 5, 7].map(|id| data(id, NONE, vec![0; 16_384]))).expect("room");
    server.feed(&[data(9, NONE, vec![0; 70_000 - 4 * 16_384])]).expect("all of it");
    let past = server.feed(&[data(9, NONE, [0])]);
    assert_eq!(broken(past), Violation::ConnectionWindowExceeded);
    assert_eq!(Violation::ConnectionWindowExceeded.code(), ErrorCode::FLOW_CONTROL_ERROR);
}

/// RFC 9113 §4.3, §5.1: the field block of a stream that is refused is decoded like any other, and
/// the DATA behind it, which was under way, is discarded.
#[test]
fn a_refused_streams_block_is_decoded() {
    let mut server = Engine::server(|limits| limits.concurrent_streams = 1);
    server.feed(&[headers(1, END_HEADERS, post("/", &[]))]).expect("a request");
    server.written();
    let mut refused = get("/", &[]);
    refused.extend(entered(b"x-refused", b"value"));
    assert_eq!(server.feed(&[headers(3, WHOLE, refused)]).expect("a refusal").0, []);
    assert_eq!(server.written(), [(RST_STREAM, 3, REFUSED_STREAM)]);
    server.feed(&[data(3, NONE, *b"x"), data(3, END_STREAM, [])]).expect("discarded");
    assert_eq!(server.written(), []);
    assert_eq!(server.feed(&[headers(1, WHOLE, indexed(62))]).expect("trailers").0, [1]);
}

/// RFC 9113 §5.1.1: identifiers are used up, never used again.
#[test]
fn spent_identifiers_open_nothing() {
    let mut client = Engine::new(Role::Client, Limits::client());
    let mut fields = Fields::new();
    fields.push(":method", "GET");
    let head = SendHead { template: None, extra: &fields };
    client.connection.set_next_stream_id(StreamId::new(0x7fff_fffd));
    client.bytes(&wire(&[settings(&[])])).expect("SETTINGS");
    client.connection.open(&mut client.out, head, true, 0, client.now).expect("the last but one");
    client.connection.open(&mut client.out, head, true, 0, client.now).expect("the last one");
    let refused = client.connection.open(&mut client.out, head, true, 7, client.now);
    assert_eq!(refused, Err((OpenRefusal::IdsExhausted, 7)));
    let heads: Vec<_> = client.written().into_iter().filter(|f| f.0 == HEADERS).collect();
    assert_eq!(heads.iter().map(|f| f.1).collect::<Vec<_>>(), [0x7fff_fffd, 0x7fff_ffff]);
    // Late frames on it are no frames on an idle stream.
    let answer = [headers(0x7fff_ffff, WHOLE, block(&[(":status", "200")]))];
    assert_eq!(client.feed(&answer).expect("an answer").0, [0x7fff_ffff]);
}

/// RFC 9113 §5.1.2: no more streams than the peer's SETTINGS_MAX_CONCURRENT_STREAMS, whoever asks.
#[test]
fn the_peers_stream_limit_binds_the_engine() {
    let mut client = Engine::new(Role::Client, Limits::client());
    let mut fields = Fields::new();
    fields.push(":method", "GET");
    let head = SendHead { template: None, extra: &fields };
    client.bytes(&wire(&[settings(&[(3, 2)])])).expect("SETTINGS");
    for _ in 0..2 {
        client.connection.open(&mut client.out, head, true, 0, client.now).expect("within it");
    }
    let refused = client.connection.open(&mut client.out, head, true, 7, client.now);
    assert_eq!(refused, Err((OpenRefusal::StreamLimit, 7)));
}

/// RFC 9113 §5.4.2: one RST_STREAM for a stream, whatever else comes on it.
#[test]
fn one_reset_for_a_stream() {
    let mut server = Engine::server(|_| {});
    server.written();
    let wrong = headers(1, END_HEADERS, post("/", &[("connection", "close")]));
    let late = [data(1, NONE, *b"x"), headers(1, WHOLE, block(&[("x", "y")])), window_update(1, 0)];
    server.feed(&[wrong]).expect("a stream error");
    server.feed(&late).expect("discarded");
    assert_eq!(server.written(), [(RST_STREAM, 1, PROTOCOL_ERROR)]);
    // And for one that was under way.
    server.feed(&[headers(3, END_HEADERS, post("/", &[]))]).expect("a request");
    server.feed(&[window_update(3, 0)]).expect("a stream error");
    server.feed(&late.map(|frame| frame.on(3))).expect("discarded");
    assert_eq!(server.written(), [(RST_STREAM, 3, PROTOCOL_ERROR)]);
}

/// A server that answers on streams 1 and 3 with 100,000 bytes each and has sent none of them.
fn answering(frame_bytes: u32) -> Engine {
    let mut server = Engine::server(|_| {});
    let ours = [(MAX_FRAME_SIZE, frame_bytes), (INITIAL_WINDOW_SIZE, 0)];
    server.feed(&[settings(&ours)]).expect("SETTINGS");
    server.feed(&[1, 3].map(|id| headers(id, WHOLE, get("/", &[])))).expect("requests");
    let mut fields = Fields::new();
    fields.push(":status", "200");
    for key in server.connection.keys() {
        let Engine { connection, out, now, .. } = &mut server;
        let head = SendHead { template: None, extra: &fields };
        connection.send_head(out, key, head, false).expect("a head");
        let body = Payload::Shared(Bytes::from(vec![b'x'; 100_000]));
        connection.send_data(out, key, body, false, *now).expect("a body");
    }
    server.schedule();
    let sent = server.frames();
    assert!(sent.iter().all(|frame| frame.kind != DATA), "{sent:?}");
    server
}

/// RFC 9113 §4.2: a long body is cut where another stream waits, however long a frame the peer
/// takes: neither gets two slices while the other gets none.
#[test]
fn streams_that_wait_share_by_slices() {
    let mut server = answering(1 << 20);
    server.feed(&[0, 1, 3].map(|id| window_update(id, 1 << 20))).expect("windows");
    server.schedule();
    let sent: Vec<_> =
        server.frames().into_iter().map(|f| (f.kind, f.stream, f.payload.len())).collect();
    let shared = Limits::server().data_slice_bytes;
    for (at, id) in [1, 3, 1, 3, 1, 3, 1, 3, 1, 3].into_iter().enumerate() {
        assert_eq!(sent[at], (DATA, id, shared), "{sent:?}");
    }
}

/// RFC 9113 §8.1: trailers end the message, so they wait for the DATA that waits for a window.
#[test]
fn trailers_wait_for_the_body() {
    let mut server = answering(16_384);
    let key = server.key(3);
    let mut trailers = Fields::new();
    trailers.push("grpc-status", "0");
    server.connection.send_trailers(&mut server.out, key, &trailers).expect("accepted");
    server.schedule();
    assert!(server.frames().is_empty(), "nothing may leave");
    server.feed(&[window_update(0, 1 << 20), window_update(3, 99_999)]).expect("windows");
    server.schedule();
    assert!(server.frames().iter().all(|f| f.kind == DATA && f.flags & END_STREAM == 0));
    server.feed(&[window_update(3, 1)]).expect("the last byte");
    server.schedule();
    let last: Vec<_> = server.frames().iter().map(|f| (f.kind, f.flags, f.payload.len())).collect();
    assert_eq!(last[0], (DATA, NONE, 1));
    assert_eq!((last[1].0, last[1].1, last.len()), (HEADERS, WHOLE, 2));
}

/// RFC 9113 §5.2.2: what a stream that is given up never read comes back to the connection's window,
/// however little may stay unread.
#[test]
fn unread_data_of_a_dropped_stream_is_credited() {
    let mut server = Engine::server(|limits| {
        limits.connection_window = 100_000;
        limits.unread_free_bytes = 0;
    });
    server.feed(&[headers(1, END_HEADERS, post("/", &[]))]).expect("a request");
    server.written();
    server.feed(&[1, 1, 1, 1].map(|id| data(id, NONE, vec![0; 15_000]))).expect("a body");
    assert_eq!((server.connection.unread(), server.written()), (60_000, vec![]));
    let key = server.key(1);
    server.connection.take(key, &mut server.out).expect("the stream");
    server.connection.check_invariants();
    assert_eq!(server.connection.unread(), 0);
    assert_eq!(server.written(), [(RST_STREAM, 1, CANCEL), (WINDOW_UPDATE, 0, 60_000)]);
}

/// RFC 9113 §5.1: frames under way on a stream that we reset and let go are discarded, even when so
/// many streams have ended since that this one is no longer remembered.
#[test]
fn late_frames_on_old_streams_are_discarded() {
    let mut server = Engine::server(|limits| limits.recent_streams = 1);
    server.feed(&[1, 3].map(|id| headers(id, END_HEADERS, post("/", &[])))).expect("requests");
    for id in [1, 3] {
        let key = server.key(id);
        server.connection.take(key, &mut server.out).expect("the stream");
    }
    server.written();
    for id in [3, 1] {
        let late = [data(id, NONE, *b"x"), window_update(id, 1), headers(id, WHOLE, indexed(2))];
        assert_eq!(server.feed(&late).expect("discarded"), (vec![], vec![]));
    }
    assert_eq!(server.written(), []);
}

/// RFC 9113 §6.9: a window that is opened for one long message keeps to its bound.
#[test]
fn a_window_opens_for_a_message_within_its_bound() {
    let mut server = Engine::server(|limits| limits.stream_window_max = 300_000);
    server.feed(&[headers(1, END_HEADERS, post("/", &[]))]).expect("a request");
    server.written();
    let key = server.key(1);
    assert_eq!(server.connection.prefetch_bytes(key, 200_000), 0, "the window is wide enough");
    for bytes in [280_000, 1 << 30] {
        let missing = server.connection.prefetch_bytes(key, bytes);
        server.connection.prefetch(&mut server.out, key, missing);
    }
    let window = Limits::server().stream_window;
    let wanted = [(WINDOW_UPDATE, 1, 280_000 - window), (WINDOW_UPDATE, 1, 20_000)];
    assert_eq!(server.written(), wanted);
}

/// RFC 9113 §10.5.1: a block that is small and decodes to far more than the limit ends the
/// connection.
#[test]
fn the_decoded_size_has_a_bound() {
    for (times, fatal) in [(15, false), (16, true)] {
        let mut server = Engine::server(|_| {});
        let mut bomb = get("/", &[]);
        bomb.extend(entered(b"x-bomb", &[b'v'; 3_900]));
        bomb.extend(indexed(62).repeat(times));
        let result = server.feed(&[headers(1, WHOLE, bomb)]);
        match result {
            Ok((heads, _)) => assert!(!fatal && heads == [1]),
            Err(error) => assert!(fatal && error.violation == Violation::FieldBlockTooLarge),
        }
    }
}

/// RFC 9113 §8.2: what a peer would have to refuse is not sent: heads and trailers of a response.
#[test]
fn malformed_fields_are_not_sent() {
    let mut server = Engine::server(|_| {});
    server.feed(&[headers(1, WHOLE, get("/", &[]))]).expect("a request");
    server.written();
    let key = server.key(1);
    for (name, value, rule) in [
        ("connection", "close", Violation::ConnectionSpecificField),
        ("Upper", "v", Violation::FieldName),
        ("x", "a\r\nb", Violation::FieldValue),
    ] {
        let mut fields = Fields::new();
        fields.push(":status", "200");
        fields.push(name, value);
        let head = SendHead { template: None, extra: &fields };
        let refused = server.connection.send_head(&mut server.out, key, head, false);
        assert_eq!(refused, Err(SendError::Malformed(rule)));
        let mut trailers = Fields::new();
        trailers.push(name, value);
        let refused = server.connection.send_trailers(&mut server.out, key, &trailers);
        assert_eq!(refused, Err(SendError::Malformed(rule)));
    }
    assert_eq!(server.written(), []);
}

/// RFC 9113 §10.5: answers that have not left are counted, whatever asked for them. At the bound the caller is
/// to write; if nothing has left by the next call, the connection ends: its reader never waits for the peer's.
#[test]
fn answers_that_wait_have_a_bound() {
    let bound = Limits::client().control_frames_queued;
    for asks in [ping([0; 8]), settings(&[])] {
        let mut client = Engine::new(Role::Client, Limits::client());
        client.feed(&[settings(&[])]).expect("SETTINGS");
        client.out.advance(client.out.len());
        client.feed(&vec![asks.clone(); bound as usize - 1]).expect("answers");
        assert!(!client.connection.control_full(&client.out));
        client.feed(std::slice::from_ref(&asks)).expect("an answer");
        assert!(client.connection.control_full(&client.out));
        client.out.advance(client.out.len() / bound as usize);
        assert!(!client.connection.control_full(&client.out), "one has left");
        client.feed(&[asks.clone(), asks]).expect("an answer");
        let error = client.feed(&[]).expect_err("nothing has left");
        assert_eq!(error.violation, Violation::AnswersUnread);
    }
}

/// Answers that have left do not count, even if others always wait behind them; nor do frames that answer
/// nothing.
#[test]
fn only_answers_that_wait_count() {
    let mut client = Engine::new(Role::Client, Limits::client());
    client.feed(&[settings(&[])]).expect("SETTINGS");
    client.out.advance(client.out.len());
    let bound = Limits::client().control_frames_queued;
    // Two waiting PINGs, of which the older one is answered and sent again.
    client.feed(&[ping([0; 8])]).expect("an answer");
    for n in 0..3 * bound {
        let older = client.out.len();
        client.feed(&[ping([0; 8])]).expect("an answer");
        client.connection.ping(&mut client.out, [1; 8]);
        client.out.advance(older);
        assert!(!client.connection.control_full(&client.out), "after {n} answers");
    }
    client.out.advance(client.out.len());
    for _ in 0..bound {
        let key = open(&mut client, "GET");
        let _ = client.connection.take(key, &mut client.out);
    }
    assert!(!client.connection.control_full(&client.out), "this side's own resets");
}

/// RFC 9113 §10.5: the bound holds however many frames arrive at once.
#[test]
fn answers_to_one_read_have_a_bound() {
    let mut client = Engine::new(Role::Client, Limits::client());
    client.feed(&[settings(&[])]).expect("SETTINGS");
    let bound = Limits::client().control_frames_queued as usize;
    // RFC 9113 §6.5, §6.7: acknowledgements have the length of what they answer, 9 and 17 bytes.
    for (asks, bytes) in [(settings(&[]), 9), (ping([0; 8]), 17)] {
        client.out.advance(client.out.len());
        client.feed(&vec![asks; 3 * bound]).expect("answers");
        assert_eq!(client.out.len(), bound * bytes);
        client.out.advance(client.out.len());
        client.feed(&[]).expect("more answers");
        assert_eq!(client.out.len(), bound * bytes);
        client.out.advance(client.out.len());
        client.feed(&[]).expect("the rest");
    }
}

/// RFC 9113 §10.5: resets that a peer forces wait in the same queue as other answers.
#[test]
fn resets_that_wait_have_a_bound() {
    let mut server = Engine::server(|_| {});
    server.frames();
    let bound = Limits::server().control_frames_queued;
    for n in 0..bound {
        assert!(!server.connection.control_full(&server.out), "after {n} resets");
        let stream = 2 * n + 1;
        let request = headers(stream, END_HEADERS, hpack::post("/", &[]));
        server.feed(&[request, window_update(stream, 0)]).expect("an error of the stream");
    }
    assert!(server.connection.control_full(&server.out));
}

/// RFC 9113 §6.8: of what a peer says beside its GOAWAY, little is kept.
#[test]
fn the_words_of_a_goaway_have_a_bound() {
    let mut client = Engine::new(Role::Client, Limits::client());
    client.feed(&[settings(&[])]).expect("SETTINGS");
    let mut words = goaway(0, NO_ERROR);
    words.payload.extend([b'x'; 50_000]);
    client.input.extend(&words.bytes());
    let event = client.connection.next_event(&mut client.input, &mut client.out, client.now);
    let Ok(Some(Event::GoAway { debug, .. })) = event else { panic!("no GOAWAY") };
    assert!((1..=1024).contains(&debug.len()), "{} bytes", debug.len());
}

/// RFC 9113 §5.1: DATA behind the peer's own RST_STREAM is told as STREAM_CLOSED, also before the stream
/// was taken out.
#[test]
fn a_frame_behind_the_peers_reset_is_told() {
    let mut server = Engine::server(|_| {});
    let request = headers(1, END_HEADERS, hpack::post("/", &[]));
    server.feed(&[request, rst_stream(1, CANCEL)]).expect("a request and its reset");
    server.written();
    server.feed(&[data(1, NONE, *b"late")]).expect("an error of the stream");
    let resets: Vec<_> = server.written().into_iter().filter(|f| f.0 == RST_STREAM).collect();
    assert_eq!(resets, [(RST_STREAM, 1, STREAM_CLOSED)]);
}

/// The fields of one request, if a server takes it; it resets what is malformed.
fn judged(section: Vec<u8>) -> Option<Fields> {
    let mut server = Engine::server(|_| {});
    server.input.extend(&headers(1, WHOLE, section).bytes());
    let connection = &mut server.connection;
    match connection.next_event(&mut server.input, &mut server.out, server.now) {
        Ok(Some(Event::Head { head, .. })) => Some(head.fields().clone()),
        Ok(None) => {
            let frames = server.frames();
            let reset = frames.iter().find(|f| f.kind == RST_STREAM).expect("a reset");
            assert_eq!(reset.payload, PROTOCOL_ERROR.to_be_bytes());
            None
        }
        other => panic!("{other:?}"),
    }
}

/// `spec-notes/exceptions.md`: blanks at the ends of gRPC metadata are stripped, and nothing else is forgiven.
#[test]
fn blanks_are_stripped_from_grpc_metadata_only() {
    let grpc = |more: &[(&str, &str)]| {
        post("/a/b", &[&[("content-type", "application/grpc+proto")][..], more].concat())
    };
    let kept = judged(grpc(&[("x-a", " \tone two\t "), ("x-b", "  ")])).expect("lenient");
    assert_eq!((kept.get("x-a"), kept.get("x-b")), (Some(&b"one two"[..]), Some(&b""[..])));
    // The type may come last, and have blanks itself.
    let late = post("/a/b", &[("x-a", "one "), ("content-type", "application/grpc ")]);
    assert_eq!(judged(late).expect("lenient").get("x-a"), Some(&b"one"[..]));
    for (name, value) in [
        ("x-a", "a\0"),
        ("x-a", " a\r"),
        ("x-a", "a\nb"),
        ("host", " localhost"),
        ("te", "trailers "),
        ("content-length", " 0"),
        ("connection", " close"),
    ] {
        assert!(judged(grpc(&[(name, value)])).is_none(), "{name}: {value:?}");
    }
    assert!(judged(post("/a/b ", &[("content-type", "application/grpc")])).is_none());
    for other in ["text/plain", "application/grpc-web", "application/grpcfoo"] {
        let plain = post("/a/b", &[("content-type", other), ("x-a", " one")]);
        assert!(judged(plain).is_none(), "{other}");
    }
    assert!(judged(post("/a/b", &[("x-a", "one ")])).is_none(), "without a type");
}

/// RFC 9113 §8.3.1: one valid scheme, and no userinfo, in host neither.
#[test]
fn schemes_and_hosts_are_judged() {
    let request = |scheme: &str, more: &[(&str, &str)]| {
        let pseudo = [(":method", "POST"), (":scheme", scheme), (":path", "/a/b")];
        block(&[&pseudo[..], more].concat())
    };
    for scheme in ["http", "https", "HTTP", "grpc+unix", "x-1.2"] {
        assert!(judged(request(scheme, &[(":authority", "localhost")])).is_some(), "{scheme}");
    }
    for scheme in ["", "1http", "ht tp", "http:", "http://", "h\u{e9}"] {
        assert!(judged(request(scheme, &[(":authority", "localhost")])).is_none(), "{scheme}");
    }
    // What C-core sends for Unix sockets, among others.
    for authority in ["localhost", "/run/x.sock", "%2Frun%2Fx.sock", "[::1]:80", "unix:a"] {
        assert!(judged(request("http", &[(":authority", authority)])).is_some(), "{authority}");
        assert!(judged(request("http", &[("host", authority)])).is_some(), "{authority}");
    }
    for authority in ["user@localhost", "user:secret@localhost", "a b"] {
        assert!(judged(request("http", &[(":authority", authority)])).is_none(), "{authority}");
        assert!(judged(request("http", &[("host", authority)])).is_none(), "{authority}");
    }
}

/// RFC 7541 §4.2: a size that is lowered and raised in one SETTINGS frame is signalled with both sizes.
#[test]
fn a_table_lowered_and_raised_in_one_frame_is_signalled() {
    let mut server = Engine::server(|_| {});
    server.feed(&[settings(&[(1, 0), (1, 4096)])]).expect("SETTINGS");
    server.feed(&[headers(1, WHOLE, get("/", &[]))]).expect("a request");
    server.written();
    let key = server.key(1);
    let mut fields = Fields::new();
    fields.push(":status", "200");
    let head = SendHead { template: None, extra: &fields };
    server.connection.send_head(&mut server.out, key, head, true).expect("sent");
    let frames = server.frames();
    assert_eq!(frames[0].payload[..4], [0x20, 0x3f, 0xe1, 0x1f], "zero, then 4096");
}

/// RFC 9113 §5.1.1: an identifier is used once, remembered or not. Only frames behind a reset of ours are
/// discarded.
#[test]
fn a_reused_identifier_ends_the_connection() {
    for again in [1, 3, 9] {
        let mut server = Engine::server(|limits| limits.recent_streams = 1);
        for id in [1, 5, 11] {
            server.feed(&[headers(id, WHOLE, get("/", &[]))]).expect("a request");
            let key = server.key(id);
            let mut fields = Fields::new();
            fields.push(":status", "200");
            let head = SendHead { template: None, extra: &fields };
            server.connection.send_head(&mut server.out, key, head, true).expect("sent");
            server.connection.take(key, &mut server.out).expect("the stream");
        }
        let result = server.feed(&[headers(again, WHOLE, get("/", &[]))]);
        assert_eq!(broken(result), Violation::StreamIdOrder, "stream {again}");
    }
}

/// RFC 9113 §6.5.2: settings that this side does not know have no effect, whatever their values: those of
/// RFC 9218 as well.
#[test]
fn unknown_settings_are_ignored() {
    let mut server = Engine::server(|_| {});
    server.written();
    for value in [0, 1, 2, u32::MAX] {
        server.feed(&[settings(&[(9, value), (8, value), (0xfafa, value)])]).expect("ignored");
        assert_eq!(server.written(), [(SETTINGS, 0, 0)], "an acknowledgement");
    }
}

/// Limits that no clock can add mean never, also without a builder that bounds them.
#[test]
fn the_longest_times_mean_never() {
    let mut server = Engine::server(|limits| {
        limits.field_block_time = std::time::Duration::MAX;
        limits.frame_time = std::time::Duration::MAX;
        limits.premature_age = std::time::Duration::MAX;
        limits.wasted_time = std::time::Duration::MAX;
        limits.ping_interval_min = std::time::Duration::MAX;
    });
    server.feed(&[headers(1, WHOLE, get("/", &[])), ping([0; 8])]).expect("a request");
    server.feed(&[headers(3, END_STREAM, get("/", &[]))]).expect("a part of a block");
    assert_eq!(server.connection.poll_timeout(), None);
}

/// RFC 9113 §10.5: the time for a frame begins with its first byte, anew with each frame, and anew when the
/// last stream has ended.
#[test]
fn a_frame_has_its_time() {
    let second = std::time::Duration::from_secs(1);
    let later = |server: &mut Engine, seconds: u32| {
        server.now += second * seconds;
        let Engine { connection, out, now, .. } = server;
        connection.handle_timeout(out, *now).map_err(|error| error.violation)
    };
    // What is discarded: DATA of a stream that this side has reset, padded or not, and unknown frames.
    let slow = [
        data(1, NONE, [7; 20]),
        data(1, NONE, [7; 20]).padded(30),
        data(1, NONE, []),
        frame(0xfa, NONE, 0, [7; 20]),
        frame(0xfa, NONE, 0, []),
        settings(&[]),
    ];
    for ends in slow.iter().flat_map(|frame| (1..frame.bytes().len()).map(move |n| (frame, n))) {
        let (frame, at) = ends;
        let mut server = Engine::server(|_| {});
        server.feed(&[headers(1, END_HEADERS, post("/", &[]))]).expect("a request");
        let key = server.key(1);
        let _ = server.connection.take(key, &mut server.out);
        server.bytes(&frame.bytes()[..at]).expect("a part");
        for _ in 0..3 {
            assert_eq!(later(&mut server, 29), Ok(()), "{frame:?} {at}");
            // The rest, and a part of the next one.
            let next = [&frame.bytes()[at..], &frame.bytes()[..at]].concat();
            server.bytes(&next).expect("the rest and a part");
        }
        assert_eq!(later(&mut server, 29), Ok(()), "{frame:?} {at}");
        server.bytes(&frame.bytes()[at..]).expect("the rest");
        assert_eq!(server.connection.poll_timeout(), None, "{frame:?} {at}");
        server.bytes(&frame.bytes()[..at]).expect("a part");
        assert_eq!(later(&mut server, 30), Err(Violation::FrameStalled), "{frame:?} {at}");
    }
    // A stream that ends shortly before the time is up leaves the peer the whole time.
    let mut server = Engine::server(|_| {});
    server.feed(&[headers(1, END_HEADERS, post("/", &[]))]).expect("a request");
    server.bytes(&data(1, NONE, [7; 20]).bytes()[..15]).expect("a part");
    assert_eq!(later(&mut server, 100), Ok(()));
    let key = server.key(1);
    let _ = server.connection.take(key, &mut server.out);
    assert_eq!(later(&mut server, 29), Ok(()));
    assert_eq!(later(&mut server, 29), Ok(()));
    assert_eq!(later(&mut server, 30), Err(Violation::FrameStalled));
}

/// RFC 9113 §10.5: a field block has its time from the first byte of its HEADERS, whatever other streams are
/// open, and more bytes do not lengthen it.
#[test]
fn a_field_block_has_its_time_from_its_first_byte() {
    let second = std::time::Duration::from_secs(1);
    let fields = post("/", &[("x", &"v".repeat(200))]);
    let whole = |stream| headers(stream, WHOLE, fields.clone()).bytes();
    let (first, rest) = fields.split_at(50);
    let two = wire(&[headers(3, END_STREAM, first), continuation(3, END_HEADERS, rest)]);
    let (trailers, other) = (headers(1, WHOLE, block(&[("x", "yyyy")])).bytes(), whole(3));
    for (bytes, at) in [(&trailers, 4), (&other, 8), (&other, 9), (&other, 100), (&two, 70)] {
        let mut server = Engine::server(|_| {});
        server.feed(&[headers(1, END_HEADERS, post("/", &[]))]).expect("a request");
        let begun = server.now;
        server.bytes(&bytes[..at]).expect("a part");
        assert_eq!(server.connection.poll_timeout(), Some(begun + 10 * second), "{at}");
        server.now += 9 * second;
        server.bytes(&bytes[at..=at]).expect("a byte more");
        assert_eq!(server.connection.poll_timeout(), Some(begun + 10 * second), "{at}");
        // While this side does not read, the time stands still.
        server.connection.note_reading(false, server.now);
        server.now += 100 * second;
        assert_eq!(server.connection.poll_timeout(), None, "{at}");
        server.connection.note_reading(true, server.now);
        server.now += 9 * second;
        server.bytes(&bytes[at + 1..at + 2]).expect("a byte more");
        server.now += second;
        let Engine { connection, out, now, .. } = &mut server;
        let error = connection.handle_timeout(out, *now).expect_err("the time is up");
        assert_eq!(error.violation, Violation::FieldBlockStalled, "{at}");
    }
    // Two parts, each in time, that begin in the middle of a read.
    let mut server = Engine::server(|_| {});
    server.bytes(&[&whole(1), &whole(3)[..40]].concat()).expect("a part");
    server.now += 9 * second;
    server.bytes(&[&whole(3)[40..], &whole(5)[..40]].concat()).expect("a part");
    server.now += 9 * second;
    server.bytes(&whole(5)[40..]).expect("the rest");
    assert_eq!(server.connection.poll_timeout(), None);
}

/// RFC 9113 §6.8: a head for which the connection ends counts as processed: nobody sends it again elsewhere. One
/// that is above a GOAWAY of this side does not.
#[test]
fn a_refused_head_is_not_repeated() {
    let far = vec![0x40; 65_537];
    let many = || {
        let rest = (0..15).map(|_| continuation(7, NONE, *b"x"));
        std::iter::once(headers(7, NONE, [])).chain(rest).collect::<Vec<_>>()
    };
    let bomb = [entered(b"x", &[b'v'; 3_900]), indexed(62).repeat(20)].concat();
    let long = [headers(7, NONE, &far[..60_000]), continuation(7, NONE, &far[60_000..])];
    for (frames, goes_away) in [
        (vec![headers(7, WHOLE, far.clone())], false),
        (long.to_vec(), false),
        (vec![headers(7, WHOLE, [get("/", &[]), bomb].concat())], false),
        (many(), false),
        (many(), true),
    ] {
        let mut server = Engine::server(|_| {});
        server.feed(&[headers(5, WHOLE, get("/", &[]))]).expect("a request");
        if goes_away {
            server.connection.goaway_now(&mut server.out, ErrorCode::NO_ERROR, "");
        }
        server.feed(&frames).expect_err("the connection ends");
        let goaway =
            server.frames().into_iter().rfind(|frame| frame.kind == GOAWAY).expect("GOAWAY");
        let word = |at: usize| goaway.payload[at..].first_chunk().map(|n| u32::from_be_bytes(*n));
        let too_long = frames[0].payload.len() > 65_536;
        assert_eq!(word(0), Some(if goes_away { 5 } else { 7 }));
        assert_eq!(word(4), Some(if too_long { FRAME_SIZE_ERROR } else { ENHANCE_YOUR_CALM }));
    }
}

/// RFC 9113 §5.1.1: a second request on an identifier ends the connection, however long ago the first one was
/// reset; what is left of the first one is discarded.
#[test]
fn a_second_request_on_an_identifier_is_no_late_frame() {
    for forgotten in [false, true] {
        for (late, ends) in
            [(block(&[("x", "y")]), None), (get("/", &[]), Some(Violation::StreamIdOrder))]
        {
            let mut server = Engine::server(|_| {});
            for id in [5, 9] {
                server.feed(&[headers(id, END_HEADERS, post("/", &[]))]).expect("a request");
                let key = server.key(id);
                let _ = server.connection.take(key, &mut server.out);
            }
            if forgotten {
                server.connection.release_memory();
            }
            for id in [5, 9] {
                let error = server.feed(&[headers(id, WHOLE, late.clone())]).err();
                assert_eq!(error.map(|error| error.violation), ends, "{id} {forgotten}");
            }
        }
    }
}

/// The time in which DATA waits for the connection's window ends with the stream that waits.
#[test]
fn nothing_waits_without_a_stream() {
    let second = std::time::Duration::from_secs(1);
    for reset_by_peer in [false, true] {
        let mut server = Engine::server(|_| {});
        server
            .feed(&[headers(1, WHOLE, get("/", &[])), window_update(1, 100_000)])
            .expect("a request");
        let key = server.key(1);
        let mut fields = Fields::new();
        fields.push(":status", "200");
        let head = SendHead { template: None, extra: &fields };
        let Engine { connection, out, now, .. } = &mut server;
        connection.send_head(out, key, head, false).expect("a head");
        let body = Payload::Shared(vec![7; 100_000].into());
        connection.send_data(out, key, body, true, *now).expect("a body");
        connection.schedule(out, usize::MAX, *now);
        *now += second;
        assert_eq!(connection.connection_stalled(*now), second);
        connection.check_invariants();
        if reset_by_peer {
            server.feed(&[rst_stream(1, CANCEL)]).expect("a reset");
        }
        let Engine { connection, out, now, .. } = &mut server;
        let _ = connection.take(key, out);
        connection.check_invariants();
        connection.schedule(out, usize::MAX, *now);
        *now += 3600 * second;
        connection.schedule(out, usize::MAX, *now);
        assert_eq!(connection.connection_stalled(*now), second);
    }
}

/// RFC 9113 §6.9.2: SETTINGS_INITIAL_WINDOW_SIZE changes windows of streams on which this side still sends.
#[test]
fn a_stream_that_has_ended_has_no_window() {
    for answered in [false, true] {
        let mut server = Engine::server(|_| {});
        let open = [headers(1, END_HEADERS, post("/", &[])), window_update(1, MAX_WINDOW - 65_535)];
        server.feed(&open).expect("a request");
        if answered {
            let key = server.key(1);
            let mut fields = Fields::new();
            fields.push(":status", "200");
            let head = SendHead { template: None, extra: &fields };
            server.connection.send_head(&mut server.out, key, head, true).expect("an answer");
        }
        let error = server.feed(&[settings(&[(INITIAL_WINDOW_SIZE, 65_536)])]).err();
        let expected = (!answered).then_some(Violation::SettingsWindowOverflow);
        assert_eq!(error.map(|error| error.violation), expected);
    }
}

/// Opens a stream of a client.
fn open(client: &mut Engine, method: &str) -> StreamKey {
    let mut fields = Fields::new();
    for (name, value) in [(":method", method), (":scheme", "http"), (":path", "/")] {
        fields.push(name, value);
    }
    let Engine { connection, out, now, .. } = client;
    let head = SendHead { template: None, extra: &fields };
    connection.open(out, head, true, 0, *now).expect("a stream")
}

/// RFC 9110 §6.4.1: DATA with content in a response to HEAD, in 204 and 304 makes it malformed, whatever its
/// content-length is; empty DATA ends it.
#[test]
fn responses_without_content_have_none() {
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        for (content, resets) in [(&b""[..], 0), (b"abc", 1)] {
            let mut client = Engine::new(Role::Client, Limits::client());
            client.feed(&[settings(&[])]).expect("SETTINGS");
            open(&mut client, method);
            let head = headers(1, END_HEADERS, response(status, &[("content-length", "3")]));
            let (_, reset) =
                client.feed(&[head, data(1, END_STREAM, content)]).expect("a response");
            assert_eq!(reset.len(), resets, "{method} {status}");
        }
    }
}

/// RFC 9113 §8.1: informational responses have a bound, however large it is.
#[test]
fn informational_responses_have_their_bound() {
    for bound in [0, 16, 254, 255, 300] {
        let limits = {
            let mut limits = Limits::client();
            limits.informational_responses = bound;
            limits
        };
        let mut client = Engine::new(Role::Client, limits);
        client.feed(&[settings(&[])]).expect("SETTINGS");
        open(&mut client, "GET");
        let early = headers(1, END_HEADERS, response(103, &[]));
        let (_, resets) = client.feed(&vec![early.clone(); bound as usize]).expect("within");
        assert_eq!(resets, []);
        let (_, resets) = client.feed(&[early]).expect("one more");
        assert_eq!(resets, [1], "{bound}");
    }
}
