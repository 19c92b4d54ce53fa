//! Transitions of the caller: a client's call, a server's handler, and the halves that they hold.

use super::{
    CallState, HeadState, News, RecvEnd, SEND_BUFFER_LIMIT, SendEnd, SendState, ending::Wakers,
};
use crate::call::Credit;
use crate::call::timeline::Timeline;
use crate::error::{Error, Kind, Phase};
use crate::grpc::Code;
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

    /// Returns whether nothing more can be sent: the call is over, or this side was ended.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.is_over() || !self.send.is_open()
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
        true
    }

    /// Cancels the call: the connection resets the stream with `code`, and the reading half reads
    /// CANCELLED behind what has arrived. Returns `None` when the call is over or was cancelled.
    pub fn cancel(&mut self, code: ErrorCode) -> Option<Wakers> {
        if self.is_over() || self.cancel.is_some() {
            return None;
        }
        self.cancel = Some(code);
        if self.recv.end().is_none() {
            let text = "the call was cancelled on this side";
            let error = Error::local(Kind::Cancelled, Code::Cancelled, text);
            self.recv.set_end(RecvEnd::Failed(error));
        }
        Some(self.take_wakers())
    }

    /// Cancels the call as its owner does who drops it: nobody reads it any more. Returns whom to tell.
    #[must_use]
    pub fn abandon_call(&mut self) -> Abandoned {
        if self.is_over() {
            return Abandoned::Over;
        }
        // The sending half may have cancelled it; what has no connection must end all the same.
        let told = self.cancel.is_some();
        self.cancel.get_or_insert(ErrorCode::CANCEL);
        if self.permit.is_none() {
            Abandoned::Unassigned(self.end_cancelled())
        } else if told {
            Abandoned::Over
        } else {
            Abandoned::Carried(self.news())
        }
    }

    /// Resets the stream of a request whose answer was left unfinished; returns `false` when there is
    /// nothing to reset.
    #[must_use]
    pub fn abandon_answer(&mut self) -> bool {
        let unfinished = !self.is_closed() && self.cancel.is_none();
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

    /// Remembers whom to wake when something arrives.
    pub fn wait_read(&mut self, cx: &Context<'_>) {
        remember(&mut self.reader, cx);
    }

    /// Remembers whom to wake when something may be sent.
    pub fn wait_write(&mut self, cx: &Context<'_>) {
        remember(&mut self.writer, cx);
    }

    /// Remembers whom to wake when the call is over: `watcher` is the number from the last time, `None` the
    /// first time. Who stops waiting calls [`CallState::forget_watcher`].
    pub fn wait_over(&mut self, watcher: &mut Option<u64>, cx: &Context<'_>) {
        match self.watchers.iter_mut().find(|(number, _)| Some(*number) == *watcher) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => {
                self.last_watcher += 1;
                *watcher = Some(self.last_watcher);
                self.watchers.push((self.last_watcher, cx.waker().clone()));
            }
        }
    }

    /// Forgets who waited for the end.
    pub fn forget_watcher(&mut self, watcher: u64) {
        self.watchers.retain(|(number, _)| *number != watcher);
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

/// What is left to do for a call that its owner has dropped.
#[derive(Debug)]
pub enum Abandoned {
    /// Nothing.
    Over,
    /// No connection carries it: it has ended here, and may be in the pool's queue.
    Unassigned(Wakers),
    /// The connection that carries it must be told.
    Carried(News),
}

fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}
