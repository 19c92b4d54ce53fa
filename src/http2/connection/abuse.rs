//! Abuse budgets (RFC 9113 §10.5): limits on the rate of events that cost this side work.
//!
//! Budgets refill with time, because a fixed count would end long-lived honest connections. The caller
//! passes the time.

use crate::http2::limits::Limits;
use crate::http2::violation::Violation;
use std::time::{Duration, Instant};

/// A token bucket. `debt` counts the tokens taken beyond the burst.
#[derive(Debug)]
struct Bucket {
    level: f64,
    burst: f64,
    per_second: f64,
    at: Instant,
}

impl Bucket {
    fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        let burst = f64::from(burst);
        Self { level: burst, burst, per_second: f64::from(per_second), at: now }
    }

    /// Takes one token and returns the debt.
    fn take(&mut self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.level = (self.level + passed * self.per_second).min(self.burst) - 1.0;
        (-self.level).max(0.0)
    }
}

/// The streams of the last ten seconds, in two intervals.
#[derive(Debug)]
struct Share {
    since: Instant,
    streams: [u64; 2],
    resets: [u64; 2],
    /// Streams that were open when each interval began: their resets count in it as well.
    open: [u64; 2],
}

impl Share {
    fn turn(&mut self, open: usize, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed >= Duration::from_secs(10) {
            self.streams = [0; 2];
            self.resets = [0; 2];
            self.open = [open as u64; 2];
            self.since = now;
        } else if passed >= Duration::from_secs(5) {
            self.streams = [0, self.streams[0]];
            self.resets = [0, self.resets[0]];
            self.open = [open as u64, self.open[0]];
            self.since = now;
        }
    }

    fn more_than_half(&self) -> bool {
        let resets = self.resets[0] + self.resets[1];
        resets.saturating_sub(self.open[1]) * 2 > self.streams[0] + self.streams[1]
    }
}

/// The consequence of a charge.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Verdict {
    /// Within the budget.
    Pass,
    /// Stop reading for this time.
    Pause(Duration),
    /// End the connection.
    End(Violation),
}

/// The budgets of one connection.
#[derive(Debug)]
pub(crate) struct Abuse {
    resets: Bucket,
    /// Resets charged beyond the budget since it was at least half full.
    overdrawn: u32,
    share: Share,
    refused: Bucket,
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
            resets: Bucket::new(limits.premature_resets, limits.premature_resets_per_second, now),
            overdrawn: 0,
            share: Share { since: now, streams: [0; 2], resets: [0; 2], open: [0; 2] },
            refused: Bucket::new(limits.refused_streams, limits.premature_resets_per_second, now),
            empty: (now, 0),
            pings: Pings { last: None, strikes: 0, minute: now, earned: false },
        }
    }

    /// Records a new stream beside `open` others.
    pub(crate) fn stream(&mut self, open: usize, now: Instant) {
        self.share.turn(open, now);
        self.share.streams[0] += 1;
    }

    /// Charges a premature reset of one of `open` streams, or a reset after a malformed frame.
    pub(crate) fn reset(&mut self, limits: &Limits, open: usize, now: Instant) -> Verdict {
        self.share.turn(open, now);
        self.share.resets[0] += 1;
        let debt = self.resets.take(now);
        if self.resets.level > self.resets.burst / 2.0 {
            self.overdrawn = 0;
        }
        if debt == 0.0 || !self.share.more_than_half() {
            return Verdict::Pass;
        }
        // Pauses keep the debt small. A peer that continues regardless loses its connection.
        self.overdrawn = self.overdrawn.saturating_add(1);
        if self.overdrawn > limits.premature_resets.saturating_mul(4) {
            return Verdict::End(Violation::ResetFlood);
        }
        let rate = f64::from(limits.premature_resets_per_second.max(1));
        Verdict::Pause(Duration::from_secs_f64(debt / rate))
    }

    /// Charges a stream above the advertised limit, which was refused.
    pub(crate) fn refused(&mut self, now: Instant) -> Verdict {
        if self.refused.take(now) > 0.0 {
            return Verdict::End(Violation::RefusedFlood);
        }
        Verdict::Pass
    }

    /// Charges a frame without content that ends nothing.
    pub(crate) fn empty_frame(&mut self, limits: &Limits, now: Instant) -> Verdict {
        if now.saturating_duration_since(self.empty.0) >= Duration::from_secs(1) {
            self.empty = (now, 0);
        }
        self.empty.1 += 1;
        if self.empty.1 > limits.empty_frames {
            return Verdict::End(Violation::EmptyFrameFlood);
        }
        Verdict::Pass
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
    pub(crate) fn ping(&mut self, limits: &Limits, now: Instant) -> Verdict {
        let Some(allowed) = limits.ping_strikes else { return Verdict::Pass };
        let pings = &mut self.pings;
        let last = pings.last.replace(now);
        if std::mem::take(&mut pings.earned) {
            pings.strikes = 0;
            return Verdict::Pass;
        }
        if now.saturating_duration_since(pings.minute) >= Duration::from_secs(60) {
            pings.minute = now;
            pings.strikes = 0;
        }
        let early =
            last.is_some_and(|at| now.saturating_duration_since(at) < limits.ping_interval_min);
        pings.strikes += u32::from(early);
        if pings.strikes > allowed { Verdict::End(Violation::PingFlood) } else { Verdict::Pass }
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::connection::abuse::*;

    fn abuse() -> (Abuse, Limits, Instant) {
        let now = Instant::now();
        (Abuse::new(&Limits::server(), now), Limits::server(), now)
    }

    #[test]
    fn rapid_reset_pauses_then_ends() {
        let (mut abuse, limits, now) = abuse();
        let mut verdicts = Vec::new();
        for _ in 0..1200 {
            abuse.stream(0, now);
            verdicts.push(abuse.reset(&limits, 1, now));
        }
        assert_eq!(verdicts[199], Verdict::Pass);
        assert!(matches!(verdicts[200], Verdict::Pause(_)));
        assert_eq!(verdicts[1199], Verdict::End(Violation::ResetFlood));
    }

    #[test]
    fn budgets_come_back_with_time() {
        let (mut abuse, limits, mut now) = abuse();
        let burst = |abuse: &mut Abuse, now: Instant| {
            let times = |_: &usize| {
                abuse.stream(0, now);
                abuse.reset(&limits, 1, now) == Verdict::Pass
            };
            (0..1000).take_while(times).count()
        };
        assert_eq!(burst(&mut abuse, now), limits.premature_resets as usize);
        now += Duration::from_secs(4);
        // What was overdrawn is paid back first.
        let back = 4 * limits.premature_resets_per_second as usize - 1;
        assert_eq!(burst(&mut abuse, now), back);
        now += Duration::from_secs(3600);
        assert_eq!(burst(&mut abuse, now), limits.premature_resets as usize, "and no more");
    }

    #[test]
    fn half_of_all_hedges_cancelled_is_honest() {
        let (mut abuse, limits, mut now) = abuse();
        for _ in 0..150_000 {
            abuse.stream(0, now);
            abuse.stream(1, now);
            assert_eq!(abuse.reset(&limits, 2, now), Verdict::Pass);
            now += Duration::from_micros(200);
        }
    }

    /// The resets come a while after their streams began, so that the first ones of each window
    /// belong to streams of the window before.
    #[test]
    fn half_of_all_hedges_cancelled_a_while_later_is_honest() {
        let (mut abuse, limits, mut now) = abuse();
        for pair in 0..150_000 {
            // The other half is answered at once.
            let open = pair.min(50);
            abuse.stream(open, now);
            abuse.stream(open + 1, now);
            if pair >= 50 {
                assert_eq!(abuse.reset(&limits, open + 2, now), Verdict::Pass);
            }
            now += Duration::from_micros(200);
        }
    }

    #[test]
    fn empty_frames_are_forgiven_by_content_and_by_time() {
        let (mut abuse, limits, now) = abuse();
        for _ in 0..50 {
            for _ in 0..100 {
                assert_eq!(abuse.empty_frame(&limits, now), Verdict::Pass);
            }
            abuse.progress();
        }
        for i in 0..=100 {
            let want =
                if i < 100 { Verdict::Pass } else { Verdict::End(Violation::EmptyFrameFlood) };
            assert_eq!(abuse.empty_frame(&limits, now), want);
        }
    }

    #[test]
    fn pings_that_follow_an_answer_are_free() {
        let (mut abuse, limits, now) = abuse();
        for _ in 0..1000 {
            abuse.sent();
            assert_eq!(abuse.ping(&limits, now), Verdict::Pass);
        }
        assert_eq!(abuse.ping(&limits, now), Verdict::Pass, "first strike");
        assert_eq!(abuse.ping(&limits, now), Verdict::Pass, "second strike");
        assert_eq!(abuse.ping(&limits, now), Verdict::End(Violation::PingFlood));
    }

    #[test]
    fn a_ping_every_ten_seconds_is_allowed_for_ever() {
        let (mut abuse, limits, mut now) = abuse();
        for _ in 0..10_000 {
            assert_eq!(abuse.ping(&limits, now), Verdict::Pass);
            now += Duration::from_secs(10);
        }
    }
}
