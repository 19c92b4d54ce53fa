//! RFC 9113 §5, §6 and §8 once more, by an author who read the RFC and this peer, but neither `src/` nor
//! the tests beside it: tables of what a peer sends and what the RFC says must follow.
//!
//! Where the RFC leaves a choice, all choices stand in the row. A row that expects no error also wants the
//! connection to answer a PING and an honest request afterwards.

mod client;
mod flow;
mod frames;
mod malformed;
mod messages;
mod states;

use crate::support::hpack::block;
use crate::support::raw::{Frame, Heard};
use crate::support::*;
use std::time::Duration;

/// What the peer does.
#[derive(Clone, Debug)]
enum Step {
    Send(RawFrame),
    /// Waits until the subject has ended its side of the stream.
    Answered(u32),
}

impl From<RawFrame> for Step {
    fn from(frame: RawFrame) -> Self {
        Self::Send(frame)
    }
}

/// What must follow.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// A connection error with one of these codes.
    Connection(&'static [u32]),
    /// A stream error with one of these codes; the connection goes on.
    Stream(u32, &'static [u32]),
    /// One of the two, with one of these codes.
    Either(u32, &'static [u32]),
    /// A stream error PROTOCOL_ERROR, or status 400 instead (§8.1.1).
    Refused(u32),
    /// Status 200 and a whole message, no error.
    Answer(u32),
    /// No error.
    Fine,
}

use Then::*;

/// Section, what it says, what is sent, what must follow.
struct Case(&'static str, &'static str, Vec<Step>, Then);

fn case<const N: usize>(
    section: &'static str,
    says: &'static str,
    sent: [RawFrame; N],
    then: Then,
) -> Case {
    Case(section, says, sent.into_iter().map(Step::from).collect(), then)
}

/// What was heard until the connection was silent or at its end.
#[derive(Debug, Default)]
struct Seen {
    goaway: Option<u32>,
    resets: Vec<(u32, u32)>,
    /// Streams whose message has ended, with its status.
    answers: Vec<(u32, String)>,
    ponged: bool,
    ended: bool,
}

const OPAQUE: [u8; 8] = *b"is alive";
/// Above every stream that a row uses.
const LAST: u32 = 9_001;

impl Seen {
    fn note(&mut self, frame: &Frame) {
        if let Some((_, status)) = frame.fields.iter().flatten().find(|(name, _)| name == ":status")
        {
            self.answers.retain(|(stream, _)| *stream != frame.stream);
            self.answers.push((frame.stream, format!("{status}, not ended")));
        }
        if frame.ends_stream() {
            let answer = self.answers.iter_mut().find(|(stream, _)| *stream == frame.stream);
            if let Some((_, status)) = answer {
                *status = status.replace(", not ended", "");
            }
        }
        match frame.kind {
            GOAWAY if frame.word(4) != NO_ERROR => self.goaway = Some(frame.word(4)),
            RST_STREAM => self.resets.push((frame.stream, frame.word(0))),
            PING if frame.flags & ACK != 0 && frame.payload == OPAQUE => self.ponged = true,
            _ => {}
        }
    }

    async fn listen(&mut self, peer: &mut RawPeer) {
        // More than a subject says in a row of these tables.
        for _ in 0..10_000 {
            match peer.hear(Duration::from_secs(5)).await {
                Heard::Frame(frame) => self.note(&frame),
                Heard::Eof => {
                    self.ended = true;
                    return;
                }
                Heard::Silence if self.goaway.is_none() || self.ended => return,
                // A connection that has failed closes, if not at once.
                Heard::Silence => {
                    self.ended = matches!(peer.hear(Duration::from_secs(9)).await, Heard::Eof);
                    return;
                }
            }
        }
    }

    /// Whether it is what must follow.
    fn judge(&self, then: Then) -> bool {
        let answered = |stream| self.answers.contains(&(stream, "200".to_owned()));
        let lives = self.ponged && !self.ended && self.goaway.is_none();
        match then {
            Connection(codes) => self.ended && self.goaway.is_some_and(|c| codes.contains(&c)),
            Stream(stream, codes) => {
                lives && matches!(self.resets[..], [(s, c)] if s == stream && codes.contains(&c))
            }
            Either(stream, codes) => {
                self.judge(Connection(codes)) || self.judge(Stream(stream, codes))
            }
            Refused(stream) => {
                let told = lives && self.answers.contains(&(stream, "400".to_owned()));
                told || self.judge(Stream(stream, &[PROTOCOL_ERROR]))
            }
            Answer(stream) => lives && self.resets.is_empty() && answered(stream),
            Fine => lives && self.resets.is_empty(),
        }
    }
}

async fn perform(peer: &mut RawPeer, steps: &[Step]) -> Seen {
    let mut seen = Seen::default();
    for step in steps {
        match step {
            Step::Send(frame) => peer.send(frame.clone()).await,
            Step::Answered(stream) => loop {
                match peer.hear(Duration::from_secs(5)).await {
                    Heard::Frame(frame) => {
                        seen.note(&frame);
                        if frame.stream == *stream && frame.ends_stream() {
                            break;
                        }
                    }
                    other => panic!("no end of stream {stream}: {other:?}"),
                }
            },
        }
    }
    peer.send(ping(OPAQUE)).await;
    seen.listen(peer).await;
    seen
}

/// Every row against a new server of its own.
async fn judge_server(cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for Case(section, says, steps, then) in cases {
        let mut peer = served().await;
        let mut seen = perform(&mut peer, &steps).await;
        let mut fits = seen.judge(then);
        if fits && !seen.ended {
            peer.send(headers(LAST, WHOLE, get("/ok", &[]))).await;
            seen.listen(&mut peer).await;
            fits = seen.answers.contains(&(LAST, "200".to_owned()));
        }
        if !fits {
            wrong.push(format!("§{section}: {says}: {then:?} expected, {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a client says of its call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Response,
    Failure,
    /// It waits for more.
    Nothing,
}

/// Every row against a new client of its own, whose call waits on stream 1.
async fn judge_client(cases: Vec<(Case, Told)>) {
    let mut wrong = Vec::new();
    for (Case(section, says, steps, then), told) in cases {
        let (client, mut peer) = connected().await;
        let call = client.get("/x");
        assert_eq!(peer.expect_request().await.0, 1);
        let seen = perform(&mut peer, &steps).await;
        let got = match tokio::time::timeout(Duration::from_secs(1), call).await {
            Err(_) => Told::Nothing,
            Ok(ended) if ended.as_ref().is_ok_and(|outcome| outcome.is_ok()) => Told::Response,
            Ok(_) => Told::Failure,
        };
        if !seen.judge(then) || got != told {
            wrong.push(format!(
                "§{section}: {says}: {then:?}, {told:?} expected, {seen:?}, {got:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The head of a request whose handler never answers.
fn hang(stream: u32) -> RawFrame {
    headers(stream, WHOLE, get("/hang", &[]))
}

/// The head of a request that goes on.
fn open(stream: u32) -> RawFrame {
    headers(stream, END_HEADERS, post("/echo", &[]))
}

/// A whole request.
fn whole(stream: u32) -> RawFrame {
    headers(stream, WHOLE, get("/ok", &[]))
}

/// Trailers of a request.
fn trailers(stream: u32) -> RawFrame {
    headers(stream, WHOLE, block(&[("x-end", "1")]))
}
