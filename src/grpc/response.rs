//! A response's fields: head, trailers, both in one; and what they mean to a client.

use crate::grpc::compression::Encoding;
use crate::grpc::metadata::Metadata;
use crate::grpc::status::{Code, Status};
use crate::grpc::status_map;
use crate::grpc::status_map::Missing;
use crate::http2::{Fields, Head};

/// The stable fields of a response's head.
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

/// The trailers of a call that went well and has nothing to add.
#[must_use]
pub fn ok_trailers() -> Fields {
    let mut fields = Fields::new();
    fields.push("grpc-status", "0");
    fields
}

/// A response that is nothing but its status: head and trailers in one.
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

/// Whether a content-type is gRPC's: the name itself, or with a subtype or parameters.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    match content_type.strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    }
}

/// What a client makes of a response's head.
///
/// # Errors
/// The status of a response that is not gRPC: by its HTTP status, or by its content-type.
pub fn check_head(head: &Head) -> Result<Encoding, Status> {
    let status = head.status();
    if status == 200 && is_grpc(head.fields().get("content-type").unwrap_or_default()) {
        let encoding = head.fields().get("grpc-encoding").unwrap_or(b"identity");
        return Encoding::parse(encoding).ok_or_else(|| {
            let name = encoding.escape_ascii();
            Status::new(Code::Internal, format!("the response's grpc-encoding {name} is unknown"))
        });
    }
    // A status that came along is believed, whatever the HTTP status says.
    if let Some(status) = Status::from_trailers(head.fields()).filter(|s| !s.is_ok()) {
        return Err(status);
    }
    let content_type = head.fields().get("content-type").unwrap_or(b"nothing").escape_ascii();
    let code = if status == 200 { Code::Unknown } else { status_map::from_http(status) };
    Err(Status::new(
        code,
        format!("the answer is not gRPC: HTTP status {status}, content-type {content_type}"),
    ))
}

/// The status of a response that has ended: from its trailers, or from its head when it was
/// Trailers-Only.
///
/// # Errors
/// The status, unless it is OK.
pub fn check_end(head: &Head, trailers: Option<&Fields>) -> Result<(), Status> {
    let fields = trailers.unwrap_or_else(|| head.fields());
    // The short way of nearly every call.
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

/// The metadata of received fields; nothing is kept when there is only what the transport needs.
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
        for good in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for bad in ["", "text/html", "application/grpcfoo", "application/grpc-web"] {
            assert!(!is_grpc(bad.as_bytes()), "{bad}");
        }
    }
}
