//! The status of a call, and how it is written to and read from trailers (gRPC PROTOCOL-HTTP2
//! §Responses).

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::grpc::metadata::{Metadata, decode_bin, encode_bin, is_transport};
use crate::grpc::percent;
use crate::http2::FIELD_OVERHEAD;
use crate::http2::Fields;

/// The trailer that carries the code, in decimal.
pub const STATUS: &str = "grpc-status";
/// The trailer that carries the percent-encoded message.
pub const MESSAGE: &str = "grpc-message";
/// The trailer that carries the details, in base64.
pub const DETAILS: &str = "grpc-status-details-bin";

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// A gRPC status code; there are seventeen.
        ///
        /// ```
        /// use framewire::Code;
        ///
        /// assert_eq!(Code::NotFound as u8, 5);
        /// assert_eq!(Code::from_u32(5), Code::NotFound);
        /// assert_eq!(Code::NotFound.to_string(), "NOT_FOUND");
        /// assert_eq!(Code::ALL.len(), 17);
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Code {
            $($(#[$doc])* $name = $value,)*
        }

        impl Code {
            /// Every code, in the order of the numbers 0 to 16.
            pub const ALL: [Self; 17] = [$(Self::$name),*];

            /// Returns the code with this number, or [`Code::Unknown`] for a number above 16.
            ///
            /// ```
            /// use framewire::Code;
            ///
            /// assert_eq!(Code::from_u32(14), Code::Unavailable);
            /// assert_eq!(Code::from_u32(17), Code::Unknown);
            /// ```
            // gRPC statuscodes: a number that is not known is UNKNOWN.
            #[must_use]
            pub const fn from_u32(number: u32) -> Self {
                match number {
                    $($value => Self::$name,)*
                    _ => Self::Unknown,
                }
            }

            /// Returns the name as gRPC writes it, such as `INVALID_ARGUMENT`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Returns the number in decimal, as the trailers carry it.
            #[must_use]
            pub const fn digits(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($value),)*
                }
            }
        }
    };
}

codes! {
    /// Success.
    Ok = 0, "OK";
    /// The caller cancelled the call.
    Cancelled = 1, "CANCELLED";
    /// An error without a more specific code, or a received code above 16.
    Unknown = 2, "UNKNOWN";
    /// An argument is invalid, whatever the state of the system.
    InvalidArgument = 3, "INVALID_ARGUMENT";
    /// The deadline passed; the call may have had its effect.
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED";
    /// The requested entity does not exist.
    NotFound = 5, "NOT_FOUND";
    /// The entity to be created already exists.
    AlreadyExists = 6, "ALREADY_EXISTS";
    /// The caller is authenticated and lacks the permission.
    PermissionDenied = 7, "PERMISSION_DENIED";
    /// A quota, a limit or the memory is exhausted.
    ResourceExhausted = 8, "RESOURCE_EXHAUSTED";
    /// The system is not in the state that the call needs; fix the state before a retry.
    FailedPrecondition = 9, "FAILED_PRECONDITION";
    /// A conflict with another caller; retry the whole sequence of calls.
    Aborted = 10, "ABORTED";
    /// The argument is outside the range that is valid now, such as past the end of a file.
    OutOfRange = 11, "OUT_OF_RANGE";
    /// The server does not have this method.
    Unimplemented = 12, "UNIMPLEMENTED";
    /// An invariant of the system is broken.
    Internal = 13, "INTERNAL";
    /// The service is not available now; a retry may help.
    Unavailable = 14, "UNAVAILABLE";
    /// Data is lost or corrupt.
    DataLoss = 15, "DATA_LOSS";
    /// The call has no valid credentials.
    Unauthenticated = 16, "UNAUTHENTICATED";
}

impl Code {
    /// Parses a received `grpc-status`; anything but a number from 0 to 16 is [`Code::Unknown`].
    ///
    /// ```
    /// use framewire::Code;
    ///
    /// assert_eq!(Code::parse(b"7"), Code::PermissionDenied);
    /// assert_eq!(Code::parse(b"OK"), Code::Unknown);
    /// ```
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        if value.is_empty() || value.len() > 9 || !value.iter().all(u8::is_ascii_digit) {
            return Self::Unknown;
        }
        Self::from_u32(value.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
    }
}

/// Prints [`Code::name`].
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
    /// The message is sent percent-encoded in `grpc-message` (gRPC PROTOCOL-HTTP2 §Responses). A
    /// server sends at most 8 KiB of trailers and shortens a longer message.
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

    /// Appends the trailers of this status to `out`.
    ///
    /// `limit` is the peer's SETTINGS_MAX_HEADER_LIST_SIZE. It holds for the whole of `out`, counted as
    /// in RFC 9113 §10.5.1. What does not fit is dropped in this order: the end of the message (cut
    /// between characters), the details, the metadata. The code is always sent.
    pub fn to_trailers(&self, out: &mut Fields, limit: usize) {
        out.push(STATUS, self.code.digits());
        let Some(more) = &self.more else { return };
        let mut left = limit.saturating_sub(out.list_size());
        let mut metadata = Fields::new();
        more.metadata.append_to(&mut metadata);
        let metadata = Some(metadata).filter(|fields| fits(&mut left, fields.list_size()));
        let details = Some(&more.details)
            .filter(|details| !details.is_empty())
            .map(|details| encode_bin(details))
            .filter(|details| fits(&mut left, field_size(DETAILS, details.len())));
        let for_message = left.saturating_sub(field_size(MESSAGE, 0));
        if for_message > 0 && !more.message.is_empty() {
            out.push(MESSAGE, percent::encode(&more.message, for_message));
        }
        if let Some(details) = details {
            out.push(DETAILS, details);
        }
        if let Some(metadata) = metadata {
            out.extend_from(&metadata);
        }
    }

    /// Reads the status from received trailers; `None` if they have no `grpc-status`.
    ///
    /// Never fails: an unknown code becomes [`Code::Unknown`], invalid escapes stay in the message,
    /// and details that are not base64 are dropped.
    #[must_use]
    pub fn from_trailers(fields: &Fields) -> Option<Self> {
        let mut status = Self::from_code(Code::parse(fields.get(STATUS)?));
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
        if others {
            status.more_mut().metadata = Metadata::from_received(fields.clone());
        }
        Some(status)
    }

    fn more_mut(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }
}

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
        for limit in [200, 201, 202, 203, 204, 205, 206, 16 << 10] {
            let mut fields = Fields::new();
            status.to_trailers(&mut fields, limit);
            assert!(fields.list_size() <= limit && fields.list_size() + 6 > limit, "{limit}");
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
