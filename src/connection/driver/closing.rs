//! The end of a connection, by error, by loss or after a drain. Every call ends or moves, once.

use crate::call::send::KEPT;
use crate::call::state::SharedCall;
use crate::call::state::ending::{Wakers, wake};
use crate::connection::driver::Core;
use crate::connection::driver::flush::OUT_MAX;
use crate::connection::handle::{ConnectionEvent, DisconnectReason, Handle, why_dropped};
use crate::error::{DEBUG_BYTES, Error, Initiator, Kind, Phase, Processed};
use crate::grpc::status::{Code, Status};
use crate::http2::connection::lifecycle::Life;
use crate::http2::{Blocked, ConnectionError, ErrorCode, Role, SendBuffer, StreamKey};
use crate::transport::connect_error::refusal_of;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Why a server closes a silent connection.
const NO_CAPACITY: &str = "max_connections is reached, and this connection was silent for longest";
/// The largest number of calls that a server's connection keeps for reuse.
const SPARE: usize = 256;
/// How many of them keep buffers of [`KEPT`] bytes; the others keep [`SPARE_KEPT`].
const SPARE_LARGE: usize = 16;
const SPARE_KEPT: usize = 1024;

/// Why the connection ends, and how far a graceful close has come.
#[derive(Debug, Default)]
pub(super) struct Closing {
    cause: Option<(String, Initiator, Option<ErrorCode>)>,
    ending: Option<DisconnectReason>,
    /// The server did not accept the client's certificate.
    refused: bool,
    /// How the byte stream failed.
    io: Option<Arc<io::Error>>,
    /// Client: how writing failed, and until when what had arrived before is read.
    pub(super) unwritable: Option<(io::Error, Instant)>,
    goaway: Option<(ErrorCode, Vec<u8>)>,
    /// The first GOAWAY of a graceful close was sent.
    pub(super) soon: Option<Instant>,
    /// The second GOAWAY was sent.
    pub(super) now: bool,
    pub(super) forced: bool,
    /// The last bytes, GOAWAY at their end: nothing that is produced later is sent.
    pub(super) last: Option<SendBuffer>,
    /// The socket is closed at once: the peer is dead, or abuses this side.
    pub(super) abrupt: bool,
    /// Where a server's last answers end in all bytes of the connection.
    pub(super) ends: VecDeque<u64>,
    /// The task was dropped: calls end here and do not move.
    abandoned: bool,
}

impl Closing {
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
        self.because(why_dropped().to_owned(), Initiator::Local, None);
        self.ending.get_or_insert(DisconnectReason::Shutdown);
    }

    pub(super) fn peer_said(&mut self, code: ErrorCode, debug: &[u8]) {
        let debug = debug.get(..DEBUG_BYTES).unwrap_or(debug);
        self.goaway = Some((code, debug.to_vec()));
    }

    fn because(&mut self, text: String, initiator: Initiator, code: Option<ErrorCode>) {
        self.cause.get_or_insert((text, initiator, code));
    }

    pub(super) fn ending(&self) -> DisconnectReason {
        self.ending.unwrap_or_default()
    }

    pub(super) const fn is_unwritable(&self) -> bool {
        self.unwritable.is_some()
    }

    pub(super) fn unwritable_until(&self) -> Option<Instant> {
        self.unwritable.as_ref().map(|(_, until)| *until)
    }

    /// Returns the error that counts at the end of the byte stream: the first one, unless the peer has said
    /// meanwhile why it refuses this side.
    fn first_error(&mut self, last: Option<io::Error>) -> Option<io::Error> {
        let refused = last.as_ref().is_some_and(|error| refusal_of(error).is_some());
        let first = self.unwritable.take().filter(|_| !refused);
        first.map(|(error, _)| error).or(last)
    }

    pub(super) fn io(&self) -> Option<Arc<io::Error>> {
        self.io.clone()
    }

    /// Returns the error of a call that the connection's end has ended.
    pub(super) fn error(&self, handle: &Handle, now: Instant) -> Option<Error> {
        let (text, initiator, code) = self.cause.as_ref()?;
        let status = Status::new(Code::Unavailable, text.clone());
        // RFC 8446 §4.4.2.4: who refuses the certificate ends the handshake, and reads no request.
        let kind = if self.refused { Kind::Connect } else { Kind::ConnectionLost };
        let processed = if self.refused { Processed::No } else { Processed::Maybe };
        let mut error =
            Error::new(kind, status, *initiator, processed).with_connection(handle.facts(now));
        if let Some(code) = code {
            error = error.with_h2_code(*code);
        }
        if let Some((_, debug)) = &self.goaway {
            error = error.with_debug(debug);
        }
        if let Some(io) = self.io() {
            error = error.with_source(io);
        }
        Some(error)
    }
}

impl Core {
    /// Notes that the byte stream has ended or failed.
    pub(super) fn lost(&mut self, error: Option<io::Error>) {
        let error = self.closing.first_error(error);
        if self.conn.life() != Life::Closed || self.conn.streams() > 0 {
            let client = self.conn.role() == Role::Client;
            let refusal = error.as_ref().filter(|_| client).and_then(refusal_of);
            self.closing.refused = refusal.is_some();
            let (text, initiator) = match (refusal, &error) {
                (Some(refusal), _) => (refusal, Initiator::Remote),
                (None, Some(error)) => (format!("the connection was lost: {error}"), Initiator::Io),
                (None, None) => ("the peer closed the connection".to_owned(), Initiator::Remote),
            };
            self.closing.because(text, initiator, None);
            let ending = error.as_ref().map_or(DisconnectReason::Aborted, DisconnectReason::of);
            if self.conn.life() != Life::Closed {
                self.closing.ending.get_or_insert(ending);
            }
            if ending == DisconnectReason::TimedOut {
                self.died_silently();
            }
        }
        self.closing.io = self.closing.io.take().or_else(|| error.map(Arc::new));
        self.handle.stop_accepting();
        self.conn.close();
        self.flush.failed = true;
    }

    /// Notes that the peer broke the protocol: the engine has written GOAWAY to the outgoing buffer.
    pub(super) fn violated(&mut self, error: ConnectionError) {
        // The engine repeats the error whenever it is asked.
        if self.closing.last.is_some() {
            return;
        }
        crate::rt::log!(debug, connection = self.handle.id(), %error, "connection error");
        let code = error.violation.code();
        self.closing.because(error.to_string(), Initiator::Remote, Some(code));
        self.closing.ending.get_or_insert(DisconnectReason::Socket);
        if code == ErrorCode::ENHANCE_YOUR_CALM {
            self.handle.tally().tripped();
            self.closing.abrupt = true;
        }
        self.handle.stop_accepting();
        if self.drop_unsent() {
            self.conn.goaway_of_error(&mut self.out);
        }
        self.seal();
    }

    /// Ends the connection from this side.
    pub(super) fn end_with(&mut self, code: ErrorCode, text: &'static str) {
        if self.conn.life() == Life::Closed {
            return;
        }
        self.closing.because(text.to_owned(), Initiator::Io, None);
        self.closing.ending.get_or_insert(DisconnectReason::TimedOut);
        self.handle.stop_accepting();
        self.drop_unsent();
        self.conn.goaway_now(&mut self.out, code, text);
        self.conn.close();
        self.seal();
    }

    /// Returns whether the task may end.
    pub(super) fn is_over(&self) -> bool {
        let idle = self.conn.streams() == 0 && self.waiting.is_empty();
        match self.conn.life() {
            Life::Closed => true,
            Life::Closing if self.conn.role() == Role::Client => idle,
            Life::Closing => {
                let said = self.conn.lifecycle();
                let last =
                    self.closing.now || said.received().is_some() || self.handle.is_goodbye();
                // What is left in the buffer is written, or given up, by `Linger`.
                idle && last
            }
            Life::Handshaking | Life::Active => false,
        }
    }

    /// Returns whether the socket may be read.
    pub(super) fn may_read(&self) -> bool {
        self.conn.life() != Life::Closed && self.out.len() < OUT_MAX
    }

    /// Sends GOAWAY if the client's channel is closed, or if a server closes the connection for another one:
    /// it ends after its last call, or when the channel waits no longer.
    pub(super) fn check_goodbye(&mut self) {
        if !self.handle.is_goodbye() {
            return;
        }
        let server = self.conn.role() == Role::Server;
        if server && self.conn.life() == Life::Handshaking {
            return self.end_with(ErrorCode::NO_ERROR, NO_CAPACITY);
        }
        if self.conn.life() == Life::Active {
            let text = if server { NO_CAPACITY } else { "" };
            self.conn.goaway_now(&mut self.out, ErrorCode::NO_ERROR, text);
            // Calls that wait for the peer's limit move to another connection.
            while let Some(call) = self.waiting.pop_front() {
                self.redispatch(call);
            }
        }
        if self.handle.is_cut() {
            for key in self.conn.keys() {
                let text = "the channel was closed, and its limit passed before the call ended";
                let status = Status::new(Code::Cancelled, text);
                let error = Error::new(Kind::Shutdown, status, Initiator::Local, Processed::Maybe);
                self.fail_stream(key, error, ErrorCode::CANCEL);
            }
        }
    }

    /// Drops a stream that is over, and completes its call.
    pub(super) fn drop_stream(&mut self, key: StreamKey) {
        if self.conn.role() == Role::Server {
            if self.is_answered(key) {
                self.note_end();
            } else {
                self.abort(key);
            }
        }
        let Some(entry) = self.conn.take(key, &mut self.out) else { return };
        self.forget(key, &entry);
        if let Some(task) = entry.abort {
            self.handlers.outlives(task);
        }
        let Some(call) = entry.call else { return };
        let mut x = call.lock();
        // A call that ended before, with an error, may be on its way to another connection.
        let ours = x.stream() == Some(key) && x.is_carried_by(self.handle.id());
        if ours || x.is_over() {
            // The phase until the caller takes the result.
            x.enter(Phase::Caller, self.now);
            x.send_mut().note_blocked(Blocked::No, self.now);
        }
        let wakers = if ours { x.complete() } else { Wakers::default() };
        drop(x);
        if self.conn.role() == Role::Server {
            self.keep_spare(call);
        } else {
            // Before the caller wakes, so that it finds the call its own and recycles it.
            drop(call);
        }
        wake(wakers);
    }

    /// Keeps the call of an ended stream for another one. A handler may still hold it: it is made new when it
    /// is needed, large buffers go now. What has arrived and was not read stays with the call: nothing is taken
    /// from under a reader.
    fn keep_spare(&mut self, mut call: Arc<SharedCall>) {
        if self.spare.len() >= SPARE {
            return;
        }
        let kept = if self.spare.len() < SPARE_LARGE { KEPT } else { SPARE_KEPT };
        let Some(large) = call.lock().shrink(kept) else { return };
        // Fields that a handler may still read are its own from here on.
        if !large || call.recycle() {
            self.spare.push(call);
        }
    }

    /// Returns whether the handler of a request has sent all of its answer.
    fn is_answered(&self, key: StreamKey) -> bool {
        self.conn.user(key).and_then(|e| e.call.as_ref()).is_some_and(|call| {
            let x = call.lock();
            x.send().is_end_sent() && x.cancel_code().is_none()
        })
    }

    /// Drops the stream if both sides have ended, or if a server's response has.
    pub(super) fn release_if_over(&mut self, key: StreamKey) {
        let Some(entry) = self.conn.user(key) else { return };
        let ended = entry.call.as_ref().is_some_and(|call| {
            let x = call.lock();
            x.send().is_end_sent() && x.send().in_flight() == 0
        });
        let server = self.conn.role() == Role::Server;
        if server && ended && self.conn.pending(key).1 == 0 {
            // The answer is complete: what is left of the request is not needed.
            self.conn.reset(&mut self.out, key, ErrorCode::NO_ERROR);
        }
        if self.conn.is_closed(key) {
            self.drop_stream(key);
        }
    }

    /// Resets a stream and fails its call.
    pub(super) fn fail_stream(&mut self, key: StreamKey, error: Error, code: ErrorCode) {
        if let Some(call) = self.conn.user(key).and_then(|entry| entry.call.clone()) {
            let error = self.located(key, &mut call.lock(), error);
            self.fail_call(&call, error);
        }
        self.conn.reset(&mut self.out, key, code);
        self.drop_stream(key);
    }

    /// Fails a call.
    pub(super) fn fail_call(&self, call: &Arc<SharedCall>, error: Error) {
        let wakers = call.lock().fail(error);
        wake(wakers);
    }

    /// Returns a call that the peer definitely did not process to the owner, which replays it on another
    /// connection or ends it.
    pub(super) fn redispatch(&self, call: Arc<SharedCall>) {
        let otherwise = |answered| self.not_processed(answered);
        self.handle.send_back(call, !self.closing.abandoned, otherwise);
    }

    fn not_processed(&self, answered: bool) -> Error {
        if self.closing.abandoned {
            return self.handle.task_ended();
        }
        let text = if answered {
            "the peer went away and disowned the call, although it had begun to answer"
        } else {
            "the peer went away before it acted on the call, and more of it was sent than is kept for \
             another connection (Advanced::replay_bytes, replay_total_bytes)"
        };
        let status = Status::new(Code::Unavailable, text);
        let error = Error::new(Kind::GoAway, status, Initiator::Remote, Processed::No)
            .with_connection(self.handle.facts(self.now));
        match &self.closing.goaway {
            Some((code, debug)) => error.with_h2_code(*code).with_debug(debug),
            None => error,
        }
    }

    /// Ends every call that is left, or moves it.
    pub(super) fn settle(&mut self) {
        let lost = self.closing.error(&self.handle, self.now);
        let lost = lost.unwrap_or_else(|| {
            let status = Status::new(Code::Unavailable, "the connection was closed");
            Error::new(Kind::ConnectionLost, status, Initiator::Local, Processed::Maybe)
                .with_connection(self.handle.facts(self.now))
        });
        for key in self.conn.keys() {
            let entry = self.conn.user(key);
            let written = entry.and_then(|entry| entry.written).is_some();
            let Some(call) = entry.and_then(|entry| entry.call.clone()) else { continue };
            let mut x = call.lock();
            let unsent = self.conn.role() == Role::Client && !written && !x.recv().is_head_ready();
            let error = self.located(key, &mut x, lost.clone());
            drop(x);
            self.abort(key);
            if unsent && self.flushed_nothing_of(key) {
                if let Some(entry) = self.conn.user_mut(key) {
                    entry.call = None;
                }
                let error = error.with_processed(Processed::No);
                self.handle.send_back(call, !self.closing.abandoned, |_| error);
            } else {
                self.fail_call(&call, error);
            }
        }
        for key in self.conn.keys() {
            self.drop_stream(key);
        }
        while let Some(call) = self.waiting.pop_front() {
            self.redispatch(call);
        }
    }

    /// Returns whether no byte of the stream's request was written: no byte of the buffer was.
    fn flushed_nothing_of(&self, key: StreamKey) -> bool {
        self.writing.contains(&key) && self.flush.is_whole()
    }

    pub(super) fn tell_owner(&self, change: ConnectionEvent) {
        if let Some(owner) = self.handle.owner() {
            owner.changed(&self.handle, change);
        }
    }
}
