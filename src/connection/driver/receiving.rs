//! Applies the engine's events to calls.
//!
//! hot: one call lock per event, no allocation in steady state.

use crate::call::Permit;
use crate::call::deadline::deadline_error;
use crate::call::state::ending::wake_one;
use crate::call::state::{HeadArrival, SharedCall};
use crate::connection::driver::{Core, Entry};
use crate::connection::handle::ConnectionEvent;
use crate::error::{DEBUG_BYTES, Error, Initiator, Kind, Phase, Processed};
use crate::grpc::status::{Code, Status};
use crate::grpc::status_map;
use crate::http2::{
    Cause, ErrorCode, Event, Head, OverLimit, RecvBuffer, Role, StreamId, StreamKey,
};
use std::sync::Arc;
use std::time::Instant;

/// What is left to do after the event's borrows have ended.
enum Then {
    Nothing,
    /// The peer's side has ended.
    Ended(StreamKey),
    /// Bytes were assembled on arrival; so many of the message are to come.
    Assembled(StreamKey, u32, usize),
    /// The last bytes were assembled, and the peer's side has ended with them.
    Whole(StreamKey, u32),
    /// The call cannot continue: reset the stream and fail the call.
    Fail(StreamKey, Error),
    /// A request began; `true` when it is complete.
    Dispatch(StreamKey, bool),
    /// A request is complete.
    Complete(StreamKey),
    Reset(StreamKey, Cause),
    Settings(bool),
    Pong([u8; 8]),
    GoAway(ErrorCode, StreamId, Vec<u8>),
}

impl Core {
    /// Handles one event. Returns `Some(false)` if more bytes are needed, `None` if the connection is over.
    pub(super) fn next(&mut self, recv: &mut RecvBuffer) -> Option<bool> {
        let now = self.now;
        let server = self.conn.role() == Role::Server;
        let Self { conn, out, spare, handle, timers, .. } = self;
        let then = match conn.next_event(recv, out, now) {
            Err(error) => {
                self.violated(error);
                return None;
            }
            Ok(None) => return Some(false),
            Ok(Some(event)) => match event {
                Event::Head { key, id, user, head, end_stream } if server => {
                    let call = fresh(spare, now);
                    let mut x = call.lock();
                    let permit = Permit::uncounted(handle.clone());
                    x.request_received(Some(key), Some(id.value()), permit, head, end_stream);
                    drop(x);
                    user.call = Some(call);
                    Then::Dispatch(key, end_stream)
                }
                Event::Head { key, user, head, end_stream, .. } => {
                    timers.content();
                    response_head(key, user, head, end_stream, now)
                }
                Event::Informational { .. } => Then::Nothing,
                Event::Data { key, user, data, end_stream } => {
                    timers.content();
                    body(key, user, data, end_stream, server)
                }
                Event::Trailers { key, user, head } => {
                    timers.content();
                    trailers(key, user, head, server)
                }
                Event::Reset { key, cause, .. } => Then::Reset(key, cause),
                Event::Settings { first } => Then::Settings(first),
                Event::Pong(opaque) => Then::Pong(opaque),
                Event::GoAway { code, last_stream_id, debug } => {
                    Then::GoAway(code, last_stream_id, debug.to_vec())
                }
            },
        };
        self.then(then);
        Some(true)
    }

    fn then(&mut self, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Ended(key) => self.response_ended(key),
            Then::Assembled(key, bytes, expected) => {
                self.assemble(key, bytes);
                self.prefetch(key, expected);
            }
            Then::Whole(key, bytes) => {
                self.conn.assemble(&mut self.out, key, bytes);
                match self.conn.role() {
                    Role::Client => self.response_ended(key),
                    Role::Server => self.request_complete(key),
                }
            }
            Then::Fail(key, error) => {
                if error.kind() == Kind::Limit {
                    self.handle.tally().tripped();
                }
                if !self.reject(key, &error) {
                    self.fail_received(key, error);
                }
            }
            Then::Dispatch(key, complete) => self.dispatch(key, complete),
            Then::Complete(key) => self.request_complete(key),
            Then::Reset(key, cause) => self.stream_reset(key, cause),
            Then::Settings(first) => {
                let limit = self.conn.peer_settings().max_concurrent_streams;
                self.handle.set_limit(limit);
                if first {
                    self.timers.settled(self.now);
                    self.handle.set_ready();
                }
                self.open_waiting();
                self.tell_owner(if first {
                    ConnectionEvent::Ready
                } else {
                    ConnectionEvent::StreamLimit
                });
            }
            Then::Pong(opaque) => self.pong(opaque),
            Then::GoAway(code, last, debug) => self.goaway(code, last, &debug),
        }
    }

    /// Ends a stream on which more arrives than this side accepts. A server's caller gets the status.
    fn fail_received(&mut self, key: StreamKey, error: Error) {
        let call = self.conn.user(key).and_then(|entry| entry.call.clone());
        match call.filter(|_| self.conn.role() == Role::Server) {
            Some(call) => self.end_request(key, &call, error.status().clone(), error.kind()),
            None => self.fail_stream(key, error, ErrorCode::CANCEL),
        }
    }

    /// Drops the stream of a response that has ended.
    fn response_ended(&mut self, key: StreamKey) {
        // After a complete response, what is left of the request is not needed.
        self.conn.reset(&mut self.out, key, ErrorCode::CANCEL);
        self.drop_stream(key);
    }

    /// Handles RST_STREAM from the peer, or from this side after a malformed frame.
    fn stream_reset(&mut self, key: StreamKey, cause: Cause) {
        let Some(call) = self.conn.user(key).and_then(|entry| entry.call.clone()) else {
            self.drop_stream(key);
            return;
        };
        let mut x = call.lock();
        let refused = matches!(cause, Cause::ByPeer(code) if status_map::is_unprocessed(code));
        if refused && x.send().is_replayable() && !x.recv().is_head_ready() {
            drop(x);
            if let Some(entry) = self.conn.take(key, &mut self.out) {
                self.forget(key, &entry);
            }
            return self.redispatch(call);
        }
        let unseen = refused && !x.recv().is_head_ready();
        let late = x.deadline().is_some_and(|at| at <= self.now);
        let error = match cause {
            // The peer keeps the same deadline, and its timer was first. grpc-go says so, too.
            Cause::ByPeer(ErrorCode::CANCEL) if late && self.conn.role() == Role::Client => {
                deadline_error(Processed::Maybe).with_h2_code(ErrorCode::CANCEL)
            }
            Cause::ByPeer(code) => {
                let processed = if unseen { Processed::No } else { Processed::Maybe };
                let status = Status::new(
                    status_map::from_h2(code),
                    format!("the peer reset the stream with {code}"),
                );
                Error::new(Kind::Reset, status, Initiator::Remote, processed).with_h2_code(code)
            }
            Cause::Violation(rule) => {
                let status = Status::new(
                    Code::Internal,
                    format!("the peer broke HTTP/2 on this stream: {}", rule.text()),
                );
                Error::new(Kind::Protocol, status, Initiator::Remote, Processed::Maybe)
                    .with_h2_code(rule.code())
            }
        };
        let error = self.located(key, &mut x, error);
        drop(x);
        self.fail_call(&call, error);
        self.drop_stream(key);
    }

    /// Handles GOAWAY: calls that the peer has not processed move, the others continue.
    fn goaway(&mut self, code: ErrorCode, last: StreamId, said: &[u8]) {
        crate::rt::log!(
            debug,
            connection = self.handle.id(),
            code = %code,
            text = %said.get(..DEBUG_BYTES).unwrap_or(said).escape_ascii(),
            "GOAWAY received"
        );
        self.handle.stop_accepting();
        self.closing.peer_said(code, said);
        self.tell_owner(ConnectionEvent::Goaway(code, last));
        self.tell_owner(ConnectionEvent::Draining);
        if code == ErrorCode::ENHANCE_YOUR_CALM && said == b"too_many_pings" {
            self.tell_owner(ConnectionEvent::TooManyPings);
        }
        for key in self.conn.unprocessed() {
            let Some(entry) = self.conn.take(key, &mut self.out) else { continue };
            self.forget(key, &entry);
            if let Some(call) = entry.call {
                self.redispatch(call);
            }
        }
        while let Some(call) = self.waiting.pop_front() {
            self.redispatch(call);
        }
    }
}

/// Returns a call for a request: a recycled one if there is one.
fn fresh(spare: &mut Vec<Arc<SharedCall>>, now: Instant) -> Arc<SharedCall> {
    while let Some(mut call) = spare.pop() {
        if call.recycle() {
            call.lock().restart(now);
            return call;
        }
    }
    SharedCall::new(now)
}

fn response_head(
    key: StreamKey,
    user: &mut Entry,
    head: &mut Head,
    end_stream: bool,
    now: Instant,
) -> Then {
    let Some(call) = &user.call else { return Then::Nothing };
    let mut x = call.lock();
    if let Some(written) = user.written.filter(|_| x.timeline().phase() == Phase::WriteQueue) {
        x.enter(Phase::Server, written);
    }
    x.enter(Phase::Read, now);
    if let Some(over) = head.over_limit() {
        return Then::Fail(key, head_over_limit("the response's header list", over));
    }
    let arrival = x.response_head(head, end_stream);
    drop(x);
    match arrival {
        HeadArrival::Ended => return Then::Ended(key),
        HeadArrival::Declined(error) => return Then::Fail(key, error),
        HeadArrival::Begun(Some(reader)) => wake_one(reader),
        HeadArrival::Begun(None) => {}
    }
    Then::Nothing
}

fn head_over_limit(what: &str, over: OverLimit) -> Error {
    let status = Status::new(Code::ResourceExhausted, format!("{what} {over}"));
    Error::new(Kind::Limit, status, Initiator::Local, Processed::Yes)
}

fn body(key: StreamKey, user: &mut Entry, data: &[u8], end_stream: bool, server: bool) -> Then {
    let Some(call) = &user.call else { return Then::Nothing };
    let mut x = call.lock();
    if let Err(error) = x.body_received(data) {
        return Then::Fail(key, error);
    }
    if end_stream {
        x.peer_ended(None);
    }
    let bytes = data.len() as u32;
    match (x.spec().whole, end_stream) {
        (true, true) => return Then::Whole(key, bytes),
        (true, false) => return Then::Assembled(key, bytes, x.body_expected()),
        (false, _) => {}
    }
    let reader = x.take_reader();
    drop(x);
    if let Some(reader) = reader {
        wake_one(reader);
    }
    match (end_stream, server) {
        (true, false) => Then::Ended(key),
        (true, true) => Then::Complete(key),
        (false, _) => Then::Nothing,
    }
}

fn trailers(key: StreamKey, user: &mut Entry, head: &mut Head, server: bool) -> Then {
    let Some(call) = &user.call else { return Then::Nothing };
    if let Some(over) = head.over_limit() {
        let what =
            if server { "the request's trailer list" } else { "the response's trailer list" };
        return Then::Fail(key, head_over_limit(what, over));
    }
    let mut x = call.lock();
    x.peer_ended(Some(head.fields_mut()));
    if !server {
        return Then::Ended(key);
    }
    let reader = x.take_reader();
    drop(x);
    if let Some(reader) = reader {
        wake_one(reader);
    }
    Then::Complete(key)
}
