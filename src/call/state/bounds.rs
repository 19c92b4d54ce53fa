//! Limits on received bodies: the message of a gRPC body, or all of a plain HTTP body.

use super::CallState;
use crate::call::recv::not_grpc;
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::Encoding;
use crate::grpc::message;
use crate::grpc::message::MessageError;
use crate::grpc::response;
use crate::grpc::status::{Code, Status};
use crate::http2::Fields;

impl CallState {
    /// Why a `whole` body must not be gathered further: a gRPC message's size is known from its first
    /// five bytes, a plain body is counted as it arrives.
    #[must_use]
    pub fn over_message_max(&self) -> Option<Error> {
        let body = self.recv.body();
        if !self.spec.grpc {
            return self.over_http_max(body.len() as u64);
        }
        let declared = message::declared_len(body).unwrap_or(0);
        let size = declared.max(body.len().saturating_sub(message::PREFIX));
        if size <= self.spec.message_max {
            return None;
        }
        let error = MessageError::TooLarge { len: size, max: self.spec.message_max };
        let status = Status::from(error);
        Some(Error::new(Kind::Limit, status, Initiator::Local, Processed::Yes))
    }

    fn over_http_max(&self, bytes: u64) -> Option<Error> {
        let max = self.spec.message_max;
        if bytes <= max as u64 {
            return None;
        }
        let text = format!(
            "a received HTTP body of at least {bytes} bytes is over the limit of {max} \
             (max_http_body)"
        );
        let status = Status::new(Code::ResourceExhausted, text);
        Some(Error::new(Kind::Limit, status, Initiator::Local, Processed::Yes))
    }

    /// As [`CallState::over_message_max`], for a plain response whose head announces its body.
    fn announces_too_much(&self) -> Option<Error> {
        let error = self.over_http_max(self.recv.head().content_length()?)?;
        // RFC 9110 §8.6: these have no body, whatever content-length says
        let bodiless =
            self.recv.head().status() == 304 || self.send.extra().get(":method") == Some(b"HEAD");
        (!bodiless).then_some(error)
    }

    /// Why the body behind the response's head must not be read: the head is not gRPC, or a plain head
    /// announces a body over the limit.
    pub(super) fn declines(&mut self) -> Option<Error> {
        if !self.spec.grpc {
            return self.announces_too_much();
        }
        // gRPC http-grpc-status-mapping: the HTTP status of what is not a gRPC response is its status
        let checked = match self.spec.opaque {
            false => response::check_head(self.recv.head()),
            true => response::check_kind(self.recv.head()).map(|()| Encoding::Identity),
        };
        match checked {
            Ok(encoding) => {
                self.recv.set_checked(encoding);
                None
            }
            Err(status) => Some(not_grpc(status)),
        }
    }

    /// The message that a `whole` body consists of, with its prefix, as far as the prefix is known
    /// from the bytes of `body`. A plain body has none.
    pub(super) fn announced(&self, body: &[u8]) -> usize {
        let declared = if self.spec.grpc { message::declared_len(body) } else { None };
        declared.map_or(0, |len| len + message::PREFIX)
    }

    /// What answers a request that is refused with `error` before its handler begins: a gRPC status
    /// of at most `limit` bytes, or an HTTP status alone.
    #[must_use]
    pub fn rejection(&self, error: &Error, limit: usize) -> Fields {
        if self.spec.grpc {
            return response::trailers_only(error.status(), limit);
        }
        let too_large = self.over_message_max().is_some();
        let mut fields = Fields::new();
        fields.push(":status", if too_large { "413" } else { "431" });
        fields
    }
}
