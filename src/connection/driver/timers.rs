//! One timer per connection: deadlines of calls, and limits on silence.

use crate::connection::driver::peer::PeerWatch;
use crate::connection::driver::{ConnectionOptions, Core, Entry};
use crate::connection::keepalive::Strikes;
use crate::http2::{Connection, Role, StreamKey};
use crate::rt;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// Stale deadlines that are kept before they are removed.
const STALE: usize = 1024;
/// The longest round trip that is inferred from the peer's SETTINGS.
const RTT_MAX: Duration = Duration::from_secs(1);

/// What waits for a time.
pub(super) struct Timers {
    /// Server: of requests.
    deadlines: BinaryHeap<Reverse<(Instant, StreamKey)>>,
    /// Client: when a call may be past its deadline that nobody polls.
    pub(super) late: Option<Instant>,
    pub(super) born: Instant,
    pub(super) heard: Instant,
    /// Since when a PING of doubt is unanswered. At most one is, and only after the peer was heard.
    pub(super) doubt: Option<Instant>,
    pub(super) doubt_spent: bool,
    /// Since when there are calls.
    pub(super) busy: Option<Instant>,
    /// Calls are held until the peer answers a probe, at most until then.
    pub(super) probe: Option<Instant>,
    /// When a live peer would have answered the probe.
    pub(super) overdue: Option<Instant>,
    pub(super) strikes: Strikes,
    /// The engine's measuring PINGs that `strikes` knows of: sent, answered.
    pub(super) measured: (u32, u32),
    /// The last round trip in microseconds.
    rtt: u32,
    quiet: Option<Instant>,
    /// Buffers were released since the connection is quiet.
    pub(super) released: bool,
    died: bool,
    /// Calls no longer come here because a PING stayed unanswered.
    pub(super) unanswered: bool,
    pub(super) peer: PeerWatch,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
}

impl Timers {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            deadlines: BinaryHeap::new(),
            late: None,
            born: now,
            heard: now,
            doubt: None,
            doubt_spent: false,
            busy: None,
            probe: None,
            overdue: None,
            strikes: Strikes::new(),
            measured: (0, 0),
            rtt: 0,
            quiet: None,
            released: false,
            died: false,
            unanswered: false,
            peer: PeerWatch::new(),
            sleep: None,
            armed: None,
        }
    }

    /// Notes the deadline of a request.
    pub(super) fn deadline(&mut self, at: Instant, key: StreamKey) {
        self.deadlines.push(Reverse((at, key)));
    }

    /// Notes that bytes came: the peer is alive.
    pub(super) const fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.doubt = None;
        self.probe = None;
        self.overdue = None;
    }

    /// Returns how long nothing was heard when an answer was first expected: when a call came, or a PING
    /// was sent.
    pub(super) fn silence_before(&self, asked: Instant) -> Duration {
        let expected = self.busy.map_or(asked, |busy| busy.min(asked));
        expected.saturating_duration_since(self.heard)
    }

    pub(super) const fn heard_at(&self) -> Instant {
        self.heard
    }

    /// Notes that the peer's first SETTINGS came, about one round trip after the connection began, unless
    /// its server was slow to accept.
    pub(super) fn settled(&mut self, now: Instant) {
        self.set_rtt(now.saturating_duration_since(self.born).min(RTT_MAX));
    }

    /// Notes that a PING of any kind was answered.
    pub(super) fn acknowledged(&mut self, now: Instant) {
        if let Some(rtt) = self.strikes.acknowledged(now) {
            self.set_rtt(rtt);
        }
    }

    fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
    }

    /// Returns `true` once per connection: it died without FIN or RST.
    pub(super) const fn died(&mut self) -> bool {
        !std::mem::replace(&mut self.died, true)
    }

    /// Returns since when a PING is unanswered and nothing else was heard.
    pub(super) const fn asked(&self) -> Option<Instant> {
        self.doubt
    }

    pub(super) const fn is_doubt_spent(&self) -> bool {
        self.doubt_spent
    }

    pub(super) const fn rtt(&self) -> Duration {
        Duration::from_micros(self.rtt as u64)
    }

    /// Notes that HEADERS or DATA came: the peer resets its count of strikes, so another PING of doubt is
    /// allowed.
    pub(super) const fn content(&mut self) {
        self.doubt_spent = false;
        self.strikes.content();
    }

    /// Notes that a stream began: the next quiet time begins anew.
    pub(super) const fn end_quiet(&mut self) {
        self.quiet = None;
        self.released = false;
    }

    pub(super) const fn quiet_since(&self) -> Option<Instant> {
        self.quiet
    }

    /// Notes whether the connection is quiet. Returns `true` in each turn once it has been for `time`.
    pub(super) fn note_quiet(&mut self, quiet: bool, time: Duration, now: Instant) -> bool {
        if !quiet {
            self.end_quiet();
            return false;
        }
        let since = *self.quiet.get_or_insert(now);
        if now.saturating_duration_since(since) < time {
            return false;
        }
        self.released = true;
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

    /// Removes the deadlines of streams that ended before them, in bulk.
    fn sweep(&mut self, conn: &Connection<Entry>) {
        if self.deadlines.len() > STALE + 2 * conn.streams() {
            self.deadlines.retain(|Reverse((_, key))| conn.user(*key).is_some());
        }
    }
}

impl Core {
    /// Does everything whose time has come.
    pub(super) fn timers(&mut self) {
        let now = self.now;
        if let Err(error) = self.conn.handle_timeout(&mut self.out, now) {
            self.violated(error);
        }
        self.timers.sweep(&self.conn);
        while let Some(key) = self.timers.pop_due(now) {
            self.expire(key);
        }
        if self.timers.late.is_some_and(|at| at <= now) {
            self.expire_late();
        }
        self.note_pings();
        self.note_calls();
        self.check_silence();
        self.check_peer();
        self.check_unwritable();
        self.check_held();
        self.check_probe();
        self.check_stalls();
        self.check_leaks();
        if self.conn.role() == Role::Server {
            self.check_age();
        }
        self.check_drain();
    }

    fn note_calls(&mut self) {
        if self.conn.streams() == 0 && self.waiting.is_empty() {
            self.timers.busy = None;
        } else {
            self.timers.busy.get_or_insert(self.now);
        }
    }

    /// Returns when the driver must run again.
    fn next_time(&self) -> Option<Instant> {
        let options: &ConnectionOptions = &self.options;
        let timers = &self.timers;
        let handshaken = self.conn.lifecycle().is_handshaken();
        let quiet = timers.quiet.filter(|_| !timers.released);
        let stall = options.write_stall_time.zip(self.flush.blocked);
        [
            self.conn.poll_timeout(),
            timers.next_deadline(),
            timers.late,
            (!handshaken).then(|| timers.born + options.settings_time),
            stall.map(|(time, at)| at + time),
            self.answer_at().or_else(|| self.doubt_at()),
            timers.peer.next_look(),
            self.closing.unwritable_until(),
            self.keepalive_at(),
            timers.probe,
            timers.overdue,
            quiet.map(|at| at + super::QUIET_TIME),
            self.stalls.next_check(),
            self.recv_check,
            self.next_leak_check(),
            self.next_drain_time(),
            self.next_age_time().filter(|_| handshaken && self.conn.role() == Role::Server),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Sets the timer, unless it is set to an earlier time: then it finds nothing to do and is set again.
    pub(super) fn arm(&mut self, cx: &mut Context<'_>) {
        let Some(at) = self.next_time() else { return };
        if let (Some(armed), Some(sleep)) = (self.timers.armed, &mut self.timers.sleep)
            && armed <= at
            && sleep.as_mut().poll(cx).is_pending()
        {
            return;
        }
        let sleep = self.timers.sleep.get_or_insert_with(|| Box::pin(rt::sleep_until(at)));
        sleep.as_mut().reset(tokio::time::Instant::from_std(at));
        self.timers.armed = Some(at);
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Ends a request whose deadline has passed.
    fn expire(&mut self, key: StreamKey) {
        let Some(call) = self.conn.user(key).and_then(|entry| entry.call.clone()) else { return };
        self.expire_request(key, &call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::{Fields, Limits, Role, SendBuffer, SendHead};

    /// Calls that end early leave their deadlines behind: those of streams that are gone are removed in
    /// bulk, so that a peer with many short calls and long deadlines costs nothing.
    #[test]
    fn stale_deadlines_are_removed() {
        let now = Instant::now();
        let mut conn: Connection<Entry> = Connection::new(Role::Client, Limits::client(), now);
        let (mut out, mut timers) = (SendBuffer::new(), Timers::new(now));
        let mut fields = Fields::new();
        fields.push(":method", "GET");
        let head = SendHead { template: None, extra: &fields };
        let mut open = || conn.open(&mut out, head, true, Entry::default(), now).ok();
        let (Some(gone), Some(stays)) = (open(), open()) else { panic!("streams are refused") };
        let _ = conn.take(gone, &mut out);
        timers.deadline(now, stays);
        for _ in 0..10 * STALE {
            timers.deadline(now, gone);
            timers.sweep(&conn);
        }
        assert!(timers.deadlines.len() <= STALE + 2 * conn.streams() + 1);
        assert!(timers.deadlines.iter().any(|Reverse((_, key))| *key == stays));
    }
}
