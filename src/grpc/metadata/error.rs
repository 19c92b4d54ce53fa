//! Why an entry of metadata is refused.

use std::fmt;

/// The reason why an entry was refused.
///
/// Received metadata is never refused as a whole: a broken entry affects only its own value.
///
/// ```
/// use framewire::Metadata;
/// use framewire::metadata::MetadataError;
///
/// let mut metadata = Metadata::new();
/// assert_eq!(metadata.append("X-Trace", "1"), Err(MetadataError::InvalidKey));
/// assert_eq!(metadata.append("content-type", "text/html"), Err(MetadataError::ReservedKey));
/// assert_eq!(metadata.append("trace-bin", "1"), Err(MetadataError::WrongKind));
/// assert_eq!(metadata.append("x-note", "two\nlines"), Err(MetadataError::InvalidValue));
/// assert!(metadata.is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataError {
    /// The key is empty, or has a character other than `a-z 0-9 _ - .`; upper case is not allowed.
    InvalidKey,
    /// The key belongs to HTTP or to gRPC, such as `content-type` or `grpc-timeout`.
    ReservedKey,
    /// The key ends in `-bin` and the method takes text, or the other way round. The `_bin` methods
    /// are for `-bin` keys, and only for them.
    WrongKind,
    /// The text value has a byte outside 0x20 to 0x7e.
    InvalidValue,
    /// The key is longer than 64 KiB, or the value longer than 16 MiB.
    TooLong,
    /// The received `-bin` value is not base64.
    InvalidBase64,
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidKey => "the metadata key is empty or has a character other than a-z 0-9 _ - .",
            Self::ReservedKey => "the metadata key is reserved by HTTP or gRPC; use another key",
            Self::WrongKind => {
                "the metadata key does not fit the value; binary values need a key that ends in -bin, \
                 text values one that does not"
            }
            Self::InvalidValue => {
                "the metadata value has a byte outside 0x20-0x7e; send it under a key that ends in -bin"
            }
            Self::TooLong => "the metadata key is over 64 KiB or the value over 16 MiB",
            Self::InvalidBase64 => "the received binary metadata value is not base64",
        })
    }
}

impl std::error::Error for MetadataError {}
