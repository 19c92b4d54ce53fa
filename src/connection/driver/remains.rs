//! The last bytes of a connection, and what of them is to arrive.

use crate::connection::driver::Core;
use crate::http2::{Role, SendBuffer};

/// What a connection leaves to be delivered.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// Bytes that the socket has not taken yet.
    pub(super) out: SendBuffer,
    /// Bytes that the connection has written to the socket.
    pub(super) written: u64,
    /// Where the last answer ends in all bytes that the connection has sent.
    pub(super) last_end: u64,
    /// Where the answers end that were completed during the drain.
    pub(super) ends: Vec<u64>,
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
        let last_end = self.closing.last_end;
        let ends = std::mem::take(&mut self.closing.ends);
        Some(Remains { out, written: self.flush.written, last_end, ends })
    }

    /// Notes where an answer ends.
    pub(super) fn note_end(&mut self) {
        // Those that are cut at the limit are counted there.
        if self.closing.forced {
            return;
        }
        let end = self.flush.written + self.out.len() as u64;
        self.closing.last_end = end;
        if self.closing.soon.is_some() {
            self.closing.ends.push(end);
        }
    }
}
