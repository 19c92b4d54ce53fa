//! A request's fields: written from a template, recognised on arrival.

use crate::grpc::compression::Encoding;
use crate::grpc::method::Path;
use crate::grpc::response;
use crate::grpc::status::{Code, Status};
use crate::grpc::timeout;
use crate::http2::{Fields, Head};
use std::time::Duration;

/// The `user-agent` of this crate.
pub const USER_AGENT: &str = concat!("grpc-rust-framewire/", env!("CARGO_PKG_VERSION"));

/// The stable fields of a method's request head, pseudo-header fields first.
// gRPC PROTOCOL-HTTP2 §Requests: Call-Definition, then Custom-Metadata
#[must_use]
pub fn head(path: Path<'_>, scheme: &str, authority: &str, user_agent: &str) -> Fields {
    let mut fields = Fields::new();
    fields.push(":method", "POST");
    fields.push(":scheme", scheme);
    fields.push(":path", path.as_str());
    fields.push(":authority", authority);
    // gRPC PROTOCOL-HTTP2 §Requests: te is sent to detect proxies that drop trailers
    fields.push("te", "trailers");
    fields.push("content-type", "application/grpc");
    fields.push("user-agent", user_agent);
    fields.push("grpc-accept-encoding", Encoding::accepted());
    fields
}

/// What a server needs to know of a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How long the caller waits.
    pub timeout: Option<Duration>,
    /// How its messages are encoded.
    pub encoding: Encoding,
}

/// Checks a request's head; the fields of the whole answer when it is not served.
///
/// # Errors
/// A head that ends the stream: an HTTP status for what is not gRPC, a Trailers-Only status for
/// what is.
pub fn check(head: &Head) -> Result<Received, Fields> {
    if head.method() != b"POST" {
        return Err(http_only("405"));
    }
    let content_type = head.fields().get("content-type").unwrap_or_default();
    // gRPC PROTOCOL-HTTP2 §Requests: another content-type is answered with 415
    if !response::is_grpc(content_type) {
        return Err(http_only("415"));
    }
    let mut received = Received { timeout: None, encoding: Encoding::Identity };
    for field in head.fields() {
        match field.name {
            b"grpc-timeout" => match timeout::parse(field.value) {
                Ok(timeout) => received.timeout = Some(timeout),
                Err(_) => return Err(refuse(Code::Internal, "grpc-timeout cannot be read")),
            },
            b"grpc-encoding" => match Encoding::parse(field.value) {
                Some(encoding) => received.encoding = encoding,
                // gRPC COMPRESSION: an unknown encoding is UNIMPLEMENTED, with what is accepted
                None => {
                    let name = field.value.escape_ascii();
                    let text = format!("grpc-encoding {name} is not supported");
                    let mut fields = refuse(Code::Unimplemented, text);
                    fields.push("grpc-accept-encoding", Encoding::accepted());
                    return Err(fields);
                }
            },
            _ => {}
        }
    }
    Ok(received)
}

/// A Trailers-Only answer.
#[must_use]
pub fn refuse(code: Code, message: impl Into<String>) -> Fields {
    response::trailers_only(&Status::new(code, message.into()), usize::MAX)
}

fn http_only(status: &str) -> Fields {
    let mut fields = Fields::new();
    fields.push(":status", status);
    fields
}
