//! Another attempt of a call, in the same call, where its policy says so.
//!
//! The policy is asked under the call's lock by whoever lets go of the call. So its two halves never
//! see an end that is not the last, and may be held, polled and written to all the while.

use crate::call::halves::{RecvEnd, RecvState};
use crate::call::state::{CallState, SharedCall, Wakers, wake};
use crate::error::{Error, Initiator, Kind, Phase, Processed};
use crate::grpc::response;
use crate::grpc::status::Status;
use crate::http2::{Blocked, Fields};
use crate::rt;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the fields of the first attempt's head end.
pub use crate::http2::Mark;

/// A call's policy, and the way that another attempt goes.
pub trait Again: fmt::Debug + Send + Sync {
    /// An attempt has ended: the pause before the next one, `None` when this end is the last. What
    /// the next attempt's head is to say beside that of the first is written to `extra`. Called with
    /// the call's lock held.
    fn after(&self, attempt: &Attempt, extra: &mut Fields) -> Option<Duration>;

    /// The call's call, while there is one.
    fn call(&self) -> Option<Arc<SharedCall>>;

    /// Sends the call on its way; `false` when there is none.
    fn submit(&self, call: Arc<SharedCall>) -> bool;
}

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

/// A call between two attempts. Dropped before the next one, as when a runtime ends, it tells the
/// caller how the last one ended.
#[derive(Debug)]
pub(crate) struct Pause {
    again: Arc<dyn Again>,
    time: Duration,
    error: Option<Error>,
}

/// What came of asking a policy. Dropped or begun with no lock held.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Another attempt follows.
    Again(Pause),
    /// None does.
    Spent(Arc<dyn Again>),
}

impl Asked {
    #[cold]
    pub(crate) fn go_on(self) {
        match self {
            Self::Again(pause) => pause.begin(),
            Self::Spent(policy) => drop(policy),
        }
    }
}

impl CallState {
    /// Why the body behind the response's head must not be read: the head is not gRPC, or a plain
    /// head announces a body over the limit. The call ends with this error, and the engine resets the
    /// stream with CANCEL.
    ///
    /// An engine asks once, when a head without END_STREAM stands in `inc`, and before it looks at any
    /// byte of the body: a page of HTML has no message length, and may never end.
    #[must_use]
    pub fn declines(&mut self) -> Option<Error> {
        if !self.grpc {
            return self.announces_too_much();
        }
        // gRPC http-grpc-status-mapping: the HTTP status of what is not a gRPC response is its status
        match response::check_head(&self.recv.head) {
            Ok(encoding) => {
                self.recv.checked = Some(encoding);
                None
            }
            Err(status) => Some(not_grpc(status)),
        }
    }

    /// What leads to the next attempt, or the policy, which is spent: the end that the call holds is
    /// the last.
    pub(crate) fn try_again(&mut self, again: Arc<dyn Again>) -> Result<Wakers, Arc<dyn Again>> {
        if self.done || self.cancel.is_some() {
            return Err(again);
        }
        let attempt = Attempt {
            result: outcome(&self.recv),
            is_movable: !has_begun(&self.recv) && self.send.is_movable(),
            pushback: Pushback::of(&self.recv),
            deadline: self.deadline,
        };
        let Some(time) = again.after(&attempt, &mut self.send.extra) else { return Err(again) };
        let Err(error) = attempt.result else { return Err(again) };
        tracing::debug!(%error, "tried again by policy");
        Ok(self.pause(Pause { again, time, error: Some(error) }))
    }

    /// As before the first attempt, but for what the call has been through.
    fn pause(&mut self, pause: Pause) -> Wakers {
        let now = rt::now();
        self.seen |= pause.error.as_ref().is_some_and(|e| e.processed() != Processed::No);
        self.recv.clear();
        self.failure = None;
        self.key = None;
        self.parked = false;
        self.attempts = 0;
        self.send.stalls.note(Blocked::No, now);
        self.send.rewind();
        self.send.counted = None;
        self.timeline.enter(Phase::PoolWait, now);
        Wakers::of_pause(self.handle.take(), pause)
    }
}

impl Pause {
    /// Waits, then sends the call on its way.
    fn begin(self) {
        rt::spawn_if_possible(async move {
            rt::sleep(self.time).await;
            self.end();
        });
    }

    fn end(mut self) {
        let Some(call) = self.again.call() else { return };
        let mut x = call.lock();
        if x.done || x.cancel.is_some() {
            self.error = None;
            let wakers = x.give_up();
            drop(x);
            return wake(wakers);
        }
        x.again = Some(Arc::clone(&self.again));
        drop(x);
        if self.again.submit(call) {
            self.error = None;
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        let Some(error) = self.error.take() else { return };
        let Some(call) = self.again.call() else { return };
        let mut x = call.lock();
        x.again = None;
        let wakers = x.fail(error);
        drop(x);
        wake(wakers);
    }
}
