//! A server's requests: planned when the head arrives, run when enough of the body has arrived.

use crate::call::Carrier;
use crate::call::state::{CallState, HeadState, SharedCall};
use crate::connection::driver::Core;
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::request::is_grpc;
use crate::grpc::response;
use crate::grpc::status::{Code, Status};
use crate::http2::{ErrorCode, Fields, Head, SendError, SendHead, StreamKey};
use crate::rt::contain::contain;
use std::sync::Arc;
use std::time::Duration;

/// The shortest deadline whose end excuses a reset: shorter ones cannot be kept by anybody.
const DEADLINE_MIN: Duration = Duration::from_millis(10);

impl Core {
    /// Handles the head of a request.
    pub(super) fn dispatch(&mut self, key: StreamKey, complete: bool) {
        self.timers.end_quiet();
        let Some(dispatch) = self.dispatch.clone() else { return };
        if self.refuses_call(key) {
            return;
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
        if let Some(encoding) = plan.encoding {
            x.announced_by_request(encoding);
        }
        drop(x);
        if let (Some(deadline), Some(timeout)) = (deadline, plan.timeout) {
            self.timers.deadline(deadline, key);
            // The caller's clock began earlier: its reset may come before our deadline.
            if timeout >= DEADLINE_MIN {
                self.conn.peer_deadline(key, deadline - timeout / 4);
            }
        }
        if !complete && !plan.grpc {
            self.ask_for_body(key, &call);
        }
        if plan.whole && !complete {
            if let Some(entry) = self.conn.user_mut(key) {
                entry.handler = Some(plan.handler);
            }
            return;
        }
        self.run(key, call, plan.handler);
    }

    /// Tells a caller that holds its body back to send it.
    // RFC 9110 §10.1.1: expect: 100-continue is answered by 100, unless the answer is final
    fn ask_for_body(&mut self, key: StreamKey, call: &Arc<SharedCall>) {
        let x = call.lock();
        let expects = x.recv().head().fields().get("expect");
        if !expects.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue")) {
            return;
        }
        drop(x);
        let mut fields = Fields::new();
        fields.push(":status", "100");
        let head = SendHead { template: None, extra: &fields };
        // An error means that the stream is closed.
        let _ = self.conn.send_head(&mut self.out, key, head, false);
    }

    /// Runs the handler of a request that has ended, if it waited for the end.
    pub(super) fn request_complete(&mut self, key: StreamKey) {
        let Some(entry) = self.conn.user_mut(key).filter(|entry| !entry.held) else { return };
        let Some(handler) = entry.handler.take() else { return };
        let Some(call) = entry.call.clone() else { return };
        // The handler gets the whole request, whether DATA or trailers ended it: nothing is held for it.
        self.release_all(key);
        self.run(key, call, handler);
    }

    /// Refuses a request if memory is short. It definitely did not run, so the client may replay it. One call per
    /// connection always runs.
    fn refuses_call(&mut self, key: StreamKey) -> bool {
        let refuses = self.memory.refuses_call(self.conn.streams(), self.handle.queued_bytes());
        if refuses {
            self.conn.reset(&mut self.out, key, ErrorCode::REFUSED_STREAM);
            self.drop_stream(key);
        }
        refuses
    }

    /// Drops the handler of a request whose deadline has passed, and answers DEADLINE_EXCEEDED.
    pub(super) fn expire_request(&mut self, key: StreamKey, call: &Arc<SharedCall>) {
        let status = Status::new(Code::DeadlineExceeded, "the deadline passed on the server");
        self.end_request(key, call, status, Kind::Deadline);
    }

    /// Drops the handler of a request, answers with `status`, and ends the stream.
    pub(super) fn end_request(
        &mut self,
        key: StreamKey,
        call: &Arc<SharedCall>,
        status: Status,
        kind: Kind,
    ) {
        let Some(whole) = self.conclude(key, call, status, kind) else { return };
        // Trailers behind a closed window never leave: then the answer is not complete.
        let code = if whole { ErrorCode::NO_ERROR } else { ErrorCode::CANCEL };
        self.conn.reset(&mut self.out, key, code);
        self.drop_stream(key);
    }

    /// Drops a request's handler and answers with `status`. Returns whether the answer is complete, or
    /// `None` if the handler's own answer was.
    pub(super) fn conclude(
        &mut self,
        key: StreamKey,
        call: &Arc<SharedCall>,
        status: Status,
        kind: Kind,
    ) -> Option<bool> {
        self.abort(key);
        let mut x = call.lock();
        if x.send().is_end_sent() {
            return None;
        }
        let sent = x.send().head() == HeadState::Sent;
        let grpc = is_grpc(x.recv().head());
        let error = Error::new(kind, status.clone(), Initiator::Local, Processed::Maybe);
        // First: a handler that is not dropped yet must not see the end of a request that was cut.
        x.cut_request(&error);
        drop(x);
        let limit = self.head_limit();
        let mut fields = Fields::new();
        match (sent, grpc) {
            (true, true) => {
                status.to_trailers(&mut fields, limit);
                let _ = self.conn.send_trailers(&mut self.out, key, &fields);
                call.lock().send_mut().end_was_sent();
            }
            (false, true) => {
                self.answer(key, call, &response::trailers_only(&status, limit));
            }
            (false, false) => {
                fields.push(":status", "503");
                self.answer(key, call, &fields);
            }
            // A plain response that has begun cannot carry a status: only a reset can end it.
            (true, false) => return Some(false),
        }
        self.fail_call(call, error);
        Some(self.conn.pending(key).1 == 0)
    }

    /// Answers a request that exceeds a limit. Returns `false` if its handler has begun.
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

    /// Answers with the reason why the handler's head cannot be sent, or resets the stream if that is too
    /// large as well.
    pub(super) fn unsendable(
        &mut self,
        key: StreamKey,
        call: &Arc<SharedCall>,
        failure: SendError,
    ) {
        let limit = self.head_limit();
        let mut x = call.lock();
        let grpc = is_grpc(x.recv().head());
        let status = replacement(x.send().extra(), failure);
        let error = Error::new(Kind::Limit, status.clone(), Initiator::Local, Processed::Maybe);
        x.cut_request(&error);
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
        self.fail_call(call, error);
        let code = if fits { ErrorCode::NO_ERROR } else { ErrorCode::INTERNAL_ERROR };
        self.conn.reset(&mut self.out, key, code);
        self.drop_stream(key);
    }

    /// Sends a status that fits instead of trailers that cannot be sent.
    pub(super) fn shorten_trailers(&mut self, key: StreamKey, x: &CallState, failure: SendError) {
        let mut fields = Fields::new();
        if is_grpc(x.recv().head()) {
            replacement(x.send().trailers(), failure).to_trailers(&mut fields, self.head_limit());
        }
        if fields.is_empty() || self.conn.send_trailers(&mut self.out, key, &fields).is_err() {
            self.conn.reset(&mut self.out, key, ErrorCode::INTERNAL_ERROR);
        }
    }

    /// Returns the size of a field list that the peer accepts.
    fn head_limit(&self) -> usize {
        let limit = self.conn.peer_settings().max_header_list_size;
        limit.map_or(usize::MAX, |bytes| bytes as usize)
    }

    /// Answers with a head alone. It is short, and does not wait for the outgoing buffer.
    fn answer(&mut self, key: StreamKey, call: &Arc<SharedCall>, fields: &Fields) {
        call.lock().answer_with_head(fields);
        self.pump_unless(false, key, call);
    }

    /// Drops a handler that runs, unless it was detached.
    pub(super) fn abort(&mut self, key: StreamKey) {
        let Some(entry) = self.conn.user_mut(key) else { return };
        entry.handler = None;
        let detached = entry.call.as_ref().is_some_and(|call| call.lock().is_detached());
        match entry.abort.take() {
            Some(task) if detached => self.handlers.outlives(task),
            Some(task) => task.abort(),
            None => {}
        }
    }
}

/// Returns the answer to a request whose plan panicked.
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

/// Returns the status to send instead of fields that cannot be sent: their own, to be shortened, or the
/// reason if they are too large or were OK.
fn replacement(fields: &Fields, failure: SendError) -> Status {
    let too_large = matches!(failure, SendError::HeadTooLarge { .. });
    match Status::from_trailers(fields) {
        Some(status) if too_large && !status.is_ok() => status,
        _ => {
            let code = if too_large { Code::ResourceExhausted } else { Code::Internal };
            Status::new(code, format!("the response cannot be sent: {failure}"))
        }
    }
}

/// Returns the answer to a head that no handler may see.
fn refusal(head: &Head) -> Option<Fields> {
    let (code, text, plain) = if let Some(over) = head.over_limit() {
        (Code::ResourceExhausted, format!("the request's header list {over}"), "431")
    } else if head.host_differs() {
        (Code::Internal, "the request's host differs from its :authority".to_owned(), "400")
    } else if head.host_missing() {
        (Code::Internal, "the request has neither :authority nor host".to_owned(), "400")
    } else {
        return None;
    };
    if is_grpc(head) {
        return Some(response::trailers_only(&Status::new(code, text), usize::MAX));
    }
    let mut fields = Fields::new();
    fields.push(":status", plain);
    Some(fields)
}
