//! Length-Prefixed-Messages: a flag byte, four bytes of length, the payload.
//!
//! Memory is spent on bytes that arrived, not on bytes that a prefix announces.

mod splitter;

pub use splitter::{Splitter, assembly_capacity};

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::grpc::status::{Code, Status};

/// Bytes of a prefix: the compressed flag and a 32-bit big-endian length.
pub const PREFIX: usize = 5;

/// Default limit of a received message, in bytes, after decompression: 4 MiB.
pub const DEFAULT_MAX: usize = 4 << 20;

/// Returns the prefix of a message whose payload has `len` bytes.
///
/// # Errors
///
/// [`MessageError::Unframeable`] when `len` does not fit in 32 bits.
pub fn write_prefix(len: usize, compressed: bool) -> Result<[u8; PREFIX], MessageError> {
    let Ok(len) = u32::try_from(len) else { return Err(MessageError::Unframeable { len }) };
    let [a, b, c, d] = len.to_be_bytes();
    Ok([u8::from(compressed), a, b, c, d])
}

/// Returns the flag and the payload's range of the one message that fills `body` exactly.
///
/// The fast path of a unary body in one slice. After `None`, a [`Splitter`] finds the reason: more
/// or less than one message, a flag above 1, or a payload over `max` bytes.
#[must_use]
pub fn parse_one(body: &[u8], max: usize) -> Option<(bool, Range<usize>)> {
    let (prefix, payload) = body.split_first_chunk::<PREFIX>()?;
    let head = Head::parse(*prefix, max).ok()?;
    (payload.len() == head.len).then_some((head.compressed, PREFIX..body.len()))
}

/// Returns the error of a whole body that [`parse_one`] refused: a broken message, or the text
/// `none` or `many` for a wrong number of messages.
#[must_use]
pub fn not_one(body: &[u8], max: usize, none: &'static str, many: &'static str) -> Status {
    let mut splitter = Splitter::new(max);
    splitter.push(body);
    match splitter.next() {
        Err(error) => error.into(),
        Ok(Some(_)) => Status::new(Code::Internal, many),
        Ok(None) => match splitter.finish() {
            Err(error) => error.into(),
            Ok(()) => Status::new(Code::Internal, none),
        },
    }
}

/// Returns the length that the prefix at the start of `body` announces, if it is complete.
#[must_use]
pub fn declared_len(body: &[u8]) -> Option<usize> {
    let [_, a, b, c, d] = *body.first_chunk::<PREFIX>()?;
    Some(u32::from_be_bytes([a, b, c, d]) as usize)
}

/// One received message; the payload is still compressed if the flag is set.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The Compressed-Flag: the payload is encoded as `grpc-encoding` says.
    pub compressed: bool,
    /// The bytes after the prefix. They share memory with messages that arrived together.
    pub payload: Bytes,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = if self.compressed { ", compressed" } else { "" };
        write!(f, "Message({} bytes{flag})", self.payload.len())
    }
}

/// Why bytes are not a message. The error concerns its stream only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// The prefix announces more than the limit.
    TooLarge {
        /// Bytes announced.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A Compressed-Flag other than 0 and 1.
    BadFlag(u8),
    /// The stream ended inside a message.
    Truncated {
        /// Bytes that were still to come.
        missing: usize,
    },
    /// A payload to send does not fit a 32-bit length.
    Unframeable {
        /// The length of the payload, in bytes.
        len: usize,
    },
}

impl MessageError {
    /// Returns the status code that ends the call.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::TooLarge { .. } | Self::Unframeable { .. } => Code::ResourceExhausted,
            Self::BadFlag(_) | Self::Truncated { .. } => Code::Internal,
        }
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len, max } => {
                write!(
                    f,
                    "a received message of {len} bytes is over the limit of {max} \
                     (max_receive_message)"
                )
            }
            Self::BadFlag(flag) => write!(f, "compressed flag {flag} is neither 0 nor 1"),
            Self::Truncated { missing } => {
                write!(f, "stream ended {missing} bytes before the end of a message")
            }
            Self::Unframeable { len } => {
                write!(f, "message of {len} bytes does not fit a 32-bit length")
            }
        }
    }
}

impl std::error::Error for MessageError {}

impl From<MessageError> for Status {
    fn from(error: MessageError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// A parsed prefix.
#[derive(Clone, Copy, Debug)]
struct Head {
    compressed: bool,
    len: usize,
}

impl Head {
    fn parse(prefix: [u8; PREFIX], max: usize) -> Result<Self, MessageError> {
        let [flag, length @ ..] = prefix;
        // gRPC PROTOCOL-HTTP2 §Requests: Compressed-Flag is 0 or 1.
        if flag > 1 {
            return Err(MessageError::BadFlag(flag));
        }
        let len = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if len > max {
            return Err(MessageError::TooLarge { len, max });
        }
        Ok(Self { compressed: flag == 1, len })
    }
}

#[cfg(test)]
mod tests {
    use crate::grpc::message::splitter::{KEEP, RESERVE};
    use crate::grpc::message::*;

    fn framed(payload: &[u8], flag: u8) -> Vec<u8> {
        let mut out = write_prefix(payload.len(), false).unwrap().to_vec();
        out[0] = flag;
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn any_cut_gives_the_same_messages() {
        let payloads: [&[u8]; 5] = [b"one", b"", b"three", &[7; 300], b""];
        let wire: Vec<u8> = payloads.iter().flat_map(|p| framed(p, 1)).collect();
        for step in 1..=wire.len() {
            let mut splitter = Splitter::new(300);
            let mut got = Vec::new();
            for chunk in wire.chunks(step) {
                splitter.push(chunk);
                while let Some(message) = splitter.next().unwrap() {
                    assert!(message.compressed);
                    got.push(message.payload);
                }
            }
            assert_eq!(got, payloads, "cut every {step}");
            assert!(splitter.is_empty() && splitter.finish().is_ok());
        }
    }

    #[test]
    fn g2_length_lie_costs_no_memory_and_is_refused_at_the_fifth_byte() {
        let mut splitter = Splitter::new(DEFAULT_MAX);
        splitter.push(&[0, 0xff, 0xff, 0xff]);
        assert_eq!(splitter.next(), Ok(None));
        splitter.push(&[0xff]);
        splitter.push(&[0; 1000]);
        let error = MessageError::TooLarge { len: 0xffff_ffff, max: DEFAULT_MAX };
        assert_eq!(splitter.next(), Err(error));
        assert_eq!(splitter.next(), Err(error));
        assert_eq!(error.code(), Code::ResourceExhausted);
        assert_eq!(splitter.capacity(), 0);
        assert_eq!(splitter.awaiting(), None);
    }

    #[test]
    fn g2_an_allowed_length_reserves_little_before_bytes_arrive() {
        let mut splitter = Splitter::new(usize::MAX);
        splitter.push(&[0, 0x40, 0, 0, 0]);
        assert!(splitter.capacity() <= 1024, "{}", splitter.capacity());
        assert_eq!(splitter.awaiting(), Some(0x4000_0000));
        splitter.push(&[0; 1000]);
        assert!(splitter.capacity() <= 2 * RESERVE, "{}", splitter.capacity());
        splitter.push(&[0; 1 << 16]);
        assert!(splitter.capacity() <= 4 << 16, "{}", splitter.capacity());
        // A frame brings capacity for a message of 64 KiB as a whole.
        assert_eq!(
            (assembly_capacity(16_384, 65_541), assembly_capacity(16_384, 1 << 20)),
            (65_541, 81_920)
        );
        assert_eq!(
            (assembly_capacity(16_379, 50_000), assembly_capacity(9, 5), assembly_capacity(0, 100)),
            (50_000, 9, 0)
        );
    }

    #[test]
    fn g2_an_end_inside_a_message_is_internal() {
        let mut splitter = Splitter::new(10);
        assert_eq!(splitter.finish(), Ok(()));
        splitter.push(&[0, 0]);
        assert_eq!(splitter.finish(), Err(MessageError::Truncated { missing: 3 }));
        splitter.push(&[0, 0, 4, b'a']);
        let error = MessageError::Truncated { missing: 3 };
        assert_eq!((splitter.finish(), error.code()), (Err(error), Code::Internal));
    }

    #[test]
    fn g3_flags_above_one_are_internal() {
        for flag in 2..=255 {
            let mut splitter = Splitter::new(10);
            splitter.push(&framed(b"", flag));
            assert_eq!(splitter.next(), Err(MessageError::BadFlag(flag)));
            assert_eq!(MessageError::BadFlag(flag).code(), Code::Internal);
            assert_eq!(parse_one(&framed(b"", flag), 10), None);
        }
    }

    #[test]
    fn messages_before_a_bad_one_are_kept() {
        let mut splitter = Splitter::new(10);
        let mut wire = framed(b"good", 0);
        wire.extend(framed(b"bad", 9));
        splitter.push(&wire);
        assert_eq!(splitter.next().unwrap().unwrap().payload, "good");
        assert_eq!(splitter.next(), Err(MessageError::BadFlag(9)));
    }

    #[test]
    fn large_buffers_are_given_back() {
        let mut splitter = Splitter::new(1 << 20);
        let mut wire = framed(&vec![1; 1 << 20], 0);
        wire.extend_from_slice(&framed(b"next", 0)[..7]);
        for chunk in wire.chunks(16 << 10) {
            splitter.push(chunk);
        }
        assert_eq!(splitter.next().unwrap().unwrap().payload.len(), 1 << 20);
        assert!(splitter.capacity() <= KEEP, "{}", splitter.capacity());
        assert_eq!(splitter.awaiting(), Some(2));
        splitter.push(b"xt");
        assert_eq!(splitter.next().unwrap().unwrap().payload, "next");
    }

    #[test]
    fn whole_messages_of_one_push_share_one_buffer() {
        let mut splitter = Splitter::new(10);
        splitter.push(&[framed(b"first", 0), framed(b"second", 0)].concat());
        let first = splitter.next().unwrap().unwrap().payload;
        let second = splitter.next().unwrap().unwrap().payload;
        assert_eq!(first.as_ptr() as usize + first.len() + PREFIX, second.as_ptr() as usize);
    }

    #[test]
    fn one_whole_message_is_found_in_place() {
        let wire = framed(b"abc", 1);
        assert_eq!(parse_one(&wire, 3), Some((true, 5..8)));
        assert_eq!(parse_one(&wire, 2), None);
        assert_eq!(parse_one(&wire[..7], 3), None);
        assert_eq!(parse_one(&[wire, framed(b"", 0)].concat(), 9), None);
        assert_eq!(parse_one(&[0, 0, 0, 0, 0], 0), Some((false, 5..5)));
        assert_eq!(parse_one(&[], 9), None);
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn a_payload_of_four_gibibytes_cannot_be_framed() {
        assert_eq!(write_prefix(0xffff_ffff, true), Ok([1, 0xff, 0xff, 0xff, 0xff]));
        let len = 1 << 32;
        assert_eq!(write_prefix(len, false), Err(MessageError::Unframeable { len }));
    }
}
