//! The graceful close of a server's connections: two GOAWAYs with a PING between, the streams' end,
//! and a hard limit.

use crate::connection::driver::Core;
use crate::connection::driver::lingering::Lingering;
use crate::connection::handle::Handle;
use crate::error::Kind;
use crate::grpc::status::{Code, Status};
use crate::http2::connection::lifecycle::Life;
use crate::http2::{ErrorCode, StreamKey};
use crate::rt::sync::{AtomicBool, Mutex, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The opaque bytes of the PING between the two GOAWAYs of a graceful close.
const DRAIN: [u8; 8] = *b"fw.drain";
/// The status message of streams that are cut at the drain's hard limit.
const CUT: &str = "the server is shutting down, and its drain limit passed before the call ended";
/// The status message of streams that are cut for the connection's age.
const AGED: &str =
    "the connection reached its maximum age, and its grace passed before the call ended";
/// The shortest silence after which a connection closes so that another one may come.
pub(crate) const SILENT_MIN: Duration = Duration::from_secs(1);
/// Time for the answer to that PING before the second GOAWAY is sent anyway.
const DRAIN_PING: Duration = Duration::from_secs(5);

/// A request to close the connections of a server, shared by all of them.
#[derive(Debug)]
pub struct Drain {
    /// A copy of `wanted.is_some()`: drivers read it every turn, without a lock.
    asked: AtomicBool,
    state: Mutex<DrainState>,
    /// The last connection has ended.
    ended: Notify,
    lingering: Lingering,
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Default)]
struct DrainState {
    /// When the drain began, and when the streams that are left are cut.
    wanted: Option<(Instant, Instant)>,
    connections: Vec<Arc<Handle>>,
    /// Sockets that were accepted and are no connections yet: their handshakes go on.
    arriving: usize,
    report: DrainReport,
}

/// What a drain did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Connections that closed after the peer's system had acknowledged every byte of their answers. Where the system does
    /// not say what was acknowledged (other systems than Linux, pipes), the bytes that the socket took
    /// count as acknowledged.
    pub drained: usize,
    /// Streams that were cut: their handlers had not ended at the limit, or the peer's system had not
    /// acknowledged all of their answers when its connection was closed. Of answers, the last 128 of each
    /// connection count.
    pub forced: usize,
    /// Connections that were closed before the peer's system had acknowledged every answer: it took nothing for
    /// 5 s, the limit passed, or the peer went away.
    pub undelivered: usize,
}

/// What a connection of a server had delivered when it was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// All that it had answered.
    All,
    /// Not all bytes, and not all of the answers of so many streams.
    ButFor(usize),
}

impl Drain {
    /// Creates a drain that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self {
            asked: AtomicBool::new(false),
            state: Mutex::new(DrainState::default()),
            ended: Notify::new(),
            lingering: Lingering::of_server(),
        }
    }

    /// Asks every connection to close by `hard`.
    pub fn begin(&self, now: Instant, hard: Instant) {
        let handles = {
            let mut state = self.state.lock();
            let since = state.wanted.map_or(now, |(since, _)| since);
            state.wanted = Some((since, hard));
            self.asked.store(true, Ordering::Release);
            state.connections.clone()
        };
        for handle in handles {
            handle.mailbox().wake();
        }
        self.lingering.wake();
    }

    pub(super) const fn lingering(&self) -> &Lingering {
        &self.lingering
    }

    /// Closes the connection that has waited longest for its peer to close. Returns `false` if none waits.
    pub(crate) fn cut_oldest(&self) -> bool {
        self.lingering.cut_oldest()
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.lock().connections.len()
    }

    /// Returns the connection without streams that has been silent for longest, and since when.
    pub(crate) fn longest_silent(&self) -> Option<(Instant, Arc<Handle>)> {
        let connections = self.state.lock().connections.clone();
        let silent = connections.into_iter().filter_map(|one| Some((one.silent_since()?, one)));
        silent.min_by_key(|(since, _)| *since)
    }

    /// Counts a socket that was accepted, until its connection has joined or there will be none: the client may
    /// already count on it.
    pub(crate) fn arrive(self: &Arc<Self>) -> Arriving {
        self.state.lock().arriving += 1;
        Arriving(Arc::clone(self))
    }

    /// Waits until no connection is open or arrives. Cancel safe.
    pub async fn ended(&self) {
        loop {
            // Created before the check, so that an end between the two is not missed.
            let ended = self.ended.notified();
            if self.state.lock().is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Returns what was done so far.
    #[must_use]
    pub fn report(&self) -> DrainReport {
        self.state.lock().report
    }

    pub(crate) fn wanted(&self) -> Option<(Instant, Instant)> {
        if !self.asked.load(Ordering::Acquire) {
            return None;
        }
        self.state.lock().wanted
    }

    pub(crate) fn join(&self, handle: &Arc<Handle>) {
        self.state.lock().connections.push(Arc::clone(handle));
    }

    /// Notes that a connection is closed, and what its peer has acknowledged.
    pub(crate) fn leave(&self, handle: &Arc<Handle>, ending: Delivered) {
        let mut state = self.state.lock();
        let before = state.connections.len();
        state.connections.retain(|other| other.id() != handle.id());
        if state.wanted.is_some() && state.connections.len() < before {
            match ending {
                Delivered::All => state.report.drained += 1,
                Delivered::ButFor(streams) => {
                    state.report.undelivered += 1;
                    state.report.forced += streams;
                }
            }
        }
        if state.is_empty() {
            self.ended.notify_waiters();
        }
    }

    pub(crate) fn cut(&self, streams: usize) {
        self.state.lock().report.forced += streams;
    }
}

impl DrainState {
    const fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.arriving == 0
    }
}

/// A socket that was accepted. Dropped, its connection has joined the drain, or there is none.
#[derive(Debug)]
pub(crate) struct Arriving(Arc<Drain>);

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.arriving -= 1;
        if state.is_empty() {
            self.0.ended.notify_waiters();
        }
    }
}

impl Core {
    /// Runs the graceful close: GOAWAY, PING, its answer, GOAWAY, the streams' end.
    pub(super) fn check_drain(&mut self) {
        let Some(hard) = self.drain_wanted() else { return self.check_goodbye() };
        if self.conn.life() == Life::Closed {
            return;
        }
        if !self.conn.lifecycle().is_handshaken() {
            return self.end_with(ErrorCode::NO_ERROR, "the server is shutting down");
        }
        let now = self.now;
        match self.closing.soon {
            None => {
                self.closing.soon = Some(now);
                self.handle.stop_accepting();
                // The first GOAWAY names the largest identifier: requests in flight still arrive.
                self.conn.goaway_soon(&mut self.out);
                self.conn.ping(&mut self.out, DRAIN);
            }
            Some(at) if !self.closing.now && now >= at + DRAIN_PING => self.goaway_last(),
            Some(_) => {}
        }
        if hard.is_some_and(|at| now >= at) && !self.closing.forced {
            self.closing.forced = true;
            let keys = self.conn.keys();
            let text = match self.drain.as_ref().filter(|drain| drain.wanted().is_some()) {
                Some(drain) => {
                    drain.cut(keys.len());
                    CUT
                }
                None => AGED,
            };
            for key in keys {
                self.cut(key, text);
            }
            self.end_with(ErrorCode::NO_ERROR, text);
        }
    }

    /// Ends a stream that has outlived the grace. The caller gets a status; if a closed window holds the
    /// status back, it gets the GOAWAY's text and the connection's end. No code of RST_STREAM fits: CANCEL
    /// reads as the caller's own cancellation, REFUSED_STREAM as not processed.
    fn cut(&mut self, key: StreamKey, text: &'static str) {
        let Some(call) = self.conn.user(key).and_then(|entry| entry.call.clone()) else { return };
        let status = Status::new(Code::Unavailable, text);
        if self.conclude(key, &call, status, Kind::Shutdown) == Some(true) {
            self.conn.reset(&mut self.out, key, ErrorCode::NO_ERROR);
            self.drop_stream(key);
        }
    }

    fn goaway_last(&mut self) {
        self.closing.now = true;
        let word = self.age.retired().map_or("", |retired| retired.word);
        self.conn.goaway_now(&mut self.out, ErrorCode::NO_ERROR, word);
    }

    /// Returns whether this connection drains, for the server or for its own age, and when the streams
    /// that are left are cut.
    fn drain_wanted(&self) -> Option<Option<Instant>> {
        let server = self.drain.as_ref().and_then(|drain| drain.wanted());
        match (server, self.age.retired()) {
            (None, None) => None,
            (server, own) => {
                let hard = [server.map(|(_, hard)| hard), own.and_then(|own| own.hard)];
                Some(hard.into_iter().flatten().min())
            }
        }
    }

    pub(super) fn next_drain_time(&self) -> Option<Instant> {
        let hard = self.drain_wanted()?;
        let ping = self.closing.soon.filter(|_| !self.closing.now).map(|at| at + DRAIN_PING);
        [ping, hard].into_iter().flatten().min()
    }

    pub(super) fn pong(&mut self, opaque: [u8; 8]) {
        self.timers.acknowledged(self.now);
        if opaque == DRAIN && self.closing.soon.is_some() && !self.closing.now {
            self.goaway_last();
        }
    }
}
