//! One entry of metadata, as it is read.

use super::error::MetadataError;
use super::names::{decode_bin, is_bin, split_bin};
use crate::http2::FieldRef;
use bytes::Bytes;
use std::fmt;

/// One entry of [`Metadata`](super::Metadata): a key and its value, or several joined binary values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    key: &'a str,
    pub(super) field: FieldRef<'a>,
}

impl<'a> Entry<'a> {
    pub(super) fn new(field: FieldRef<'a>) -> Option<Self> {
        Some(Self { key: std::str::from_utf8(field.name).ok()?, field })
    }

    /// Returns the key.
    #[must_use]
    pub const fn key(&self) -> &'a str {
        self.key
    }

    /// Returns whether the key ends in `-bin`, so that its values are bytes.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        is_bin(self.field.name)
    }

    /// Returns whether the value is marked as a secret (RFC 7541 §7.1.3).
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        self.field.sensitive
    }

    /// Returns the text value; `None` if it is binary or not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        if self.is_binary() { None } else { std::str::from_utf8(self.field.value).ok() }
    }

    /// Returns the value as it is sent: base64 if it is binary.
    #[must_use]
    pub const fn as_wire(&self) -> &'a [u8] {
        self.field.value
    }

    /// Returns the binary values, decoded; a field line may join several by commas. Empty for text.
    pub fn bytes(&self) -> impl Iterator<Item = Result<Bytes, MetadataError>> + use<'a> {
        let binary = self.is_binary();
        split_bin(self.field.value).filter(move |_| binary).map(decode_bin)
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.field, f)
    }
}
