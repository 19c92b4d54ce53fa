//! The payloads of frames by type (RFC 9113 §6), parsed without a copy.

use crate::http2::error::ErrorCode;
use crate::http2::frame::header::{Flags, FrameHeader, FrameType};
use crate::http2::stream_id::StreamId;
use crate::http2::violation::Violation;

/// A whole frame whose form is valid: length, padding, and whether it has a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// DATA (§6.1).
    Data {
        /// The stream.
        stream_id: StreamId,
        /// The content without padding.
        data: &'a [u8],
        /// The bytes that count for the windows: content, pad length and padding.
        flow_bytes: u32,
        /// Whether END_STREAM is set.
        end_stream: bool,
    },
    /// HEADERS (§6.2).
    Headers {
        /// The stream.
        stream_id: StreamId,
        /// This frame's part of the field block.
        fragment: &'a [u8],
        /// Whether END_STREAM is set; CONTINUATION may follow.
        end_stream: bool,
        /// Whether END_HEADERS is set: the field block is complete.
        end_headers: bool,
    },
    /// PRIORITY: checked, then ignored (§6.3).
    Priority {
        /// The stream.
        stream_id: StreamId,
    },
    /// RST_STREAM (§6.4).
    RstStream {
        /// The stream.
        stream_id: StreamId,
        /// The error code.
        code: ErrorCode,
    },
    /// SETTINGS (§6.5).
    Settings {
        /// Whether the frame acknowledges our SETTINGS.
        ack: bool,
        /// The entries, six bytes each.
        entries: &'a [u8],
    },
    /// PUSH_PROMISE: refused in both roles (§6.6).
    PushPromise {
        /// The stream on which it arrived.
        stream_id: StreamId,
    },
    /// PING (§6.7).
    Ping {
        /// Whether the frame acknowledges our PING.
        ack: bool,
        /// The opaque data, which the acknowledgement repeats.
        opaque: [u8; 8],
    },
    /// GOAWAY (§6.8).
    GoAway {
        /// The last stream that the peer may have processed.
        last_stream_id: StreamId,
        /// The error code.
        code: ErrorCode,
        /// The debug data.
        debug: &'a [u8],
    },
    /// WINDOW_UPDATE (§6.9).
    WindowUpdate {
        /// The stream, or the connection.
        stream_id: StreamId,
        /// The granted bytes. The caller refuses zero.
        increment: u32,
    },
    /// CONTINUATION (§6.10).
    Continuation {
        /// The stream.
        stream_id: StreamId,
        /// The next part of the field block.
        fragment: &'a [u8],
        /// Whether END_HEADERS is set: the field block is complete.
        end_headers: bool,
    },
    /// A frame of unknown type: ignored (§5.5).
    Unknown {
        /// The type byte.
        frame_type: u8,
        /// The stream.
        stream_id: StreamId,
    },
}

impl<'a> Frame<'a> {
    /// Parses a whole payload. `payload` must have `header.length` bytes.
    ///
    /// # Errors
    /// The rule that the form of the frame breaks.
    pub fn parse(header: FrameHeader, payload: &'a [u8]) -> Result<Self, Violation> {
        let stream_id = header.stream_id;
        match header.frame_type {
            FrameType::Data => parse_data(header, payload),
            FrameType::Headers => parse_headers(header, payload),
            FrameType::Priority => parse_priority(stream_id, payload),
            FrameType::RstStream => {
                // RFC 9113 §6.4: the length is 4 bytes, on a stream
                let code = four(payload).ok_or(Violation::RstStreamLength)?;
                on_stream(stream_id, Violation::RstStreamOnConnection)?;
                Ok(Self::RstStream { stream_id, code: ErrorCode(code) })
            }
            FrameType::Settings => parse_settings(header, payload),
            FrameType::PushPromise => Ok(Self::PushPromise { stream_id }),
            FrameType::Ping => {
                // RFC 9113 §6.7: a PING on a stream is a PROTOCOL_ERROR, another length than 8 a
                // FRAME_SIZE_ERROR
                on_connection(stream_id, Violation::PingOnStream)?;
                let opaque = payload.try_into().map_err(|_| Violation::PingLength)?;
                Ok(Self::Ping { ack: header.flags.has(Flags::ACK), opaque })
            }
            FrameType::GoAway => {
                // RFC 9113 §6.8: GOAWAY applies to the connection
                on_connection(stream_id, Violation::GoAwayOnStream)?;
                let (fixed, debug) =
                    payload.split_first_chunk::<8>().ok_or(Violation::FrameTooShort)?;
                let [a, b, c, d, e, f, g, h] = *fixed;
                Ok(Self::GoAway {
                    last_stream_id: StreamId::new(u32::from_be_bytes([a, b, c, d])),
                    code: ErrorCode(u32::from_be_bytes([e, f, g, h])),
                    debug,
                })
            }
            FrameType::WindowUpdate => {
                // RFC 9113 §6.9: another length than 4 bytes is a connection error
                let raw = four(payload).ok_or(Violation::WindowUpdateLength)?;
                Ok(Self::WindowUpdate { stream_id, increment: raw & 0x7fff_ffff })
            }
            FrameType::Continuation => {
                // RFC 9113 §6.10: CONTINUATION belongs to a stream
                on_stream(stream_id, Violation::ContinuationOnConnection)?;
                let end_headers = header.flags.has(Flags::END_HEADERS);
                Ok(Self::Continuation { stream_id, fragment: payload, end_headers })
            }
            FrameType::Unknown(frame_type) => Ok(Self::Unknown { frame_type, stream_id }),
        }
    }
}

const fn on_stream(id: StreamId, rule: Violation) -> Result<(), Violation> {
    if id.is_connection() { Err(rule) } else { Ok(()) }
}

const fn on_connection(id: StreamId, rule: Violation) -> Result<(), Violation> {
    if id.is_connection() { Ok(()) } else { Err(rule) }
}

fn four(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(payload.try_into().ok()?))
}

/// Removes the pad length and the padding.
fn unpad(flags: Flags, payload: &[u8]) -> Result<&[u8], Violation> {
    if !flags.has(Flags::PADDED) {
        return Ok(payload);
    }
    let (&pad, rest) = payload.split_first().ok_or(Violation::FrameTooShort)?;
    // RFC 9113 §6.1: padding as long as the payload or longer is a PROTOCOL_ERROR
    let content = rest.len().checked_sub(usize::from(pad)).ok_or(Violation::Padding)?;
    Ok(rest.get(..content).unwrap_or_default())
}

fn parse_data(header: FrameHeader, payload: &[u8]) -> Result<Frame<'_>, Violation> {
    // RFC 9113 §6.1: DATA frames are associated with a stream
    on_stream(header.stream_id, Violation::DataOnConnection)?;
    Ok(Frame::Data {
        stream_id: header.stream_id,
        data: unpad(header.flags, payload)?,
        flow_bytes: header.length,
        end_stream: header.flags.has(Flags::END_STREAM),
    })
}

fn parse_headers(header: FrameHeader, payload: &[u8]) -> Result<Frame<'_>, Violation> {
    // RFC 9113 §6.2: HEADERS frames are associated with a stream
    on_stream(header.stream_id, Violation::HeadersOnConnection)?;
    let mut fragment = unpad(header.flags, payload)?;
    if header.flags.has(Flags::PRIORITY) {
        // RFC 9113 §5.3.2: the deprecated priority fields are skipped
        // RFC 9113 §6.2: padding that leaves no space for the other fields is a PROTOCOL_ERROR
        let padded = header.flags.has(Flags::PADDED) && payload.len() >= 6;
        let rule = if padded { Violation::Padding } else { Violation::FrameTooShort };
        (_, fragment) = fragment.split_first_chunk::<5>().ok_or(rule)?;
    }
    Ok(Frame::Headers {
        stream_id: header.stream_id,
        fragment,
        end_stream: header.flags.has(Flags::END_STREAM),
        end_headers: header.flags.has(Flags::END_HEADERS),
    })
}

fn parse_priority(stream_id: StreamId, payload: &[u8]) -> Result<Frame<'_>, Violation> {
    on_stream(stream_id, Violation::PriorityOnConnection)?;
    // RFC 9113 §6.3: another length than 5 bytes is a stream error
    if payload.len() != 5 {
        return Err(Violation::PriorityLength);
    }
    Ok(Frame::Priority { stream_id })
}

fn parse_settings(header: FrameHeader, payload: &[u8]) -> Result<Frame<'_>, Violation> {
    // RFC 9113 §6.5: SETTINGS apply to the connection, never to a stream
    on_connection(header.stream_id, Violation::SettingsOnStream)?;
    let ack = header.flags.has(Flags::ACK);
    if ack && !payload.is_empty() {
        return Err(Violation::SettingsAckLength);
    }
    // RFC 9113 §6.5: a length that is no multiple of 6 is a FRAME_SIZE_ERROR
    if !payload.len().is_multiple_of(6) {
        return Err(Violation::SettingsLength);
    }
    Ok(Frame::Settings { ack, entries: payload })
}

/// Returns the entries of a SETTINGS payload in order (RFC 9113 §6.5.1).
pub fn settings_entries(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> + '_ {
    payload
        .chunks_exact(6)
        .map(|e| (u16::from_be_bytes([e[0], e[1]]), u32::from_be_bytes([e[2], e[3], e[4], e[5]])))
}
