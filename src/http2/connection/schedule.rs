//! Schedules streams with waiting DATA: round-robin, one slice per turn, so that one bulk stream does not
//! starve a hundred small ones. Heads are written immediately and never wait here.

use crate::http2::buffer::SendBuffer;
use crate::http2::connection::Connection;
use crate::http2::connection::outgoing::{ALONE_MAX, COPY_MAX, SendHead, earn};
use crate::http2::frame::write;
use crate::http2::stream::{Blocked, Pending, PendingEnd, Stream, StreamKey};
use std::time::Instant;

impl<T> Connection<T> {
    /// Returns whether [`Connection::schedule`] has something to write.
    #[must_use]
    pub fn wants_send(&self) -> bool {
        !self.ready.is_empty() && self.send_window.available() > 0
    }

    /// Returns the bytes of DATA that wait for the transport or for the connection's window.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        let streams = self.ready.iter().filter_map(|key| self.streams.get(*key));
        streams.map(Stream::pending_bytes).sum()
    }

    /// Frames waiting DATA until `out` holds `until` bytes or the windows are used up.
    pub fn schedule(&mut self, out: &mut SendBuffer, until: usize, now: Instant) {
        if self.queued == 0 && self.stalled_since.is_some() {
            self.end_connection_stall(now);
        }
        while out.len() < until {
            if self.send_window.available() == 0 {
                self.begin_connection_stall(now);
                return;
            }
            let Some(key) = self.ready.pop_front() else { return };
            self.send_slice(key, out);
        }
    }

    /// Frames one slice of one stream, and queues the stream again if more can be sent.
    fn send_slice(&mut self, key: StreamKey, out: &mut SendBuffer) {
        let alone = self.ready.is_empty();
        let slice = if alone { ALONE_MAX } else { self.limits.data_slice_bytes };
        let slice = slice.min(self.peer.max_frame_size as usize);
        let connection = self.send_window.available();
        let queued = |stream: &&mut Stream<T>| stream.queued;
        let Some(stream) = self.streams.get_mut(key).filter(queued) else { return };
        stream.queued = false;
        self.queued -= 1;
        let Some(pending) = &mut stream.pending else { return };
        let n = pending.bytes.min(slice).min(connection).min(stream.send_window.available());
        if n == 0 && pending.bytes > 0 {
            self.block(key, Blocked::StreamWindow);
            return;
        }
        let id = stream.id;
        let last = n == pending.bytes;
        let end = last && matches!(pending.end, PendingEnd::EndStream);
        stream.send_window.take(n);
        self.send_window.take(n);
        if n > 0 || end {
            write::data_header(out.tail(), id, n as u32, end);
            move_bytes(pending, n, out);
            self.stats.data_sent += n as u64;
            self.abuse.sent();
        }
        earn(stream, &mut self.abuse, n);
        let open = stream.send_window.available() > 0;
        if last {
            self.finish_pending(key, out);
        } else {
            self.block(key, if open { Blocked::Queue } else { Blocked::StreamWindow });
            if open {
                self.enqueue(key);
            }
        }
    }

    /// Ends the waiting of a stream whose DATA is framed completely.
    fn finish_pending(&mut self, key: StreamKey, out: &mut SendBuffer) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let id = stream.id;
        let end = stream.pending.take().map(|pending| pending.end);
        self.block(key, Blocked::No);
        match end {
            Some(PendingEnd::EndStream) => self.sent_end(key),
            Some(PendingEnd::Trailers(fields)) => {
                self.write_head(id, SendHead { template: None, extra: &fields }, true, out);
                self.sent_end(key);
            }
            Some(PendingEnd::Open) | None => {}
        }
    }

    /// Records that new bytes wait on the stream.
    pub(super) fn wait(&mut self, key: StreamKey, now: Instant) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let empty = stream.pending_bytes() == 0;
        if stream.send_window.available() == 0 && !empty {
            if stream.blocked != Blocked::StreamWindow {
                self.stats.stream_stalls += 1;
            }
            self.block(key, Blocked::StreamWindow);
            return;
        }
        if stream.blocked == Blocked::No {
            self.block(key, Blocked::Queue);
        }
        self.enqueue(key);
        if self.send_window.available() == 0 {
            self.begin_connection_stall(now);
        }
    }

    /// Puts the stream into the queue unless it is there.
    pub(super) fn enqueue(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.queued {
            return;
        }
        stream.queued = true;
        self.queued += 1;
        if self.stalled_since.is_some() {
            self.block(key, Blocked::ConnectionWindow);
        } else if stream.blocked == Blocked::StreamWindow {
            self.block(key, Blocked::Queue);
        }
        self.ready.push_back(key);
    }

    fn block(&mut self, key: StreamKey, blocked: Blocked) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if blocked == Blocked::StreamWindow && stream.blocked != blocked {
            self.stats.stream_stalls += 1;
        }
        stream.blocked = blocked;
        if !stream.touched {
            stream.touched = true;
            self.touched.push(key);
        }
    }

    fn begin_connection_stall(&mut self, now: Instant) {
        if self.queued == 0 || self.stalled_since.is_some() {
            return;
        }
        self.stalled_since = Some(now);
        for i in 0..self.ready.len() {
            if let Some(key) = self.ready.get(i).copied() {
                self.block(key, Blocked::ConnectionWindow);
            }
        }
    }
}

/// Moves `n` bytes from the chunks into the outgoing buffer.
fn move_bytes(pending: &mut Pending, n: usize, out: &mut SendBuffer) {
    pending.bytes -= n;
    let mut left = n;
    while left > 0 {
        let Some(front) = pending.chunks.front_mut() else { return };
        let take = left.min(front.len());
        let piece = front.split_to(take);
        if front.is_empty() {
            pending.chunks.pop_front();
        }
        left -= take;
        if piece.len() <= COPY_MAX {
            out.tail().extend_from_slice(&piece);
        } else {
            out.chain(piece);
        }
    }
}
