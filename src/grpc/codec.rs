//! From messages to bytes and back, into the memory of the call and from a borrow.
//!
//! hot: no allocation except those of the message itself.

mod buf;
#[cfg(test)]
mod tests;

pub use buf::EncodeBuf;

use crate::grpc::compression;
use crate::grpc::compression::Encoding;
use crate::grpc::message::{PREFIX, write_prefix};
use crate::grpc::status::{Code, Status};
use buf::SHARE;
use bytes::{Buf, Bytes, BytesMut};
use std::fmt;
use std::ops::Range;

/// A message that can be sent. Implemented for every prost message and for [`Raw`].
///
/// ```
/// use framewire::codec::{Encode, EncodeBuf};
///
/// /// A header and a large part that is memory already.
/// struct Chunk {
///     id: u64,
///     data: bytes::Bytes,
/// }
///
/// impl Encode for Chunk {
///     fn encoded_len(&self) -> usize {
///         8 + self.data.len()
///     }
///
///     fn encode(&self, out: &mut EncodeBuf<'_>) {
///         out.put_slice(&self.id.to_be_bytes());
///         out.put_shared(self.data.clone());
///     }
/// }
/// ```
pub trait Encode {
    /// Returns the length of the encoded message, in bytes.
    fn encoded_len(&self) -> usize;

    /// Appends the encoded message: exactly as many bytes as [`encoded_len`](Self::encoded_len)
    /// returned. If the number differs, sending fails with INTERNAL and nothing of the message is
    /// sent: a unary call ends with that error, a stream stays open.
    fn encode(&self, out: &mut EncodeBuf<'_>);
}

/// A message that can be received. Implemented for every prost message and for [`Raw`].
///
/// ```
/// use bytes::Buf;
/// use framewire::codec::Decode;
/// use framewire::{Code, Status};
///
/// struct Chunk {
///     id: u64,
///     data: bytes::Bytes,
/// }
///
/// impl Decode for Chunk {
///     fn decode(mut payload: impl Buf) -> Result<Self, Status> {
///         let id = payload
///             .try_get_u64()
///             .map_err(|_| Status::new(Code::Internal, "a chunk begins with 8 bytes of id"))?;
///         // Shares the received memory where the payload owns it.
///         let data = payload.copy_to_bytes(payload.remaining());
///         Ok(Self { id, data })
///     }
/// }
/// # assert_eq!(Chunk::decode(&[0, 0, 0, 0, 0, 0, 0, 7, 1][..]).unwrap().id, 7);
/// # assert!(Chunk::decode(&[1][..]).is_err());
/// ```
pub trait Decode: Sized {
    /// Decodes the message that `payload` holds, after decompression.
    ///
    /// `payload` may consist of several slices: [`Buf::chunk`] returns the first one.
    /// [`Buf::copy_to_bytes`] does not copy if the payload owns its memory, which holds from 4 KiB
    /// on and for messages of streams.
    ///
    /// # Errors
    ///
    /// The call ends with this status; INTERNAL says that the bytes are not such a message.
    fn decode(payload: impl Buf) -> Result<Self, Status>;
}

/// A message that is its own encoding: bytes that this crate neither encodes nor decodes.
///
/// ```
/// # #[cfg(feature = "client")]
/// # async fn call(channel: framewire::client::Channel) -> Result<(), framewire::Error> {
/// use framewire::{Method, Raw, Request};
///
/// const ECHO: Method<Raw, Raw> = Method::new("/example.Echo/Echo");
///
/// let request = Request::new(Raw(bytes::Bytes::from_static(b"encoded elsewhere")));
/// let Raw(response) = channel.unary(&ECHO, request).await?.into_inner();
/// # drop(response);
/// # Ok(())
/// # }
/// ```
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

    fn encode(&self, out: &mut EncodeBuf<'_>) {
        if self.0.len() < SHARE {
            out.put_slice(&self.0);
        } else {
            out.put_shared(self.0.clone());
        }
    }
}

impl Decode for Raw {
    fn decode(mut payload: impl Buf) -> Result<Self, Status> {
        Ok(Self(payload.copy_to_bytes(payload.remaining())))
    }
}

#[cfg(feature = "prost")]
impl<M: prost::Message> Encode for M {
    fn encoded_len(&self) -> usize {
        prost::Message::encoded_len(self)
    }

    fn encode(&self, out: &mut EncodeBuf<'_>) {
        self.encode_raw(out.memory());
    }
}

#[cfg(feature = "prost")]
impl<M: prost::Message + Default> Decode for M {
    fn decode(payload: impl Buf) -> Result<Self, Status> {
        <M as prost::Message>::decode(payload).map_err(undecodable)
    }
}

#[cfg(feature = "prost")]
fn undecodable(error: prost::DecodeError) -> Status {
    Status::new(Code::Internal, format!("a received message cannot be decoded: {error}"))
}

/// Appends a Length-Prefixed-Message; returns bytes that follow `out` by reference.
///
/// # Errors
///
/// RESOURCE_EXHAUSTED over `max` bytes, INTERNAL if the codec wrote more or fewer bytes than it
/// announced; `out` is as it was.
pub fn encode_message<M: Encode>(
    message: &M,
    encoding: Encoding,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<Option<Bytes>, Status> {
    let len = message.encoded_len();
    if encoding == Encoding::Gzip {
        return encode_compressed(message, len, encoding, max, out).map(|()| None);
    }
    check(len, max)?;
    let prefix = write_prefix(len, false).map_err(Status::from)?;
    let start = out.len();
    let mut buf = EncodeBuf::new(out, prefix, len);
    message.encode(&mut buf);
    let encoded = buf.finish(start + PREFIX);
    if encoded.is_err() {
        out.truncate(start);
    }
    encoded
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
    len: usize,
    encoding: Encoding,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<(), Status> {
    check(len, max)?;
    let mut plain = Vec::new();
    let mut buf = EncodeBuf::new(&mut plain, [0; PREFIX], len);
    message.encode(&mut buf);
    let shared = buf.finish(PREFIX)?.unwrap_or_default();
    let plain = if plain.len() == PREFIX {
        &shared[..]
    } else {
        plain.extend_from_slice(&shared);
        plain.get(PREFIX..).unwrap_or_default()
    };
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    let written = compression::compress(encoding, plain, out)
        .and_then(|()| write_prefix(out.len() - start - PREFIX, true).map_err(Status::from));
    let prefix = written.inspect_err(|_| out.truncate(start))?;
    if let Some(head) = out.get_mut(start..start + PREFIX) {
        head.copy_from_slice(&prefix);
    }
    Ok(())
}

/// Bytes from which on a decoder gets a whole body as memory that it may keep.
const KEEP: usize = 4096;

/// How a compressed message is inflated.
pub struct Inflate<'a> {
    /// The encoding that was announced.
    pub encoding: Encoding,
    /// The largest message, in bytes.
    pub max: usize,
    /// Asked before memory is used, with the bytes that are used in all.
    pub grant: &'a mut dyn FnMut(usize) -> bool,
}

impl fmt::Debug for Inflate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { encoding, max, .. } = self;
        f.debug_struct("Inflate")
            .field("encoding", encoding)
            .field("max", max)
            .finish_non_exhaustive()
    }
}

/// Decodes the one message of `body`: its prefix is checked, `payload` is its range.
///
/// # Errors
///
/// The decoder's status, or that of the decompression.
pub fn decode_whole<M: Decode>(
    body: &mut BytesMut,
    payload: Range<usize>,
    compressed: bool,
    encoding: Encoding,
    max: usize,
) -> Result<M, Status> {
    let inflate = Inflate { encoding, max, grant: &mut |_| true };
    decode_whole_within(body, payload, compressed, inflate)
}

/// As [`decode_whole`], with a limit on the memory for inflating it.
///
/// # Errors
///
/// As [`decode_whole`].
pub fn decode_whole_within<M: Decode>(
    body: &mut BytesMut,
    payload: Range<usize>,
    compressed: bool,
    inflate: Inflate<'_>,
) -> Result<M, Status> {
    if compressed || body.len() < KEEP {
        let payload = body.get(payload).unwrap_or_default();
        return decode_payload(payload, compressed, inflate);
    }
    // The message keeps the memory; `body` is left empty.
    let whole = std::mem::take(body).freeze();
    M::decode(whole.slice(payload))
}

/// Decodes a payload that arrived with the flag `compressed` set or not.
///
/// # Errors
///
/// The decoder's status, or that of the decompression.
pub fn decode_payload<M: Decode>(
    payload: &[u8],
    compressed: bool,
    inflate: Inflate<'_>,
) -> Result<M, Status> {
    if compressed {
        let Inflate { encoding, max, grant } = inflate;
        return M::decode(Bytes::from(compression::decompress(encoding, payload, max, grant)?));
    }
    M::decode(payload)
}
