//! RFC 9113 §10.5 in virtual time, the engine alone: peers that cause work for nothing lose their
//! connection within six seconds, peers that give up honestly do not.

use std::time::Duration;

use framewire::unstable::http2::{
    ConnectionError, ErrorCode, Event, Fields, Limits, Payload, Role, SendHead, StreamKey,
    Violation,
};

use crate::engine::Engine;
use crate::support::hpack::{block, entered, indexed};
use crate::support::*;

/// How long an attacker may go on once it is above the bound.
const LIMIT: Duration = Duration::from_secs(6);
const MILLISECOND: Duration = Duration::from_millis(1);

/// How a request is answered.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    /// Not at all.
    Never,
    /// As gRPC answers an unknown method: with a head that ends the stream.
    HeadAlone,
    /// With content.
    Content,
}

/// What a server does with requests: the answer depends on the path.
fn answer(path: &[u8]) -> Answer {
    match path {
        b"/unknown" => Answer::HeadAlone,
        b"/work" => Answer::Content,
        _ => Answer::Never,
    }
}

impl Engine {
    /// Feeds frames and answers the requests among them. Everything is written at once.
    fn serve(&mut self, frames: &[RawFrame]) -> Result<(), ConnectionError> {
        self.input.extend(&wire(frames));
        loop {
            let event = self.connection.next_event(&mut self.input, &mut self.out, self.now)?;
            match event {
                Some(Event::Head { key, head, .. }) => {
                    let answer = answer(head.path());
                    self.reply(key, answer);
                }
                Some(Event::Reset { key, .. }) => {
                    self.connection.take(key, &mut self.out);
                }
                Some(_) => {}
                None => break,
            }
        }
        self.out.advance(self.out.len());
        Ok(())
    }

    fn reply(&mut self, key: StreamKey, answer: Answer) {
        if answer == Answer::Never {
            return;
        }
        let mut fields = Fields::new();
        fields.push(":status", "200");
        let head = SendHead { template: None, extra: &fields };
        let alone = answer == Answer::HeadAlone;
        self.connection.send_head(&mut self.out, key, head, alone).expect("an answer");
        if !alone {
            let content = Payload::Borrowed(b"12345");
            let sent = self.connection.send_data(&mut self.out, key, content, true, self.now);
            sent.expect("content");
        }
        self.connection.take(key, &mut self.out);
    }
}

/// Runs so many rounds a millisecond until the connection ends.
fn attack(engine: &mut Engine, rounds: u32, mut round: impl FnMut(u32) -> Vec<RawFrame>) {
    let begin = engine.now;
    let mut number = 0;
    loop {
        let passed = engine.now - begin;
        assert!(passed <= LIMIT, "it goes on after {passed:?}");
        let batch: Vec<_> = (0..rounds).flat_map(|n| round(number + n)).collect();
        number += rounds;
        if let Err(error) = engine.serve(&batch) {
            assert_eq!(error.violation, Violation::WastedWork, "after {passed:?}");
            assert_eq!(error.violation.code(), ErrorCode::ENHANCE_YOUR_CALM);
            // The budget is not a count: a burst is no attack.
            assert!(passed >= Duration::from_millis(300), "after {passed:?}");
            return;
        }
        engine.now += MILLISECOND;
    }
}

/// A server whose bound is a tenth, so that floods of small frames end in fewer steps.
fn small() -> Engine {
    Engine::server(|limits| limits.wasted_work /= 10)
}

#[test]
fn rapid_reset_ends_within_six_seconds() {
    attack(&mut Engine::server(|_| {}), 8, |n| {
        let id = 2 * n + 1;
        vec![headers(id, WHOLE, get("/hang", &[])), rst_stream(id, CANCEL)]
    });
}

/// Answers without content earn nothing, however many they are.
#[test]
fn resets_paired_with_cheap_answers_end() {
    attack(&mut Engine::server(|_| {}), 8, |n| {
        let id = 8 * n + 1;
        let cheap = |k: u32| headers(id + 2 * k, WHOLE, get("/unknown", &[]));
        vec![headers(id, WHOLE, get("/hang", &[])), rst_stream(id, CANCEL), cheap(1), cheap(2)]
    });
}

/// Resets that a peer forces this side to send are charged like its own.
#[test]
fn forced_resets_end() {
    let late = block(&[("x", "y")]);
    let forced: [&dyn Fn(u32) -> RawFrame; 4] = [
        &|id| window_update(id, 0),
        &|id| window_update(id, MAX_WINDOW),
        &|id| data(id, NONE, *b"x"),
        &|id| headers(id, WHOLE, late.clone()),
    ];
    for force in forced {
        attack(&mut Engine::server(|_| {}), 8, |n| {
            let id = 2 * n + 1;
            vec![headers(id, WHOLE, get("/hang", &[])), force(id)]
        });
    }
}

#[test]
fn malformed_requests_end() {
    let bad = get("/ok", &[("connection", "close")]);
    attack(&mut small(), 10, |n| vec![headers(2 * n + 1, WHOLE, bad.clone())]);
}

#[test]
fn requests_over_the_limits_end() {
    attack(&mut small(), 2, |n| {
        let mut bomb = get("/unknown", &[]);
        bomb.extend(entered(b"x-bomb", &[b'v'; 3_900]));
        bomb.extend(indexed(62).repeat(8));
        vec![headers(2 * n + 1, WHOLE, bomb)]
    });
    // Streams over the limit are refused, and the peer goes on.
    let mut full = Engine::server(|limits| limits.concurrent_streams = 1);
    attack(&mut full, 8, |n| vec![headers(2 * n + 1, WHOLE, get("/hang", &[]))]);
}

/// Field blocks on streams that are gone are decoded, for the table's sake.
#[test]
fn field_blocks_without_a_stream_end() {
    let mut server = small();
    server.serve(&[headers(1, END_HEADERS, get("/hang", &[])), window_update(1, 0)]).expect("one");
    let name = "x".repeat(4_000);
    let long = block(&[("x-long", &name)]);
    attack(&mut server, 4, |_| vec![headers(1, WHOLE, long.clone())]);
}

#[test]
fn settings_that_shift_many_windows_end() {
    let mut server = Engine::server(|_| {});
    let open: Vec<_> = (0..256).map(|n| headers(2 * n + 1, WHOLE, get("/hang", &[]))).collect();
    server.serve(&open).expect("256 streams");
    attack(&mut server, 32, |n| vec![settings(&[(INITIAL_WINDOW_SIZE, 1_000 + n % 2)])]);
}

#[test]
fn floods_of_frames_that_change_nothing_end() {
    let frames: [(u32, RawFrame); 5] = [
        (20, settings(&[])),
        (100, priority(9, 7)),
        (100, window_update(0, 1)),
        (100, frame(0xfa, NONE, 0, [0; 8])),
        (20, goaway(0, NO_ERROR)),
    ];
    for (rounds, frame) in frames {
        attack(&mut small(), rounds, |_| vec![frame.clone()]);
    }
    // A client answers any number of PINGs, as long as they are cheap.
    let mut limits = Limits::client();
    limits.wasted_work /= 10;
    let mut client = Engine::new(Role::Client, limits);
    client.serve(&[settings(&[])]).expect("SETTINGS");
    attack(&mut client, 20, |_| vec![ping([0; 8])]);
}

/// The time of handlers that were dropped before they finished counts as well.
#[test]
fn time_spent_for_nothing_ends() {
    let second = 1_000_000_000;
    for (useful, ends) in [(0, true), (2 * second, false)] {
        let mut server = Engine::server(|_| {});
        server.connection.spent(useful, second + second / 10, server.now);
        let next = server.serve(&[window_update(0, 1)]).err().map(|error| error.violation);
        assert_eq!(next, ends.then_some(Violation::WastedWork));
    }
}

/// Runs `load` each millisecond; nothing is refused, and nothing ends.
fn honest(seconds: u64, mut load: impl FnMut(u32) -> Vec<RawFrame>) {
    let mut server = Engine::server(|limits| limits.concurrent_streams = 6_000);
    for tick in 0..seconds as u32 * 1000 {
        server.serve(&load(tick)).expect("an honest load");
        assert_eq!(server.connection.stats().streams_refused, 0, "at {tick} ms");
        server.now += MILLISECOND;
    }
}

/// Type-ahead: a thousand calls a second, each given up after 30 ms, and hardly anything else.
#[test]
fn a_thousand_cancels_a_second_are_honest() {
    honest(20, |tick| {
        let mut frames = vec![headers(2 * tick + 1, WHOLE, get("/hang", &[]))];
        frames.extend(tick.checked_sub(30).map(|old| rst_stream(2 * old + 1, CANCEL)));
        frames
    });
}

/// Five thousand calls a second with heads of 1 KB, each given up at once: what `SECURITY.md` allows.
#[test]
fn five_thousand_resets_a_second_are_allowed() {
    let token = "a".repeat(1_000);
    let call = |id| {
        [headers(id, WHOLE, get("/hang", &[("authorization", &token)])), rst_stream(id, CANCEL)]
    };
    honest(10, |tick| (0..5).flat_map(|n| call(2 * (5 * tick + n) + 1)).collect());
}

/// Fifty thousand calls a second with such heads, each given up after 100 ms.
#[test]
fn fifty_thousand_calls_a_second_that_expire_are_allowed() {
    let token = "a".repeat(1_000);
    let id = |tick: u32, n: u32| 2 * (50 * tick + n) + 1;
    honest(5, |tick| {
        let head = get("/hang", &[("authorization", &token)]);
        let mut frames: Vec<_> =
            (0..50).map(|n| headers(id(tick, n), WHOLE, head.clone())).collect();
        if let Some(old) = tick.checked_sub(100) {
            frames.extend((0..50).map(|n| rst_stream(id(old, n), CANCEL)));
        }
        frames
    });
}

/// Heads over the limit, each answered: who waits for its answers is charged nothing.
#[test]
fn large_heads_that_are_answered_are_allowed() {
    let token = "a".repeat(16_500);
    honest(1, |tick| {
        let head = get("/unknown", &[("authorization", &token)]);
        (0..4).map(|n| headers(2 * (4 * tick + n) + 1, WHOLE, head.clone())).collect()
    });
}

/// Eight thousand calls a second, each of which expires after 200 ms.
#[test]
fn eight_thousand_calls_a_second_that_expire_are_honest() {
    let id = |tick: u32, n: u32| 2 * (8 * tick + n) + 1;
    honest(5, |tick| {
        let mut frames: Vec<_> =
            (0..8).map(|n| headers(id(tick, n), WHOLE, get("/hang", &[]))).collect();
        if let Some(old) = tick.checked_sub(200) {
            frames.extend((0..8).map(|n| rst_stream(id(old, n), CANCEL)));
        }
        frames
    });
}

/// Twenty thousand calls a second; half are hedges that are given up after 5 ms.
#[test]
fn half_of_all_hedges_cancelled_is_honest() {
    let id = |tick: u32, n: u32| 2 * (20 * tick + n) + 1;
    honest(5, |tick| {
        let path = |n| if n % 2 == 0 { "/work" } else { "/hang" };
        let mut frames: Vec<_> =
            (0..20).map(|n| headers(id(tick, n), WHOLE, get(path(n), &[]))).collect();
        frames.push(window_update(0, 50));
        if let Some(old) = tick.checked_sub(5) {
            frames.extend((0..10).map(|n| rst_stream(id(old, 2 * n + 1), CANCEL)));
        }
        frames
    });
}
