//! Decides when bytes are written to the socket.
//!
//! Write when enough is pending, even if frames are unparsed or calls unread, so that both ends
//! work in parallel; or when nothing is left to do in this turn. Never wait for more.

use crate::connection::driver::Core;
use crate::connection::driver::transport::Transport;
use crate::connection::handle::ConnectionEvent;
use crate::http2::{Role, SendBuffer};
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The smallest batch that is written before the turn ends, in bytes.
const BATCH_MIN: usize = 4 * 1024;
/// The largest.
const BATCH_MAX: usize = 256 * 1024;
/// Bytes in the outgoing buffer above which nothing more is produced; an eighth while the budget is
/// spent. Heads, trailers and messages then wait in their calls, new calls without a stream.
pub(super) const OUT_FULL: usize = 512 * 1024;
/// The longest time in which a client reads on after a write has failed, for a peer that ends its side later
/// than it refuses bytes.
const READ_ON: Duration = Duration::from_secs(1);
/// Bytes in it above which nothing is read: credit, resets and statuses of this side's own, which are appended all
/// the same. A peer that reads, and keeps to the credit that it has got, never makes so much wait.
pub(super) const OUT_MAX: usize = 2 * OUT_FULL;
/// Bytes of scheduled DATA that are put into the outgoing buffer at a time.
const DATA_BATCH: usize = 128 * 1024;

/// When to write.
#[derive(Debug)]
pub(super) struct Flush {
    batch: usize,
    produced: usize,
    /// Since when the socket takes nothing.
    pub(super) blocked: Option<Instant>,
    /// Bytes were written that a wrapper of the socket may still hold.
    unflushed: bool,
    /// In this turn, DATA that waits in its stream comes before what waits in calls.
    data_first: bool,
    /// Some bytes were written since the buffer was empty.
    partial: bool,
    pub(super) failed: bool,
    /// All bytes that the socket took.
    pub(super) written: u64,
}

impl Flush {
    pub(super) const fn new() -> Self {
        Self {
            batch: BATCH_MIN,
            produced: 0,
            blocked: None,
            unflushed: false,
            data_first: false,
            partial: false,
            failed: false,
            written: 0,
        }
    }

    /// Returns whether so many pending bytes are written before the turn ends.
    pub(super) const fn is_due(&self, pending: usize) -> bool {
        pending >= self.batch && self.blocked.is_none()
    }

    /// Returns whether no byte of the buffer was written.
    pub(super) const fn is_whole(&self) -> bool {
        !self.partial
    }

    fn end_turn(&mut self) {
        self.batch = (self.produced / 4).clamp(BATCH_MIN, BATCH_MAX);
        self.produced = 0;
    }
}

impl Core {
    /// Writes what is pending as far as the socket takes it.
    pub(super) fn flush(&mut self, io: &mut Transport, cx: &mut Context<'_>) {
        self.inline.interrupt();
        while !self.out.is_empty() && !self.flush.failed {
            match io.poll_write(cx, &self.out) {
                Poll::Ready(Ok(0)) => self.write_failed(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.out.advance(n);
                    self.flush.produced += n;
                    self.flush.written += n as u64;
                    self.flush.blocked = None;
                    self.flush.unflushed = true;
                    self.flush.partial = true;
                    self.expect_answer();
                }
                Poll::Ready(Err(error)) => self.write_failed(error),
                Poll::Pending => {
                    self.flush.blocked.get_or_insert(self.now);
                    return;
                }
            }
        }
        if self.flush.unflushed && !self.flush.failed {
            match io.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.flush.unflushed = false,
                Poll::Ready(Err(error)) => self.write_failed(error),
                Poll::Pending => {
                    self.flush.blocked.get_or_insert(self.now);
                    return;
                }
            }
        }
        if self.flush.failed {
            // What is left never leaves, so it is not noted as written.
            if self.closing.is_unwritable() {
                self.out = SendBuffer::new();
            }
            return;
        }
        self.flush.blocked = None;
        self.flush.partial = false;
        self.mark_written();
    }

    /// Notes that the socket takes no more bytes. A peer that answers and closes may refuse what this side writes
    /// before this side has read the answers, and the system keeps them: a client reads on, to the end of the
    /// peer's side. A server's peer waits for nothing that could still be read, and a connection on which
    /// nothing has arrived is a failed dial.
    fn write_failed(&mut self, error: io::Error) {
        self.flush.failed = true;
        if self.conn.role() == Role::Server || !self.handle.is_ready() {
            return self.lost(Some(error));
        }
        self.closing.unwritable = Some((error, self.now + READ_ON));
        self.handle.stop_accepting();
        self.tell_owner(ConnectionEvent::Draining);
        while let Some(call) = self.waiting.pop_front() {
            self.redispatch(call);
        }
    }

    /// Ends a connection that could not be written, when there has been time enough to read what had arrived.
    pub(super) fn check_unwritable(&mut self) {
        if self.closing.unwritable_until().is_some_and(|at| at <= self.now) {
            self.lost(None);
        }
    }

    /// Scheduled DATA in batches, then everything else that is pending.
    pub(super) fn send_pending(&mut self, io: &mut Transport, cx: &mut Context<'_>) {
        loop {
            // What is deferred and DATA that is framed take turns in being first.
            self.flush.data_first = !self.flush.data_first;
            if !self.flush.data_first {
                self.resume();
            }
            let until = self.out.len() + DATA_BATCH;
            let full = self.out_full();
            if self.out.len() < full && !self.flush.failed {
                self.conn.schedule(&mut self.out, until.min(full), self.now);
            }
            self.resume();
            self.report_sending();
            self.flush(io, cx);
            let more = self.conn.wants_send() || self.has_held_back();
            if !more || self.flush.blocked.is_some() || self.flush.failed {
                break;
            }
        }
        self.flush.end_turn();
        // What has left in this turn may have been what they waited for.
        if self.handlers.has_held() && self.may_begin() {
            self.handle.mailbox().wake();
        }
    }
}
