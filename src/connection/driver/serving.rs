//! A server's requests: planned at the head, run when there is enough, watched until the end.

use crate::call::served::ServerCall;
use crate::call::state::{CallState, HeadState, SharedCall};
use crate::connection::dispatch::{Cost, Handler, HandlerFuture};
use crate::connection::driver::Core;
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::response;
use crate::grpc::status::{Code, Status};
use crate::http2::{ErrorCode, Fields, Head, SendError, StreamKey};
use crate::rt;
use crate::rt::contain::{Panicked, contain};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

/// Time that a turn spends in handlers polled in place.
const IN_PLACE: Duration = Duration::from_micros(100);

impl Core {
    /// A request's head has come.
    pub(super) fn dispatch(&mut self, key: StreamKey, complete: bool) {
        self.timers.end_quiet();
        let Some(dispatch) = self.dispatch.clone() else { return };
        // It surely did not run, so the client may try again. One call a connection always runs.
        if self.conn.streams() > 1 && self.memory.refuses_calls() {
            self.conn.reset(&mut self.out, key, ErrorCode::REFUSED_STREAM);
            return self.drop_stream(key);
        }
        self.charge_served(key);
        let Some(call) = self.conn.user(key).and_then(|entry| entry.call.clone()) else { return };
        let mut x = call.lock();
        if let Some(answer) = refusal(x.recv().head()) {
            drop(x);
            return self.answer(key, &call, &answer);
        }
        let Ok(plan) = contain(|| dispatch.plan(x.recv().head())) else {
            let answer = panicked(x.recv().head());
            drop(x);
            self.log_panic();
            return self.answer(key, &call, &answer);
        };
        let deadline = plan.timeout.and_then(|timeout| self.now.checked_add(timeout));
        x.planned(plan.grpc, plan.whole, plan.message_max, deadline);
        drop(x);
        if let (Some(deadline), Some(timeout)) = (deadline, plan.timeout) {
            self.timers.deadline(deadline, key);
            // The caller's clock began first: its reset may come a little before our deadline.
            self.conn.patience(key, deadline - timeout / 4);
        }
        if plan.whole && !complete {
            if let Some(entry) = self.conn.user_mut(key) {
                entry.handler = Some(plan.handler);
            }
            return;
        }
        self.run(key, call, plan.handler.as_ref());
    }

    /// A request has come to its end.
    pub(super) fn request_complete(&mut self, key: StreamKey) {
        let Some(entry) = self.conn.user_mut(key) else { return };
        let Some(handler) = entry.handler.take() else { return };
        let Some(call) = entry.call.clone() else { return };
        self.run(key, call, handler.as_ref());
    }

    /// Begins the handler: in place if it has earned that and the turn has time left.
    ///
    /// A server's own handlers contain panics themselves; a panic of any other drops its call,
    /// which resets the stream.
    fn run(&mut self, key: StreamKey, call: Arc<SharedCall>, handler: &dyn Handler) {
        self.conn.dispatched(key);
        let has_time = self.in_place < IN_PLACE;
        // One that has not earned its place is polled here once, too: so it can earn it.
        match handler.cost().filter(|cost| has_time || !cost.is_earned()) {
            Some(cost) => self.poll_once(key, &call, handler, cost),
            None => match contain(|| handler.call(ServerCall::new(call))) {
                Ok(future) => self.spawn(key, future),
                Err(Panicked) => self.log_panic(),
            },
        }
    }

    /// Polls a handler here, and spawns what is left of it.
    fn poll_once(
        &mut self,
        key: StreamKey,
        call: &Arc<SharedCall>,
        handler: &dyn Handler,
        cost: &Cost,
    ) {
        let timed = !cost.is_earned() || cost.is_sample();
        // The call's place in the mailbox is taken: what the handler writes is picked up below.
        let claimed = call.claim_queue();
        // A handler that waits is polled again by its own task, with a waker that counts.
        let mut cx = Context::from_waker(Waker::noop());
        let polled = contain(|| {
            let mut future = handler.call(ServerCall::new(Arc::clone(call)));
            let started = timed.then(rt::now);
            let ready = future.as_mut().poll(&mut cx).is_ready();
            let time = started.map(|started| rt::now().saturating_duration_since(started));
            // Dropped before the call is looked at, so that an answer left unfinished is settled
            // in this turn.
            (time, (!ready).then_some(future))
        });
        if claimed {
            call.leave_queue();
        }
        match polled {
            Ok((time, rest)) => {
                if let Some(time) = time {
                    cost.note(rest.is_none(), time);
                    self.in_place += time;
                }
                if let Some(rest) = rest {
                    self.spawn(key, rest);
                }
            }
            Err(Panicked) => self.log_panic(),
        }
        self.pump(key, call);
    }

    #[cold]
    fn log_panic(&self) {
        tracing::error!(connection = self.handle.id(), "what serves a request panicked");
    }

    fn spawn(&mut self, key: StreamKey, future: HandlerFuture) {
        let task = rt::spawn(future);
        if let Some(entry) = self.conn.user_mut(key) {
            entry.abort = Some(task.abort_handle());
        }
    }

    /// The deadline of a request has passed: its handler is dropped and the caller is told.
    pub(super) fn expire_request(&mut self, key: StreamKey, call: &Arc<SharedCall>) {
        let status = Status::new(Code::DeadlineExceeded, "the deadline passed on the server");
        let Some(whole) = self.conclude(key, call, status, Kind::Deadline) else { return };
        // Trailers behind a closed window never leave: then the answer is not complete.
        let code = if whole { ErrorCode::NO_ERROR } else { ErrorCode::CANCEL };
        self.conn.reset(&mut self.out, key, code);
        self.drop_stream(key);
    }

    /// Drops a request's handler and answers in its place; whether the answer is whole, or `None`
    /// if the handler's own was.
    pub(super) fn conclude(
        &mut self,
        key: StreamKey,
        call: &Arc<SharedCall>,
        status: Status,
        kind: Kind,
    ) -> Option<bool> {
        self.abort(key);
        let x = call.lock();
        let sent = x.send().head() == HeadState::Sent;
        let ended = x.send().is_end_sent();
        let grpc = is_grpc(x.recv().head());
        drop(x);
        if ended {
            return None;
        }
        let limit = self.head_limit();
        let mut fields = Fields::new();
        match (sent, grpc) {
            (true, true) => {
                status.to_trailers(&mut fields, limit);
                let _ = self.conn.send_trailers(&mut self.out, key, &fields);
            }
            (false, true) => {
                self.answer(key, call, &response::trailers_only(&status, limit));
            }
            (false, false) => {
                fields.push(":status", "503");
                self.answer(key, call, &fields);
            }
            // Half of a plain response has no way to say that it will never be whole.
            (true, false) => return Some(false),
        }
        self.fail_call(call, Error::new(kind, status, Initiator::Local, Processed::Maybe));
        Some(self.conn.pending(key).1 == 0)
    }

    /// Answers a request that broke a limit before its handler began; `false` when one is at work.
    pub(super) fn reject(&mut self, key: StreamKey, error: &Error) -> bool {
        let Some(entry) = self.conn.user_mut(key) else { return false };
        let (Some(_), Some(call)) = (entry.handler.take(), entry.call.clone()) else {
            return false;
        };
        let limit = self.head_limit();
        let fields = call.lock().rejection(error, limit);
        // The answer is complete, so the stream is reset with NO_ERROR behind it: no more is read.
        self.answer(key, &call, &fields);
        true
    }

    /// A head that must not be sent: the caller reads why in its place, or sees a reset if not even
    /// that fits.
    pub(super) fn unsendable(
        &mut self,
        key: StreamKey,
        call: &Arc<SharedCall>,
        failure: SendError,
    ) {
        let limit = self.head_limit();
        let x = call.lock();
        let grpc = is_grpc(x.recv().head());
        let status = in_place_of(x.send().extra(), failure);
        drop(x);
        let mut fields = Fields::new();
        if grpc {
            fields = response::trailers_only(&status, limit);
        } else {
            fields.push(":status", "500");
        }
        let fits = fields.list_size() <= limit;
        if fits {
            self.answer(key, call, &fields);
        }
        self.fail_call(call, Error::new(Kind::Limit, status, Initiator::Local, Processed::Maybe));
        let code = if fits { ErrorCode::NO_ERROR } else { ErrorCode::INTERNAL_ERROR };
        self.conn.reset(&mut self.out, key, code);
        self.drop_stream(key);
    }

    /// Trailers that must not be sent: a status that fits goes in their place.
    pub(super) fn shorten_trailers(&mut self, key: StreamKey, x: &CallState, failure: SendError) {
        let mut fields = Fields::new();
        if is_grpc(x.recv().head()) {
            in_place_of(x.send().trailers(), failure).to_trailers(&mut fields, self.head_limit());
        }
        if fields.is_empty() || self.conn.send_trailers(&mut self.out, key, &fields).is_err() {
            self.conn.reset(&mut self.out, key, ErrorCode::INTERNAL_ERROR);
        }
    }

    /// Bytes of a field list that the peer accepts.
    fn head_limit(&self) -> usize {
        let limit = self.conn.peer_settings().max_header_list_size;
        limit.map_or(usize::MAX, |bytes| bytes as usize)
    }

    /// Answers with a head alone.
    fn answer(&mut self, key: StreamKey, call: &Arc<SharedCall>, fields: &Fields) {
        call.lock().answer_with_head(fields);
        self.pump(key, call);
    }

    /// Drops a handler that is at work, unless it was detached.
    pub(super) fn abort(&mut self, key: StreamKey) {
        let Some(entry) = self.conn.user_mut(key) else { return };
        entry.handler = None;
        let detached = entry.call.as_ref().is_some_and(|call| call.lock().is_detached());
        if let Some(task) = entry.abort.take().filter(|_| !detached) {
            task.abort();
        }
    }
}

fn is_grpc(request: &Head) -> bool {
    response::is_grpc(request.fields().get("content-type").unwrap_or_default())
}

/// The answer to a request whose plan panicked.
fn panicked(request: &Head) -> Fields {
    if is_grpc(request) {
        return response::trailers_only(
            &Status::new(Code::Internal, "the server panicked"),
            usize::MAX,
        );
    }
    let mut fields = Fields::new();
    fields.push(":status", "500");
    fields
}

/// What is said in the place of a list that must not be sent: its own status, to be shortened, or
/// why an answer that was OK cannot be had.
fn in_place_of(fields: &Fields, failure: SendError) -> Status {
    let too_large = matches!(failure, SendError::HeadTooLarge { .. });
    match Status::from_trailers(fields) {
        Some(status) if too_large && !status.is_ok() => status,
        _ => {
            let code = if too_large { Code::ResourceExhausted } else { Code::Internal };
            Status::new(code, format!("the response cannot be sent: {failure}"))
        }
    }
}

/// The answer to a head that no handler should see.
fn refusal(head: &Head) -> Option<Fields> {
    let mut fields = Fields::new();
    if head.over_limit().is_some() {
        // The status that a gRPC caller understands rides along with the HTTP one.
        fields.push(":status", "431");
        fields.push("grpc-status", Code::ResourceExhausted.digits());
        fields.push("grpc-message", "the request's header list is over this server's limit");
        return Some(fields);
    }
    if head.host_differs() {
        fields.push(":status", "400");
        return Some(fields);
    }
    None
}
