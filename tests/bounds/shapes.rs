//! What hostile clients send, each shape on one connection.

use crate::frame::*;
use crate::hpack::{entered, indexed, literal, post, table_size};

/// What becomes of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum End {
    /// Nothing: what the client does harms nobody, or is what slow clients do.
    #[default]
    Stays,
    /// GOAWAY with this code.
    GoAway(u32),
    /// It ends without GOAWAY.
    Closed,
    /// It ends if the sockets do not take all answers, which differs from run to run.
    Depends,
}

/// What a client sends after its preface.
pub struct Shape {
    pub name: &'static str,
    /// The streams that it opens.
    pub streams: usize,
    /// The window that it gives each stream, or none.
    pub window: u32,
    /// It reads what the server sends.
    pub reads: bool,
    pub bytes: Vec<u8>,
    /// Header lists of the largest size that each stream brings.
    pub lists: usize,
    /// It brings messages, or asks for them, so that the budget counts.
    pub messages: bool,
    /// What becomes of its connection.
    pub end: End,
}

impl Shape {
    /// This shape ends its connection.
    fn ends(self, code: u32) -> Self {
        Self { end: End::GoAway(code), ..self }
    }
}

/// Streams that a client opens where the number does not matter more.
const STREAMS: u32 = 200;

fn call(stream: u32, flags: u8, path: &str) -> RawFrame {
    let more = [("content-type", "application/grpc"), ("te", "trailers")];
    headers(stream, flags, post(path, &more))
}

fn shape(name: &'static str, streams: u32, frames: &[RawFrame]) -> Shape {
    let (streams, bytes) = (streams as usize, wire(frames));
    Shape {
        name,
        streams,
        window: MAX_WINDOW,
        reads: false,
        bytes,
        lists: 0,
        messages: false,
        end: End::Stays,
    }
}

/// A shape whose streams bring or ask for messages.
fn laden(name: &'static str, streams: u32, frames: &[RawFrame]) -> Shape {
    Shape { messages: true, ..shape(name, streams, frames) }
}

/// A shape whose streams bring a large header list.
fn listed(name: &'static str, frames: &[RawFrame]) -> Shape {
    Shape { lists: 1, ..shape(name, STREAMS, frames) }
}

/// The frames of each stream.
fn each(streams: u32, frames: impl Fn(u32) -> Vec<RawFrame>) -> Vec<RawFrame> {
    (0..streams).flat_map(|n| frames(2 * n + 1)).collect()
}

/// A call to a method that reads slowly, with the prefix of a message of 1 MiB.
fn begun(stream: u32) -> Vec<RawFrame> {
    vec![call(stream, END_HEADERS, "/test.Work/Slow"), data(stream, NONE, [0, 0, 16, 0, 0])]
}

fn asked(path: &str) -> Vec<RawFrame> {
    each(STREAMS, |n| vec![call(n, END_HEADERS, path), data(n, END_STREAM, [0; 5])])
}

/// `gzip`, of so many zeros.
pub fn bomb(zeros: usize) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![0; zeros]).unwrap();
    let body = encoder.finish().unwrap();
    let mut message = vec![1];
    message.extend_from_slice(&(body.len() as u32).to_be_bytes());
    message.extend(body);
    message
}

fn zipped(stream: u32) -> RawFrame {
    let gzip = ("grpc-encoding", "gzip");
    let more = [("content-type", "application/grpc"), ("te", "trailers"), gzip];
    headers(stream, END_HEADERS, post("/test.Work/Slow", &more))
}

/// Heads with as much as the limits of a server allow.
fn heads() -> Vec<RawFrame> {
    let more = [("content-type", "application/grpc"), ("te", "trailers")];
    each(STREAMS, |n| {
        let mut block = post("/test.Work/Slow", &more);
        for i in 0..3u8 {
            block.extend(literal(format!("x-large-{i}").as_bytes(), &[b'v'; 4800]));
        }
        vec![headers(n, END_HEADERS, block)]
    })
}

/// Trailers of the same size behind calls that nobody answers.
fn trailers() -> Vec<RawFrame> {
    each(STREAMS, |n| {
        let mut block = Vec::new();
        for i in 0..3u8 {
            block.extend(literal(format!("x-large-{i}").as_bytes(), &[b'v'; 4800]));
        }
        vec![call(n, END_HEADERS, "/test.Work/Silent"), headers(n, WHOLE, block)]
    })
}

/// A block within its limits that does not end.
fn open_block() -> Vec<RawFrame> {
    let mut frames = vec![headers(1, NONE, post("/test.Work/Do", &[]))];
    frames.extend((0..12).map(|i| continuation(1, NONE, literal(&[b'a' + i], &[b'v'; 5000]))));
    frames
}

/// One entry of the table that each head names as often as a block may.
fn named() -> Vec<RawFrame> {
    let mut first = post("/test.Work/Do", &[]);
    first.extend(entered(b"x-bomb", &[b'v'; 4000]));
    let mut frames = vec![headers(1, WHOLE, first)];
    frames.extend((1..STREAMS).map(|n| {
        let mut block = post("/test.Work/Do", &[]);
        block.extend(indexed(62).repeat(16_000));
        headers(2 * n + 1, WHOLE, block)
    }));
    frames
}

/// The table is emptied and filled again and again.
fn churn() -> Vec<RawFrame> {
    each(STREAMS, |n| {
        let mut block = table_size(0);
        block.extend(table_size(4096));
        block.extend(post("/test.Work/Do", &[("content-type", "application/grpc")]));
        for i in 0..100u8 {
            block.extend(entered(&[b'a', b'a' + i % 26, b'a' + i / 26], b"v"));
        }
        vec![headers(n, WHOLE, block)]
    })
}

/// Half of a frame as large as the server takes.
fn half_frame() -> Vec<u8> {
    let mut bytes = wire(&begun(1));
    let half = data(1, NONE, vec![1; 32_000]).claiming(65_000);
    bytes.extend(half.bytes());
    bytes
}

/// Shapes of frames that hold nothing for long.
fn floods() -> Vec<Shape> {
    let idle = |frame: RawFrame, times: usize| vec![frame; times];
    let resets =
        each(2000, |n| vec![call(n, END_HEADERS, "/test.Work/Silent"), rst_stream(n, CANCEL)]);
    let forced =
        each(2000, |n| vec![call(n, END_HEADERS, "/test.Work/Silent"), window_update(n, 0)]);
    let nameless = each(STREAMS, |n| {
        let mut block = post("/test.Work/Do", &[]);
        block.extend(literal(b"", b"").repeat(1000));
        vec![headers(n, WHOLE, block)]
    });
    vec![
        shape("PING without reading", 0, &idle(ping([7; 8]), 300_000)).ends(ENHANCE_YOUR_CALM),
        Shape {
            end: End::Depends,
            ..shape(
                "SETTINGS without reading",
                0,
                &idle(settings(&[(INITIAL_WINDOW_SIZE, 1)]), 300_000),
            )
        },
        shape("PRIORITY", 0, &each(50_000, |n| vec![priority(n, n + 2)])),
        shape("WINDOW_UPDATE", 0, &idle(window_update(0, 1), 50_000)),
        shape("unknown frames", 0, &idle(frame(0xfa, 0, 0, vec![7; 16_384]), 300)),
        laden("empty DATA", 1, &[begun(1), idle(data(1, NONE, []), 50_000)].concat())
            .ends(ENHANCE_YOUR_CALM),
        // It has no streams that the server would wait for.
        Shape { end: End::Closed, ..shape("GOAWAY", 0, &idle(goaway(0, NO_ERROR), 10_000)) },
        shape("rapid reset", 256, &resets),
        shape("resets that it forces", 256, &forced),
        shape("names that are empty", 0, &nameless),
    ]
}

/// Shapes that hold streams, heads or bytes.
fn holders() -> Vec<Shape> {
    let crumbs = each(STREAMS, |n| [begun(n), vec![data(n, NONE, [1]); 200]].concat());
    let halves = each(STREAMS, |n| [begun(n), vec![data(n, NONE, vec![1; 16_384]); 3]].concat());
    let lies = each(STREAMS, |n| {
        vec![call(n, END_HEADERS, "/test.Work/Slow"), data(n, NONE, [0, 0, 0x3f, 0xff, 0xff])]
    });
    let message = bomb(3 << 20);
    let bombs = each(STREAMS, |n| vec![zipped(n), data(n, NONE, message.clone())]);
    let upload = each(STREAMS, |n| {
        vec![headers(n, END_HEADERS, post("/upload", &[])), data(n, NONE, vec![1; 16_384])]
    });
    let unread =
        laden("large answers that it does not read", STREAMS, &asked("/test.Work/Endless"));
    let large =
        each(4000, |n| vec![call(n, END_HEADERS, "/test.Work/Large"), data(n, END_STREAM, [0; 5])]);
    let shut = laden("answers behind a closed window", STREAMS, &asked("/test.Work/Endless"));
    let dribble = [asked("/test.Work/Endless"), vec![window_update(1, 1); 20_000]].concat();
    let dribble = laden("data dribble", STREAMS, &dribble);
    let half = Shape { bytes: half_frame(), ..laden("half of a frame", 1, &[]) };
    vec![
        unread,
        // What their streams hold is within what the buffer does not hold.
        shape("refusals that it does not read", 0, &large),
        Shape { window: 0, ..shut },
        Shape { window: 0, reads: true, ..dribble },
        half,
        shape("a block that does not end", 0, &open_block()),
        // Refused for what they name: none of them stays.
        shape("one entry named often", 0, &named()).ends(ENHANCE_YOUR_CALM),
        shape("a table that is emptied and filled", STREAMS, &churn()),
        listed("large heads", &heads()),
        listed("large trailers", &trailers()),
        laden("messages a byte a frame", STREAMS, &crumbs),
        laden("halves of messages", STREAMS, &halves),
        laden("lengths that lie", STREAMS, &lies),
        laden("gzip bombs", STREAMS, &bombs),
        laden("plain bodies that do not end", STREAMS, &upload),
        shape("silence", 0, &[]),
    ]
}

pub fn shapes() -> Vec<Shape> {
    [floods(), holders()].into_iter().flatten().collect()
}
