//! The last bytes of a connection, and what of them is to arrive.

use crate::connection::driver::Core;
use crate::http2::{Role, SendBuffer};
use crate::transport::socket::SocketHandle;
use std::collections::VecDeque;

/// What a connection leaves to be delivered.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// Bytes that the socket has not taken yet.
    pub(super) out: SendBuffer,
    /// Bytes that the connection has written to the socket.
    pub(super) written: u64,
    /// Where the last answers end in all bytes that the connection has sent.
    pub(super) ends: VecDeque<u64>,
}

/// Answers of one connection whose ends are kept.
const ENDS: usize = 128;

/// Returns how many answers a peer has not acknowledged that has acknowledged so many bytes.
pub(super) fn cut_answers(ends: &VecDeque<u64>, arrived: u64) -> usize {
    ends.iter().filter(|end| **end > arrived).count()
}

impl Core {
    /// Drops the outgoing buffer if no byte of it was written and requests are in it: their calls move to
    /// another connection. Returns whether it did.
    pub(super) fn drop_unsent(&mut self) -> bool {
        let unsent =
            self.conn.role() == Role::Client && self.flush.is_whole() && !self.writing.is_empty();
        if unsent {
            self.out = SendBuffer::new();
        }
        unsent
    }

    /// Puts the last bytes apart. What ends later, such as streams with unread bytes, sends nothing.
    pub(super) fn seal(&mut self) {
        self.closing.last = Some(std::mem::take(&mut self.out));
        self.flush.failed = true;
    }

    /// Takes what is left to be delivered. `None` if the byte stream is lost.
    pub(super) fn take_remains(&mut self) -> Option<Remains> {
        let out = match self.closing.last.take() {
            _ if self.closing.is_unwritable() => return None,
            None if self.flush.failed => return None,
            None => std::mem::take(&mut self.out),
            Some(last) => last,
        };
        let ends = std::mem::take(&mut self.closing.ends);
        Some(Remains { out, written: self.flush.written, ends })
    }

    /// Notes where an answer ends.
    pub(super) fn note_end(&mut self) {
        // Those that are cut at the limit are counted there.
        if self.closing.forced {
            return;
        }
        let ends = &mut self.closing.ends;
        if ends.len() == ENDS {
            ends.pop_front();
        }
        ends.push_back(self.flush.written + self.out.len() as u64);
    }

    /// Forgets the answers that the peer has acknowledged.
    pub(super) fn forget_ends(&mut self) {
        if self.closing.ends.is_empty() {
            return;
        }
        let info = self.socket.as_ref().and_then(SocketHandle::tcp_info);
        let arrived = self.flush.written.saturating_sub(info.map_or(0, |info| info.outstanding()));
        self.closing.ends.retain(|end| *end > arrived);
        self.closing.ends.shrink_to_fit();
    }
}
