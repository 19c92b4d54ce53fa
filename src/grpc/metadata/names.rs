//! Which names and values metadata may have, and base64 for `-bin` keys.

use super::error::MetadataError;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

/// The longest value that an application may set, in bytes before base64: 16 MiB.
pub const MAX_VALUE: usize = 16 << 20;

/// The longest key that an application may set, in bytes: 64 KiB.
pub const MAX_KEY: usize = 64 << 10;

// gRPC PROTOCOL-HTTP2 §Requests: implementations accept padded and unpadded values and should emit unpadded ones.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Encodes in base64 without padding.
pub(crate) fn encode_bin(value: &[u8]) -> String {
    BASE64.encode(value)
}

/// Decodes one value of a `-bin` field.
pub(crate) fn decode_bin(value: &[u8]) -> Result<Bytes, MetadataError> {
    let decoded = BASE64.decode(value.trim_ascii());
    decoded.map(Bytes::from).map_err(|_| MetadataError::InvalidBase64)
}

/// Splits a `-bin` field line into its values.
pub(crate) fn split_bin(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    // gRPC PROTOCOL-HTTP2 §Requests: binary values may be joined by commas and are split before decoding.
    value.split(|byte| *byte == b',')
}

pub(super) fn check(key: &str, value: &[u8], binary: bool) -> Result<(), MetadataError> {
    let name = key.as_bytes();
    if name.len() > MAX_KEY || value.len() > MAX_VALUE {
        return Err(MetadataError::TooLong);
    }
    // gRPC PROTOCOL-HTTP2 §Requests: Header-Name is made of 0-9 a-z _ - .
    let allowed = |o: &u8| matches!(o, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.');
    if is_reserved(name) {
        return Err(MetadataError::ReservedKey);
    }
    if name.is_empty() || !name.iter().all(allowed) {
        return Err(MetadataError::InvalidKey);
    }
    if is_bin(name) != binary {
        return Err(MetadataError::WrongKind);
    }
    // gRPC PROTOCOL-HTTP2 §Requests: ASCII-Value is made of 0x20-0x7e.
    if !binary && !value.iter().all(|byte| matches!(byte, 0x20..=0x7e)) {
        return Err(MetadataError::InvalidValue);
    }
    Ok(())
}

pub(super) fn is_bin(name: &[u8]) -> bool {
    name.ends_with(b"-bin")
}

/// Returns whether the field belongs to the transport: the application neither sees nor sets it.
pub(crate) fn is_transport(name: &[u8]) -> bool {
    match name.first() {
        Some(b':') => true,
        Some(b'g') => matches!(
            name,
            b"grpc-accept-encoding"
                | b"grpc-encoding"
                | b"grpc-message"
                | b"grpc-message-type"
                | b"grpc-status"
                | b"grpc-status-details-bin"
                | b"grpc-timeout"
        ),
        // RFC 9113 §8.2.2: connection-specific fields do not exist in HTTP/2.
        _ => matches!(
            name,
            b"connection"
                | b"content-length"
                | b"content-type"
                | b"host"
                | b"keep-alive"
                | b"proxy-connection"
                | b"te"
                | b"trailer"
                | b"transfer-encoding"
                | b"upgrade"
        ),
    }
}

/// Returns whether the application may not set the field. It may read `user-agent` and names that
/// later versions of gRPC add.
pub(super) fn is_reserved(name: &[u8]) -> bool {
    // gRPC PROTOCOL-HTTP2 §Requests: names that start with grpc- are reserved.
    let later = name.starts_with(b"grpc-") && !is_settable(name);
    later || is_transport(name) || name == b"user-agent"
}

/// Returns whether the application may set the field although its name begins with `grpc-`.
fn is_settable(name: &[u8]) -> bool {
    matches!(
        name,
        b"grpc-retry-pushback-ms" | b"grpc-server-stats-bin" | b"grpc-tags-bin" | b"grpc-trace-bin"
    )
}
