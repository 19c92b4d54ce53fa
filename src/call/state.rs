//! A call: one call as HTTP sees it, request in, response out. It belongs to a channel or to a
//! server, never to a connection: queue, dial, mailbox and stream only hold handles to it.
//!
//! Owned by: the caller writes `out` and reads `inc`, the driver the other way round; one short
//! lock a call, never held over I/O, a wait or a wake-up.
//!
//! hot: recycled, so that a call allocates nothing here.

use super::Permit;
use crate::call::attempt::{Attempt, not_grpc};
use crate::call::quota::TenantPermit;
use crate::call::send::KEPT;
use crate::call::timeline::Timeline;
use crate::error::{ConnectionFacts, Error, Kind, Phase};
use crate::grpc::response;
use crate::http2::{ErrorCode, Fields, StreamKey};
use crate::memory::queued::QueuedReservation;
use crate::rt::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use bytes::BytesMut;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

pub use crate::call::recv::{Credit, RecvEnd, RecvState};
pub use crate::call::send::{HeadState, INLINE_MAX, SendEnd, SendState};

/// Bytes queued on a call above which a sender waits.
pub const SEND_QUEUE: usize = 64 * 1024;

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

/// One call's state, behind the call's lock.
#[derive(Debug)]
pub struct CallState {
    /// What the caller sends.
    pub send: SendState,
    /// What the peer sends.
    pub recv: RecvState,
    /// When the call must have ended.
    pub deadline: Option<Instant>,
    /// Where its time went.
    pub timeline: Timeline,
    /// Times that its head was written to a connection; of the last attempt by policy, if there are
    /// several.
    pub attempts: u32,
    /// The peer may have acted on an attempt before.
    pub seen: bool,
    /// Whether another attempt follows this one.
    pub again: Option<Arc<dyn Again>>,
    /// Waits for a connection instead of failing with the last dial's error.
    pub wait_for_ready: bool,
    /// A hedge: it goes where there is room to spare, or nowhere.
    pub spare: bool,
    /// What the peer sends are gRPC messages, each with its prefix; else bytes of plain HTTP. On a
    /// client, see [`CallState::declines`] as well.
    pub grpc: bool,
    /// The reader wants nothing but the whole: it is woken once, at the end.
    pub whole: bool,
    /// Though it wants the whole, the reader is woken at the head, too.
    pub early: bool,
    /// Bytes of one message, or of a plain body, that the reader accepts; checked when `whole`.
    pub message_max: usize,
    /// Stands in a driver's queue for the peer's stream limit.
    pub parked: bool,
    /// The caller has given up: reset the stream with this code.
    pub cancel: Option<ErrorCode>,
    /// A server's handler goes on although nobody waits for its answer.
    pub detached: bool,
    /// The driver has let go of the call.
    pub done: bool,
    /// Its place on a connection.
    pub handle: Option<Permit>,
    /// Where in the caller's code it was begun.
    pub site: Option<&'static std::panic::Location<'static>>,
    /// Its seat among its tenant's calls, wherever it goes.
    pub seat: Option<TenantPermit>,
    /// Its stream there.
    pub key: Option<StreamKey>,
    /// The identifier of that stream, or of the last one: errors name it.
    pub stream_id: Option<u32>,
    /// Why the driver let go, whatever had come before.
    pub failure: Option<Error>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// Who waits for the end and nothing else.
    pub(super) watchers: Vec<Waker>,
}

impl CallState {
    /// Nobody reads on: buffers that are worth it are given back.
    pub fn shrink(&mut self) {
        if self.recv.body.capacity() > KEPT {
            self.recv.body = BytesMut::new();
        }
        self.send.forget_body();
        self.send.shrink();
    }

    /// A recycled call begins its next call.
    pub fn restart(&mut self, now: Instant) {
        self.timeline = Timeline::new(Phase::PoolWait, now);
    }

    /// Whether somebody waits for it.
    #[must_use]
    pub const fn is_awaited(&self) -> bool {
        self.reader.is_some() || self.writer.is_some() || !self.watchers.is_empty()
    }

    /// Remembers whom to wake when something arrives.
    pub fn wait_read(&mut self, cx: &Context<'_>) {
        remember(&mut self.reader, cx);
    }

    /// Remembers whom to wake when something may be sent.
    pub fn wait_write(&mut self, cx: &Context<'_>) {
        remember(&mut self.writer, cx);
    }

    /// Remembers whom to wake when the exchange is over.
    pub fn wait_over(&mut self, cx: &Context<'_>) {
        if !self.watchers.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.watchers.push(cx.waker().clone());
        }
    }

    /// Who waits for something to arrive.
    pub fn take_reader(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    /// Whether another message is accepted: less than 64 KiB wait, or nothing while the connection
    /// or the process holds much.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let queued = self.send.queued();
        let much = || {
            self.handle
                .as_ref()
                .is_some_and(|permit| permit.carrier().queued_bytes().is_over_limit())
        };
        queued == 0 || (queued < SEND_QUEUE && !much())
    }

    /// More waits to be sent, or less.
    pub(crate) fn count_queued(&mut self) {
        let connection = self.handle.as_ref().map(|permit| permit.carrier().queued_bytes());
        let queued = self.send.queued();
        QueuedReservation::update(&mut self.send.counted, queued, connection);
    }

    /// Who waits to send, once a message may be accepted again.
    pub fn take_writer(&mut self) -> Option<Waker> {
        self.count_queued();
        self.writer.take_if(|_| self.send.queued() < SEND_QUEUE)
    }

    /// An error of this side with its place: phase, connection, stream. The peer's own status
    /// needs none, and what names a stream keeps it.
    #[must_use]
    pub fn located(&self, error: Error, now: Instant) -> Error {
        let named = error.connection().is_some_and(|facts| facts.stream_id.is_some());
        if error.kind() == Kind::Status || named {
            return error;
        }
        let Some(handle) = self.handle.as_ref().map(Permit::carrier) else { return error };
        let facts = ConnectionFacts { stream_id: self.stream_id, ..handle.facts(now) };
        // What a caller finds wrong with a response that has ended was met in reading it.
        let phase = match self.timeline.phase() {
            Phase::Caller => Phase::Read,
            phase => phase,
        };
        error.with_phase(phase).with_connection(facts)
    }

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
}

fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

/// A call's call.
#[derive(Debug)]
pub struct SharedCall {
    queued: AtomicBool,
    exchange: Mutex<CallState>,
}

impl SharedCall {
    /// A fresh call.
    #[must_use]
    pub fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            queued: AtomicBool::new(false),
            exchange: Mutex::new(CallState {
                send: SendState::default(),
                recv: RecvState::default(),
                deadline: None,
                timeline: Timeline::new(Phase::PoolWait, now),
                attempts: 0,
                seen: false,
                again: None,
                wait_for_ready: false,
                spare: false,
                grpc: false,
                whole: false,
                early: false,
                message_max: usize::MAX,
                parked: false,
                cancel: None,
                detached: false,
                done: false,
                handle: None,
                site: None,
                seat: None,
                key: None,
                stream_id: None,
                failure: None,
                reader: None,
                writer: None,
                watchers: Vec::new(),
            }),
        })
    }

    /// The exchange. Held for a few instructions only.
    pub fn lock(&self) -> MutexGuard<'_, CallState> {
        self.exchange.lock()
    }

    /// Makes a call that nobody else holds as good as new, [`CallState::restart`] apart; `false`
    /// when somebody does. Large buffers are given back.
    pub fn recycle(self: &mut Arc<Self>) -> bool {
        if Arc::get_mut(self).is_none() {
            return false;
        }
        self.queued.store(false, Ordering::Relaxed);
        let mut x = self.exchange.lock();
        x.send.clear();
        x.recv.clear();
        x.deadline = None;
        x.attempts = 0;
        x.seen = false;
        x.again = None;
        x.wait_for_ready = false;
        x.spare = false;
        x.grpc = false;
        x.whole = false;
        x.early = false;
        x.message_max = usize::MAX;
        x.parked = false;
        x.cancel = None;
        x.detached = false;
        x.done = false;
        x.handle = None;
        x.site = None;
        x.seat = None;
        x.key = None;
        x.stream_id = None;
        x.failure = None;
        x.reader = None;
        x.writer = None;
        x.watchers.clear();
        true
    }

    /// Claims the call's place in a mailbox; `false` when it already stands in one.
    pub(crate) fn claim_queue(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }

    /// Gives the bit back. Whoever does so reads the exchange afterwards, or holds its lock: a
    /// change that found the bit taken would be lost otherwise.
    pub(crate) fn leave_queue(&self) {
        self.queued.store(false, Ordering::Release);
    }

    /// Tells the driver that something changed: more to send, bytes consumed, cancelled.
    pub fn notify(self: &Arc<Self>) {
        if !self.claim_queue() {
            return;
        }
        // A hand-over stores its permit under this lock and claims the bit afterwards. The bit is
        // given back under the lock, too: a hand-over that comes later finds it free and pushes.
        let x = self.lock();
        let Some(handle) = x.handle.as_ref().map(|permit| Arc::clone(permit.carrier())) else {
            self.leave_queue();
            return;
        };
        drop(x);
        handle.deliver(Arc::clone(self));
    }
}
