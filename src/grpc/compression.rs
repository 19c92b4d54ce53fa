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

/// Inflates `payload`, at most `max` bytes.
///
/// # Errors
/// RESOURCE_EXHAUSTED above `max`, INTERNAL for bytes that are not in that encoding.
pub fn decompress(encoding: Encoding, payload: &[u8], max: usize) -> Result<Vec<u8>, Status> {
    match encoding {
        // gRPC COMPRESSION: a compressed flag without an encoding is INTERNAL
        Encoding::Identity => Err(Status::new(
            Code::Internal,
            "a message is marked compressed, but no grpc-encoding was announced",
        )),
        Encoding::Gzip => gzip::inflate(payload, max),
    }
}

#[cfg(feature = "gzip")]
mod gzip {
    use crate::grpc::compression::{Code, Status};
    use flate2::Compression;
    use flate2::bufread::GzDecoder;
    use flate2::write::GzEncoder;
    use std::io::{Read, Write};

    pub(super) fn deflate(payload: &[u8], out: &mut Vec<u8>) -> Result<(), Status> {
        let mut encoder = GzEncoder::new(out, Compression::new(4));
        let written = encoder.write_all(payload).and_then(|()| encoder.finish().map(|_| ()));
        written.map_err(|e| Status::new(Code::Internal, format!("gzip: {e}")))
    }

    /// Stops one byte above the limit.
    pub(super) fn inflate(payload: &[u8], max: usize) -> Result<Vec<u8>, Status> {
        let mut out = Vec::new();
        let bound = (max as u64).saturating_add(1);
        let read = GzDecoder::new(payload).take(bound).read_to_end(&mut out);
        if let Err(error) = read {
            return Err(Status::new(Code::Internal, format!("a gzip message is broken: {error}")));
        }
        if out.len() > max {
            return Err(Status::new(
                Code::ResourceExhausted,
                format!("a gzip message inflates to more than {max} bytes (max_receive_message)"),
            ));
        }
        Ok(out)
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

    pub(super) fn inflate(_payload: &[u8], _max: usize) -> Result<Vec<u8>, Status> {
        Err(absent())
    }
}

#[cfg(all(test, feature = "gzip"))]
mod tests {
    use crate::grpc::compression::*;

    #[test]
    fn round_trip() {
        let payload = b"the same, the same, the same".repeat(100);
        let mut out = b"kept".to_vec();
        compress(Encoding::Gzip, &payload, &mut out).unwrap();
        assert!(out.starts_with(b"kept") && out.len() < 200);
        assert_eq!(decompress(Encoding::Gzip, &out[4..], payload.len()).unwrap(), payload);
    }

    #[test]
    fn attack_grpc_gzip_bomb() {
        let mut bomb = Vec::new();
        compress(Encoding::Gzip, &vec![0; 64 << 20], &mut bomb).unwrap();
        assert!(bomb.len() < 400_000);
        let status = decompress(Encoding::Gzip, &bomb, 1 << 20).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
    }

    #[test]
    fn broken_bytes_and_unannounced_compression_are_internal() {
        for (encoding, bytes) in [(Encoding::Gzip, &b"no gzip"[..]), (Encoding::Identity, b"")] {
            assert_eq!(decompress(encoding, bytes, 9).unwrap_err().code(), Code::Internal);
        }
    }

    #[test]
    fn lists_are_read_with_blanks() {
        assert!(Encoding::Gzip.is_in(b"identity, gzip ,deflate"));
        assert!(!Encoding::Gzip.is_in(b"gzipped"));
        assert_eq!(Encoding::parse(b"snappy"), None);
    }
}
