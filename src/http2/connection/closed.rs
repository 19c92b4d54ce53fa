//! Streams that close, and what is forgotten with them.

use crate::http2::buffer::SendBuffer;
use crate::http2::connection::{Connection, Role};
use crate::http2::error::ErrorCode;
use crate::http2::stream::state::State;
use crate::http2::stream::{Blocked, Ended, StreamKey};

/// Keys of closed streams that stay in a list before they are removed.
const STALE_KEYS: usize = 32;

impl<T> Connection<T> {
    /// Removes a stream and hands its value back. A stream that is not over is reset with
    /// CANCEL; the credit of its unread bytes returns to the connection's window.
    pub fn take(&mut self, key: StreamKey, out: &mut SendBuffer) -> Option<T> {
        if !self.is_closed(key) {
            self.reset(out, key, ErrorCode::CANCEL);
        }
        let stream = self.streams.remove(key)?;
        if stream.answered && stream.ended == Ended::Normally {
            self.abuse.useful(stream.work);
        }
        self.recent.push(stream.id, stream.ended);
        let counted = stream.unread - stream.charged;
        if counted > 0 {
            self.subtract_unread(u64::from(counted), out);
        }
        Some(stream.user)
    }

    pub(super) fn close_stream(&mut self, key: StreamKey, ended: Ended) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !stream.state.is_closed() {
            stream.state = State::Closed;
            stream.ended = ended;
        }
        self.note_closed(key);
    }

    /// Updates the counters after the state of a stream has become closed.
    pub(super) fn note_closed(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.pending = None;
        stream.blocked = Blocked::No;
        self.queued -= u32::from(std::mem::take(&mut stream.queued));
        let ours = stream.id.is_client_initiated() == (self.role == Role::Client);
        if ours {
            self.open_local = self.open_local.saturating_sub(1);
        }
        self.sweep();
    }

    /// Removes the keys of closed streams from the lists once they are most of them.
    fn sweep(&mut self) {
        let (streams, most) = (&self.streams, STALE_KEYS + 2 * self.streams.len());
        if self.touched.len() > most {
            self.touched.retain(|key| streams.get(*key).is_some());
        }
        if self.ready.len() > most {
            self.ready.retain(|key| streams.get(*key).is_some_and(|stream| stream.queued));
        }
    }
}
