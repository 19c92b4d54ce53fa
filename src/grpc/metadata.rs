//! Metadata: the fields that an application sends beside its messages (gRPC PROTOCOL-HTTP2
//! §Requests, Custom-Metadata).
//!
//! Metadata is a field list, not a map: a call carries a handful of entries, and scanning one flat
//! buffer is cheaper than hashing them. Values of `-bin` keys are kept in their wire form, base64.

mod entry;
mod error;
mod names;

use std::fmt;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::http2::{FieldRef, Fields};

pub use entry::Entry;
pub use error::MetadataError;
pub use names::{MAX_KEY, MAX_VALUE};
use names::{check, is_bin, is_reserved};
pub(crate) use names::{decode_bin, encode_bin, is_transport, split_bin};

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

    /// Splits fields into those that an application may not set and its metadata.
    #[cfg(feature = "tower")]
    pub(crate) fn split(fields: &Fields) -> (Fields, Self) {
        let (mut reserved, mut own) = (Fields::new(), Fields::new());
        for field in fields {
            if is_reserved(field.name) { &mut reserved } else { &mut own }.push_ref(field);
        }
        (reserved, Self { fields: own, received: false })
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
        self.fields.iter().filter(|f| !is_transport(f.name)).filter_map(Entry::new)
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

#[cfg(test)]
mod tests;
