//! Metadata: what an application sends beside its messages, kept as a field list.
//!
//! No map is built: a call carries a handful of entries, and a scan of one flat buffer is cheaper
//! than hashing them. `-bin` values are kept as they travel, in base64.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::http2::{FieldRef, Fields};

/// Longest value accepted from the application, in bytes before base64: 16 MiB.
pub const MAX_VALUE: usize = 16 << 20;

/// Longest key accepted from the application, in bytes: 64 KiB.
pub const MAX_KEY: usize = 64 << 10;

// gRPC PROTOCOL-HTTP2 §Requests: implementations accept padded and unpadded values and should emit unpadded ones.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why metadata was refused. Received entries are never refused as a whole: only the one asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataError {
    /// A key is one or more of `a-z 0-9 _ - .`.
    InvalidKey,
    /// The key belongs to HTTP or to gRPC itself.
    ReservedKey,
    /// Values of a key that ends in `-bin` are bytes; use the `_bin` functions, and for other
    /// keys the plain ones.
    WrongKind,
    /// An ASCII value has a byte outside 0x20–0x7e.
    InvalidValue,
    /// Longer than [`MAX_KEY`] or [`MAX_VALUE`].
    TooLong,
    /// A received `-bin` value is not base64.
    InvalidBase64,
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidKey => "metadata key is not made of a-z 0-9 _ - .",
            Self::ReservedKey => "metadata key is reserved by HTTP or gRPC",
            Self::WrongKind => "keys with the suffix -bin, and only they, have binary values",
            Self::InvalidValue => "metadata value has bytes outside 0x20-0x7e",
            Self::TooLong => "metadata key or value is too long",
            Self::InvalidBase64 => "binary metadata value is not base64",
        })
    }
}

impl std::error::Error for MetadataError {}

/// An ordered multimap of ASCII and binary values.
///
/// Keys are lower case. A key that ends in `-bin` has binary values, any other has ASCII values.
#[derive(Clone, Default)]
pub struct Metadata {
    fields: Fields,
    // Came from the peer: transport fields are still among the others.
    received: bool,
}

impl Metadata {
    /// Empty metadata; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { fields: Fields::new(), received: false }
    }

    /// The application's view of a received field list. Costs nothing: fields of HTTP and gRPC are
    /// passed over while reading.
    #[must_use]
    pub const fn from_received(fields: Fields) -> Self {
        Self { fields, received: true }
    }

    /// The field list to send. Free, unless this metadata was received and is passed on.
    #[must_use]
    pub fn into_fields(self) -> Fields {
        if !self.received {
            return self.fields;
        }
        let mut fields = Fields::new();
        self.append_to(&mut fields);
        fields
    }

    /// Appends the entries to a field list that is about to be sent.
    pub fn append_to(&self, fields: &mut Fields) {
        if !self.received {
            fields.extend_from(&self.fields);
            return;
        }
        for field in self.fields.iter().filter(|f| !is_reserved(f.name)) {
            fields.push_ref(field);
        }
    }

    /// Appends an ASCII value, without its leading and trailing blanks.
    ///
    /// # Errors
    ///
    /// Any [`MetadataError`] but the last; nothing is appended then.
    pub fn append(&mut self, key: &str, value: &str) -> Result<(), MetadataError> {
        self.append_ascii(key, value.as_bytes(), false)
    }

    /// As [`Metadata::append`], for a secret: never printed, never in a compression table.
    ///
    /// # Errors
    ///
    /// As [`Metadata::append`].
    pub fn append_sensitive(&mut self, key: &str, value: &str) -> Result<(), MetadataError> {
        self.append_ascii(key, value.as_bytes(), true)
    }

    /// Replaces every value of `key` by one ASCII value.
    ///
    /// # Errors
    ///
    /// As [`Metadata::append`]; the old values stay then.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), MetadataError> {
        check(key, value.as_bytes(), false)?;
        self.remove(key);
        self.append(key, value)
    }

    /// Appends a binary value. The key ends in `-bin`.
    ///
    /// # Errors
    ///
    /// Any [`MetadataError`] but the last; nothing is appended then.
    pub fn append_bin(&mut self, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        check(key, value, true)?;
        self.fields.push(key, encode_bin(value));
        Ok(())
    }

    /// As [`Metadata::append_bin`], for a secret: never printed, never in a compression table.
    ///
    /// # Errors
    ///
    /// As [`Metadata::append_bin`].
    pub fn append_bin_sensitive(&mut self, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        check(key, value, true)?;
        self.fields.push_sensitive(key, encode_bin(value));
        Ok(())
    }

    /// Replaces every value of `key` by one binary value.
    ///
    /// # Errors
    ///
    /// As [`Metadata::append_bin`]; the old values stay then.
    pub fn insert_bin(&mut self, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        check(key, value, true)?;
        self.remove(key);
        self.append_bin(key, value)
    }

    /// Removes every value of `key`; says how many field lines went.
    pub fn remove(&mut self, key: &str) -> usize {
        let gone = self.fields.iter().filter(|f| f.name == key.as_bytes()).count();
        if gone > 0 {
            let mut kept = Fields::new();
            for field in self.fields.iter().filter(|f| f.name != key.as_bytes()) {
                kept.push_ref(field);
            }
            self.fields = kept;
        }
        gone
    }

    /// The first value of an ASCII key; `None` also for a value that is not UTF-8.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.get_all(key).next()
    }

    /// Every value of an ASCII key, in order, passing over those that are not UTF-8.
    pub fn get_all<'a, 'k>(&'a self, key: &'k str) -> impl Iterator<Item = &'a str> + use<'a, 'k> {
        self.entries_of(key).filter_map(|entry| entry.as_str())
    }

    /// The first value of a `-bin` key.
    #[must_use]
    pub fn get_bin(&self, key: &str) -> Option<Result<Bytes, MetadataError>> {
        self.get_all_bin(key).next()
    }

    /// Every value of a `-bin` key, in order; one that is not base64 spoils only itself.
    pub fn get_all_bin(&self, key: &str) -> impl Iterator<Item = Result<Bytes, MetadataError>> {
        self.entries_of(key).flat_map(|entry| entry.bytes())
    }

    /// Whether `key` has a value.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.entries_of(key).next().is_some()
    }

    /// The entries in the order of the wire, one for each field line.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.fields
            .iter()
            .filter(|f| !is_transport(f.name))
            .filter_map(|field| Some(Entry { key: std::str::from_utf8(field.name).ok()?, field }))
    }

    /// Number of entries. Counts them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The same entries as an `http::HeaderMap`; binary values in their wire form. An entry that
    /// `http` cannot hold is left out.
    #[must_use]
    pub fn to_header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for entry in self.iter() {
            let name = HeaderName::from_bytes(entry.field.name);
            let value = HeaderValue::from_bytes(entry.field.value);
            if let (Ok(name), Ok(mut value)) = (name, value) {
                value.set_sensitive(entry.field.sensitive);
                // A map that is full (32,768 names) leaves the rest out.
                let _ = map.try_append(name, value);
            }
        }
        map
    }

    /// Metadata to send, from an `http::HeaderMap`; values of `-bin` keys are in their wire form.
    ///
    /// # Errors
    ///
    /// The first [`MetadataError`] found.
    pub fn from_header_map(map: &HeaderMap) -> Result<Self, MetadataError> {
        let mut metadata = Self::new();
        for (name, value) in map {
            let key = name.as_str();
            if !is_bin(key.as_bytes()) {
                metadata.append_ascii(key, value.as_bytes(), value.is_sensitive())?;
                continue;
            }
            check(key, value.as_bytes(), true)?;
            for piece in split_bin(value.as_bytes()) {
                let text = encode_bin(&decode_bin(piece)?);
                let (name, value, sensitive) =
                    (key.as_bytes(), text.as_bytes(), value.is_sensitive());
                metadata.fields.push_ref(FieldRef { name, value, sensitive });
            }
        }
        Ok(metadata)
    }

    fn append_ascii(&mut self, key: &str, value: &[u8], secret: bool) -> Result<(), MetadataError> {
        check(key, value, false)?;
        // RFC 9113 §8.2.1: a field value does not start or end with a blank.
        let value = value.trim_ascii();
        self.fields.push_ref(FieldRef { name: key.as_bytes(), value, sensitive: secret });
        Ok(())
    }

    fn entries_of<'a, 'k>(&'a self, key: &'k str) -> impl Iterator<Item = Entry<'a>> + use<'a, 'k> {
        let visible = !is_transport(key.as_bytes());
        let lines = self.fields.iter();
        lines.filter(move |f| visible && f.name == key.as_bytes()).filter_map(Entry::new)
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.iter().map(|e| e.field).eq(other.iter().map(|e| e.field))
    }
}

impl Eq for Metadata {}

/// Prints keys and the lengths of values, never a value: any of them may be a secret.
impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One field line of [`Metadata`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    key: &'a str,
    field: FieldRef<'a>,
}

impl<'a> Entry<'a> {
    fn new(field: FieldRef<'a>) -> Option<Self> {
        Some(Self { key: std::str::from_utf8(field.name).ok()?, field })
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &'a str {
        self.key
    }

    /// Whether the values are bytes (`-bin`).
    #[must_use]
    pub fn is_binary(&self) -> bool {
        is_bin(self.field.name)
    }

    /// Whether the value is a secret.
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        self.field.sensitive
    }

    /// The ASCII value; `None` for a binary one and for what is not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        if self.is_binary() { None } else { std::str::from_utf8(self.field.value).ok() }
    }

    /// The value as it travels: base64 for a binary one.
    #[must_use]
    pub const fn as_wire(&self) -> &'a [u8] {
        self.field.value
    }

    /// The binary values: a list joined by commas is several. Nothing for an ASCII value.
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

/// Base64 without padding.
pub(crate) fn encode_bin(value: &[u8]) -> String {
    BASE64.encode(value)
}

/// One value of a `-bin` field.
pub(crate) fn decode_bin(value: &[u8]) -> Result<Bytes, MetadataError> {
    let decoded = BASE64.decode(value.trim_ascii());
    decoded.map(Bytes::from).map_err(|_| MetadataError::InvalidBase64)
}

/// The values of a `-bin` field line.
pub(crate) fn split_bin(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    // gRPC PROTOCOL-HTTP2 §Requests: binary values may be joined by commas and are split before decoding.
    value.split(|byte| *byte == b',')
}

fn check(key: &str, value: &[u8], binary: bool) -> Result<(), MetadataError> {
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

fn is_bin(name: &[u8]) -> bool {
    name.ends_with(b"-bin")
}

/// Fields that are the transport's own: not shown to the application, not taken from it.
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
        // RFC 9113 §8.2.2: connection-specific fields have no place in HTTP/2.
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

/// Fields the application may not set. It may read `user-agent` and what a later gRPC adds.
fn is_reserved(name: &[u8]) -> bool {
    // gRPC PROTOCOL-HTTP2 §Requests: names that start with grpc- are reserved.
    let later = name.starts_with(b"grpc-") && !is_settable(name);
    later || is_transport(name) || name == b"user-agent"
}

/// Names under `grpc-` whose values come from the application or its instruments.
fn is_settable(name: &[u8]) -> bool {
    matches!(
        name,
        b"grpc-retry-pushback-ms" | b"grpc-server-stats-bin" | b"grpc-tags-bin" | b"grpc-trace-bin"
    )
}

#[cfg(test)]
mod tests;
