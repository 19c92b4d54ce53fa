//! The errors of a field block.

use std::fmt;

use crate::http2::ErrorCode;

/// A rule of RFC 7541 that a field block broke.
///
/// After any of them the two tables may differ, so the connection ends with
/// [`ErrorCode::COMPRESSION_ERROR`] (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HpackError {
    /// An indexed field with index 0 (§6.1).
    IndexZero,
    /// An index beyond both tables (§2.3.3).
    IndexOutOfRange,
    /// An integer above 2^32-1, or of more than five continuation bytes (§5.1).
    IntegerOverflow,
    /// The block ends inside an integer (§5.1).
    IntegerTruncated,
    /// The block ends inside a string (§5.2).
    StringTruncated,
    /// A Huffman-coded string contains EOS (§5.2).
    HuffmanEos,
    /// A Huffman-coded string ends with more than seven bits of padding (§5.2).
    HuffmanPaddingTooLong,
    /// A Huffman-coded string ends with padding that is not all ones (§5.2).
    HuffmanPaddingNotOnes,
    /// A table size update after a field (§4.2).
    SizeUpdateNotAtStart,
    /// More than two table size updates in one block (§4.2).
    SizeUpdateRepeated,
    /// A table size update above the limit we set (§6.3).
    SizeUpdateAboveLimit,
    /// No table size update although we lowered the limit below the table's size (§4.2).
    SizeUpdateMissing,
}

impl HpackError {
    /// Returns the error code of the connection: always COMPRESSION_ERROR.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        ErrorCode::COMPRESSION_ERROR
    }

    const fn text(self) -> &'static str {
        match self {
            Self::IndexZero => "indexed field with index 0 (RFC 7541 §6.1)",
            Self::IndexOutOfRange => "index beyond the tables (RFC 7541 §2.3.3)",
            Self::IntegerOverflow => "integer too large or too long (RFC 7541 §5.1)",
            Self::IntegerTruncated => "block ends inside an integer (RFC 7541 §5.1)",
            Self::StringTruncated => "block ends inside a string (RFC 7541 §5.2)",
            Self::HuffmanEos => "EOS in a Huffman-coded string (RFC 7541 §5.2)",
            Self::HuffmanPaddingTooLong => "Huffman padding above 7 bits (RFC 7541 §5.2)",
            Self::HuffmanPaddingNotOnes => "Huffman padding not all ones (RFC 7541 §5.2)",
            Self::SizeUpdateNotAtStart => "table size update after a field (RFC 7541 §4.2)",
            Self::SizeUpdateRepeated => "more than two table size updates (RFC 7541 §4.2)",
            Self::SizeUpdateAboveLimit => "table size update above the limit (RFC 7541 §6.3)",
            Self::SizeUpdateMissing => "table size update missing (RFC 7541 §4.2)",
        }
    }
}

impl fmt::Display for HpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for HpackError {}
