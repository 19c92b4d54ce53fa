//! Metadata: the fields that an application sends beside its messages (gRPC PROTOCOL-HTTP2
//! §Requests, Custom-Metadata).
//!
//! Metadata is a field list, not a map: a call carries a handful of entries, and scanning one flat
//! buffer is cheaper than hashing them. Values of `-bin` keys are kept in their wire form, base64.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::http2::{FieldRef, Fields};

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

/// The metadata of a call: an ordered multimap of text and binary values.
///
/// Keys are lower case. A key that ends in `-bin` has binary values; any other key has printable
/// ASCII values. `Debug` prints keys and lengths, never values.
///
/// ```
/// use framewire::Metadata;
///
/// let mut metadata = Metadata::new();
/// metadata.append("x-tenant", "red")?;
/// metadata.append_bin("trace-bin", &[0, 1, 255])?;
///
/// assert_eq!(metadata.get("x-tenant"), Some("red"));
/// assert_eq!(metadata.get_bin("trace-bin").unwrap()?, [0, 1, 255].as_slice());
/// assert_eq!(metadata.get("x-other"), None);
/// # Ok::<(), framewire::metadata::MetadataError>(())
/// ```
#[derive(Clone, Default)]
pub struct Metadata {
    fields: Fields,
    // The peer sent it: fields of the transport are still among the others.
    received: bool,
}

impl Metadata {
    /// Creates empty metadata; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { fields: Fields::new(), received: false }
    }

    /// Wraps a received field list without copying it. Reads skip the fields of HTTP and gRPC.
    #[must_use]
    pub const fn from_received(fields: Fields) -> Self {
        Self { fields, received: true }
    }

    /// Returns the field list to send. It is copied only if this metadata was received.
    #[must_use]
    pub fn into_fields(self) -> Fields {
        if !self.received {
            return self.fields;
        }
        let mut fields = Fields::new();
        self.append_to(&mut fields);
        fields
    }

    /// Appends the entries to a field list that will be sent.
    pub fn append_to(&self, fields: &mut Fields) {
        if !self.received {
            fields.extend_from(&self.fields);
            return;
        }
        for field in self.fields.iter().filter(|f| !is_reserved(f.name)) {
            fields.push_ref(field);
        }
    }

    /// Appends a text value and keeps the earlier values of `key`.
    ///
    /// Spaces at both ends of the value are removed (RFC 9113 §8.2.1).
    ///
    /// # Errors
    ///
    /// Any [`MetadataError`] except `InvalidBase64`. Nothing is appended then.
    ///
    /// ```
    /// use framewire::Metadata;
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.append("x-hop", "first")?;
    /// metadata.append("x-hop", "  second ")?;
    /// assert_eq!(metadata.get_all("x-hop").collect::<Vec<_>>(), ["first", "second"]);
    /// # Ok::<(), framewire::metadata::MetadataError>(())
    /// ```
    pub fn append(&mut self, key: &str, value: &str) -> Result<(), MetadataError> {
        self.append_ascii(key, value.as_bytes(), false)
    }

    /// Appends a secret: like [`Metadata::append`], but never printed and never kept in a compression
    /// table (RFC 7541 §7.1.3).
    ///
    /// # Errors
    ///
    /// Same as [`Metadata::append`].
    ///
    /// ```
    /// use framewire::Metadata;
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.append_sensitive("authorization", "Bearer swordfish")?;
    /// assert_eq!(metadata.get("authorization"), Some("Bearer swordfish"));
    /// assert_eq!(format!("{metadata:?}"), "[authorization: <sensitive>]");
    /// # Ok::<(), framewire::metadata::MetadataError>(())
    /// ```
    pub fn append_sensitive(&mut self, key: &str, value: &str) -> Result<(), MetadataError> {
        self.append_ascii(key, value.as_bytes(), true)
    }

    /// Replaces all values of `key` by one text value.
    ///
    /// # Errors
    ///
    /// Same as [`Metadata::append`]. The old values stay then.
    ///
    /// ```
    /// use framewire::Metadata;
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.insert("x-tenant", "red")?;
    /// metadata.insert("x-tenant", "blue")?;
    /// assert_eq!(metadata.get_all("x-tenant").collect::<Vec<_>>(), ["blue"]);
    /// # Ok::<(), framewire::metadata::MetadataError>(())
    /// ```
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), MetadataError> {
        check(key, value.as_bytes(), false)?;
        self.remove(key);
        self.append(key, value)
    }

    /// Appends a binary value; `key` must end in `-bin`. It is sent as base64 without padding.
    ///
    /// # Errors
    ///
    /// Any [`MetadataError`] except `InvalidValue` and `InvalidBase64`. Nothing is appended then.
    ///
    /// ```
    /// use framewire::Metadata;
    /// use framewire::metadata::MetadataError;
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.append_bin("trace-bin", b"\x00\xff")?;
    /// assert_eq!(metadata.append_bin("trace", b"\x00"), Err(MetadataError::WrongKind));
    /// # Ok::<(), MetadataError>(())
    /// ```
    pub fn append_bin(&mut self, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        check(key, value, true)?;
        self.fields.push(key, encode_bin(value));
        Ok(())
    }

    /// Appends a binary secret: like [`Metadata::append_bin`], but never printed and never kept in a
    /// compression table (RFC 7541 §7.1.3).
    ///
    /// # Errors
    ///
    /// Same as [`Metadata::append_bin`].
    pub fn append_bin_sensitive(&mut self, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        check(key, value, true)?;
        self.fields.push_sensitive(key, encode_bin(value));
        Ok(())
    }

    /// Replaces all values of `key` by one binary value; `key` must end in `-bin`.
    ///
    /// # Errors
    ///
    /// Same as [`Metadata::append_bin`]. The old values stay then.
    pub fn insert_bin(&mut self, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        check(key, value, true)?;
        self.remove(key);
        self.append_bin(key, value)
    }

    /// Removes all values of `key` and returns how many field lines were removed.
    ///
    /// ```
    /// use framewire::Metadata;
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.append("x-hop", "first")?;
    /// assert_eq!(metadata.remove("x-hop"), 1);
    /// assert!(metadata.is_empty());
    /// # Ok::<(), framewire::metadata::MetadataError>(())
    /// ```
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

    /// Returns the first value of a text key.
    ///
    /// `None` if the key is absent, ends in `-bin`, or has no value that is UTF-8.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.get_all(key).next()
    }

    /// Returns all values of a text key in order, without those that are not UTF-8.
    pub fn get_all<'a, 'k>(&'a self, key: &'k str) -> impl Iterator<Item = &'a str> + use<'a, 'k> {
        self.entries_of(key).filter_map(|entry| entry.as_str())
    }

    /// Returns the first value of a `-bin` key, decoded; `None` if the key is absent.
    ///
    /// The inner result is [`MetadataError::InvalidBase64`] if the peer sent something else.
    #[must_use]
    pub fn get_bin(&self, key: &str) -> Option<Result<Bytes, MetadataError>> {
        self.get_all_bin(key).next()
    }

    /// Returns all values of a `-bin` key in order, each decoded or refused on its own.
    pub fn get_all_bin(&self, key: &str) -> impl Iterator<Item = Result<Bytes, MetadataError>> {
        self.entries_of(key).flat_map(|entry| entry.bytes())
    }

    /// Returns whether `key` has a value.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.entries_of(key).next().is_some()
    }

    /// Iterates over the entries in the order in which they are sent or were received.
    ///
    /// ```
    /// use framewire::Metadata;
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.append("x-tenant", "red")?;
    /// metadata.append_bin("trace-bin", &[1, 2])?;
    /// for entry in metadata.iter() {
    ///     match entry.as_str() {
    ///         Some(text) => assert_eq!((entry.key(), text), ("x-tenant", "red")),
    ///         None => assert_eq!(entry.bytes().next().unwrap()?, [1, 2].as_slice()),
    ///     }
    /// }
    /// # Ok::<(), framewire::metadata::MetadataError>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.fields
            .iter()
            .filter(|f| !is_transport(f.name))
            .filter_map(|field| Some(Entry { key: std::str::from_utf8(field.name).ok()?, field }))
    }

    /// Returns the number of entries. It takes time linear in that number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Returns whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Returns the entries as an `http::HeaderMap`, with binary values in base64.
    ///
    /// Entries that a `HeaderMap` cannot hold are left out.
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

    /// Creates metadata from an `http::HeaderMap`, in which values of `-bin` keys are base64.
    ///
    /// # Errors
    ///
    /// The first [`MetadataError`] that an entry causes.
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

/// One entry of [`Metadata`]: a key and its value, or several joined binary values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    key: &'a str,
    field: FieldRef<'a>,
}

impl<'a> Entry<'a> {
    fn new(field: FieldRef<'a>) -> Option<Self> {
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
fn is_reserved(name: &[u8]) -> bool {
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

#[cfg(test)]
mod tests;
