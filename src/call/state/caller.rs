//! Transitions of the caller: a client's call, a server's handler, and the halves that they hold.

use super::ending::{Wakers, wake};
use super::{
    CallState, HeadState, INLINE_MAX, News, RecvEnd, SEND_BUFFER_LIMIT, SendEnd, SendState,
    SharedCall, Stage,
};
use crate::call::Credit;
use crate::call::deadline::deadline_error;
use crate::call::timeline::Timeline;
use crate::error::{Error, Initiator, Kind, Phase, Processed};
use crate::grpc::{Code, Status};
use crate::http2::{ErrorCode, Fields, Template};
use crate::memory::inflated::InflatedReservation;
use crate::memory::queued::QueuedReservation;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

/// What a caller asks for.
#[derive(Clone, Copy, Debug)]
pub struct CallSpec {
    /// When the call must have ended. The head of a gRPC request announces what is left of it.
    pub deadline: Option<Instant>,
    /// Waits for a connection instead of failing with the last dial's error.
    pub wait_for_ready: bool,
    /// What the peer sends are gRPC messages, each with its prefix; else bytes of plain HTTP.
    pub grpc: bool,
    /// Somebody above this crate reads the messages: any encoding may be announced.
    pub opaque: bool,
    /// The reader wants nothing but the whole: it is woken once, at the end.
    pub whole: bool,
    /// Though it wants the whole, the reader is woken at the head, too.
    pub wake_at_head: bool,
    /// The largest message, or plain body, that the reader accepts, in bytes; checked when `whole`.
    pub message_max: usize,
    /// Where in the caller's code the call began.
    pub site: Option<&'static Location<'static>>,
}

impl Default for CallSpec {
    fn default() -> Self {
        Self {
            deadline: None,
            wait_for_ready: false,
            grpc: false,
            opaque: false,
            whole: false,
            wake_at_head: false,
            message_max: usize::MAX,
            site: None,
        }
    }
}

impl CallState {
    /// Notes what the caller asks for, before the call is submitted.
    pub const fn prepare(&mut self, spec: CallSpec) {
        self.spec = spec;
    }

    /// Notes what a reader did with bytes.
    pub fn note_read(&mut self, credit: Credit) -> Option<News> {
        self.recv.add_credit(credit);
        let permit = self.permit.as_ref()?;
        permit.carrier().reports_at_once(self.recv.credit()).then(|| self.news())
    }

    /// Returns whether nothing more can be sent: the call is over or stopped, or this side was ended.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.is_over() || self.cancel.is_some() || !self.send.is_open()
    }

    /// Answers in one piece: `body` writes the response's body. Returns `false` when the call is over
    /// or something was written before.
    pub fn answer(
        &mut self,
        template: Arc<Template>,
        end: SendEnd,
        body: impl FnOnce(&mut SendState),
    ) -> bool {
        if self.is_closed() || self.send.head() != HeadState::None {
            return false;
        }
        body(&mut self.send);
        self.send.set_head(Some(template), &Fields::new());
        self.send.set_end(end);
        if self.send.waiting() > INLINE_MAX {
            self.count_queued();
        }
        true
    }

    /// Cancels the call: the connection resets the stream with `code`, and the reading half reads
    /// CANCELLED behind what has arrived.
    #[must_use]
    pub fn cancel(&mut self, code: ErrorCode) -> Stopped {
        let error = self.cancelled();
        self.stop(code, error)
    }

    /// Returns the error of a call that its caller has cancelled.
    pub(super) fn cancelled(&self) -> Error {
        let status = Status::new(Code::Cancelled, "the call was cancelled on this side");
        Error::new(Kind::Cancelled, status, Initiator::Local, self.processed())
    }

    /// Returns whether the peer may have acted on what was sent up to now.
    #[must_use]
    pub const fn processed(&self) -> Processed {
        if self.recv.is_head_ready() {
            Processed::Yes
        } else if self.attempts == 0 && !self.maybe_processed {
            Processed::No
        } else {
            Processed::Maybe
        }
    }

    /// Stops the call: the connection resets the stream with `code`, and the reading half reads `error`
    /// behind what has arrived. A call without a connection ends when it gets one, or by its owner.
    #[must_use]
    pub fn stop(&mut self, code: ErrorCode, error: Error) -> Stopped {
        if self.is_over() || self.cancel.is_some() {
            return Stopped::Over;
        }
        self.cancel = Some(code);
        if self.recv.end().is_none() {
            self.recv.set_end(RecvEnd::Failed(error.clone()));
        }
        self.failure.get_or_insert(error);
        Stopped::Carried(self.news(), self.take_wakers())
    }

    /// The owner of the call gives it up: nobody reads it any more.
    #[must_use]
    pub fn abandon_call(&mut self) -> Stopped {
        if self.is_over() {
            return Stopped::Over;
        }
        // The sending half may have cancelled it; what has no connection must end all the same.
        self.cancel.get_or_insert(ErrorCode::CANCEL);
        if self.permit.is_none() {
            return Stopped::Unassigned(self.end_cancelled());
        }
        Stopped::Carried(self.news(), self.take_wakers())
    }

    /// The deadline has passed, and the caller waits no longer: it reads DEADLINE_EXCEEDED, and the
    /// connection resets the stream. `unassigned` is the error of a call that waits for a connection.
    #[must_use]
    pub fn expire(&mut self, unassigned: Option<Error>, now: Instant) -> Stopped {
        if self.is_over() || self.cancel.is_some() {
            return Stopped::Over;
        }
        if self.permit.is_none() {
            self.cancel = Some(ErrorCode::CANCEL);
            let phase = self.timeline.phase();
            let error =
                unassigned.unwrap_or_else(|| deadline_error(Processed::No).with_phase(phase));
            return Stopped::Unassigned(self.fail(error));
        }
        if self.stage == Stage::Pending && self.timeline.phase() == Phase::PoolWait {
            // The connection has not taken it from its mailbox.
            self.timeline.enter(Phase::WriteQueue, now);
        }
        let processed = match self.processed() {
            Processed::No => Processed::No,
            _ => Processed::Maybe,
        };
        let error = self.located(deadline_error(processed), now);
        self.stop(ErrorCode::CANCEL, error)
    }

    /// Why nothing more can be sent: how the call ended, if that was not well.
    #[must_use]
    pub fn closed_by(&self) -> Option<Error> {
        if let Some(error) = &self.failure {
            return Some(error.clone());
        }
        match self.end()? {
            RecvEnd::Failed(error) => Some(error.clone()),
            // The reading half took the trailers; it has noted what they said.
            RecvEnd::Trailers if self.recv.trailers().is_some_and(Fields::is_empty) => None,
            _ => self.recv.outcome().err(),
        }
    }

    /// Notes the status that the reading half found in the trailers.
    pub fn note_outcome(&mut self, outcome: &Result<(), Error>) {
        if let Err(error) = outcome {
            self.failure.get_or_insert_with(|| error.clone());
        }
    }

    /// Resets the stream of a request whose answer was left unfinished; returns `false` when there is
    /// nothing to reset.
    #[must_use]
    pub fn abandon_answer(&mut self) -> bool {
        let unfinished = !self.is_closed();
        if unfinished {
            self.cancel = Some(ErrorCode::INTERNAL_ERROR);
        }
        unfinished
    }

    /// Lets a server's handler go on although nobody waits for its answer.
    pub const fn detach_handler(&mut self) {
        self.detached = true;
    }

    /// Continues the timeline of an earlier attempt.
    pub fn continue_from(&mut self, before: &Timeline, now: Instant) {
        self.timeline = before.clone();
        self.timeline.enter(Phase::PoolWait, now);
    }

    /// Remembers whom to wake when something arrives. Returns the waker that was remembered before: its
    /// drop is user code, so the caller drops it with no lock held.
    #[must_use]
    pub fn wait_read(&mut self, cx: &Context<'_>) -> Option<Waker> {
        if self.reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return None;
        }
        self.reader.replace(cx.waker().clone())
    }

    /// Nobody waits for what arrives. Returns the waker, as [`CallState::wait_read`] does.
    #[must_use]
    pub const fn stop_reading(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    /// Returns why the call failed.
    #[must_use]
    pub const fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Returns whether another message is accepted: less than 64 KiB are queued, or nothing while the
    /// connection or the process holds much.
    #[must_use]
    pub fn accepts_message(&self) -> bool {
        let queued = self.send.queued();
        let much = || {
            self.permit
                .as_ref()
                .is_some_and(|permit| permit.carrier().queued_bytes().is_over_limit())
        };
        queued == 0 || (queued < SEND_BUFFER_LIMIT && !much())
    }

    /// Returns a charge of zero bytes for a message that is inflated, to the budget of the connection.
    pub(crate) fn inflated(&self) -> InflatedReservation {
        let connection = self.permit.as_ref().map(|permit| permit.carrier().queued_bytes());
        connection.map(|queued| queued.inflated()).unwrap_or_default()
    }

    /// Counts what is queued to be sent.
    pub(crate) fn count_queued(&mut self) {
        let connection = self.permit.as_ref().map(|permit| permit.carrier().queued_bytes());
        let queued = self.send.queued();
        QueuedReservation::update(self.send.counted_mut(), queued, connection);
    }
}

/// What is left to do for a call that its caller has stopped.
#[derive(Debug)]
pub enum Stopped {
    /// Nothing: it had ended, or was stopped before.
    Over,
    /// No connection carries it: it has ended here, and may be in the pool's queue.
    Unassigned(Wakers),
    /// The connection that carries it must be told, and its halves woken.
    Carried(News, Wakers),
}

impl Stopped {
    /// Does it, with no lock held. Returns whether the call may be in the pool's queue.
    pub fn finish(self, call: &Arc<SharedCall>) -> bool {
        let (news, wakers, unassigned) = match self {
            Self::Over => return false,
            Self::Unassigned(wakers) => (None, wakers, true),
            Self::Carried(news, wakers) => (Some(news), wakers, false),
        };
        if let Some(news) = news {
            news.deliver(call);
        }
        wake(wakers);
        unassigned
    }
}
