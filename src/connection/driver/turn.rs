//! One turn of the driver: mailbox → read → events → deadlines → scheduled DATA → flush → park.

use crate::connection::driver::QUIET_TIME;
use crate::connection::driver::Running;
use crate::connection::driver::drain::Delivered;
use crate::connection::driver::inline::Inline;
use crate::connection::driver::linger::Linger;
use crate::connection::driver::remains::cut_answers;
use crate::connection::driver::transport::Transport;
use crate::connection::handle::{ConnectionEvent, EarlyEnd};
use crate::http2::Role;
use crate::rt;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

/// Bytes read in one turn before other tasks run.
const TURN_BYTES: usize = 1024 * 1024;
/// One turn of so many yields to see whether yielding pays.
const YIELD_SAMPLE: u32 = 32;

/// Whether the driver yields once before a write, so that other tasks can submit calls to it. On a
/// work-stealing runtime one woken task runs before its siblings, and a write would carry one call.
#[derive(Default)]
pub(super) struct Yield {
    /// During the last yield, calls were submitted.
    pays: bool,
    /// While a yield is in progress: the calls taken before it.
    taken: Option<usize>,
    turns: u32,
}

impl Running {
    /// Takes the calls in the mailbox. `false` asks for another poll after the other tasks have run.
    fn take_calls(&mut self, cx: &mut Context<'_>) -> bool {
        self.handle.mailbox().drain(&mut self.inbox);
        let taken = self.inbox.len();
        if let Some(before) = self.yielding.taken.take() {
            self.yielding.pays = taken > before;
            return true;
        }
        self.yielding.turns = self.yielding.turns.wrapping_add(1);
        let sample = self.yielding.turns.is_multiple_of(YIELD_SAMPLE);
        if taken > 0 && self.core.conn.streams() + taken > 1 && (self.yielding.pays || sample) {
            self.yielding.taken = Some(taken);
            // To the back of the run queue. `yield_now` would poll the I/O driver as well.
            cx.waker().wake_by_ref();
            return false;
        }
        true
    }

    /// Reads and handles what has arrived. Returns `true` if more may be available at once.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut bytes = 0;
        self.recv.keep_small(self.core.is_short_of_memory());
        while !self.read_done && self.core.may_read() {
            if bytes >= TURN_BYTES {
                self.core.tend_receive_buffer(&mut self.recv);
                return true;
            }
            let spare = self.recv.spare(self.core.conn.wanted());
            let mut buf = ReadBuf::new(spare);
            self.core.inline.interrupt();
            match self.io.poll_read(cx, &mut buf) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    self.read_done = true;
                    self.core.lost(None);
                }
                Poll::Ready(Ok(())) => {
                    let n = buf.filled().len();
                    bytes += n;
                    self.recv.filled(n);
                    self.core.heard();
                    self.events(cx);
                }
                Poll::Ready(Err(error)) => {
                    self.read_done = true;
                    self.core.lost(Some(error));
                }
            }
        }
        self.held = !self.read_done && !self.core.may_read();
        self.core.conn.note_reading(!self.held, self.core.now);
        self.core.tend_receive_buffer(&mut self.recv);
        false
    }

    /// Handles every event in the receive buffer. Writes before the end of the turn if enough is
    /// pending.
    fn events(&mut self, cx: &mut Context<'_>) {
        loop {
            let core = &mut self.core;
            match core.next(&mut self.recv) {
                Some(true) => {}
                // Many answers wait: if the socket takes none of them now, the next call ends the connection.
                Some(false) if core.conn.control_full(&core.out) => {
                    core.flush(&mut self.io, cx);
                    if core.flush.failed {
                        break;
                    }
                }
                Some(false) => break,
                None => {
                    self.read_done = true;
                    break;
                }
            }
            if core.flush.is_due(core.out.len()) {
                core.flush(&mut self.io, cx);
                if !core.may_read() {
                    break;
                }
            }
        }
    }

    /// Runs one turn. Ready when the connection has ended, with the socket if it is to linger.
    pub(super) fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Option<Linger>> {
        self.core.now = rt::now();
        self.core.inline = Inline::default();
        self.handle.mailbox().unpark();
        if !self.take_calls(cx) {
            return Poll::Pending;
        }
        // Bytes that were left in the buffer when reading paused come first.
        if !self.recv.is_empty() && self.core.may_read() && !self.read_done {
            self.events(cx);
        }
        loop {
            while let Some(call) = self.inbox.pop_front() {
                self.core.intake(call);
                if self.core.flush.is_due(self.core.out.len()) {
                    self.core.flush(&mut self.io, cx);
                }
            }
            let again = self.read(cx);
            self.core.after_events();
            self.core.timers();
            self.core.send_pending(&mut self.io, cx);
            if self.core.is_over() {
                return Poll::Ready(self.finish(cx));
            }
            self.publish();
            // While reading is paused, no waker is registered: this turn's writes may have ended the
            // pause.
            let resumed = self.held && self.core.may_read();
            if again || resumed {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.release_if_quiet();
            self.core.arm(cx);
            if self.handle.mailbox().park(cx.waker()) {
                return Poll::Pending;
            }
            self.handle.mailbox().drain(&mut self.inbox);
        }
    }

    /// Releases the buffers of a connection that has been quiet for [`QUIET_TIME`].
    fn release_if_quiet(&mut self) {
        // Bytes of a frame that does not end, or that the peer does not read, are no stream.
        let quiet = self.core.conn.streams() == 0 && self.core.waiting.is_empty();
        let was_released = self.core.timers.released;
        if self.core.timers.note_quiet(quiet, QUIET_TIME, self.core.now) {
            if !was_released {
                self.core.tell_owner(ConnectionEvent::Quiet);
            }
            self.recv.release();
            self.core.tend_receive_buffer(&mut self.recv);
            self.inbox = VecDeque::new();
            self.core.release_buffers();
        }
    }

    /// Publishes this connection's numbers.
    fn publish(&mut self) {
        let core = &mut self.core;
        self.handle.set_streams(core.conn.streams() as u32);
        if core.conn.streams() > 0 {
            self.handle.set_used(core.now);
        }
        self.handle.set_stalled(core.conn.connection_stalled(core.now));
        if core.conn.role() == Role::Client {
            let queued = core.out.len() + core.conn.waiting_bytes();
            self.handle.publish(queued, std::mem::take(&mut core.lag));
            if self.handle.set_withheld(core.conn.is_window_withheld()) {
                core.tell_owner(ConnectionEvent::StreamLimit);
            }
            let stats = core.conn.stats();
            let (sent, received) = (stats.data_sent, stats.data_received);
            let rtt = core.timers.rtt().max(core.conn.rtt().unwrap_or_default());
            self.handle.tally().publish(sent, received, stats.stream_stalls, rtt);
        }
    }

    /// Settles every call, and returns the socket if it is to linger.
    fn finish(&mut self, cx: &mut Context<'_>) -> Option<Linger> {
        let unended = self.core.conn.streams() > 0;
        // Before streams end: their credit must not follow the last GOAWAY.
        let remains = self.core.take_remains();
        let ends = std::mem::take(&mut self.core.closing.ends);
        self.core.settle();
        let left = self.handle.mailbox().close();
        self.handle.settle(left);
        self.finished = true;
        self.report_closed();
        let mut io = std::mem::replace(&mut self.io, Transport::new(Box::new(tokio::io::empty())));
        let (socket, drain) = (self.core.socket.take(), self.core.drain.clone());
        let Some(remains) = remains else {
            let _ = io.poll_shutdown(cx);
            let info = socket.and_then(|socket| socket.tcp_info());
            let unread = info.map_or(0, |info| info.outstanding());
            // A GOAWAY or PING that nobody waits for any more is no loss.
            let arrived = self.core.flush.written.saturating_sub(unread);
            let cut = cut_answers(&ends, arrived);
            let all = cut == 0 && !unended;
            io.close();
            self.core.tell_owner(ConnectionEvent::SocketClosed);
            self.leave(if all { Delivered::All } else { Delivered::ButFor(cut) });
            return None;
        };
        let mut linger = Linger::new(io, socket, Arc::clone(&self.handle), drain, remains);
        // A client's peer that has said nothing has nothing to read.
        let client = self.core.conn.role() == Role::Client;
        let unproved = client && !self.handle.is_ready();
        if self.core.closing.abrupt || unproved || self.handle.makes_way() {
            linger.close_now(cx);
            return None;
        }
        Some(linger)
    }

    fn leave(&self, ending: Delivered) {
        if let Some(drain) = &self.core.drain {
            drain.leave(&self.handle, ending);
        }
    }

    /// Reports the end of this connection to its owner.
    fn report_closed(&self) {
        if let Some(owner) = self.handle.owner() {
            if !self.handle.is_ready() {
                let heard = self.recv.bytes();
                let heard = heard[..heard.len().min(EarlyEnd::HEARD)].to_vec();
                let end = EarlyEnd { io: self.core.closing.io(), heard };
                owner.changed(&self.handle, ConnectionEvent::NeverReady(end));
            }
            let error = self.core.closing.error(&self.handle, self.core.now);
            owner.changed(&self.handle, ConnectionEvent::Closed(error, self.core.closing.ending()));
        }
        crate::rt::log!(debug, connection = self.handle.id(), "connection closed");
    }
}

impl Drop for Running {
    /// Ends every call: a runtime that shuts down drops its tasks.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // There may be no runtime left to dial with, so no call moves to another connection.
        self.core.closing.abandon();
        self.core.lost(None);
        self.core.settle();
        // The driver may have stopped between taking calls from the mailbox and beginning them.
        let mut left = std::mem::take(&mut self.inbox);
        left.append(&mut self.handle.mailbox().close());
        self.handle.end_left(left);
        self.report_closed();
        self.io.close();
        self.core.tell_owner(ConnectionEvent::SocketClosed);
        self.leave(Delivered::ButFor(0));
    }
}
