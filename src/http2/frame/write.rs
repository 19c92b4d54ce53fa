//! Frames of ours: appended to the outgoing bytes, no object in between.

use crate::http2::error::ErrorCode;
use crate::http2::frame::header::{Flags, FrameHeader, FrameType};
use crate::http2::stream_id::StreamId;

fn control(out: &mut Vec<u8>, frame_type: FrameType, flags: Flags, id: StreamId, payload: &[u8]) {
    FrameHeader::new(payload.len() as u32, frame_type, flags, id).write(out);
    out.extend_from_slice(payload);
}

/// Appends SETTINGS (RFC 9113 §6.5).
pub fn settings(out: &mut Vec<u8>, entries: impl Iterator<Item = (u16, u32)>) {
    let start = out.len();
    FrameHeader::new(0, FrameType::Settings, Flags::NONE, StreamId::CONNECTION).write(out);
    let mut length = 0;
    for (id, value) in entries {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
        length += 6;
    }
    // Fewer than 43 known settings exist, so the length fits its last byte.
    out[start + 2] = length;
}

/// Appends the acknowledgement of a SETTINGS frame (RFC 9113 §6.5.3).
pub fn settings_ack(out: &mut Vec<u8>) {
    control(out, FrameType::Settings, Flags::ACK, StreamId::CONNECTION, &[]);
}

/// Appends PING or its acknowledgement (RFC 9113 §6.7).
pub fn ping(out: &mut Vec<u8>, ack: bool, opaque: [u8; 8]) {
    let flags = Flags::NONE.with(Flags::ACK, ack);
    control(out, FrameType::Ping, flags, StreamId::CONNECTION, &opaque);
}

/// Appends GOAWAY with debug data (RFC 9113 §6.8).
pub fn goaway(out: &mut Vec<u8>, last: StreamId, code: ErrorCode, debug: &str) {
    let length = 8 + debug.len() as u32;
    FrameHeader::new(length, FrameType::GoAway, Flags::NONE, StreamId::CONNECTION).write(out);
    out.extend_from_slice(&last.value().to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(debug.as_bytes());
}

/// Appends RST_STREAM (RFC 9113 §6.4).
pub fn rst_stream(out: &mut Vec<u8>, id: StreamId, code: ErrorCode) {
    control(out, FrameType::RstStream, Flags::NONE, id, &code.0.to_be_bytes());
}

/// Appends WINDOW_UPDATE of `increment` bytes, 1 to 2^31-1 (RFC 9113 §6.9).
pub fn window_update(out: &mut Vec<u8>, id: StreamId, increment: u32) {
    control(out, FrameType::WindowUpdate, Flags::NONE, id, &increment.to_be_bytes());
}

/// Appends the header of a DATA frame; the caller appends the payload (RFC 9113 §6.1).
pub fn data_header(out: &mut Vec<u8>, id: StreamId, length: u32, end_stream: bool) {
    let flags = Flags::NONE.with(Flags::END_STREAM, end_stream);
    FrameHeader::new(length, FrameType::Data, flags, id).write(out);
}

/// Appends HEADERS, and CONTINUATION if needed, with the field block that `block` appends
/// (RFC 9113 §4.3, §6.2, §6.10).
pub fn headers(
    out: &mut Vec<u8>,
    id: StreamId,
    end_stream: bool,
    frame_bytes_max: usize,
    block: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    FrameHeader::new(0, FrameType::Headers, Flags::NONE, id).write(out);
    let body = out.len();
    block(out);
    let length = out.len() - body;
    let flags = Flags::NONE.with(Flags::END_STREAM, end_stream);
    if length <= frame_bytes_max {
        let flags = flags.with(Flags::END_HEADERS, true);
        let header = FrameHeader::new(length as u32, FrameType::Headers, flags, id);
        out[start..body].copy_from_slice(&header.bytes());
    } else {
        split_block(out, start, body, flags, frame_bytes_max, id);
    }
}

/// The rare case: the block is longer than one frame may be.
fn split_block(
    out: &mut Vec<u8>,
    start: usize,
    body: usize,
    flags: Flags,
    frame_bytes_max: usize,
    id: StreamId,
) {
    let block = out.split_off(body);
    out.truncate(start);
    let count = block.len().div_ceil(frame_bytes_max);
    for (i, fragment) in block.chunks(frame_bytes_max).enumerate() {
        let last = i + 1 == count;
        // RFC 9113 §6.10: CONTINUATION frames follow without any other frame between
        let (frame_type, flags) = if i == 0 {
            (FrameType::Headers, flags)
        } else {
            (FrameType::Continuation, Flags::NONE.with(Flags::END_HEADERS, last))
        };
        control(out, frame_type, flags, id, fragment);
    }
}
