//! Whether the peer's system still answers, judged by what this side's system knows (TCP_INFO).
//!
//! A peer that reads nothing for minutes, or whose process is stopped, is alive as long as its system
//! acknowledges bytes and window probes. Only a system that answers nothing at all is dead. The length of
//! the send queue says nothing: it stands still in both cases.

use crate::transport::tcp_info::TcpInfo;
use std::time::{Duration, Instant};

/// Time between two samples while bytes are outstanding.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Time without an answer, while bytes are outstanding, after which a peer may be dead.
const SILENCE: Duration = Duration::from_secs(18);
/// Unanswered retransmissions of the same bytes that a dead peer leaves in that time, at least.
const RETRANSMITS: u8 = 3;
/// Unanswered probes of a closed window that a dead peer leaves in that time, at least. A system that
/// doubles the time between probes without a bound never gets so far in that time.
const PROBES: u8 = 4;

/// What a sample says about the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Liveness {
    /// Nothing is outstanding, so no answer is expected.
    Idle,
    /// An answer is expected, and may still come.
    Waiting,
    /// The peer's system has stopped answering.
    Dead,
}

/// The samples of one connection. Sample once a second while bytes are outstanding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LivenessWatch {
    /// Since when an answer is expected and nothing was heard.
    since: Option<Instant>,
}

impl LivenessWatch {
    pub(crate) const fn new() -> Self {
        Self { since: None }
    }

    /// Judges the peer by the state of its connection at `now`.
    pub(crate) fn sample(&mut self, info: &TcpInfo, now: Instant) -> Liveness {
        if !info.is_waiting() {
            self.since = None;
            return Liveness::Idle;
        }
        let silence = info.last_ack_recv.min(info.last_data_recv);
        let heard = now.checked_sub(silence).unwrap_or(now);
        let since = self.since.map_or(now, |since| since.max(heard));
        self.since = Some(since);
        let unanswered = match info.unacked {
            0 => info.probes >= PROBES,
            _ => info.retransmits >= RETRANSMITS,
        };
        if unanswered && now.saturating_duration_since(since) >= SILENCE {
            return Liveness::Dead;
        }
        Liveness::Waiting
    }
}

#[cfg(test)]
mod tests {
    use crate::connection::keepalive::liveness::*;

    /// One second of a scenario: unacked segments, unsent bytes, seconds since the last answer,
    /// retransmissions, probes.
    type Second = (u32, u32, f64, u8, u8);

    /// Plays a scenario; returns the second at which the peer is called dead.
    fn play(seconds: impl IntoIterator<Item = Second>) -> Option<usize> {
        let (begin, mut watch) = (Instant::now(), LivenessWatch::new());
        let mut dead = None;
        for (i, (unacked, notsent, silence, retransmits, probes)) in seconds.into_iter().enumerate()
        {
            let info = TcpInfo {
                unacked,
                notsent: Some(notsent),
                retransmits,
                probes,
                last_ack_recv: Duration::from_secs_f64(silence),
                last_data_recv: Duration::from_secs(3600),
                ..TcpInfo::default()
            };
            let now = begin + Duration::from_secs(1000 + i as u64);
            if watch.sample(&info, now) == Liveness::Dead {
                dead = dead.or(Some(i));
            }
        }
        dead
    }

    /// Retransmissions with the time between them doubled up to `most` seconds, after `silent` seconds.
    fn resent(silent: f64, most: f64) -> u8 {
        let (mut at, mut step, mut count) = (0.2, 0.2, 0);
        while at <= silent {
            count += 1;
            step = f64::min(step * 2.0, most);
            at += step;
        }
        count
    }

    // Facts: bytes on a path that drops everything after second 10; the connection was found dead
    // 19 to 21 s later, whatever bounds the retransmissions.
    #[test]
    fn a_cut_path_with_bytes_in_flight_is_found() {
        for most in [3.0, 120.0] {
            let found = play((0..60).map(|second| {
                let silent = f64::from((second - 10).max(0)) + 0.3;
                if second < 10 {
                    (1, 0, 0.3, 0, 0)
                } else {
                    (4, 900, silent, resent(silent, most), 0)
                }
            }));
            assert!(found.is_some_and(|at| (26..=31).contains(&at)), "{most}: {found:?}");
        }
    }

    // Facts: zero window for 15 s, then cut; with probes every 3 s found 16 to 17 s later, with probes
    // that double without a bound not in 100 s (2 unanswered): there no connection is ended in error.
    #[test]
    fn a_closed_window_and_then_a_cut_path() {
        let scenario = |most: i32| {
            let probes = move |silent: i32| match most {
                3 => (silent / 3).min(15) as u8,
                _ => u8::from(silent > 26) + u8::from(silent > 78),
            };
            play((0..100).map(move |second| {
                let silent = (second - 15).max(0);
                (0, 50_000, f64::from(silent) + 0.5, 0, probes(silent))
            }))
        };
        assert!(scenario(3).is_some_and(|at| (30..=34).contains(&at)), "{:?}", scenario(3));
        assert_eq!(scenario(120), None);
    }

    // Facts: a peer that reads nothing for 100 s, or is stopped, answers each probe. The gap between two
    // answers grows to 3 s where the time between probes is bounded (5.8 s at 5 % loss, one probe
    // unanswered), and to 43 s where it is not (71 s at 5 % loss, two unanswered).
    #[test]
    fn a_peer_that_does_not_read_is_alive() {
        for (gap, asked) in [(3.1, 0), (5.9, 1), (43.3, 1), (70.8, 2)] {
            let found = play((0..200).map(|second| (0, 50_000, f64::from(second) % gap, 0, asked)));
            assert_eq!(found, None, "{gap}");
        }
    }

    // Facts: 200 connections at 10 % loss in each direction: retransmissions add up, answers come.
    #[test]
    fn loss_is_not_death() {
        let lossy =
            (0..400).map(|second| (3, 10_000, f64::from(second % 15), (second % 15 / 2) as u8, 0));
        assert_eq!(play(lossy), None);
    }

    // A connection may have heard nothing for an hour when it writes: silence counts from then on.
    #[test]
    fn silence_before_the_first_byte_does_not_count() {
        let write = (0..60).map(|second| (1, 0, 3600.0 + f64::from(second), second as u8, 0));
        assert_eq!(play(write), Some(18));
        // Nothing outstanding in between: it counts anew.
        let pause = (0..60).map(|second| match second {
            17 => (0, 0, 3600.0, 0, 0),
            _ => (1, 0, 3600.0, second as u8, 0),
        });
        assert_eq!(play(pause), Some(36));
    }
}
