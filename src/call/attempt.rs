//! How an attempt of a call ended, as its policy is told it.

use crate::call::recv::RecvState;
use crate::error::Error;
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
        let value = inc.head().fields().get("grpc-retry-pushback-ms")?;
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok());
        Some(number.map_or(Self::Never, |ms| Self::After(Duration::from_millis(ms.into()))))
    }
}
