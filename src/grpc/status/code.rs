//! The status codes of gRPC.

use std::fmt;

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
        Self::number(value).map_or(Self::Unknown, Self::from_u32)
    }

    /// Returns the number of a received `grpc-status`, if it is one of up to nine digits.
    pub(super) fn number(value: &[u8]) -> Option<u32> {
        if value.is_empty() || value.len() > 9 || !value.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Some(value.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
    }
}

/// Prints [`Code::name`].
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
