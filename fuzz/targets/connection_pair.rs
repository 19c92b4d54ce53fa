//! Any operations on a client and a server joined by a link that cuts anywhere: every byte sent
//! arrives, in order, and the accounting adds up after each step.

use arbitrary::Arbitrary;
use bytes::Bytes;
use framewire::unstable::http2::{
    Connection, ErrorCode, Event, Fields, Limits, Payload, RecvBuffer, Role, SendBuffer, SendHead,
    StreamKey,
};
use std::collections::HashMap;
use std::time::Instant;

#[derive(Arbitrary, Debug)]
enum Step {
    Open { end: bool },
    Send { stream: u8, bytes: u32, end: bool },
    Answer { stream: u8, bytes: u32 },
    Reset { stream: u8, server: bool },
    Release { stream: u8, server: bool },
    Move { bytes: u16, up: bool },
    GoAway { soon: bool },
}

#[derive(Default)]
struct Side {
    out: SendBuffer,
    recv: RecvBuffer,
    keys: Vec<StreamKey>,
    got: HashMap<StreamKey, u64>,
    held: HashMap<StreamKey, u32>,
}

/// Judges one input of the fuzzer.
pub(crate) fn run(bytes: &[u8]) {
    let Some(steps) = crate::input::read::<Vec<Step>>(bytes) else { return };
    let now = Instant::now();
    let mut client: Connection<u64> = Connection::new(Role::Client, Limits::client(), now);
    let mut server: Connection<u64> = Connection::new(Role::Server, Limits::server(), now);
    let (mut c, mut s) = (Side::default(), Side::default());
    client.start(&mut c.out);
    server.start(&mut s.out);
    let mut request = Fields::new();
    request.push(":method", "POST");
    request.push(":scheme", "http");
    request.push(":path", "/a/b");
    let mut reply = Fields::new();
    reply.push(":status", "200");
    for step in steps.into_iter().take(200) {
        let key =
            |side: &Side, n: u8| side.keys.get(usize::from(n) % side.keys.len().max(1)).copied();
        match step {
            Step::Open { end } => {
                let head = SendHead { template: None, extra: &request };
                if let Ok(key) = client.open(&mut c.out, head, end, 0, now) {
                    c.keys.push(key);
                }
            }
            Step::Send { stream, bytes, end } => {
                if let Some(key) = key(&c, stream) {
                    let body = Payload::Shared(Bytes::from(vec![1; (bytes % 100_000) as usize]));
                    let _ = client.send_data(&mut c.out, key, body, end, now);
                }
            }
            Step::Answer { stream, bytes } => {
                if let Some(key) = key(&s, stream) {
                    let head = SendHead { template: None, extra: &reply };
                    let _ = server.send_head(&mut s.out, key, head, false);
                    let body = Payload::Shared(Bytes::from(vec![2; (bytes % 100_000) as usize]));
                    let _ = server.send_data(&mut s.out, key, body, true, now);
                }
            }
            Step::Reset { stream, server: true } => {
                if let Some(key) = key(&s, stream) {
                    server.reset(&mut s.out, key, ErrorCode::CANCEL);
                }
            }
            Step::Reset { stream, server: false } => {
                if let Some(key) = key(&c, stream) {
                    client.reset(&mut c.out, key, ErrorCode::CANCEL);
                }
            }
            Step::Release { stream, server: up } => {
                let (conn, side) = if up { (&mut server, &mut s) } else { (&mut client, &mut c) };
                if let Some(key) = key(side, stream) {
                    let held = side.held.remove(&key).unwrap_or(0);
                    conn.release(&mut side.out, key, held, now);
                }
            }
            Step::Move { bytes, up: true } => {
                client.schedule(&mut c.out, 1 << 18, now);
                carry(&mut c.out, &mut s.recv, bytes);
                drain(&mut server, &mut s, now);
            }
            Step::Move { bytes, up: false } => {
                server.schedule(&mut s.out, 1 << 18, now);
                carry(&mut s.out, &mut c.recv, bytes);
                drain(&mut client, &mut c, now);
            }
            Step::GoAway { soon: true } => server.goaway_soon(&mut s.out),
            Step::GoAway { soon: false } => {
                server.goaway_now(&mut s.out, ErrorCode::NO_ERROR, "");
            }
        }
        client.check_invariants();
        server.check_invariants();
    }
}

fn carry(from: &mut SendBuffer, to: &mut RecvBuffer, bytes: u16) {
    let mut left = usize::from(bytes) * 4;
    while left > 0 {
        let Some(first) = from.slices().next() else { return };
        let n = first.len().min(left);
        to.extend(&first[..n]);
        from.advance(n);
        left -= n;
    }
}

fn drain(conn: &mut Connection<u64>, side: &mut Side, now: Instant) {
    loop {
        let event = conn.next_event(&mut side.recv, &mut side.out, now);
        let event = event.expect("two honest ends break no rule");
        let Some(event) = event else { return };
        match event {
            Event::Head { key, .. } if !side.keys.contains(&key) => side.keys.push(key),
            Event::Data { key, data, .. } => {
                *side.got.entry(key).or_default() += data.len() as u64;
                *side.held.entry(key).or_default() += data.len() as u32;
                assert!(data.iter().all(|o| *o == 1 || *o == 2));
            }
            Event::GoAway { .. } => {
                for key in conn.unprocessed() {
                    conn.take(key, &mut side.out);
                    side.keys.retain(|other| *other != key);
                }
            }
            _ => {}
        }
        conn.check_invariants();
    }
}
