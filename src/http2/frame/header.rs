//! The frame header: 9 bytes before every payload (RFC 9113 §4.1).

use crate::http2::stream_id::StreamId;

/// The bytes of a frame header.
pub const HEADER_LEN: usize = 9;

/// The type of a frame (RFC 9113 §6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum FrameType {
    /// DATA (§6.1).
    Data,
    /// HEADERS (§6.2).
    Headers,
    /// PRIORITY, deprecated (§6.3).
    Priority,
    /// RST_STREAM (§6.4).
    RstStream,
    /// SETTINGS (§6.5).
    Settings,
    /// PUSH_PROMISE (§6.6).
    PushPromise,
    /// PING (§6.7).
    Ping,
    /// GOAWAY (§6.8).
    GoAway,
    /// WINDOW_UPDATE (§6.9).
    WindowUpdate,
    /// CONTINUATION (§6.10).
    Continuation,
    /// An unknown type, which is discarded (§5.5).
    Unknown(u8),
}

impl FrameType {
    /// Returns the type for the byte on the wire.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            other => Self::Unknown(other),
        }
    }

    /// Returns the byte on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Headers => 1,
            Self::Priority => 2,
            Self::RstStream => 3,
            Self::Settings => 4,
            Self::PushPromise => 5,
            Self::Ping => 6,
            Self::GoAway => 7,
            Self::WindowUpdate => 8,
            Self::Continuation => 9,
            Self::Unknown(other) => other,
        }
    }
}

/// The flags of a frame; the meaning of a bit depends on the type (RFC 9113 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flags(pub u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// DATA, HEADERS: the last frame of this side.
    pub const END_STREAM: Self = Self(0x1);
    /// SETTINGS, PING: an acknowledgement.
    pub const ACK: Self = Self(0x1);
    /// HEADERS, CONTINUATION: the field block is complete.
    pub const END_HEADERS: Self = Self(0x4);
    /// DATA, HEADERS: a pad length comes first.
    pub const PADDED: Self = Self(0x8);
    /// HEADERS: five bytes of priority come before the field block.
    pub const PRIORITY: Self = Self(0x20);

    /// Returns whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets the bits of `other` if `on`.
    #[must_use]
    pub const fn with(self, other: Self, on: bool) -> Self {
        if on { Self(self.0 | other.0) } else { self }
    }
}

/// A frame header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// The bytes of the payload, 24 bits.
    pub length: u32,
    /// The type.
    pub frame_type: FrameType,
    /// The flags.
    pub flags: Flags,
    /// The stream, zero for the connection.
    pub stream_id: StreamId,
}

impl FrameHeader {
    /// Creates the header of a frame to send.
    #[must_use]
    pub const fn new(length: u32, frame_type: FrameType, flags: Flags, id: StreamId) -> Self {
        Self { length, frame_type, flags, stream_id: id }
    }

    /// Parses nine bytes. Every value is a valid header.
    #[must_use]
    pub const fn parse(o: &[u8; HEADER_LEN]) -> Self {
        Self {
            length: u32::from_be_bytes([0, o[0], o[1], o[2]]),
            frame_type: FrameType::from_byte(o[3]),
            flags: Flags(o[4]),
            stream_id: StreamId::new(u32::from_be_bytes([o[5], o[6], o[7], o[8]])),
        }
    }

    /// Returns the nine bytes. The reserved bit is zero.
    #[must_use]
    pub const fn bytes(self) -> [u8; HEADER_LEN] {
        let l = self.length.to_be_bytes();
        let s = self.stream_id.value().to_be_bytes();
        [l[1], l[2], l[3], self.frame_type.byte(), self.flags.0, s[0], s[1], s[2], s[3]]
    }

    /// Appends the nine bytes.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes());
    }
}
