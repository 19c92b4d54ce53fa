//! The status of a call, and how it is written to and read from trailers (gRPC PROTOCOL-HTTP2
//! §Responses).

mod code;

pub use code::Code;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::grpc::metadata::{Metadata, decode_bin, encode_bin, is_transport};
use crate::grpc::percent;
use crate::grpc::shown;
use crate::http2::FIELD_OVERHEAD;
use crate::http2::Fields;

/// The trailer that carries the code, in decimal.
pub const STATUS: &str = "grpc-status";
/// The trailer that carries the percent-encoded message.
pub const MESSAGE: &str = "grpc-message";
/// The trailer that carries the details, in base64.
pub const DETAILS: &str = "grpc-status-details-bin";

/// The outcome of a call: a code, and optionally a message, details and metadata.
///
/// A handler returns it to end its call; [`Error::status`](crate::Error::status) has the one that the
/// server sent. The type is two words large, and a code alone allocates nothing.
///
/// ```
/// use framewire::{Code, Status};
///
/// let status = Status::new(Code::InvalidArgument, "id is 0; send the id of a user");
/// assert_eq!(status.code(), Code::InvalidArgument);
/// assert_eq!(status.message(), "id is 0; send the id of a user");
/// assert_eq!(status.to_string(), "INVALID_ARGUMENT: id is 0; send the id of a user");
/// ```
#[derive(Clone)]
pub struct Status {
    code: Code,
    more: Option<Box<More>>,
}

#[derive(Clone, Default)]
struct More {
    message: Cow<'static, str>,
    details: Bytes,
    metadata: Metadata,
}

static NO_METADATA: Metadata = Metadata::new();

impl Status {
    /// Success, without a message.
    pub const OK: Self = Self::from_code(Code::Ok);

    /// Creates a status without a message.
    ///
    /// ```
    /// use framewire::{Code, Status};
    ///
    /// assert_eq!(Status::from_code(Code::Aborted), Status::from(Code::Aborted));
    /// assert!(Status::OK.is_ok());
    /// ```
    #[must_use]
    pub const fn from_code(code: Code) -> Self {
        Self { code, more: None }
    }

    /// Creates a status with a message for people.
    ///
    /// The message is sent percent-encoded in `grpc-message` (gRPC PROTOCOL-HTTP2 §Responses). A server
    /// shortens it if the trailers are larger than the client's SETTINGS_MAX_HEADER_LIST_SIZE.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        let mut status = Self::from_code(code);
        if !message.is_empty() {
            status.more_mut().message = message;
        }
        status
    }

    /// Sets the details, by convention an encoded `google.rpc.Status`. Default: none.
    ///
    /// They are sent as a whole, or not if the trailers are larger than the client's
    /// SETTINGS_MAX_HEADER_LIST_SIZE; then the end of the message says so.
    ///
    /// ```
    /// use framewire::{Code, Status};
    ///
    /// let encoded = vec![0x08, 0x03]; // google.rpc.Status { code: 3 }
    /// let status = Status::new(Code::InvalidArgument, "id is 0").with_details(encoded);
    /// assert_eq!(status.details(), [0x08, 0x03]);
    /// ```
    #[must_use]
    pub fn with_details(mut self, details: impl Into<Bytes>) -> Self {
        self.more_mut().details = details.into();
        self
    }

    /// Sets the metadata that is sent in the trailers. Default: none.
    ///
    /// ```
    /// use framewire::{Code, Metadata, Status};
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.insert("x-request-id", "42")?;
    /// let status = Status::from_code(Code::Unavailable).with_metadata(metadata);
    /// assert_eq!(status.metadata().get("x-request-id"), Some("42"));
    /// # Ok::<(), framewire::metadata::MetadataError>(())
    /// ```
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.more_mut().metadata = metadata;
        self
    }

    /// Returns the code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Returns whether the code is [`Code::Ok`].
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        matches!(self.code, Code::Ok)
    }

    /// Returns the message, or an empty string if there is none.
    ///
    /// A received message may contain control characters. `Display` escapes them.
    ///
    /// ```
    /// use framewire::{Code, Status};
    ///
    /// let status = Status::new(Code::Internal, "first line\nsecond line");
    /// assert_eq!(status.message(), "first line\nsecond line");
    /// assert_eq!(status.to_string(), r"INTERNAL: first line\nsecond line");
    /// ```
    #[must_use]
    pub fn message(&self) -> &str {
        self.more.as_ref().map_or("", |more| &more.message)
    }

    /// Returns the bytes of `grpc-status-details-bin`; empty if there are none.
    #[must_use]
    pub fn details(&self) -> &[u8] {
        self.more.as_ref().map_or(&[], |more| &more.details)
    }

    /// Returns the metadata of the trailers.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        self.more.as_ref().map_or(&NO_METADATA, |more| &more.metadata)
    }

    /// Returns the metadata of the trailers, for changes.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.more_mut().metadata
    }

    /// Returns INTERNAL with `text` instead of a status that is OK, where only an error can be.
    #[cfg(feature = "_net")]
    #[must_use]
    pub(crate) fn or_internal(self, text: &'static str) -> Self {
        if self.is_ok() { Self::new(Code::Internal, text) } else { self }
    }

    /// Appends the trailers of this status to `out`.
    ///
    /// `limit` is the peer's SETTINGS_MAX_HEADER_LIST_SIZE. It holds for the whole of `out`, counted as
    /// in RFC 9113 §10.5.1. What does not fit is dropped in this order: the end of the message (cut
    /// between characters), the details, the metadata. The code is always sent, and the end of the
    /// message says which of the others were dropped, if there is space for that.
    ///
    /// The list stays below `limit`, and a message makes it no larger than half of a limit of 8 KiB or more:
    /// C-core refuses a list of exactly its limit, and at random one above half of it.
    pub fn to_trailers(&self, out: &mut Fields, limit: usize) {
        out.push(STATUS, self.code.digits());
        let Some(more) = &self.more else { return };
        let most = limit.saturating_sub(1);
        let mut left = most.saturating_sub(out.list_size());
        let mut metadata = Fields::new();
        more.metadata.append_to(&mut metadata);
        let details = encode_bin(&more.details);
        let details_size = if details.is_empty() { 0 } else { field_size(DETAILS, details.len()) };
        let has_metadata = fits(&mut left, metadata.list_size());
        let has_details = fits(&mut left, details_size);
        let note = match (has_details, has_metadata) {
            (true, true) => "",
            (false, true) => " [details dropped: over the peer's limit for header lists]",
            (true, false) => " [metadata dropped: over the peer's limit for header lists]",
            (false, false) => {
                " [details and metadata dropped: over the peer's limit for header lists]"
            }
        };
        let half = if limit < HALVED { most } else { limit / 2 };
        let below_half = half.saturating_sub(most - left).max(MESSAGE_MIN);
        let for_message = left.min(below_half).saturating_sub(field_size(MESSAGE, 0));
        // A note that does not fit takes no space from the message.
        let note = if note.len() <= for_message { note } else { "" };
        let mut message = percent::encode(&more.message, for_message - note.len());
        let note = if message.is_empty() { note.trim_start() } else { note };
        message.extend_from_slice(note.as_bytes());
        if !message.is_empty() {
            out.push(MESSAGE, message);
        }
        if has_details && details_size > 0 {
            out.push(DETAILS, details);
        }
        if has_metadata {
            out.extend_from(&metadata);
        }
    }

    /// Reads the status from received trailers; `None` if they have no `grpc-status`.
    ///
    /// Never fails: an unknown code becomes [`Code::Unknown`] with its number in the message, invalid
    /// escapes stay in the message, and details that are not base64 are dropped.
    #[must_use]
    pub fn from_trailers(fields: &Fields) -> Option<Self> {
        let code = fields.get(STATUS)?;
        let mut status = Self::from_code(Code::parse(code));
        let mut others = false;
        for field in fields {
            match field.name {
                b"grpc-message" => {
                    status.more_mut().message = percent::decode(field.value).into_owned().into();
                }
                b"grpc-status-details-bin" => {
                    status.more_mut().details = decode_bin(field.value).unwrap_or_default();
                }
                name => others |= !is_transport(name),
            }
        }
        if status.code == Code::Unknown && Code::number(code) != Some(Code::Unknown as u32) {
            status.note_unknown(code);
        }
        if others {
            status.more_mut().metadata = Metadata::from_received(fields.clone());
        }
        Some(status)
    }

    /// Adds a code that is not one of gRPC's to the message.
    #[cold]
    fn note_unknown(&mut self, code: &[u8]) {
        let code = shown::name(code);
        let message = &mut self.more_mut().message;
        *message = match &**message {
            "" => format!("grpc-status {code} is not a code of gRPC").into(),
            text => format!("{text} (grpc-status {code})").into(),
        };
    }

    fn more_mut(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }
}

/// The limit for header lists from which on a message fills no more than half of it.
const HALVED: usize = 8 << 10;
/// Bytes that a message may have all the same, beside large details.
const MESSAGE_MIN: usize = 512;

/// Bytes that one field line counts in a header list (RFC 9113 §10.5.1).
const fn field_size(name: &str, value: usize) -> usize {
    name.len() + value + FIELD_OVERHEAD
}

/// Subtracts `size` from `left` if `left` is large enough.
fn fits(left: &mut usize, size: usize) -> bool {
    let rest = left.checked_sub(size);
    *left = rest.unwrap_or(*left);
    rest.is_some()
}

impl PartialEq for Status {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
            && self.message() == other.message()
            && self.details() == other.details()
            && self.metadata() == other.metadata()
    }
}

impl Eq for Status {}

impl From<Code> for Status {
    fn from(code: Code) -> Self {
        Self::from_code(code)
    }
}

/// Prints code and message on one line, with control characters escaped.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.name())?;
        if !self.message().is_empty() {
            f.write_str(": ")?;
        }
        for c in self.message().chars() {
            // Separators and direction marks could forge a line of a log.
            if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
                write!(f, "{}", c.escape_default())?;
            } else {
                fmt::Write::write_char(f, c)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Status");
        out.field("code", &self.code);
        if let Some(more) = &self.more {
            out.field("message", &more.message);
            out.field("details", &format_args!("{} bytes", more.details.len()));
            out.field("metadata", &more.metadata);
        }
        out.finish()
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use crate::grpc::status::*;

    fn round_trip(status: &Status) -> Status {
        let mut fields = Fields::new();
        status.to_trailers(&mut fields, usize::MAX);
        Status::from_trailers(&fields).unwrap()
    }

    #[test]
    fn codes_by_number_and_text() {
        for (number, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, number);
            assert_eq!(Code::from_u32(number as u32), code);
            assert_eq!(Code::parse(code.digits().as_bytes()), code);
        }
        for value in [&b""[..], b"17", b"-1", b"4294967296", b"99999999999999999999", b"OK", b" 0"]
        {
            assert_eq!(Code::parse(value), Code::Unknown, "{}", value.escape_ascii());
        }
        assert_eq!(Code::parse(b"007"), Code::PermissionDenied);
    }

    #[test]
    fn a_status_is_two_words() {
        assert_eq!(size_of::<Status>(), 2 * size_of::<usize>());
        assert_eq!(size_of::<Result<(), Status>>(), 2 * size_of::<usize>());
    }

    #[test]
    fn everything_survives_the_trailers() {
        let mut metadata = Metadata::new();
        metadata.append("k", "v").unwrap();
        let status = Status::new(Code::NotFound, "no such \u{1f980}, 100%\n")
            .with_details(vec![0, 1, 255])
            .with_metadata(metadata);
        assert_eq!(round_trip(&status), status);
        let bare = Status::OK;
        let back = round_trip(&bare);
        assert!(back == bare && back.more.is_none());
    }

    #[test]
    fn code_goes_first_and_the_message_is_ascii() {
        let mut fields = Fields::new();
        Status::new(Code::Aborted, "a\nb").to_trailers(&mut fields, usize::MAX);
        let sent: Vec<_> = fields.iter().map(|field| (field.name, field.value)).collect();
        assert_eq!(sent, [(&b"grpc-status"[..], &b"10"[..]), (b"grpc-message", b"a%0Ab")]);
    }

    #[test]
    fn g4_a_long_message_is_cut_to_the_peers_limit() {
        let status = Status::new(Code::Internal, "é".repeat(1 << 20)).with_details(vec![7; 10]);
        for (limit, most) in [200, 201, 202, 203, 204, 205, 206]
            .map(|limit| (limit, limit - 1))
            .into_iter()
            .chain([(16 << 10, 8 << 10)])
        {
            let mut fields = Fields::new();
            status.to_trailers(&mut fields, limit);
            assert!(fields.list_size() <= most && fields.list_size() + 6 > most, "{limit}");
            let back = Status::from_trailers(&fields).unwrap();
            assert!(back.message().chars().all(|c| c == 'é'), "cut inside a character");
            assert_eq!(back.details(), [7; 10]);
        }
    }

    #[test]
    fn g4_the_code_goes_whatever_the_limit() {
        let mut metadata = Metadata::new();
        metadata.append("k", &"v".repeat(100)).unwrap();
        let status =
            Status::new(Code::Internal, "m").with_details(vec![7; 90]).with_metadata(metadata);
        let mut fields = Fields::new();
        status.to_trailers(&mut fields, 0);
        assert_eq!((fields.len(), fields.get("grpc-status")), (1, Some(&b"13"[..])));
        fields.clear();
        status.to_trailers(&mut fields, 200);
        assert_eq!(fields.len(), 2);
        assert!(fields.get("k").is_some() && fields.list_size() <= 200);
    }

    #[test]
    fn g4_bad_messages_and_details_are_no_error() {
        let mut fields = Fields::new();
        fields.push("grpc-status", "5");
        fields.push("grpc-message", b"100% %zz %ff%fe \xc3");
        fields.push("grpc-status-details-bin", "!!!");
        let status = Status::from_trailers(&fields).unwrap();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "100% %zz \u{fffd}\u{fffd} \u{fffd}");
        assert_eq!(status.details(), b"");
        assert!(status.metadata().is_empty());
    }

    #[test]
    fn g4_what_is_dropped_is_said() {
        let details = |bytes| Status::new(Code::Internal, "m").with_details(vec![7; bytes]);
        let mut fields = Fields::new();
        details(300).to_trailers(&mut fields, 300);
        let message = Status::from_trailers(&fields).unwrap().message().to_owned();
        assert_eq!(message, "m [details dropped: over the peer's limit for header lists]");
        let mut metadata = Metadata::new();
        metadata.append("k", &"v".repeat(300)).unwrap();
        let long = Status::new(Code::Internal, "m".repeat(300)).with_metadata(metadata);
        fields.clear();
        long.to_trailers(&mut fields, 300);
        let message = Status::from_trailers(&fields).unwrap().message().to_owned();
        assert!(message.starts_with("mmm") && fields.list_size() == 299, "{message}");
        assert!(message.ends_with("m [metadata dropped: over the peer's limit for header lists]"));
        fields.clear();
        Status::from_code(Code::Aborted).with_details(vec![7; 300]).to_trailers(&mut fields, 200);
        let message = Status::from_trailers(&fields).unwrap().message().to_owned();
        assert!(message.starts_with("[details dropped"), "{message}");
        // Without space for the note, the message has all of it, and is cut between characters.
        let long = Status::new(Code::Internal, "é".repeat(99)).with_details(vec![7; 300]);
        for space in 1..50 {
            let limit = 45 + field_size(MESSAGE, 0) + space + 1;
            fields.clear();
            long.to_trailers(&mut fields, limit);
            let message = Status::from_trailers(&fields).unwrap().message().to_owned();
            assert_eq!(message, "é".repeat(space / 6), "{space}");
            assert!(fields.list_size() <= limit);
        }
    }

    #[test]
    fn a_code_that_grpc_does_not_have_is_unknown_and_stays_in_the_text() {
        let read = |code: &str, message: &str| {
            let mut fields = Fields::new();
            fields.push("grpc-status", code);
            if !message.is_empty() {
                fields.push("grpc-message", message);
            }
            let status = Status::from_trailers(&fields).unwrap();
            assert_eq!(status.code(), Code::Unknown);
            status.message().to_owned()
        };
        assert_eq!(read("2", ""), "");
        assert_eq!(read("002", "m"), "m");
        assert_eq!(read("17", ""), "grpc-status 17 is not a code of gRPC");
        assert_eq!(read("4711", "broken"), "broken (grpc-status 4711)");
        assert_eq!(read("-1", "broken"), "broken (grpc-status -1)");
        assert_eq!(read("a b", ""), "grpc-status of 3 bytes is not a code of gRPC");
    }

    #[test]
    fn g17_no_grpc_status_is_no_status() {
        let mut fields = Fields::new();
        fields.push("grpc-message", "lost");
        assert_eq!(Status::from_trailers(&fields), None);
    }

    #[test]
    fn g26_display_escapes_what_forges_lines() {
        let status = Status::new(Code::Internal, "a\r\nERROR b\u{1b}[31m\u{202e}é");
        assert_eq!(status.to_string(), "INTERNAL: a\\r\\nERROR b\\u{1b}[31m\\u{202e}é");
        assert!(!format!("{status:?}").contains('\n'));
        assert_eq!(Status::OK.to_string(), "OK");
    }
}
