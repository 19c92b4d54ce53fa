//! Receives the decoded fields of a section, checks them (RFC 9113 §8.2, RFC 9113 §8.3) and fills a head.

use crate::http2::connection::field_rules::{
    check_bytes, check_connection_specific, check_name, check_value, has_blanks, is_lenient_type,
    is_scheme, is_token, status, without_blanks,
};
use crate::http2::connection::head::{
    AUTHORITY, CONTENT_TYPE_MAX, Head, METHOD, OverLimit, PATH, SCHEME, STATUS, Section,
};
use crate::http2::fields::FIELD_OVERHEAD;
use crate::http2::hpack::FieldSink;
use crate::http2::limits::Limits;
use crate::http2::violation::Violation;

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
    /// Blanks were stripped.
    stripped: bool,
    /// There is a field host.
    host: bool,
    /// A list that is discarded has a path: it is a request, not what was left of one.
    request: bool,
}

impl<'a> HeadSink<'a> {
    pub(crate) fn new(head: &'a mut Head, section: Section, limits: &Limits) -> Self {
        Self::bounded(head, section, limits.header_list_bytes, limits.header_list_fields)
    }

    pub(super) fn bounded(
        head: &'a mut Head,
        section: Section,
        bytes_max: usize,
        fields_max: usize,
    ) -> Self {
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
            stripped: false,
            host: false,
            request: false,
        }
    }

    /// Reads trailers of a message whose head was lenient, or not.
    pub(crate) const fn lenient(self, lenient: bool) -> Self {
        self.head.lenient = lenient;
        self
    }

    /// Returns the bytes of the list so far, kept or not.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether a list that is discarded is that of a request.
    pub(crate) const fn is_request(&self) -> bool {
        self.request
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
        // RFC 9113 §8.2.1: blanks at the ends are malformed, except where an exception is noted
        if self.stripped && !self.head.lenient {
            return Err(Violation::FieldValue);
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
        // RFC 9113 §8.3.1: a request carries one valid value for :scheme
        let scheme = head.scheme();
        let http = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
        if !http && !is_scheme(scheme) {
            return Err(Violation::Scheme);
        }
        // RFC 9113 §8.3.1: :authority must not include userinfo; no more does host in its place
        let bad = |o: &u8| *o <= b' ' || *o == b'@' || *o >= 0x7f;
        if head.authority().iter().any(bad) {
            return Err(Violation::Authority);
        }
        head.host_missing = http && head.authority().is_empty();
        if !self.host {
            return Ok(());
        }
        if head.seen & AUTHORITY != 0 {
            let authority = head.authority();
            let differs = |host: &[u8]| !host.eq_ignore_ascii_case(authority);
            head.host_differs = head.fields.get("host").is_some_and(differs);
        }
        head.host_differs |= head.fields.get_all("host").nth(1).is_some();
        Ok(())
    }

    /// Checks a field. Returns its value as it is kept; `None` for a pseudo-header field.
    fn check<'v>(&mut self, name: &[u8], value: &'v [u8]) -> Result<Option<&'v [u8]>, Violation> {
        if name.first() == Some(&b':') {
            check_value(value)?;
            self.pseudo(name, value)?;
            return Ok(None);
        }
        check_bytes(value)?;
        self.regular = true;
        check_name(name)?;
        let kept = if has_blanks(value) { self.strip(name, value)? } else { value };
        match name {
            // Judged with its blanks, as the connection-specific ones are: what decides what a message is
            // and where it goes is never stripped.
            b"content-length" => self.content_length(value)?,
            b"content-type" => self.head.lenient |= is_lenient_type(kept),
            b"host" => self.host = true,
            _ => check_connection_specific(name, value)?,
        }
        Ok(Some(kept))
    }

    #[cold]
    fn strip<'v>(&mut self, name: &[u8], value: &'v [u8]) -> Result<&'v [u8], Violation> {
        if name == b"host" {
            return Err(Violation::FieldValue);
        }
        self.stripped = true;
        Ok(without_blanks(value))
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let parsed = std::str::from_utf8(value).ok().and_then(|v| v.parse::<u64>().ok());
        // RFC 9113 §8.1.1: a content-length that does not hold makes the message malformed
        let length = parsed.filter(|_| digits).ok_or(Violation::ContentLength)?;
        if self.head.content_length.is_some_and(|before| before != length) {
            return Err(Violation::ContentLength);
        }
        self.head.content_length = Some(length);
        Ok(())
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
        if self.section == Section::Discard {
            self.request |= name == b":path";
            return;
        }
        if self.broken.is_some() {
            return;
        }
        // RFC 9113 §10.5.1: the list is measured decoded, 32 bytes a field
        if self.bytes > self.bytes_max || self.count > self.fields_max {
            let bytes = self.bytes > self.bytes_max;
            let (has, accepted) =
                if bytes { (self.bytes, self.bytes_max) } else { (self.count, self.fields_max) };
            self.head.over_limit = Some(OverLimit { bytes, has, accepted });
            self.keep_content_type(name, value);
            return;
        }
        match self.check(name, value) {
            Ok(Some(value)) if never_indexed => self.head.fields.push_sensitive(name, value),
            Ok(Some(value)) => self.head.fields.push(name, value),
            Ok(None) => {}
            Err(broken) => self.broken = Some(broken),
        }
    }
}
