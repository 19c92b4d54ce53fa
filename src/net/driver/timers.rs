//! One timer a connection: deadlines, and the times after which silence means something.

use super::{Core, DriverOptions, Entry};
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::status::{Code, Status};
use crate::http2::{Connection, ErrorCode, Role, StreamKey};
use crate::net::env;
use crate::net::slot::Slot;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// The opaque octets of the PING that asks whether the peer lives.
pub(super) const DOUBT: [u8; 8] = *b"fw.doubt";
/// Stale deadlines kept before they are swept out.
const STALE: usize = 1024;

/// What waits for the clock.
pub(super) struct Timers {
    deadlines: BinaryHeap<Reverse<(Instant, StreamKey)>>,
    /// The earliest deadline of a call without a stream.
    waiting: Option<Instant>,
    born: Instant,
    heard: Instant,
    /// A PING of doubt is unanswered since; one at a time, and only after the peer was heard.
    doubt: Option<Instant>,
    doubt_spent: bool,
    quiet: Option<Instant>,
    rested: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
}

impl Timers {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            deadlines: BinaryHeap::new(),
            waiting: None,
            born: now,
            heard: now,
            doubt: None,
            doubt_spent: false,
            quiet: None,
            rested: false,
            sleep: None,
            armed: None,
        }
    }

    /// A call on a stream must have ended by `at`.
    pub(super) fn deadline(&mut self, at: Instant, key: StreamKey) {
        self.deadlines.push(Reverse((at, key)));
    }

    /// A call without a stream must have ended by `at`.
    pub(super) fn waiting(&mut self, at: Instant) {
        self.waiting = Some(self.waiting.map_or(at, |old| old.min(at)));
    }

    /// Octets came: the peer lives.
    pub(super) const fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.doubt = None;
    }

    /// HEADERS or DATA came: a server's strike rule starts anew, so doubt is free again.
    pub(super) const fn content(&mut self) {
        self.doubt_spent = false;
    }

    /// A stream began: quiet, if it comes back, begins anew.
    pub(super) const fn stir(&mut self) {
        self.quiet = None;
        self.rested = false;
    }

    pub(super) const fn quiet_since(&self) -> Option<Instant> {
        self.quiet
    }

    /// Notes quiet; `true` once it has lasted for `time`, and at every turn from then on.
    pub(super) fn rest(&mut self, quiet: bool, time: Duration, now: Instant) -> bool {
        if !quiet {
            self.stir();
            return false;
        }
        let since = *self.quiet.get_or_insert(now);
        if now.saturating_duration_since(since) < time {
            return false;
        }
        self.rested = true;
        self.deadlines = BinaryHeap::new();
        true
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    fn pop_due(&mut self, now: Instant) -> Option<StreamKey> {
        if self.next_deadline()? > now {
            return None;
        }
        self.deadlines.pop().map(|Reverse((_, key))| key)
    }

    /// Streams that ended before their deadline leave it behind; they are swept out in bulk.
    fn sweep(&mut self, conn: &Connection<Entry>) {
        if self.deadlines.len() > STALE + 2 * conn.streams() {
            self.deadlines.retain(|Reverse((_, key))| conn.user(*key).is_some());
        }
    }
}

impl Core {
    /// Everything whose time has come.
    pub(super) fn timers(&mut self) {
        let now = self.now;
        if let Err(error) = self.conn.handle_timeout(&mut self.out, now) {
            self.violated(error);
        }
        self.timers.sweep(&self.conn);
        while let Some(key) = self.timers.pop_due(now) {
            self.expire(key);
        }
        if self.timers.waiting.is_some_and(|at| at <= now) {
            self.expire_waiting();
        }
        self.check_silence();
        self.check_stalls();
        if self.conn.role() == Role::Server {
            self.check_age();
        }
        self.check_drain();
    }

    fn check_silence(&mut self) {
        let now = self.now;
        let since = |at: Instant| now.saturating_duration_since(at);
        if !self.conn.lifecycle().is_handshaken()
            && since(self.timers.born) >= self.options.settings_time
        {
            self.end_with(ErrorCode::NO_ERROR, "the peer's SETTINGS did not come in time");
        }
        if self.flush.blocked.is_some_and(|at| since(at) >= self.options.write_stall_time) {
            self.end_with(ErrorCode::NO_ERROR, "the socket took no octet in time");
        }
        let doubt = self.options.doubt_time;
        if self.timers.doubt.is_some_and(|at| since(at) >= doubt) {
            self.end_with(ErrorCode::NO_ERROR, "the peer did not answer a PING in time");
        } else if self.may_doubt() && since(self.timers.heard) >= doubt {
            self.timers.doubt = Some(now);
            self.timers.doubt_spent = true;
            self.conn.ping(&mut self.out, DOUBT);
        }
        if let Some(interval) = self.keepalive()
            && self.timers.doubt.is_none()
            && since(self.timers.heard) >= interval
        {
            self.timers.doubt = Some(now);
            self.conn.ping(&mut self.out, DOUBT);
        }
    }

    fn may_doubt(&self) -> bool {
        self.conn.role() == Role::Client
            && self.conn.streams() > 0
            && self.timers.doubt.is_none()
            && !self.timers.doubt_spent
    }

    fn keepalive(&self) -> Option<Duration> {
        self.options.keepalive.map(|interval| interval.max(Duration::from_secs(10)))
    }

    /// When this connection wants to be looked at again.
    fn next_time(&self) -> Option<Instant> {
        let options: &DriverOptions = &self.options;
        let timers = &self.timers;
        let handshaken = self.conn.lifecycle().is_handshaken();
        let quiet = timers.quiet.filter(|_| !timers.rested);
        let doubt = match timers.doubt {
            Some(at) => Some(at + options.doubt_time),
            None if self.may_doubt() => Some(timers.heard + options.doubt_time),
            None => None,
        };
        let keepalive = self.keepalive().filter(|_| timers.doubt.is_none());
        [
            self.conn.poll_timeout(),
            timers.next_deadline(),
            timers.waiting,
            (!handshaken).then(|| timers.born + options.settings_time),
            self.flush.blocked.map(|at| at + options.write_stall_time),
            doubt,
            keepalive.map(|interval| timers.heard + interval),
            quiet.map(|at| at + options.quiet_time),
            self.memory.next_look(),
            self.next_drain_time(),
            self.next_age_time().filter(|_| handshaken && self.conn.role() == Role::Server),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Sets the timer, lazily: one that fires too early finds nothing to do and is set anew.
    pub(super) fn arm(&mut self, cx: &mut Context<'_>) {
        let Some(at) = self.next_time() else { return };
        if let (Some(armed), Some(sleep)) = (self.timers.armed, &mut self.timers.sleep)
            && armed <= at
            && sleep.as_mut().poll(cx).is_pending()
        {
            return;
        }
        let sleep = self.timers.sleep.get_or_insert_with(|| Box::pin(env::sleep_until(at)));
        sleep.as_mut().reset(tokio::time::Instant::from_std(at));
        self.timers.armed = Some(at);
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// The deadline of a call on a stream has passed.
    fn expire(&mut self, key: StreamKey) {
        let Some(slot) = self.conn.user(key).and_then(|entry| entry.slot.clone()) else { return };
        if self.conn.role() == Role::Server {
            return self.expire_request(key, &slot);
        }
        self.fail_stream(key, deadline_error(Processed::Maybe), ErrorCode::CANCEL);
    }

    pub(super) fn expire_unsent(&mut self, slot: &Arc<Slot>) {
        let phase = slot.lock().timeline.phase();
        self.fail_slot(slot, deadline_error(Processed::No).with_phase(phase));
    }

    fn expire_waiting(&mut self) {
        self.timers.waiting = None;
        let now = self.now;
        for _ in 0..self.waiting.len() {
            let Some(slot) = self.waiting.pop_front() else { break };
            let (deadline, done) = {
                let x = slot.lock();
                (x.deadline, x.done || x.cancel.is_some())
            };
            match deadline {
                _ if done => {}
                Some(at) if at <= now => self.expire_unsent(&slot),
                Some(at) => {
                    self.timers.waiting(at);
                    self.waiting.push_back(slot);
                }
                None => self.waiting.push_back(slot),
            }
        }
    }
}

/// The error of a deadline that passed.
pub(in crate::net) fn deadline_error(processed: Processed) -> Error {
    let status = Status::new(Code::DeadlineExceeded, "the deadline passed");
    Error::new(Kind::Deadline, status, Initiator::Local, processed)
}
