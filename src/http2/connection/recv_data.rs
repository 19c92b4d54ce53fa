//! DATA from the peer, delivered as it arrives, without waiting for whole frames.
//!
//! hot: no copy, one table lookup per frame.

use crate::http2::buffer::{RecvBuffer, SendBuffer};
use crate::http2::connection::abuse::weight;
use crate::http2::connection::recv::{Fatal, Step, StepResult, after};
use crate::http2::connection::{Connection, Role};
use crate::http2::frame::{Flags, FrameHeader, HEADER_LEN, write};
use crate::http2::stream::StreamKey;
use crate::http2::stream::state::{Input, NotAllowed};
use crate::http2::stream_id::StreamId;
use crate::http2::violation::Violation;
use std::ops::Range;
use std::time::Instant;

/// A DATA frame whose payload is still arriving.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    /// `None`: the bytes are discarded.
    key: Option<StreamKey>,
    left: u32,
    pad: u32,
    end_stream: bool,
}

impl<T: Default> Connection<T> {
    pub(super) fn recv_data_header(
        &mut self,
        header: FrameHeader,
        input: &mut RecvBuffer,
        out: &mut SendBuffer,
        now: Instant,
    ) -> StepResult {
        let id = header.stream_id;
        let (head_len, pad) = match data_padding(header, input.bytes()) {
            Ok(Some(lengths)) => lengths,
            Ok(None) => return Ok(Step::Wait(HEADER_LEN + 1)),
            Err(rule) => return Err(Fatal(rule, id)),
        };
        let _ = input.consume(head_len);
        self.stats.frames_received += 1;
        self.stats.data_received += u64::from(header.length);
        // RFC 9113 §6.9.1: DATA beyond the connection's window is a FLOW_CONTROL_ERROR
        if !self.recv_window.receive(header.length) {
            return Err(Fatal(Violation::ConnectionWindowExceeded, id));
        }
        self.bdp.received(header.length);
        let prefix = (head_len - HEADER_LEN) as u32;
        let overhead = prefix + pad;
        let left = header.length - overhead;
        let end_stream = header.flags.has(Flags::END_STREAM);
        // RFC 9113 §6.9: padding counts, and nobody consumes it, so it is credited immediately
        self.arrived(overhead, out, now);
        let rule = self.check_data(id, header.length, overhead, out);
        let key = rule.ok();
        self.incoming = Some(Incoming { key, left, pad, end_stream });
        self.charge(key, weight::FRAME + weight::content(header.length), id, now)?;
        if header.length == overhead && !end_stream {
            self.empty_frame(now, id)?;
        }
        match rule {
            Ok(_) | Err(None) => Ok(Step::More),
            Err(Some(rule)) => self.violated(rule, id, out, now),
        }
    }

    /// Charges the work of a frame: a request's to its stream, a response's is what this side asked for,
    /// and without a stream it is wasted.
    pub(super) fn charge(
        &mut self,
        key: Option<StreamKey>,
        work: u64,
        id: StreamId,
        now: Instant,
    ) -> Result<(), Fatal> {
        match key {
            None => return self.wasted(work, id, now),
            Some(_) if self.role == Role::Client => self.abuse.useful(work),
            Some(key) => {
                if let Some(stream) = self.streams.get_mut(key) {
                    stream.charge(work);
                }
            }
        }
        Ok(())
    }

    /// Checks whether DATA is allowed on `id` now; `Err(None)` discards it.
    fn check_data(
        &mut self,
        id: StreamId,
        length: u32,
        overhead: u32,
        out: &mut SendBuffer,
    ) -> Result<StreamKey, Option<Violation>> {
        let slack = self.window_slack;
        let Some(key) = self.streams.key(id) else {
            self.late(id)?;
            return Err(None);
        };
        let stream = self.streams.get_mut(key).ok_or(None)?;
        match stream.state.next(Input::RecvData) {
            Ok(_) => {}
            Err(_) if stream.state.is_closed() => return Err(after(stream.ended)),
            Err(NotAllowed::Peer(rule)) => return Err(Some(rule)),
            Err(NotAllowed::Local) => return Err(None),
        }
        // RFC 9113 §8.1: HEADERS come before DATA
        if !stream.head_received {
            return Err(Some(Violation::DataBeforeHead));
        }
        // RFC 9113 §6.9.1: DATA beyond the stream's window is a FLOW_CONTROL_ERROR
        if !stream.recv_window.receive_with(length, slack) {
            return Err(Some(Violation::StreamWindowExceeded));
        }
        if overhead > 0 {
            stream.recv_window.credit(overhead);
            if let Some(increment) = stream.recv_window.update() {
                write::window_update(out.tail(), id, increment);
            }
        }
        Ok(key)
    }

    /// Delivers the bytes of the current DATA frame that have arrived.
    pub(super) fn deliver(
        &mut self,
        input: &mut RecvBuffer,
        out: &mut SendBuffer,
        now: Instant,
    ) -> StepResult {
        let Some(mut incoming) = self.incoming.take() else { return Ok(Step::More) };
        let n = input.len().min(incoming.left as usize);
        if n == 0 && incoming.left > 0 {
            self.incoming = Some(incoming);
            return Ok(Step::Wait(0));
        }
        let range = input.consume(n);
        incoming.left -= n as u32;
        let last = incoming.left == 0;
        if last {
            self.skip = incoming.pad;
            if self.skip == 0 {
                self.partial = None;
            }
        } else {
            self.incoming = Some(incoming);
        }
        let end_stream = last && incoming.end_stream;
        let key = incoming.key.filter(|key| !self.is_closed(*key));
        let Some(key) = key else {
            // RFC 9113 §5.1: discarded DATA still counts, and is credited
            self.arrived(n as u32, out, now);
            return Ok(Step::More);
        };
        self.accept(key, n as u32, end_stream, range, out, now)
    }

    fn accept(
        &mut self,
        key: StreamKey,
        n: u32,
        end_stream: bool,
        range: Range<usize>,
        out: &mut SendBuffer,
        now: Instant,
    ) -> StepResult {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(Step::More) };
        let id = stream.id;
        self.unread += u64::from(stream.add_unread(n));
        if n > 0 {
            self.abuse.progress();
        }
        let over = match &mut stream.content_left {
            Some(left) => {
                let over = u64::from(n) > *left || (end_stream && *left > u64::from(n));
                *left = left.saturating_sub(u64::from(n));
                over
            }
            None => false,
        };
        self.arrived(n, out, now);
        if over {
            return self.violated(Violation::ContentLength, id, out, now);
        }
        if end_stream {
            self.recv_end(key);
        } else if n == 0 {
            return Ok(Step::More);
        }
        Ok(Step::Data { key, range, end_stream })
    }
}

/// Returns the bytes before the content and the padding after it; `None` until the pad length arrives.
fn data_padding(header: FrameHeader, bytes: &[u8]) -> Result<Option<(usize, u32)>, Violation> {
    if header.stream_id.is_connection() {
        return Err(Violation::DataOnConnection);
    }
    if !header.flags.has(Flags::PADDED) {
        return Ok(Some((HEADER_LEN, 0)));
    }
    // RFC 9113 §4.2: a frame too short for its mandatory fields is a FRAME_SIZE_ERROR
    if header.length == 0 {
        return Err(Violation::FrameTooShort);
    }
    let Some(&pad) = bytes.get(HEADER_LEN) else { return Ok(None) };
    // RFC 9113 §6.1: padding as long as the payload or longer is a PROTOCOL_ERROR
    if u32::from(pad) >= header.length {
        return Err(Violation::Padding);
    }
    Ok(Some((HEADER_LEN + 1, u32::from(pad))))
}
