//! The deadline of a call, kept by the future or stream half that waits for it.
//!
//! A call ends at its deadline even if no other task of this crate runs: the connection's runtime may be
//! frozen, or its worker blocked. So no connection and no pool keeps the time of a call that is polled.
//!
//! hot: a call without a deadline, or one that never waits, sets no timer.

use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::status::{Code, Status};
use crate::rt;
use crate::rt::Sleep;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

/// Waits for `deadline`. `timer` is set at the first poll.
///
/// # Errors
/// The timer cannot be set: the caller is outside a tokio runtime with a timer.
pub fn poll_deadline(
    mut timer: Pin<&mut Option<Sleep>>,
    deadline: Instant,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    if timer.is_none() {
        let Some(sleep) = rt::timer(deadline) else { return Poll::Ready(Err(no_timer())) };
        timer.set(Some(sleep));
    }
    match timer.as_pin_mut() {
        Some(sleep) => sleep.poll(cx).map(Ok),
        None => Poll::Pending,
    }
}

/// Returns the error of a wait that needs a timer where there is none.
#[must_use]
pub fn no_timer() -> Error {
    let text = "a call with a deadline waits in a tokio runtime with a timer \
                (tokio::runtime::Builder::enable_time)";
    Error::local(Kind::Misuse, Code::Internal, text)
}

/// The timer of a half that is polled by one future after another. Each wait sets it anew, on the runtime
/// that waits: an earlier one may have ended.
#[derive(Debug, Default)]
pub struct DeadlineTimer {
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Option<Sleep>>>>,
}

impl DeadlineTimer {
    /// Keeps this deadline.
    #[must_use]
    pub const fn new(deadline: Option<Instant>) -> Self {
        Self { deadline, sleep: None }
    }

    /// Waits for the deadline; pending until it is dropped without one.
    ///
    /// # Errors
    /// As [`poll_deadline`].
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        poll_deadline(self.sleep.get_or_insert_default().as_mut(), deadline, cx)
    }

    /// The wait is over.
    pub fn stop(&mut self) {
        if let Some(sleep) = &mut self.sleep {
            sleep.set(None);
        }
    }
}

/// Returns the error of a deadline that passed.
#[must_use]
pub fn deadline_error(processed: Processed) -> Error {
    let status = Status::new(Code::DeadlineExceeded, "the deadline passed");
    Error::new(Kind::Deadline, status, Initiator::Local, processed)
}
