//! The status of a call that ends without `grpc-status`: from an HTTP/2 error code, from an HTTP
//! status, or from what is missing.

use crate::grpc::status::{Code, Status};
use crate::http2::ErrorCode;

/// Maps the error code of a received RST_STREAM to a gRPC code (RFC 9113 §7).
// gRPC PROTOCOL-HTTP2 §Errors: the mapping of HTTP/2 error codes to status codes.
#[must_use]
pub const fn from_h2(code: ErrorCode) -> Code {
    match code {
        ErrorCode::REFUSED_STREAM => Code::Unavailable,
        ErrorCode::CANCEL => Code::Cancelled,
        ErrorCode::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        ErrorCode::INADEQUATE_SECURITY => Code::PermissionDenied,
        // RFC 9113 §7: an unknown code may be treated as INTERNAL_ERROR.
        _ => Code::Internal,
    }
}

/// Returns whether this error code proves that the request was not processed.
// RFC 9113 §8.7: REFUSED_STREAM says that no processing has occurred.
#[must_use]
pub const fn is_unprocessed(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::REFUSED_STREAM)
}

/// Maps the HTTP status of a response without `grpc-status` to a gRPC code.
// gRPC http-grpc-status-mapping: for responses of what is not a gRPC server.
#[must_use]
pub const fn from_http(status: u16) -> Code {
    match status {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// What is missing in a response that ended without a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// The trailers have no `grpc-status`.
    Status,
    /// The stream ended with a DATA frame, without trailers.
    Trailers,
    /// The stream ended, or was reset with NO_ERROR, before the response's head.
    Head,
    /// The connection ended before the stream did.
    Connection,
}

impl Missing {
    /// Returns the gRPC code.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Status => Code::Unknown,
            Self::Trailers | Self::Head => Code::Internal,
            Self::Connection => Code::Unavailable,
        }
    }

    /// Returns a status whose message says what is missing.
    #[must_use]
    pub fn status(self) -> Status {
        Status::new(
            self.code(),
            match self {
                Self::Status => "the trailers have no grpc-status",
                Self::Trailers => "the response ended without trailers",
                Self::Head => "the stream ended without a response",
                Self::Connection => "the connection ended before the response",
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::grpc::status_map::*;

    #[test]
    fn resets() {
        let table = [
            (ErrorCode::NO_ERROR, Code::Internal),
            (ErrorCode::PROTOCOL_ERROR, Code::Internal),
            (ErrorCode::INTERNAL_ERROR, Code::Internal),
            (ErrorCode::FLOW_CONTROL_ERROR, Code::Internal),
            (ErrorCode::SETTINGS_TIMEOUT, Code::Internal),
            (ErrorCode::STREAM_CLOSED, Code::Internal),
            (ErrorCode::FRAME_SIZE_ERROR, Code::Internal),
            (ErrorCode::REFUSED_STREAM, Code::Unavailable),
            (ErrorCode::CANCEL, Code::Cancelled),
            (ErrorCode::COMPRESSION_ERROR, Code::Internal),
            (ErrorCode::CONNECT_ERROR, Code::Internal),
            (ErrorCode::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
            (ErrorCode::INADEQUATE_SECURITY, Code::PermissionDenied),
            (ErrorCode::HTTP_1_1_REQUIRED, Code::Internal),
            (ErrorCode(0xffff_ffff), Code::Internal),
        ];
        for (reset, code) in table {
            assert_eq!(from_h2(reset), code, "{reset}");
            assert_eq!(is_unprocessed(reset), reset == ErrorCode::REFUSED_STREAM);
        }
    }

    #[test]
    fn g7_http_status_without_grpc_status() {
        let table = [
            (400, Code::Internal),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::Unimplemented),
            (429, Code::Unavailable),
            (502, Code::Unavailable),
            (503, Code::Unavailable),
            (504, Code::Unavailable),
            (200, Code::Unknown),
            (302, Code::Unknown),
            (405, Code::Unknown),
            (500, Code::Unknown),
            (999, Code::Unknown),
        ];
        for (status, code) in table {
            assert_eq!(from_http(status), code, "{status}");
        }
    }

    #[test]
    fn g17_missing_endings() {
        assert_eq!(Missing::Status.status().code(), Code::Unknown);
        assert_eq!(Missing::Trailers.status().code(), Code::Internal);
        assert_eq!(Missing::Head.status().code(), Code::Internal);
        assert_eq!(Missing::Connection.status().code(), Code::Unavailable);
    }
}
