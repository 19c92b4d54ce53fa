//! Any bytes at a server and at a client, cut at any places: no panic, no growth beyond bounds,
//! the accounting adds up after every event, and an error sticks.

use bytes::Bytes;
use framewire::unstable::http2::connection::PREFACE;
use framewire::unstable::http2::{
    Connection, ErrorCode, Event, Fields, Limits, Payload, RecvBuffer, Role, SendBuffer, SendHead,
};
use std::time::{Duration, Instant};

/// Judges one input of the fuzzer.
pub(crate) fn run(bytes: &[u8]) {
    let Some(input) = crate::input::read::<(bool, bool, Vec<u8>, Vec<u8>)>(bytes) else { return };
    let (server, polite, bytes, cuts) = input;
    let now = Instant::now();
    let role = if server { Role::Server } else { Role::Client };
    let limits = if server { Limits::server() } else { Limits::client() };
    let mut conn: Connection<u64> = Connection::new(role, limits, now);
    let (mut out, mut recv) = (SendBuffer::new(), RecvBuffer::new());
    conn.start(&mut out);
    let mut fields = Fields::new();
    fields.push(":method", "POST");
    fields.push(":scheme", "http");
    fields.push(":path", "/a/b");
    if !server {
        for user in 0..3 {
            let head = SendHead { template: None, extra: &fields };
            let _ = conn.open(&mut out, head, user == 0, user, now);
        }
    }
    // A preface and SETTINGS in front let the fuzzer get past the door.
    let mut wire = Vec::new();
    if polite {
        if server {
            wire.extend_from_slice(PREFACE);
        }
        wire.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    }
    wire.extend_from_slice(&bytes);
    let mut rest = &wire[..];
    let mut at = 0;
    while !rest.is_empty() {
        let step = cuts.get(at % cuts.len().max(1)).map_or(usize::MAX, |c| usize::from(*c) + 1);
        at += 1;
        let (chunk, tail) = rest.split_at(step.min(rest.len()));
        rest = tail;
        recv.extend(chunk);
        let clock = now + Duration::from_millis(at as u64);
        if !drain(&mut conn, &mut recv, &mut out, clock) {
            let error = conn.error();
            recv.extend(b"more");
            assert_eq!(conn.next_event(&mut recv, &mut out, clock).err(), error, "it sticks");
            return;
        }
        assert!(recv.capacity() <= 512 * 1024 && conn.unread() <= 32 << 20);
        conn.check_invariants();
        let waiting = out.len();
        out.advance(waiting);
    }
}

/// Handles every event as a driver would; `false` when the connection is over.
fn drain(
    conn: &mut Connection<u64>,
    recv: &mut RecvBuffer,
    out: &mut SendBuffer,
    now: Instant,
) -> bool {
    let mut reply = Fields::new();
    reply.push(":status", "200");
    loop {
        let (key, bytes, end) = match conn.next_event(recv, out, now) {
            Err(_) => return false,
            Ok(None) => return true,
            Ok(Some(event)) => match event {
                Event::Head { key, end_stream, .. } => (key, 0, end_stream),
                Event::Data { key, data, end_stream, .. } => (key, data.len() as u32, end_stream),
                Event::Trailers { key, .. } | Event::Reset { key, .. } => (key, 0, true),
                Event::GoAway { .. } => {
                    for key in conn.unprocessed() {
                        conn.take(key, out);
                    }
                    continue;
                }
                _ => continue,
            },
        };
        conn.check_invariants();
        conn.release(out, key, bytes / 2, now);
        if end {
            let head = SendHead { template: None, extra: &reply };
            let _ = conn.send_head(out, key, head, false);
            let body = Payload::Shared(Bytes::from_static(&[7; 40_000]));
            let _ = conn.send_data(out, key, body, true, now);
            conn.schedule(out, 1 << 20, now);
            if bytes % 2 == 0 {
                conn.reset(out, key, ErrorCode::CANCEL);
                conn.take(key, out);
            }
        }
        assert!(conn.streams() <= 512);
    }
}
