//! The head of a message (RFC 9113 §8.3): pseudo-header fields, and the other fields as received.

use crate::http2::connection::field_rules::{
    check_connection_specific, check_name, check_value, is_token, status,
};
use crate::http2::fields::{FIELD_OVERHEAD, Fields};
use crate::http2::hpack::FieldSink;
use crate::http2::limits::Limits;
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
    over_limit: Option<(usize, usize)>,
    host_differs: bool,
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

    /// Returns bytes and fields of a list that exceeded the limits. The fields above them were not kept.
    #[must_use]
    pub const fn over_limit(&self) -> Option<(usize, usize)> {
        self.over_limit
    }

    /// Returns whether `host` differs from `:authority`, or occurs twice (RFC 9113 §8.3.1).
    #[must_use]
    pub const fn host_differs(&self) -> bool {
        self.host_differs
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

/// Receives decoded fields, checks them and fills a head.
pub(crate) struct HeadSink<'a> {
    head: &'a mut Head,
    section: Section,
    bytes_max: usize,
    fields_max: usize,
    bytes: usize,
    count: usize,
    broken: Option<Violation>,
    regular: bool,
}

impl<'a> HeadSink<'a> {
    pub(crate) fn new(head: &'a mut Head, section: Section, limits: &Limits) -> Self {
        Self::bounded(head, section, limits.header_list_bytes, limits.header_list_fields)
    }

    fn bounded(head: &'a mut Head, section: Section, bytes_max: usize, fields_max: usize) -> Self {
        head.clear();
        Self {
            head,
            section,
            bytes_max,
            fields_max,
            bytes: 0,
            count: 0,
            broken: None,
            regular: false,
        }
    }

    /// Returns the bytes of the list so far, kept or not.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Checks the whole section.
    pub(crate) fn finish(mut self) -> Result<(), Violation> {
        if self.section == Section::Discard {
            return Ok(());
        }
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        if self.head.over_limit.is_some() {
            return Ok(());
        }
        match self.section {
            Section::Request => self.check_request(),
            // RFC 9113 §8.3.2: a response carries :status, once
            Section::Response if self.head.seen != STATUS => Err(Violation::PseudoMissing),
            _ => Ok(()),
        }
    }

    fn check_request(&mut self) -> Result<(), Violation> {
        let head = &mut *self.head;
        // RFC 9110 §9.1: a method is a token
        if !head.method().iter().all(|o| is_token(*o)) {
            return Err(Violation::Method);
        }
        if head.method() == b"CONNECT" {
            // RFC 9113 §8.5: CONNECT has an authority and neither scheme nor path
            let ok = head.seen == METHOD | AUTHORITY;
            return if ok { Ok(()) } else { Err(Violation::PseudoMissing) };
        }
        // RFC 9113 §8.3.1: a request carries exactly one :method, :scheme and :path
        if head.seen & (METHOD | SCHEME | PATH) != METHOD | SCHEME | PATH {
            return Err(Violation::PseudoMissing);
        }
        // RFC 9113 §8.3.1: :path is not empty, and starts with a slash or is the asterisk
        let asterisk = head.path() == b"*" && head.method() == b"OPTIONS";
        let visible = head.path().iter().all(|o| (0x21..=0x7e).contains(o));
        if (head.path().first() != Some(&b'/') && !asterisk) || !visible {
            return Err(Violation::Path);
        }
        if head.seen & AUTHORITY != 0 {
            // RFC 9113 §8.3.1: :authority must not include userinfo
            let bad = |o: &u8| *o <= b' ' || *o == b'@' || *o >= 0x7f;
            if head.authority().iter().any(bad) {
                return Err(Violation::Authority);
            }
            let authority = head.authority();
            let differs = |host: &[u8]| !host.eq_ignore_ascii_case(authority);
            head.host_differs = head.fields.get("host").is_some_and(differs);
        }
        head.host_differs |= head.fields.get_all("host").nth(1).is_some();
        Ok(())
    }

    fn check(&mut self, name: &[u8], value: &[u8]) -> Result<bool, Violation> {
        check_value(value)?;
        if name.first() == Some(&b':') {
            self.pseudo(name, value)?;
            return Ok(false);
        }
        self.regular = true;
        check_name(name)?;
        check_connection_specific(name, value)?;
        if name == b"content-length" { self.content_length(value) } else { Ok(true) }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<bool, Violation> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let parsed = std::str::from_utf8(value).ok().and_then(|v| v.parse::<u64>().ok());
        // RFC 9113 §8.1.1: a content-length that does not hold makes the message malformed
        let length = parsed.filter(|_| digits).ok_or(Violation::ContentLength)?;
        if self.head.content_length.is_some_and(|before| before != length) {
            return Err(Violation::ContentLength);
        }
        self.head.content_length = Some(length);
        Ok(true)
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Violation> {
        if self.section == Section::Trailers {
            // RFC 9113 §8.1: trailers must not include pseudo-header fields
            return Err(Violation::PseudoInTrailers);
        }
        if self.regular {
            // RFC 9113 §8.3: pseudo-header fields come before regular ones
            return Err(Violation::PseudoAfterRegular);
        }
        let request = self.section == Section::Request;
        let bit = match (name, request) {
            (b":method", true) => METHOD,
            (b":scheme", true) => SCHEME,
            (b":authority", true) => AUTHORITY,
            (b":path", true) => PATH,
            (b":status", false) => STATUS,
            // RFC 9113 §8.3: undefined pseudo-header fields make a message malformed
            _ => return Err(Violation::PseudoUnknown),
        };
        // RFC 9113 §8.3: the same pseudo-header field must not appear twice
        if self.head.seen & bit != 0 {
            return Err(Violation::PseudoRepeated);
        }
        self.head.seen |= bit;
        match bit {
            METHOD if value.is_empty() => return Err(Violation::PseudoMissing),
            METHOD => self.head.method = self.head.keep(value),
            SCHEME => self.head.scheme = self.head.keep(value),
            AUTHORITY => self.head.authority = self.head.keep(value),
            PATH => self.head.path = self.head.keep(value),
            _ => self.head.status = status(value)?,
        }
        Ok(())
    }
}

impl HeadSink<'_> {
    /// Keeps the content-type of a list that is over its limit: it says which kind of answer the peer reads.
    #[cold]
    fn keep_content_type(&mut self, name: &[u8], value: &[u8]) {
        let fields = &mut self.head.fields;
        if name == b"content-type" && value.len() <= CONTENT_TYPE_MAX && fields.get(name).is_none()
        {
            fields.push(name, value);
        }
    }
}

impl FieldSink for HeadSink<'_> {
    fn field(&mut self, name: &[u8], value: &[u8], never_indexed: bool) {
        self.bytes = self.bytes.saturating_add(name.len() + value.len() + FIELD_OVERHEAD);
        self.count += 1;
        if self.section == Section::Discard || self.broken.is_some() {
            return;
        }
        // RFC 9113 §10.5.1: the list is measured decoded, 32 bytes a field
        if self.bytes > self.bytes_max || self.count > self.fields_max {
            self.head.over_limit = Some((self.bytes, self.count));
            self.keep_content_type(name, value);
            return;
        }
        match self.check(name, value) {
            Ok(true) if never_indexed => self.head.fields.push_sensitive(name, value),
            Ok(true) => self.head.fields.push(name, value),
            Ok(false) => {}
            Err(broken) => self.broken = Some(broken),
        }
    }
}
