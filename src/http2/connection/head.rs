//! The head of a message (RFC 9113 §8.3): pseudo-header fields, and the other fields as received.

mod sink;

pub(crate) use sink::HeadSink;

use crate::http2::fields::Fields;
use crate::http2::hpack::FieldSink;
use crate::http2::violation::Violation;
use std::fmt;

/// What kind of field section is decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Section {
    Request,
    Response,
    Trailers,
    /// Decoded only to keep the HPACK table in step.
    Discard,
}

/// A header list that exceeds a limit.
///
/// Its text follows the name of the list: "has 16901 bytes; this side accepts 16384 (Limits::header_list_bytes)".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OverLimit {
    /// Whether it has too many bytes; else, too many fields.
    pub bytes: bool,
    /// How many it has.
    pub has: usize,
    /// The limit.
    pub accepted: usize,
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, has, accepted } = self;
        let unit = if *bytes { "bytes" } else { "fields" };
        write!(f, "has {has} {unit}; this side accepts {accepted} (Limits::header_list_{unit})")
    }
}

/// A decoded request or response head. Swap it with an old one to reuse its memory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Head {
    text: Vec<u8>,
    method: (u32, u32),
    scheme: (u32, u32),
    authority: (u32, u32),
    path: (u32, u32),
    status: u16,
    seen: u8,
    fields: Fields,
    over_limit: Option<OverLimit>,
    host_differs: bool,
    host_missing: bool,
    /// Blanks at the ends of its values are stripped.
    lenient: bool,
    content_length: Option<u64>,
}

/// Prints no path: it may have a query.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &format_args!("{}", self.method().escape_ascii()))
            .field("status", &self.status)
            .field("fields", &self.fields)
            .field("over_limit", &self.over_limit)
            .finish_non_exhaustive()
    }
}

/// The longest content-type that is kept of a list over its limit, in bytes.
const CONTENT_TYPE_MAX: usize = 64;

const METHOD: u8 = 1;
const SCHEME: u8 = 2;
const AUTHORITY: u8 = 4;
const PATH: u8 = 8;
const STATUS: u8 = 16;

impl Head {
    /// Creates a request head from its field section, pseudo-header fields first. No limit applies.
    ///
    /// # Errors
    /// The rule that the section breaks (RFC 9113 §8.3.1).
    #[doc(hidden)]
    pub fn request(fields: &Fields) -> Result<Self, Violation> {
        Self::from_section(fields, Section::Request)
    }

    /// Creates a response head from its field section, `:status` first. No limit applies.
    ///
    /// # Errors
    /// The rule that the section breaks (RFC 9113 §8.3.2).
    #[doc(hidden)]
    pub fn response(fields: &Fields) -> Result<Self, Violation> {
        Self::from_section(fields, Section::Response)
    }

    fn from_section(fields: &Fields, section: Section) -> Result<Self, Violation> {
        let mut head = Self::default();
        let mut sink = HeadSink::bounded(&mut head, section, usize::MAX, usize::MAX);
        for field in fields {
            sink.field(field.name, field.value, field.sensitive);
        }
        sink.finish()?;
        Ok(head)
    }

    /// Returns the `:method` of a request; empty in a response.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.part(self.method)
    }

    /// Returns the `:scheme` of a request; empty in a response.
    #[must_use]
    pub fn scheme(&self) -> &[u8] {
        self.part(self.scheme)
    }

    /// Returns the `:authority` of a request, or its `host` field if there is none.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        if self.seen & AUTHORITY == 0 {
            return self.fields.get("host").unwrap_or_default();
        }
        self.part(self.authority)
    }

    /// Returns the `:path` of a request, with its query; empty in a response.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.part(self.path)
    }

    /// Returns the `:status` of a response; zero in a request.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Returns the fields without the pseudo-header fields.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Returns the fields without the pseudo-header fields, for changes.
    pub const fn fields_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }

    /// Returns which limit the list exceeds. The fields above it were not kept.
    #[must_use]
    pub const fn over_limit(&self) -> Option<OverLimit> {
        self.over_limit
    }

    /// Returns whether `host` differs from `:authority`, or occurs twice (RFC 9113 §8.3.1).
    #[must_use]
    pub const fn host_differs(&self) -> bool {
        self.host_differs
    }

    /// Returns whether a request with the scheme `http` or `https` has neither `:authority` nor `host`, or an
    /// empty one (RFC 9110 §4.2.1).
    #[must_use]
    pub const fn host_missing(&self) -> bool {
        self.host_missing
    }

    /// Returns whether blanks at the ends of values are stripped, as the content-type allows.
    pub(crate) const fn is_lenient(&self) -> bool {
        self.lenient
    }

    /// Returns the value of `content-length`, if there is one.
    #[must_use]
    pub const fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Removes everything and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
        let text = std::mem::take(&mut self.text);
        let fields = std::mem::take(&mut self.fields);
        *self = Self { text, fields, ..Self::default() };
    }

    /// Returns the bytes of memory held, used or not.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.text.capacity() + self.fields.capacity()
    }

    /// Removes everything, and keeps at most `kept` bytes of memory for each part.
    pub fn shrink(&mut self, kept: usize) {
        self.clear();
        self.fields.shrink(kept);
        if self.text.capacity() > kept {
            self.text = Vec::new();
        }
    }

    fn part(&self, (start, end): (u32, u32)) -> &[u8] {
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    fn keep(&mut self, value: &[u8]) -> (u32, u32) {
        let start = self.text.len() as u32;
        self.text.extend_from_slice(value);
        (start, self.text.len() as u32)
    }
}
