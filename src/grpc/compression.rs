//! Message encodings: identity and gzip, with a limit on the inflated length.

use crate::grpc::status::{Code, Status};

/// The encoding of a message's payload (`grpc-encoding`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Encoding {
    /// Not compressed. The default.
    #[default]
    Identity,
    /// gzip (RFC 1952), with the feature `gzip`.
    Gzip,
}

impl Encoding {
    /// Returns the value of `grpc-encoding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
        }
    }

    /// Parses `grpc-encoding`; `None` for an encoding that this build does not know.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        match value {
            b"identity" | b"" => Some(Self::Identity),
            b"gzip" if cfg!(feature = "gzip") => Some(Self::Gzip),
            _ => None,
        }
    }

    /// Returns the value of `grpc-accept-encoding`: the encodings of this build.
    #[must_use]
    pub const fn accepted() -> &'static str {
        if cfg!(feature = "gzip") { "identity,gzip" } else { "identity" }
    }

    /// Returns whether a received `grpc-accept-encoding` contains this encoding.
    #[must_use]
    pub fn is_in(self, list: &[u8]) -> bool {
        list.split(|o| *o == b',').any(|name| name.trim_ascii() == self.name().as_bytes())
    }
}

/// Appends the compressed `payload` to `out`.
///
/// # Errors
/// INTERNAL when this build has no such encoding.
pub fn compress(encoding: Encoding, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Status> {
    match encoding {
        Encoding::Identity => {
            out.extend_from_slice(payload);
            Ok(())
        }
        Encoding::Gzip => gzip::deflate(payload, out),
    }
}

/// Inflates `payload`, at most `max` bytes. `grant` is asked before memory is used, with the bytes that are
/// used in all.
///
/// # Errors
/// RESOURCE_EXHAUSTED above `max` or if `grant` returns `false`, INTERNAL for bytes that are not in that
/// encoding.
pub fn decompress(
    encoding: Encoding,
    payload: &[u8],
    max: usize,
    grant: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<u8>, Status> {
    match encoding {
        // gRPC COMPRESSION: a compressed flag without an encoding is INTERNAL
        Encoding::Identity => Err(Status::new(
            Code::Internal,
            "a message is marked compressed, but no grpc-encoding was announced",
        )),
        // Some peers mark empty messages as compressed and do not compress them.
        Encoding::Gzip if payload.is_empty() => Ok(Vec::new()),
        Encoding::Gzip => gzip::inflate(payload, max, grant),
    }
}

#[cfg(feature = "gzip")]
mod gzip {
    use crate::grpc::compression::{Code, Status};
    use flate2::Compression;
    use flate2::bufread::MultiGzDecoder;
    use flate2::write::GzEncoder;
    use std::io::{Read, Write};

    pub(super) fn deflate(payload: &[u8], out: &mut Vec<u8>) -> Result<(), Status> {
        let mut encoder = GzEncoder::new(out, Compression::new(4));
        let written = encoder.write_all(payload).and_then(|()| encoder.finish().map(|_| ()));
        written.map_err(|e| Status::new(Code::Internal, format!("gzip: {e}")))
    }

    /// Inflated bytes of one byte of DEFLATE, at most.
    const RATIO: usize = 1032;

    /// Returns the length that the last member announces, as far as it is possible. The payload of a
    /// message has one member as a rule.
    fn announced(payload: &[u8], max: usize) -> usize {
        // RFC 1952 §2.3.1: ISIZE, the last four bytes, is the length modulo 2^32
        let length = payload.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
        length.min(payload.len().saturating_mul(RATIO)).min(max)
    }

    /// Stops one byte above the limit.
    pub(super) fn inflate(
        payload: &[u8],
        max: usize,
        grant: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<u8>, Status> {
        let mut grant = |bytes| if grant(bytes) { Ok(()) } else { Err(no_memory(bytes)) };
        // RFC 1952 §2.2: a gzip file is a series of members, one behind the other
        let mut decoder = MultiGzDecoder::new(payload);
        let mut space = announced(payload, max);
        grant(space)?;
        let mut out = Vec::with_capacity(space);
        loop {
            let left = (space - out.len()) as u64;
            decoder.by_ref().take(left).read_to_end(&mut out).map_err(broken)?;
            // Without memory for it, the end is found as well as what is too much.
            let mut next = [0];
            if out.len() < space || decoder.read(&mut next).map_err(broken)? == 0 {
                return Ok(out);
            }
            if space >= max {
                return Err(too_large(max));
            }
            space = space.saturating_mul(2).max(64).min(max);
            grant(space)?;
            out.reserve_exact(space - out.len());
            out.extend(next);
        }
    }

    fn broken(error: std::io::Error) -> Status {
        Status::new(Code::Internal, format!("a gzip message is broken: {error}"))
    }

    fn too_large(max: usize) -> Status {
        let text =
            format!("a gzip message inflates to more than {max} bytes (max_receive_message)");
        Status::new(Code::ResourceExhausted, text)
    }

    fn no_memory(bytes: usize) -> Status {
        let text = format!(
            "a gzip message needs up to {bytes} bytes of memory, and the budget does not have them now"
        );
        Status::new(Code::ResourceExhausted, text)
    }
}

#[cfg(not(feature = "gzip"))]
mod gzip {
    use crate::grpc::compression::{Code, Status};

    fn absent() -> Status {
        Status::new(Code::Internal, "gzip is not part of this build (feature `gzip`)")
    }

    pub(super) fn deflate(_payload: &[u8], _out: &mut Vec<u8>) -> Result<(), Status> {
        Err(absent())
    }

    pub(super) fn inflate(
        _payload: &[u8],
        _max: usize,
        _grant: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<u8>, Status> {
        Err(absent())
    }
}

#[cfg(all(test, feature = "gzip"))]
mod tests {
    use crate::grpc::compression::*;

    fn gzip(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(compress(Encoding::Gzip, payload, &mut out).is_ok());
        out
    }

    fn inflated(payload: &[u8], max: usize) -> Result<Vec<u8>, Code> {
        let inflated = decompress(Encoding::Gzip, payload, max, &mut |_| true);
        inflated.map_err(|status| status.code())
    }

    #[test]
    fn round_trip() {
        let payload = b"the same, the same, the same".repeat(100);
        let mut out = b"kept".to_vec();
        compress(Encoding::Gzip, &payload, &mut out).unwrap();
        assert!(out.starts_with(b"kept") && out.len() < 200);
        assert_eq!(inflated(&out[4..], payload.len()).unwrap(), payload);
    }

    #[test]
    fn attack_grpc_gzip_bomb() {
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 400_000);
        assert_eq!(inflated(&bomb, 1 << 20), Err(Code::ResourceExhausted));
    }

    #[test]
    fn memory_is_granted_before_it_is_used() {
        let zeros = vec![0; 1 << 20];
        let bomb = gzip(&zeros);
        let mut asked = Vec::new();
        let all = decompress(Encoding::Gzip, &bomb, usize::MAX, &mut |bytes| {
            asked.push(bytes);
            true
        });
        assert_eq!(all.as_ref(), Ok(&zeros));
        assert_eq!((asked, all.unwrap().capacity()), (vec![1 << 20], 1 << 20));
        // A member behind it says that the message is short.
        let bomb = [bomb, gzip(b"x")].concat();
        let mut asked = Vec::new();
        let all = decompress(Encoding::Gzip, &bomb, usize::MAX, &mut |bytes| {
            asked.push(bytes);
            bytes < 1 << 20
        });
        assert_eq!(all.unwrap_err().code(), Code::ResourceExhausted);
        assert_eq!((asked[0], asked[1], asked.last()), (1, 64, Some(&(1 << 20))));
    }

    #[test]
    fn all_members_are_inflated_and_what_is_none_is_an_error() {
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(inflated(&two, 7).unwrap(), b"one two");
        assert_eq!(inflated(&two, 6), Err(Code::ResourceExhausted));
        assert_eq!(inflated(&[&two[..], b"rest"].concat(), 99), Err(Code::Internal));
        assert_eq!(inflated(&two[..two.len() - 1], 99), Err(Code::Internal));
        assert_eq!(inflated(&gzip(b""), 0).unwrap(), b"");
    }

    #[test]
    fn an_empty_payload_is_an_empty_message() {
        assert_eq!(inflated(b"", 0).unwrap(), b"");
    }

    #[test]
    fn broken_bytes_and_unannounced_compression_are_internal() {
        for (encoding, bytes) in [(Encoding::Gzip, &b"no gzip"[..]), (Encoding::Identity, b"")] {
            let error = decompress(encoding, bytes, 9, &mut |_| true).unwrap_err();
            assert_eq!(error.code(), Code::Internal);
        }
    }

    #[test]
    fn lists_are_read_with_blanks() {
        assert!(Encoding::Gzip.is_in(b"identity, gzip ,deflate"));
        assert!(!Encoding::Gzip.is_in(b"gzipped"));
        assert_eq!(Encoding::parse(b"snappy"), None);
    }
}
