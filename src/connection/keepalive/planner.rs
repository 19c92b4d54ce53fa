//! Decides when a PING may go, when it should, and whether an old connection is proved before use.

use crate::connection::keepalive::path::PathLimit;
use crate::connection::keepalive::{PingRule, Preset, below, three_quarters};
use crate::http2::ErrorCode;
use std::time::{Duration, Instant};

/// The shortest keepalive interval, as in gRFC A8: below it a fleet of clients is a flood.
pub const KEEPALIVE_FLOOR: Duration = Duration::from_secs(10);

/// Doubling ends here: gRPC's own interval for connections without calls.
pub const INTERVAL_MAX: Duration = Duration::from_secs(7200);

/// The least that a call waits behind a probe: a scheduler's hiccup must not look like a death.
pub(crate) const PATIENCE_MIN: Duration = Duration::from_millis(20);

/// What a connection has been doing, as far as PINGs are concerned. One for each connection.
#[derive(Clone, Debug)]
pub struct Pulse {
    heard: Instant,
    said: Instant,
    /// When the last PING was certainly at the peer: its ACK, or its sending while none came.
    pinged: Option<Instant>,
    outstanding: u32,
    /// When the oldest PING on its way was sent, and how idle the connection was before it.
    oldest: Option<(Instant, Duration)>,
    /// HEADERS or DATA came since the last PING was acknowledged: the peer has forgiven it.
    earned: bool,
    /// A doubt was spent since the last HEADERS or DATA.
    doubted: bool,
    calls: u32,
    waiting: Option<Instant>,
}

impl Pulse {
    /// A connection whose SETTINGS have just come.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            heard: now,
            said: now,
            pinged: None,
            outstanding: 0,
            oldest: None,
            earned: false,
            doubted: false,
            calls: 0,
            waiting: None,
        }
    }

    /// Octets were written.
    pub fn said(&mut self, now: Instant) {
        self.said = self.said.max(now);
    }

    /// Bytes came, of whatever kind.
    pub fn heard(&mut self, now: Instant) {
        self.heard = self.heard.max(now);
    }

    /// HEADERS or DATA came.
    pub fn answered(&mut self, now: Instant) {
        self.heard(now);
        self.doubted = false;
        // While a PING is on its way, the peer may have written this before it counted that one.
        if self.outstanding == 0 {
            self.earned = true;
        }
    }

    /// A call was sent.
    pub fn call_opened(&mut self, now: Instant) {
        self.said(now);
        self.calls += 1;
        self.waiting.get_or_insert(now);
    }

    /// A call has ended, in whatever way.
    pub const fn call_closed(&mut self) {
        self.calls = self.calls.saturating_sub(1);
        if self.calls == 0 {
            self.waiting = None;
        }
    }

    /// A PING was sent; those that measure bandwidth count like all others.
    pub fn ping_sent(&mut self, now: Instant) {
        let idle = self.idle(now);
        self.oldest.get_or_insert((now, idle));
        self.said(now);
        self.pinged = Some(now);
        self.outstanding += 1;
        self.earned = false;
    }

    /// As [`Pulse::ping_sent`], for one whose reason was [`Reason::Doubt`].
    pub fn doubt_sent(&mut self, now: Instant) {
        self.ping_sent(now);
        self.doubted = true;
    }

    /// A PING was acknowledged.
    pub fn ping_acked(&mut self, now: Instant) {
        self.heard(now);
        self.pinged = Some(now);
        self.outstanding = self.outstanding.saturating_sub(1);
        self.oldest = (self.outstanding > 0).then_some((now, Duration::ZERO));
    }

    /// How many calls are open.
    #[must_use]
    pub const fn calls(&self) -> u32 {
        self.calls
    }

    /// How long no byte has gone either way.
    #[must_use]
    pub fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard.max(self.said))
    }
}

/// Why a PING is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Reason {
    /// A call waits and nothing is heard.
    Doubt,
    /// The preset asks for it while calls are open.
    Keepalive,
}

/// A PING that is due at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ping {
    /// When, past or to come.
    pub at: Instant,
    /// Why.
    pub reason: Reason,
}

/// What to do with a call that would go on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reuse {
    /// Send it.
    Now,
    /// Send a PING and start a dial; whichever comes first carries the call. After the patience
    /// the dial alone is waited for.
    Probe(Duration),
    /// The same, with a PING that is already on its way.
    Await(Duration),
    /// Dial; this connection is too old, or may not be asked without offending the peer.
    Dial,
}

/// Plans PINGs to one target. It holds what is learned of target and path; a [`Pulse`] holds what
/// is of one connection.
#[derive(Clone, Debug)]
pub struct Planner {
    preset: Preset,
    rule: PingRule,
    doublings: u32,
    path: PathLimit,
}

impl Planner {
    /// For a server that follows `rule`; [`PingRule::GRPC`] unless more is known.
    #[must_use]
    pub const fn new(preset: Preset, rule: PingRule) -> Self {
        Self { preset, rule, doublings: 0, path: PathLimit::new() }
    }

    /// What it was made with.
    #[must_use]
    pub const fn preset(&self) -> &Preset {
        &self.preset
    }

    /// What has been learned of the path.
    #[must_use]
    pub const fn path(&self) -> &PathLimit {
        &self.path
    }

    /// A connection died after `idle` without FIN or RST, as found by a probe, a doubt or TCP.
    pub fn died_silently(&mut self, idle: Duration, now: Instant) {
        self.path.died(idle, now);
    }

    /// A connection answered after `idle`.
    pub fn survived(&mut self, idle: Duration, now: Instant) {
        self.path.survived(idle, now);
    }

    /// The peer sent GOAWAY. `true` if it complains of PINGs: then every interval doubles, up to two
    /// hours, and none is taken to be free any more, since it counts otherwise than we believed.
    pub fn goaway(&mut self, code: ErrorCode, debug: &[u8]) -> bool {
        let complains = code == ErrorCode::ENHANCE_YOUR_CALM && debug == b"too_many_pings";
        if complains {
            self.doublings = (self.doublings + 1).min(16);
            self.rule.answers_forgive = false;
        }
        complains
    }

    /// The keepalive interval in force; `None` when it is off.
    #[must_use]
    pub fn keepalive(&self) -> Option<Duration> {
        self.preset.keepalive.map(|interval| self.doubled(interval.max(KEEPALIVE_FLOOR)))
    }

    /// The next PING on a connection; `None` when none is due as things are, or one is on its way.
    ///
    /// Never earlier than [`Planner::allowed_at`]. To be asked again whenever the pulse has changed.
    #[must_use]
    pub fn next_ping(&self, pulse: &Pulse) -> Option<Ping> {
        let allowed = self.allowed_at(pulse)?;
        let waiting = pulse.waiting?;
        let plan = |at: Instant, reason| Ping { at: at.max(allowed), reason };
        let doubt = (!pulse.doubted)
            .then(|| plan(pulse.heard.max(waiting) + self.preset.doubt.after, Reason::Doubt));
        let keepalive =
            self.keepalive().map(|interval| plan(pulse.heard + interval, Reason::Keepalive));
        doubt.into_iter().chain(keepalive).min_by_key(|ping| ping.at)
    }

    /// The earliest instant at which a PING is no strike; `None` while one is on its way.
    ///
    /// QueuedReservation from the last ACK, not from the sending: by then the peer has surely seen that PING,
    /// so no delay on the way can make two of them meet.
    #[must_use]
    pub fn allowed_at(&self, pulse: &Pulse) -> Option<Instant> {
        if pulse.outstanding > 0 {
            return None;
        }
        // The first is never a strike: there is none before it.
        let Some(last) = pulse.pinged else { return Some(pulse.said) };
        if pulse.earned && self.rule.answers_forgive {
            return Some(last);
        }
        let interval = if pulse.calls > 0 { self.rule.with_calls } else { self.rule.without_calls };
        let interval = self.doubled(interval);
        // Two clocks differ by some hundred parts in a million, and timers round to milliseconds.
        Some(last + interval + (interval / 100).max(Duration::from_millis(100)))
    }

    /// When a connection whose PING stays unanswered is dead.
    #[must_use]
    pub fn dead_at(&self, pulse: &Pulse) -> Option<Instant> {
        pulse.oldest.map(|(at, _)| at + self.preset.doubt.answer)
    }

    /// Idle time after which a connection without calls is closed: the preset's, or safely below
    /// what a connection did not survive.
    #[must_use]
    pub fn close_idle(&self, now: Instant) -> Duration {
        let preset = self.preset.close_idle;
        self.path.at_most(now).map_or(preset, |limit| preset.min(below(limit)))
    }

    /// Idle time from which a connection is proved before use.
    ///
    /// The preset's; up to three quarters of the longest idleness that was survived; never more
    /// than three quarters of the path's limit, known or learned.
    #[must_use]
    pub fn probe_after(&self, now: Instant) -> Duration {
        let age = self.path.probe_after(self.preset.probe_after, now);
        self.preset.path_limit.map_or(age, |limit| age.min(three_quarters(limit)))
    }

    /// What to do with a call that would go on this connection now. `rtt` is its last round trip.
    #[must_use]
    pub fn reuse(&self, pulse: &Pulse, rtt: Duration, now: Instant) -> Reuse {
        let age = self.probe_after(now);
        let patience = (rtt * 2).max(PATIENCE_MIN);
        // A PING on its way, sent after so much idleness that it is this call's proof as well.
        if let Some((since, before)) = pulse.oldest
            && before >= age
            && pulse.heard < since
        {
            let rest = patience.saturating_sub(now.saturating_duration_since(since));
            return if rest.is_zero() { Reuse::Dial } else { Reuse::Await(rest) };
        }
        let idle = pulse.idle(now);
        if idle < age {
            return Reuse::Now;
        }
        let allowed = self.allowed_at(pulse).is_some_and(|at| at <= now);
        if idle < self.close_idle(now) && allowed { Reuse::Probe(patience) } else { Reuse::Dial }
    }

    fn doubled(&self, interval: Duration) -> Duration {
        let doubled = interval.saturating_mul(1 << self.doublings);
        doubled.min(INTERVAL_MAX.max(interval))
    }
}
