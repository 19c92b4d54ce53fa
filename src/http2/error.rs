//! Error codes (RFC 9113 §7).

use std::fmt;

/// An HTTP/2 error code, as RST_STREAM and GOAWAY carry it (RFC 9113 §7). Unknown codes are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:expr, $text:expr;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Returns the registered name; `None` for an unknown code.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Graceful shutdown, not an error.
    NO_ERROR = 0x0, "NO_ERROR";
    /// A protocol violation without a more specific code.
    PROTOCOL_ERROR = 0x1, "PROTOCOL_ERROR";
    /// An unexpected internal error.
    INTERNAL_ERROR = 0x2, "INTERNAL_ERROR";
    /// The peer violated flow control.
    FLOW_CONTROL_ERROR = 0x3, "FLOW_CONTROL_ERROR";
    /// A SETTINGS frame was not acknowledged in time.
    SETTINGS_TIMEOUT = 0x4, "SETTINGS_TIMEOUT";
    /// A frame came after the stream was half-closed.
    STREAM_CLOSED = 0x5, "STREAM_CLOSED";
    /// A frame of an invalid size.
    FRAME_SIZE_ERROR = 0x6, "FRAME_SIZE_ERROR";
    /// The stream was refused before any processing: a retry is safe.
    REFUSED_STREAM = 0x7, "REFUSED_STREAM";
    /// The stream is no longer needed.
    CANCEL = 0x8, "CANCEL";
    /// The field section compression context cannot be maintained.
    COMPRESSION_ERROR = 0x9, "COMPRESSION_ERROR";
    /// A CONNECT tunnel was reset or closed abnormally.
    CONNECT_ERROR = 0xa, "CONNECT_ERROR";
    /// The peer generates excessive load.
    ENHANCE_YOUR_CALM = 0xb, "ENHANCE_YOUR_CALM";
    /// The transport does not meet minimum security requirements.
    INADEQUATE_SECURITY = 0xc, "INADEQUATE_SECURITY";
    /// HTTP/1.1 is required instead.
    HTTP_1_1_REQUIRED = 0xd, "HTTP_1_1_REQUIRED";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "code {:#x}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::error::*;

    /// The registry of RFC 9113 §7, from 0x0 to 0xd.
    #[test]
    fn the_registered_codes() {
        let names = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        for (number, name) in (0..).zip(names) {
            assert_eq!(ErrorCode(number).name(), Some(name));
        }
        assert_eq!(ErrorCode(0xe).name(), None);
        assert_eq!(ErrorCode(0xdead).to_string(), "code 0xdead");
    }
}
