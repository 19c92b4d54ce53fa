//! How an attempt of a call ended, as its policy is told it.

use crate::call::recv::{RecvEnd, RecvState};
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::response;
use crate::grpc::status::Status;
use std::time::{Duration, Instant};

/// Where the fields of the first attempt's head end.
pub use crate::http2::Mark;

/// How an attempt ended.
#[derive(Debug)]
pub struct Attempt {
    /// What the caller would be told.
    pub result: Result<(), Error>,
    /// No response had begun, and what was sent is kept.
    pub is_movable: bool,
    /// What the peer says of another attempt.
    pub pushback: Option<Pushback>,
    /// When the call must have ended.
    pub deadline: Option<Instant>,
}

/// `grpc-retry-pushback-ms` (gRFC A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// Not before this time has passed.
    After(Duration),
    /// Not at all: the value is negative, or no number.
    Never,
}

impl Pushback {
    /// What a head says that may be all of a response.
    #[must_use]
    pub fn of(inc: &RecvState) -> Option<Self> {
        let value = inc.head.fields().get("grpc-retry-pushback-ms")?;
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok());
        Some(number.map_or(Self::Never, |ms| Self::After(Duration::from_millis(ms.into()))))
    }
}

/// Whether a gRPC response had begun, so that the call is settled whatever its status: a head came
/// that is not all of it.
#[must_use]
pub fn has_begun(inc: &RecvState) -> bool {
    let trailers_only = matches!(inc.end, Some(RecvEnd::Finished))
        && inc.head.fields().get("grpc-status").is_some();
    inc.head_ready && !trailers_only && inc.encoding().is_ok()
}

/// How a call ended, as far as its head and its status tell; its messages are not looked at.
///
/// # Errors
/// The status, or why there is none.
pub fn outcome(inc: &RecvState) -> Result<(), Error> {
    if inc.head_ready {
        inc.encoding().map_err(not_grpc)?;
    }
    let trailers = match &inc.end {
        Some(RecvEnd::Failed(error)) => return Err(error.clone()),
        Some(RecvEnd::Trailers) => Some(&inc.trailers),
        _ => None,
    };
    response::check_end(&inc.head, trailers).map_err(Error::from_peer)
}

/// A status found in a head: the peer's own, or what its HTTP status maps to.
#[must_use]
pub fn not_grpc(status: Status) -> Error {
    Error::new(Kind::NotGrpc, status, Initiator::Remote, Processed::Yes)
}
