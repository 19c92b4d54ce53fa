//! The header fields of a request (gRPC PROTOCOL-HTTP2 §Requests): how a client writes them, and how
//! a server checks them.

use crate::grpc::compression::Encoding;
use crate::grpc::method::Path;
use crate::grpc::response;
use crate::grpc::shown;
use crate::grpc::status::{Code, Status};
use crate::grpc::timeout;
use crate::http2::{Fields, Head};
use std::time::Duration;

/// The `user-agent` that a channel sends by default.
pub const USER_AGENT: &str = concat!("grpc-rust-framewire/", env!("CARGO_PKG_VERSION"));

/// Returns the fields that all request heads of a method share, pseudo-header fields first.
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

/// What a server reads from a request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The value of `grpc-timeout`; `None` if the caller sets no deadline.
    pub timeout: Option<Duration>,
    /// The value of `grpc-encoding`: the encoding of compressed messages.
    pub encoding: Encoding,
}

/// Checks a request head.
///
/// # Errors
/// The fields of the response with which the server refuses the request: an HTTP status if the request
/// is not gRPC, a Trailers-Only response if it is.
pub fn check(head: &Head) -> Result<Received, Fields> {
    let mut received = Received { timeout: None, encoding: Encoding::Identity };
    let (mut content_type, mut wrong) = (None, None);
    for field in head.fields() {
        match field.name {
            b"content-type" => {
                content_type.get_or_insert(field.value);
            }
            b"grpc-timeout" => match timeout::parse(field.value) {
                Ok(timeout) => received.timeout = Some(timeout),
                Err(_) => wrong = Some(Wrong::Timeout),
            },
            b"grpc-encoding" => match Encoding::parse(field.value) {
                Some(encoding) => received.encoding = encoding,
                None => wrong = Some(Wrong::Encoding(field.value)),
            },
            _ => {}
        }
    }
    let wrong = match head.method() == b"POST" {
        _ if !content_type.is_some_and(response::is_grpc) => Some(Wrong::NotGrpc),
        false => Some(Wrong::Method),
        true => wrong,
    };
    wrong.map_or(Ok(received), |wrong| Err(refusal(head, wrong)))
}

/// Returns the value of `grpc-timeout`; `None` if the request is not gRPC, or its caller sets no deadline.
///
/// # Errors
/// The fields of the response with which the server refuses a malformed value.
#[cfg(feature = "tower")]
pub fn timeout(head: &Head) -> Result<Option<Duration>, Fields> {
    let value = head.fields().get(timeout::NAME).filter(|_| is_grpc(head));
    value.map(timeout::parse).transpose().map_err(|_| refusal(head, Wrong::Timeout))
}

/// Returns whether the request is one of gRPC.
#[must_use]
pub fn is_grpc(head: &Head) -> bool {
    response::is_grpc(head.fields().get("content-type").unwrap_or_default())
}

/// What is wrong with a request.
enum Wrong<'a> {
    NotGrpc,
    Method,
    Timeout,
    Encoding(&'a [u8]),
}

/// Returns the response to a request that is not served.
#[cold]
fn refusal(head: &Head, wrong: Wrong<'_>) -> Fields {
    match wrong {
        // gRPC PROTOCOL-HTTP2 §Requests: another content-type is answered with 415
        Wrong::NotGrpc => http_only(if head.method() == b"POST" { "415" } else { "405" }),
        Wrong::Method => refuse(Code::Internal, "the :method of a gRPC request is POST"),
        Wrong::Timeout => {
            refuse(Code::Internal, "grpc-timeout is not 1 to 8 digits and one of H M S m u n")
        }
        // gRPC COMPRESSION: an unknown encoding is UNIMPLEMENTED, with what is accepted
        Wrong::Encoding(name) => {
            let text = format!("grpc-encoding {} is not supported", shown::name(name));
            let mut fields = refuse(Code::Unimplemented, text);
            fields.push("grpc-accept-encoding", Encoding::accepted());
            fields
        }
    }
}

/// Returns a Trailers-Only response.
#[must_use]
pub fn refuse(code: Code, message: impl Into<String>) -> Fields {
    response::trailers_only(&Status::new(code, message.into()), usize::MAX)
}

/// Returns a response of a status and nothing else.
#[must_use]
pub fn http_only(status: &str) -> Fields {
    let mut fields = Fields::new();
    fields.push(":status", status);
    fields
}
