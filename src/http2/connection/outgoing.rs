//! Shared by direct sending (`send.rs`) and scheduled sending (`schedule.rs`): the types of what is sent,
//! and the functions that write the frames of one stream into the lent buffer.
//!
//! hot: every frame of a call is written here.

use crate::http2::buffer::SendBuffer;
use crate::http2::connection::Connection;
use crate::http2::connection::abuse::{Abuse, weight};
use crate::http2::connection::lifecycle::Life;
use crate::http2::error::ErrorCode;
use crate::http2::fields::Fields;
use crate::http2::frame::write;
use crate::http2::hpack::Template;
use crate::http2::stream::state::Input;
use crate::http2::stream::{Stream, StreamKey};
use crate::http2::stream_id::StreamId;
use bytes::Bytes;

/// Payloads of up to this many bytes are copied behind their frame header, longer ones chained.
pub(super) const COPY_MAX: usize = 1024;

/// Bytes of one DATA frame when no other stream has DATA to send and the peer allows more.
pub(super) const ALONE_MAX: usize = 256 * 1024;

/// The fields of a head: a template, then the fields of this call.
#[derive(Clone, Copy, Debug)]
pub struct SendHead<'a> {
    /// The fields that many calls share, pseudo-header fields first.
    pub template: Option<&'a Template>,
    /// The other fields, in order.
    pub extra: &'a Fields,
}

impl SendHead<'_> {
    /// Returns the size of the list as the peer counts it (RFC 9113 §10.5.1).
    #[must_use]
    pub fn list_size(&self) -> usize {
        self.template.map_or(0, |t| t.fields().list_size()) + self.extra.list_size()
    }
}

/// Bytes of a body.
#[derive(Clone, Debug)]
pub enum Payload<'a> {
    /// Copied into the outgoing buffer.
    Borrowed(&'a [u8]),
    /// Chained without a copy if there are more than 1024 bytes.
    Shared(Bytes),
}

impl Payload<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Borrowed(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len(),
        }
    }

    pub(super) fn into_bytes(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Shared(bytes) => bytes,
        }
    }
}

impl<T> Connection<T> {
    pub(super) fn write_reset(&mut self, id: StreamId, code: ErrorCode, out: &mut SendBuffer) {
        // Nothing is sent on a closed connection after its GOAWAY.
        if self.life() == Life::Closed {
            return;
        }
        self.stats.resets_sent += 1;
        write::rst_stream(out.tail(), id, code);
    }

    pub(super) fn write_head(
        &mut self,
        id: StreamId,
        head: SendHead<'_>,
        end_stream: bool,
        out: &mut SendBuffer,
    ) {
        self.abuse.sent();
        let Self { encoder, prepared, peer, .. } = self;
        let frame_max = peer.max_frame_size as usize;
        write::headers(out.tail(), id, end_stream, frame_max, |block| match head.template {
            Some(template) => prepared.encode(encoder, template, head.extra, block),
            None => encoder.encode(head.extra, block),
        });
    }

    pub(super) fn write_data(
        &mut self,
        id: StreamId,
        data: Payload<'_>,
        end: bool,
        out: &mut SendBuffer,
    ) {
        self.abuse.sent();
        let n = data.len();
        self.stats.data_sent += n as u64;
        write::data_header(out.tail(), id, n as u32, end);
        match data {
            Payload::Borrowed(bytes) => out.tail().extend_from_slice(bytes),
            Payload::Shared(bytes) if n <= COPY_MAX => out.tail().extend_from_slice(&bytes),
            Payload::Shared(bytes) => out.chain(bytes),
        }
    }

    /// Changes the state of the stream after END_STREAM was written.
    pub(super) fn sent_end(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if let Ok(next) = stream.state.next(Input::SendEnd) {
            stream.state = next;
        }
        if stream.state.is_closed() {
            self.note_closed(key);
        }
    }
}

/// Counts the work for a stream as useful, because `n` bytes of content are sent on it.
pub(super) fn earn<T>(stream: &mut Stream<T>, abuse: &mut Abuse, n: usize) {
    if n > 0 {
        stream.answered = true;
        let work = std::mem::take(&mut stream.work);
        abuse.useful(work + weight::SENT + weight::content(n as u32));
    }
}
