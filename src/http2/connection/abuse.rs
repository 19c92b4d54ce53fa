//! Abuse (RFC 9113 §10.5): work that this side did for nothing, frames without content, and PINGs.
//!
//! # Work for nothing
//!
//! Every frame of the peer costs this side work, which is charged by weight: nanoseconds of one core, see
//! [`weight`]. Work is *useful* if it led to an answer with content, and *wasted* if its stream was reset
//! before, or if the frame is neither HEADERS nor DATA of a stream. Answers without content are cheap for
//! this side and earn nothing. The ledger counts both for [`Limits::wasted_time`]:
//!
//! * Above [`Limits::wasted_work`] in the last second, and above half of all work, new streams are refused.
//! * Above [`Limits::wasted_work`] × [`Limits::wasted_time`] within the whole time, and above half of all work,
//!   the connection ends. A burst may use it up at once.
//!
//! A stream costs what it made this side do. A peer that waits for its answers pays nothing. A stream that lived
//! for [`Limits::premature_age`], or until the deadline that its peer named, costs a tenth: peers give up
//! honestly. All time comes from the caller.

use crate::http2::limits::Limits;
use crate::http2::violation::Violation;
use std::time::{Duration, Instant};

/// What frames and streams cost, in nanoseconds of one core.
pub(crate) mod weight {
    /// Parsing any frame, and finding its stream.
    pub(crate) const FRAME: u64 = 300;
    /// A control frame that is answered: PING, SETTINGS, RST_STREAM from this side.
    pub(crate) const ANSWERED: u64 = 1_500;
    /// Changing the window of one stream.
    pub(crate) const SHIFT: u64 = 40;
    /// A request: its stream, its call, the task of its handler, and what a handler begins with.
    pub(crate) const REQUEST: u64 = 36_000;
    /// Writing a DATA frame.
    pub(crate) const SENT: u64 = 1_000;

    /// Decoding a field block of `encoded` bytes to a list of `decoded` bytes.
    pub(crate) const fn block(encoded: usize, decoded: usize) -> u64 {
        FRAME + 1_000 + encoded as u64 * 4 + decoded as u64
    }

    /// Decoding what a field block repeats of the table, beyond what usual peers do: less than a table of `table`
    /// bytes, beside twice what they encoded.
    pub(crate) const fn inflated(encoded: usize, decoded: usize, table: usize) -> u64 {
        decoded.saturating_sub(2 * encoded).saturating_sub(table) as u64
    }

    /// Moving the content of a frame.
    pub(crate) const fn content(bytes: u32) -> u64 {
        bytes as u64 / 8
    }
}

/// The time of the ledger is counted in so many parts.
const PARTS: usize = 8;
/// The share of a stream that the peer gave up honestly.
const HONEST_SHARE: u64 = 10;

/// Work in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    useful: u64,
    wasted: u64,
}

impl Work {
    /// More than `bound` is wasted, and more than half of all.
    const fn is_over(self, bound: u64) -> bool {
        self.wasted > bound && self.wasted > self.useful
    }
}

/// The work of the last [`Limits::wasted_time`].
#[derive(Debug)]
struct Ledger {
    /// Since when the newest part counts.
    since: Instant,
    part: Duration,
    parts: [Work; PARTS],
    newest: usize,
    total: Work,
    /// Parts that make up the last second.
    recent: usize,
    /// Wasted work of the last second above which streams are refused.
    soft: u64,
    /// Wasted work of the whole time above which the connection ends.
    hard: u64,
}

impl Ledger {
    fn new(limits: &Limits, now: Instant) -> Self {
        let part = (limits.wasted_time / PARTS as u32).max(Duration::from_millis(1));
        let recent = (1.0 / part.as_secs_f64()).ceil().clamp(1.0, PARTS as f64) as usize;
        let rate = limits.wasted_work.as_nanos() as f64;
        // Conversions from floating-point numbers saturate.
        let within = |parts: usize| (rate * part.as_secs_f64() * parts as f64) as u64;
        let (parts, total) = ([Work::default(); PARTS], Work::default());
        let (soft, hard) = (within(recent), within(PARTS));
        Self { since: now, part, parts, newest: 0, total, recent, soft, hard }
    }

    /// Begins the parts that are due by `now`.
    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed < self.part {
            return;
        }
        if passed >= self.part.saturating_mul(PARTS as u32) {
            self.parts = [Work::default(); PARTS];
            self.total = Work::default();
            self.since = now;
            return;
        }
        while now.saturating_duration_since(self.since) >= self.part {
            self.since += self.part;
            self.newest = (self.newest + 1) % PARTS;
            let oldest = std::mem::take(&mut self.parts[self.newest]);
            self.total.useful -= oldest.useful;
            self.total.wasted -= oldest.wasted;
        }
    }

    const fn useful(&mut self, work: u64) {
        self.parts[self.newest].useful += work;
        self.total.useful += work;
    }

    const fn wasted(&mut self, work: u64) {
        self.parts[self.newest].wasted += work;
        self.total.wasted += work;
    }

    /// The work of the last second.
    fn recent(&self) -> Work {
        let mut sum = Work::default();
        for back in 0..self.recent {
            let part = self.parts[(self.newest + PARTS - back) % PARTS];
            sum.useful += part.useful;
            sum.wasted += part.wasted;
        }
        sum
    }
}

/// The budgets of one connection.
#[derive(Debug)]
pub(crate) struct Abuse {
    ledger: Ledger,
    empty: (Instant, u32),
    pings: Pings,
}

#[derive(Debug)]
struct Pings {
    last: Option<Instant>,
    strikes: u32,
    minute: Instant,
    /// Whether HEADERS or DATA were sent since the last PING, so that the next PING is free.
    earned: bool,
}

impl Abuse {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            ledger: Ledger::new(limits, now),
            empty: (now, 0),
            pings: Pings { last: None, strikes: 0, minute: now, earned: false },
        }
    }

    /// Counts work that led to an answer with content.
    pub(crate) const fn useful(&mut self, work: u64) {
        self.ledger.useful(work);
    }

    /// Charges work that led to nothing.
    ///
    /// # Errors
    /// The connection has to end.
    pub(crate) fn wasted(&mut self, work: u64, now: Instant) -> Result<(), Violation> {
        self.ledger.turn(now);
        self.ledger.wasted(work);
        if self.ledger.total.is_over(self.ledger.hard) {
            return Err(Violation::WastedWork);
        }
        Ok(())
    }

    /// Charges the work for a stream that was reset before its answer; a tenth of it if the peer had
    /// waited long enough.
    ///
    /// # Errors
    /// Same as [`Abuse::wasted`].
    pub(crate) fn wasted_stream(
        &mut self,
        work: u64,
        premature: bool,
        now: Instant,
    ) -> Result<(), Violation> {
        self.wasted(if premature { work } else { work / HONEST_SHARE }, now)
    }

    /// Returns whether new streams are to be refused now.
    pub(crate) fn refuses_streams(&mut self, now: Instant) -> bool {
        self.ledger.turn(now);
        self.ledger.total.wasted > self.ledger.soft
            && self.ledger.recent().is_over(self.ledger.soft)
    }

    /// Charges a frame without content that ends nothing.
    ///
    /// # Errors
    /// There were too many of them.
    pub(crate) fn empty_frame(&mut self, limits: &Limits, now: Instant) -> Result<(), Violation> {
        if now.saturating_duration_since(self.empty.0) >= Duration::from_secs(1) {
            self.empty = (now, 0);
        }
        self.empty.1 += 1;
        if self.empty.1 > limits.empty_frames {
            return Err(Violation::EmptyFrameFlood);
        }
        self.wasted(weight::FRAME, now)
    }

    /// Records content: earlier empty frames no longer count.
    pub(crate) const fn progress(&mut self) {
        self.empty.1 = 0;
    }

    /// Records that HEADERS or DATA were sent: the peer's next PING is free.
    pub(crate) const fn sent(&mut self) {
        self.pings.earned = true;
    }

    /// Charges a PING of the peer.
    ///
    /// # Errors
    /// There were too many of them.
    pub(crate) fn ping(&mut self, limits: &Limits, now: Instant) -> Result<(), Violation> {
        self.wasted(weight::ANSWERED, now)?;
        let Some(allowed) = limits.ping_strikes else { return Ok(()) };
        let pings = &mut self.pings;
        let last = pings.last.replace(now);
        if std::mem::take(&mut pings.earned) {
            pings.strikes = 0;
            return Ok(());
        }
        if now.saturating_duration_since(pings.minute) >= Duration::from_secs(60) {
            pings.minute = now;
            pings.strikes = 0;
        }
        let early =
            last.is_some_and(|at| now.saturating_duration_since(at) < limits.ping_interval_min);
        pings.strikes += u32::from(early);
        if pings.strikes > allowed { Err(Violation::PingFlood) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
