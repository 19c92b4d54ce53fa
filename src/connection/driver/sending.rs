//! Applies the news in the mailbox to streams: new calls, bytes to send, credit, cancellations.

use crate::call::state::ending::wake;
use crate::call::state::{CallState, HeadState, SendEnd, SharedCall, Stage};
use crate::connection::driver::{Core, Entry};
use crate::connection::handle::ConnectionEvent;
use crate::error::{ConnectionFacts, Error, Kind, Phase};
use crate::grpc::status::Code;
use crate::grpc::timeout;
use crate::http2::{Blocked, OpenRefusal, Payload, Role, SendError, StreamId, StreamKey};
use std::sync::Arc;

impl Core {
    /// Handles a call from the mailbox.
    pub(super) fn intake(&mut self, call: Arc<SharedCall>) {
        let id = self.handle.id();
        let (stage, ours) = {
            let mut x = call.lock();
            x.taken(id);
            if x.is_over() {
                let permit = x.take_counted();
                drop(x);
                return drop(permit);
            }
            (x.stage(), x.is_carried_by(id))
        };
        if !ours {
            // It has moved: the connection that carries it has been told.
            return;
        }
        match stage {
            Stage::Open(Some(key)) => self.pump(key, &call),
            Stage::Pending | Stage::Parked if self.conn.role() == Role::Client => {
                self.begin_or_forget(call);
            }
            _ => {}
        }
    }

    /// Handles a call without a stream: it is new, or was cancelled while it waits for the stream limit.
    fn begin_or_forget(&mut self, call: Arc<SharedCall>) {
        let mut x = call.lock();
        let parked = x.stage() == Stage::Parked;
        if x.cancel_code().is_some() {
            let wakers = x.end_cancelled();
            drop(x);
            if parked {
                self.waiting.retain(|other| !Arc::ptr_eq(other, &call));
            }
            return wake(wakers);
        }
        drop(x);
        if parked {
            return;
        }
        if self.closing.is_unwritable() {
            return self.redispatch(call);
        }
        if self.is_unproved() {
            return self.hold(call);
        }
        self.begin(call);
    }

    /// Opens a stream for a new call, or queues the call for the peer's stream limit or the outgoing buffer.
    pub(super) fn begin(&mut self, call: Arc<SharedCall>) {
        if let Err(refusal) = self.conn.may_open() {
            return self.refuse(call, refusal);
        }
        if self.is_out_full() {
            return self.park(call, Phase::WriteQueue);
        }
        let mut x = call.lock();
        if x.cancel_code().is_some() {
            let wakers = x.end_cancelled();
            drop(x);
            return wake(wakers);
        }
        if x.stage() != Stage::Pending || x.send().head() != HeadState::Ready {
            return;
        }
        let remaining = x.deadline().map(|d| d.saturating_duration_since(self.now));
        if remaining.is_some_and(|left| left.is_zero()) {
            drop(x);
            return self.expire_unsent(&call);
        }
        self.lag = self.lag.max(x.timeline().first_phase(self.now));
        x.enter(Phase::WriteQueue, self.now);
        let before = x.send().extra().mark();
        if let (true, Some(left)) = (x.spec().grpc, remaining) {
            x.send_mut().extra_mut().push("grpc-timeout", timeout::encode(left).as_bytes());
        }
        let end = x.send().ends_with_head();
        let head = x.send().fields();
        let entry = Entry { call: Some(Arc::clone(&call)), ..Entry::default() };
        let opened = self.conn.open(&mut self.out, head, end, entry, self.now);
        x.send_mut().extra_mut().rewind(before);
        match opened {
            Ok(key) => {
                let id = self.conn.stream_id(key).map(|id| id.value());
                x.opened(Some(key), id, end);
                if let Some(deadline) = x.deadline() {
                    self.timers.late(deadline);
                }
                self.send_body(key, &mut x);
                let writers = x.take_writers();
                drop(x);
                self.writing.push(key);
                self.last_opened = id.unwrap_or(self.last_opened);
                writers.wake();
            }
            Err((refusal, _)) => {
                drop(x);
                self.refuse(call, refusal);
            }
        }
    }

    fn refuse(&mut self, call: Arc<SharedCall>, refusal: OpenRefusal) {
        match refusal {
            OpenRefusal::StreamLimit => self.park(call, self.quota_phase()),
            OpenRefusal::GoingAway => self.redispatch(call),
            OpenRefusal::IdsExhausted => {
                self.retire();
                self.redispatch(call);
            }
            OpenRefusal::HeadTooLarge { bytes, limit } => {
                let text = format!(
                    "the request's header list measures {bytes} bytes; the peer accepts {limit} \
                     (SETTINGS_MAX_HEADER_LIST_SIZE)"
                );
                let error = Error::local(Kind::Limit, Code::ResourceExhausted, text);
                let error = call.lock().located(error, self.now);
                self.fail_call(&call, error);
            }
            OpenRefusal::Malformed(rule) => {
                let text = format!("the request cannot be sent: {}", rule.text());
                self.fail_call(&call, Error::local(Kind::Misuse, Code::Internal, text));
            }
        }
    }

    /// Queues a call that has no stream.
    pub(super) fn park(&mut self, call: Arc<SharedCall>, phase: Phase) {
        let mut x = call.lock();
        x.parked(phase, self.now);
        if let Some(deadline) = x.deadline() {
            self.timers.late(deadline);
        }
        drop(x);
        self.waiting.push_back(call);
    }

    const fn quota_phase(&self) -> Phase {
        if self.conn.lifecycle().is_handshaken() { Phase::StreamQuota } else { Phase::Settings }
    }

    /// Opens streams for the calls that wait, as far as the peer's limit and the outgoing buffer allow.
    pub(super) fn open_waiting(&mut self) {
        if self.timers.probe.is_some() {
            return;
        }
        while !self.waiting.is_empty() && self.conn.may_open().is_ok() && !self.is_out_full() {
            let Some(call) = self.waiting.pop_front() else { return };
            let pending = call.lock().unparked();
            if pending {
                self.begin(call);
            }
        }
        if self.conn.may_open() == Err(OpenRefusal::IdsExhausted) {
            self.retire();
        }
    }

    /// Tells the owner that this connection takes no new calls.
    pub(super) fn leave_picking(&self) {
        self.handle.goodbye();
        self.tell_owner(ConnectionEvent::Draining);
    }

    /// Stops opening streams: calls move to another connection, and this one ends after its last
    /// stream.
    pub(super) fn retire(&mut self) {
        if self.handle.is_accepting() {
            self.leave_picking();
        }
        while let Some(call) = self.waiting.pop_front() {
            self.redispatch(call);
        }
    }

    /// Handles the news of a call that has a stream. What it sends waits in the call while the outgoing buffer is
    /// full, behind the calls that wait already.
    pub(super) fn pump(&mut self, key: StreamKey, call: &Arc<SharedCall>) {
        let defers = self.is_out_full() || !self.deferred.is_empty();
        self.pump_unless(defers, key, call);
    }

    pub(super) fn pump_unless(&mut self, defers: bool, key: StreamKey, call: &Arc<SharedCall>) {
        let mut x = call.lock();
        x.taken(self.handle.id());
        if x.stream() != Some(key) {
            return;
        }
        if let Some(code) = x.cancel_code() {
            let wakers = x.end_cancelled();
            drop(x);
            wake(wakers);
            self.conn.reset(&mut self.out, key, code);
            self.drop_stream(key);
            return;
        }
        let credit = x.take_credit();
        if credit.bytes() > 0 {
            self.credit(key, credit);
        }
        if defers && x.send().head() != HeadState::None && !x.send().is_end_sent() {
            x.count_queued();
            drop(x);
            return self.defer(key);
        }
        if x.send().head() == HeadState::Ready
            && let Err(failure) = self.send_response_head(key, &mut x)
        {
            drop(x);
            return self.unsendable(key, call, failure);
        }
        if x.send().head() == HeadState::Sent {
            self.send_body(key, &mut x);
        }
        // A server's answer may be complete before the request is.
        let answered = x.send().is_end_sent() && self.conn.role() == Role::Server;
        let over = answered || self.conn.is_closed(key);
        let writers = x.take_writers();
        drop(x);
        writers.wake();
        if over {
            self.release_if_over(key);
        }
    }

    /// Sends a response's head.
    fn send_response_head(&mut self, key: StreamKey, x: &mut CallState) -> Result<(), SendError> {
        let end = x.send().ends_with_head();
        match self.conn.send_head(&mut self.out, key, x.send().fields(), end) {
            Ok(()) => {
                x.send_mut().head_sent(end);
                Ok(())
            }
            Err(SendError::Closed) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Gives the call's bytes to the engine, and the end with them.
    fn send_body(&mut self, key: StreamKey, x: &mut CallState) {
        let send = x.send_mut();
        if send.is_end_sent() {
            return;
        }
        let now = self.now;
        let finish = matches!(send.end(), SendEnd::Finish);
        let Self { conn, out, .. } = self;
        let mut sent = Ok(());
        if send.rest().len() > crate::call::state::INLINE_MAX {
            send.seal();
        }
        while let Some(chunk) = send.take_chunk() {
            let end = finish && send.waiting() == 0;
            sent = conn.send_data(out, key, Payload::Shared(chunk), end, now);
        }
        let rest = send.rest();
        if !rest.is_empty() {
            sent = conn.send_data(out, key, Payload::Borrowed(rest), finish, now);
            send.rest_handed();
        }
        send.set_in_flight(conn.pending(key).1);
        if sent.is_ok() {
            self.send_end(key, x);
        }
    }

    fn send_end(&mut self, key: StreamKey, x: &mut CallState) {
        let Self { conn, out, now, .. } = self;
        let sent = match x.send().end() {
            SendEnd::Open => return,
            SendEnd::Finish => conn.send_data(out, key, Payload::Borrowed(&[]), true, *now),
            SendEnd::Template(template) => conn.send_template_trailers(out, key, template),
            SendEnd::Trailers => conn.send_trailers(out, key, x.send().trailers()),
        };
        // `Finish` may already stand on the last DATA frame; then the stream says "closed".
        if let Err(failure @ (SendError::HeadTooLarge { .. } | SendError::Malformed(_))) = sent {
            self.shorten_trailers(key, x, failure);
        }
        x.send_mut().end_was_sent();
    }

    /// Notes in calls how much of their DATA waits, and for what.
    pub(super) fn report_sending(&mut self) {
        self.conn.take_touched(&mut self.touched);
        for i in 0..self.touched.len() {
            let key = self.touched[i];
            let Some(call) = self.conn.user(key).and_then(|entry| entry.call.clone()) else {
                continue;
            };
            let (blocked, pending) = self.conn.pending(key);
            self.note_stall(key, blocked, pending);
            let mut x = call.lock();
            x.send_mut().set_in_flight(pending);
            x.send_mut().note_blocked(blocked, self.now);
            let phase = match blocked {
                Blocked::StreamWindow => Some(Phase::StreamWindow),
                Blocked::ConnectionWindow => Some(Phase::ConnectionWindow),
                Blocked::Queue => Some(Phase::WriteQueue),
                Blocked::No => None,
            };
            let waited =
                matches!(x.timeline().phase(), Phase::StreamWindow | Phase::ConnectionWindow);
            if let Some(phase) = phase.filter(|_| !x.recv().is_head_ready()) {
                x.enter(phase, self.now);
            } else if waited && pending == 0 {
                // The window has opened: what is left waits for the socket only.
                x.enter(Phase::WriteQueue, self.now);
                self.writing.push(key);
            }
            let writers = x.take_writers();
            drop(x);
            writers.wake();
            self.release_if_over(key);
        }
        self.touched.clear();
    }

    /// Adds phase and connection to an error of this side. The phase in which the request was handed to
    /// the socket is entered here and not at that time, so that a call without an error takes no lock for
    /// it.
    pub(super) fn located(&self, key: StreamKey, x: &mut CallState, error: Error) -> Error {
        if self.conn.role() == Role::Server {
            // The phases are those of a caller.
            let facts = ConnectionFacts {
                stream_id: self.conn.stream_id(key).map(StreamId::value),
                ..self.handle.facts(self.now)
            };
            return error.with_connection(facts);
        }
        let written = self.conn.user(key).and_then(|entry| entry.written);
        if let Some(written) = written.filter(|_| x.timeline().phase() == Phase::WriteQueue) {
            x.enter(Phase::Server, written);
        }
        x.located(error, self.now)
    }

    /// Notes that the outgoing buffer was written, and the requests in it.
    pub(super) fn mark_written(&mut self) {
        if !self.writing.is_empty() {
            self.handle.set_written(self.last_opened);
        }
        for key in self.writing.drain(..) {
            if let Some(entry) = self.conn.user_mut(key) {
                entry.written = Some(self.now);
            }
        }
    }
}
