//! From messages to bytes and back, into lent space and from a borrow.
//!
//! hot: no allocation but what the message itself asks for.

use crate::grpc::compression;
use crate::grpc::compression::Encoding;
use crate::grpc::message::{PREFIX, write_prefix};
use crate::grpc::status::{Code, Status};
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::ops::Range;

/// A message that can be sent. Implemented for every prost message and for [`Raw`].
pub trait Encode {
    /// Bytes of the encoded message.
    fn encoded_len(&self) -> usize;
    /// Appends the encoded message.
    fn encode(&self, out: &mut Vec<u8>);
    /// The message as bytes that need no copy, if it is that.
    fn as_bytes(&self) -> Option<&Bytes> {
        None
    }
}

/// A message that can be received. Implemented for every prost message and for [`Raw`].
pub trait Decode: Sized {
    /// Decodes from a borrow.
    ///
    /// # Errors
    /// INTERNAL with what is wrong.
    fn decode(payload: &[u8]) -> Result<Self, Status>;

    /// Decodes from bytes that may be kept.
    ///
    /// # Errors
    /// As [`Decode::decode`].
    fn decode_bytes(payload: Bytes) -> Result<Self, Status> {
        Self::decode(&payload)
    }
}

/// A message that is its own encoding, for people who bring their own.
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct Raw(pub Bytes);

/// Prints the length: the message may be a secret.
impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raw({} bytes)", self.0.len())
    }
}

impl Encode for Raw {
    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn as_bytes(&self) -> Option<&Bytes> {
        Some(&self.0)
    }
}

impl Decode for Raw {
    fn decode(payload: &[u8]) -> Result<Self, Status> {
        Ok(Self(Bytes::copy_from_slice(payload)))
    }

    fn decode_bytes(payload: Bytes) -> Result<Self, Status> {
        Ok(Self(payload))
    }
}

#[cfg(feature = "prost")]
impl<M: prost::Message> Encode for M {
    fn encoded_len(&self) -> usize {
        prost::Message::encoded_len(self)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.encode_raw(out);
    }
}

#[cfg(feature = "prost")]
impl<M: prost::Message + Default> Decode for M {
    fn decode(payload: &[u8]) -> Result<Self, Status> {
        <M as prost::Message>::decode(payload).map_err(undecodable)
    }

    fn decode_bytes(payload: Bytes) -> Result<Self, Status> {
        <M as prost::Message>::decode(payload).map_err(undecodable)
    }
}

#[cfg(feature = "prost")]
fn undecodable(error: prost::DecodeError) -> Status {
    Status::new(Code::Internal, format!("a received message cannot be decoded: {error}"))
}

/// Bytes from which on a message that needs no encoding is chained instead of copied.
const CHAIN: usize = 4096;

/// Appends a Length-Prefixed-Message; bytes to be chained behind `out` are returned.
///
/// # Errors
/// RESOURCE_EXHAUSTED over `max` bytes; `out` is as it was.
pub fn encode_message<M: Encode>(
    message: &M,
    encoding: Encoding,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<Option<Bytes>, Status> {
    let len = message.encoded_len();
    if encoding == Encoding::Gzip {
        return encode_compressed(message, encoding, max, out).map(|()| None);
    }
    check(len, max)?;
    let prefix = write_prefix(len, false).map_err(Status::from)?;
    out.reserve(PREFIX + if len < CHAIN || message.as_bytes().is_none() { len } else { 0 });
    out.extend_from_slice(&prefix);
    match message.as_bytes() {
        Some(bytes) if len >= CHAIN => Ok(Some(bytes.clone())),
        _ => {
            message.encode(out);
            Ok(None)
        }
    }
}

fn check(len: usize, max: usize) -> Result<(), Status> {
    if len <= max {
        return Ok(());
    }
    Err(Status::new(
        Code::ResourceExhausted,
        format!("a message of {len} bytes is over the limit of {max} (max_send_message)"),
    ))
}

fn encode_compressed<M: Encode>(
    message: &M,
    encoding: Encoding,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<(), Status> {
    let mut plain = Vec::with_capacity(message.encoded_len());
    message.encode(&mut plain);
    check(plain.len(), max)?;
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    let written = compression::compress(encoding, &plain, out)
        .and_then(|()| write_prefix(out.len() - start - PREFIX, true).map_err(Status::from));
    let prefix = written.inspect_err(|_| out.truncate(start))?;
    if let Some(place) = out.get_mut(start..start + PREFIX) {
        place.copy_from_slice(&prefix);
    }
    Ok(())
}

/// Bytes from which on a whole body is handed to the decoder to keep, instead of copied from.
const KEEP: usize = 4096;

/// Decodes the one message that `body` is: its prefix is checked, `payload` is where it lies.
///
/// # Errors
/// What is wrong with it, as a status.
pub fn decode_whole<M: Decode>(
    body: &mut BytesMut,
    payload: Range<usize>,
    compressed: bool,
    encoding: Encoding,
    max: usize,
) -> Result<M, Status> {
    if compressed || body.len() < KEEP {
        let payload = body.get(payload).unwrap_or_default();
        return decode_payload(payload, compressed, encoding, max);
    }
    // The memory goes with the message; what stays behind holds nothing.
    let whole = std::mem::take(body).freeze();
    M::decode_bytes(whole.slice(payload))
}

/// Decodes a payload that came with `compressed` set or not.
///
/// # Errors
/// What is wrong with it, as a status.
pub fn decode_payload<M: Decode>(
    payload: &[u8],
    compressed: bool,
    encoding: Encoding,
    max: usize,
) -> Result<M, Status> {
    if compressed {
        return M::decode_bytes(compression::decompress(encoding, payload, max)?.into());
    }
    M::decode(payload)
}
