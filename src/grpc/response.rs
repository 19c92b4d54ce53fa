//! The fields of a response (gRPC PROTOCOL-HTTP2 §Responses): head, trailers, Trailers-Only, and what
//! they mean to a client.

use crate::grpc::compression::Encoding;
use crate::grpc::metadata::Metadata;
use crate::grpc::shown;
use crate::grpc::status::{Code, Status};
use crate::grpc::status_map;
use crate::grpc::status_map::Missing;
use crate::http2::{Fields, Head};

/// Returns the fields that all response heads share.
// gRPC PROTOCOL-HTTP2 §Responses: Response-Headers
#[must_use]
pub fn head(encoding: Encoding) -> Fields {
    let mut fields = Fields::new();
    fields.push(":status", "200");
    fields.push("content-type", "application/grpc");
    if encoding != Encoding::Identity {
        fields.push("grpc-encoding", encoding.name());
    }
    fields
}

/// Returns the trailers of a call that ended with OK, without metadata.
#[must_use]
pub fn ok_trailers() -> Fields {
    let mut fields = Fields::new();
    fields.push("grpc-status", "0");
    fields
}

/// Returns a Trailers-Only response: one field section with head and status.
///
/// `limit` is the peer's SETTINGS_MAX_HEADER_LIST_SIZE; see [`Status::to_trailers`].
// gRPC PROTOCOL-HTTP2 §Responses: Trailers-Only
#[must_use]
pub fn trailers_only(status: &Status, limit: usize) -> Fields {
    let mut fields = Fields::new();
    fields.push(":status", "200");
    fields.push("content-type", "application/grpc");
    // `to_trailers` measures the list as a whole.
    status.to_trailers(&mut fields, limit);
    fields
}

/// Returns whether a content-type is `application/grpc`, with or without a subtype or parameters.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    // RFC 9110 §8.3.1: type and subtype are case-insensitive; blanks may stand ahead of a parameter
    match content_type.split_at_checked(GRPC.len()) {
        Some((name, rest)) if name == GRPC || name.eq_ignore_ascii_case(GRPC) => {
            matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
        }
        _ => false,
    }
}

/// Checks a response head and returns the encoding of its messages.
///
/// # Errors
/// The status with which the call ends if the response is not gRPC: from `grpc-status` if there is one,
/// else from the HTTP status. INTERNAL if `grpc-encoding` is unknown.
pub fn check_head(head: &Head) -> Result<Encoding, Status> {
    check_kind(head)?;
    let encoding = head.fields().get("grpc-encoding").unwrap_or(b"identity");
    Encoding::parse(encoding).ok_or_else(|| {
        let name = shown::name(encoding);
        Status::new(Code::Internal, format!("the response has the unknown grpc-encoding {name}"))
    })
}

/// Checks that a response is gRPC, whatever its encoding.
///
/// # Errors
/// As [`check_head`], unknown encodings excepted.
pub fn check_kind(head: &Head) -> Result<(), Status> {
    let status = head.status();
    if status == 200 && is_grpc(head.fields().get("content-type").unwrap_or_default()) {
        return Ok(());
    }
    // `grpc-status` counts more than the HTTP status.
    if let Some(status) = Status::from_trailers(head.fields()).filter(|s| !s.is_ok()) {
        return Err(status);
    }
    let content_type = match head.fields().get("content-type") {
        Some(content_type) => format!("content-type {}", shown::name(content_type)),
        None => "no content-type".to_owned(),
    };
    let code = if status == 200 { Code::Unknown } else { status_map::from_http(status) };
    Err(Status::new(
        code,
        format!("the response is not gRPC: HTTP status {status}, {content_type}"),
    ))
}

/// Checks the status of a response that has ended: in its trailers, or in its head if it is
/// Trailers-Only.
///
/// # Errors
/// The status, unless it is OK; a status that says what is missing if there is no `grpc-status`.
pub fn check_end(head: &Head, trailers: Option<&Fields>) -> Result<(), Status> {
    let fields = trailers.unwrap_or_else(|| head.fields());
    // Nearly every call ends like this.
    if fields.len() == 1 && fields.get("grpc-status") == Some(b"0") {
        return Ok(());
    }
    match Status::from_trailers(fields) {
        Some(status) if status.is_ok() => Ok(()),
        Some(status) => Err(status),
        None if trailers.is_some() => Err(Missing::Status.status()),
        None => Err(Missing::Trailers.status()),
    }
}

/// Takes the metadata out of received fields; empty if all fields belong to the transport.
pub fn take_metadata(fields: &mut Fields) -> Metadata {
    let own = |name: &[u8]| {
        name == b"content-type"
            || name.starts_with(b"grpc-status")
            || name == b"grpc-message"
            || name == b"grpc-encoding"
            || name == b"grpc-accept-encoding"
    };
    if fields.iter().all(|field| own(field.name)) {
        return Metadata::new();
    }
    Metadata::from_received(std::mem::take(fields))
}

#[cfg(test)]
mod tests {
    use crate::grpc::response::*;

    #[test]
    fn attack_bad_content_type() {
        for good in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;x=y",
            "application/grpc ; x=y",
            "Application/gRPC+Proto",
        ] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for bad in ["", "text/html", "application/grpcfoo", "application/grpc-web"] {
            assert!(!is_grpc(bad.as_bytes()), "{bad}");
        }
    }
}
