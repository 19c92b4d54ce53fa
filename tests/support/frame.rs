//! Frames built by hand, right or deliberately wrong (RFC 9113 §4.1, §6).
//! The numbers are written out from the RFC and not taken from the crate under test.

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PRIORITY: u8 = 0x2;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PUSH_PROMISE: u8 = 0x5;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;

pub(crate) const NONE: u8 = 0x0;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;
/// A whole message in one HEADERS frame.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(crate) const HEADER_TABLE_SIZE: u16 = 0x1;
pub(crate) const ENABLE_PUSH: u16 = 0x2;
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 0x4;
pub(crate) const MAX_FRAME_SIZE: u16 = 0x5;
pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 0x6;

pub(crate) const NO_ERROR: u32 = 0x0;
pub(crate) const PROTOCOL_ERROR: u32 = 0x1;
pub(crate) const INTERNAL_ERROR: u32 = 0x2;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 0x3;
pub(crate) const STREAM_CLOSED: u32 = 0x5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 0x6;
pub(crate) const REFUSED_STREAM: u32 = 0x7;
pub(crate) const CANCEL: u32 = 0x8;
pub(crate) const COMPRESSION_ERROR: u32 = 0x9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 0xb;

/// The client's half of the connection preface (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest value of a window (RFC 9113 §6.9.1).
pub(crate) const MAX_WINDOW: u32 = 0x7fff_ffff;

/// One frame as it will be written, with nothing checked.
#[derive(Clone, Debug)]
pub(crate) struct RawFrame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// 32 bits: the reserved bit is the caller's to set.
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
    /// The length field where it must lie about the payload.
    pub(crate) length: Option<u32>,
}

impl RawFrame {
    /// Claims a length other than the payload's.
    pub(crate) fn claiming(mut self, length: u32) -> Self {
        self.length = Some(length);
        self
    }

    /// Sets the reserved bit before the stream identifier.
    pub(crate) fn reserved(mut self) -> Self {
        self.stream |= 0x8000_0000;
        self
    }

    /// Adds undefined or further flags.
    pub(crate) fn flagged(mut self, flags: u8) -> Self {
        self.flags |= flags;
        self
    }

    /// Moves the frame to another stream, a wrong one mostly.
    pub(crate) fn on(mut self, stream: u32) -> Self {
        self.stream = stream;
        self
    }

    /// Puts a pad length and padding round the payload and sets PADDED.
    pub(crate) fn padded(mut self, pad: u8) -> Self {
        self.flags |= PADDED;
        self.payload.insert(0, pad);
        self.payload.extend(std::iter::repeat_n(0, usize::from(pad)));
        self
    }

    /// The bytes on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = self.length.unwrap_or(self.payload.len() as u32);
        let mut out = Vec::with_capacity(9 + self.payload.len());
        out.extend_from_slice(&length.to_be_bytes()[1..]);
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
        out.extend_from_slice(&self.payload);
        out
    }
}

/// Any frame at all.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> RawFrame {
    RawFrame { kind, flags, stream, payload: payload.into(), length: None }
}

pub(crate) fn data(stream: u32, flags: u8, payload: impl Into<Vec<u8>>) -> RawFrame {
    frame(DATA, flags, stream, payload)
}

pub(crate) fn headers(stream: u32, flags: u8, block: impl Into<Vec<u8>>) -> RawFrame {
    frame(HEADERS, flags, stream, block)
}

pub(crate) fn continuation(stream: u32, flags: u8, block: impl Into<Vec<u8>>) -> RawFrame {
    frame(CONTINUATION, flags, stream, block)
}

pub(crate) fn priority(stream: u32, depends_on: u32) -> RawFrame {
    let mut payload = depends_on.to_be_bytes().to_vec();
    payload.push(15);
    frame(PRIORITY, NONE, stream, payload)
}

pub(crate) fn rst_stream(stream: u32, code: u32) -> RawFrame {
    frame(RST_STREAM, NONE, stream, code.to_be_bytes())
}

pub(crate) fn settings(values: &[(u16, u32)]) -> RawFrame {
    let mut payload = Vec::new();
    for (id, value) in values {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(SETTINGS, NONE, 0, payload)
}

pub(crate) fn settings_ack() -> RawFrame {
    frame(SETTINGS, ACK, 0, [])
}

pub(crate) fn push_promise(stream: u32, promised: u32, block: &[u8]) -> RawFrame {
    let mut payload = promised.to_be_bytes().to_vec();
    payload.extend_from_slice(block);
    frame(PUSH_PROMISE, END_HEADERS, stream, payload)
}

pub(crate) fn ping(opaque: [u8; 8]) -> RawFrame {
    frame(PING, NONE, 0, opaque)
}

pub(crate) fn goaway(last: u32, code: u32) -> RawFrame {
    let mut payload = last.to_be_bytes().to_vec();
    payload.extend_from_slice(&code.to_be_bytes());
    frame(GOAWAY, NONE, 0, payload)
}

pub(crate) fn window_update(stream: u32, increment: u32) -> RawFrame {
    frame(WINDOW_UPDATE, NONE, stream, increment.to_be_bytes())
}

/// The bytes of several frames, to be written at once.
pub(crate) fn wire(frames: &[RawFrame]) -> Vec<u8> {
    frames.iter().flat_map(RawFrame::bytes).collect()
}
