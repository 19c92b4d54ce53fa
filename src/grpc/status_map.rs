//! Endings that are not a `grpc-status`, and the codes they map to: three published tables.

use super::status::Code;
use crate::http2::ErrorCode;

/// The code for a stream that the peer reset.
// gRPC PROTOCOL-HTTP2 §Errors: the table of HTTP/2 error codes
#[must_use]
pub const fn from_h2(code: ErrorCode) -> Code {
    match code {
        ErrorCode::REFUSED_STREAM => Code::Unavailable,
        ErrorCode::CANCEL => Code::Cancelled,
        ErrorCode::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        ErrorCode::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    }
}

/// The code for an HTTP status without a `grpc-status`.
// gRPC HTTP-GRPC-STATUS-MAPPING: the table
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

/// The code for a response that ended without trailers, or with trailers without `grpc-status`.
#[must_use]
pub const fn from_missing_trailers(http_status: u16) -> Code {
    if http_status == 200 { Code::Unknown } else { from_http(http_status) }
}
