//! The presets as a table, the planner against a server that counts strikes as grpc-go does.

use crate::connection::keepalive::*;
use crate::http2::ErrorCode;
use crate::rt::Random;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::Instant;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

// ---- presets --------------------------------------------------------------------------------

#[test]
fn presets_as_a_table() {
    let rows = [
        (Preset::plain(), None, s(300), None, s(60)),
        (Preset::aws_nlb(), Some(s(350)), ms(339_500), Some(s(320)), s(60)),
        (Preset::aws_alb(), Some(s(60)), s(54), None, s(45)),
        (Preset::kubernetes(), Some(s(900)), s(300), None, s(60)),
        (Preset::cloud(s(60)), Some(s(60)), s(54), None, s(45)),
        (Preset::cloud(s(240)), Some(s(240)), ms(232_800), None, s(60)),
        (Preset::cloud(s(600)), Some(s(600)), s(582), Some(s(320)), s(60)),
        (Preset::cloud(s(86_400)), Some(s(86_400)), s(1800), Some(s(320)), s(60)),
        (Preset::cloud(s(8)), Some(s(8)), s(4), None, s(6)),
    ];
    for (preset, limit, close_idle, keepalive, probe_after) in rows {
        let name = preset.name;
        assert_eq!(preset.path_limit, limit, "{name}");
        assert_eq!(preset.close_idle, close_idle, "{name}");
        assert_eq!(preset.keepalive, keepalive, "{name}");
        assert_eq!(preset.probe_after, probe_after, "{name}");
        assert_eq!(preset.doubt, Doubt { after: s(10), answer: s(10) }, "{name}");
        assert_eq!(preset.socket, SocketOptions::default(), "{name}");
    }
}

#[test]
fn presets_hold_together() {
    let clouds = [10, 60, 90, 120, 180, 240, 350, 600, 4000].map(|limit| Preset::cloud(s(limit)));
    for preset in Preset::all().into_iter().chain(clouds) {
        let name = preset.name;
        if let Some(limit) = preset.path_limit {
            assert!(preset.close_idle < limit && preset.probe_after < limit, "{name}");
            assert!(preset.keepalive.is_none_or(|interval| interval < below(limit)), "{name}");
        }
        assert!(preset.probe_after < preset.close_idle || preset.close_idle < s(10), "{name}");
        // What a default server calls a strike is no default of ours.
        assert!(
            preset.keepalive.is_none_or(|i| i > PingRule::GRPC.with_calls * 101 / 100),
            "{name}"
        );
        for field in ["path_limit", "close_idle", "keepalive", "doubt", "socket", "probe_after"] {
            assert!(preset.why.iter().any(|(named, _)| *named == field), "{name}: why {field}?");
        }
    }
    assert!(Preset::aws_alb().close_idle < s(55) && Preset::aws_nlb().close_idle < s(340));
}

#[test]
fn our_rule_is_what_our_server_enforces() {
    let limits = crate::http2::Limits::server();
    assert_eq!(PingRule::FRAMEWIRE.with_calls, limits.ping_interval_min);
    assert_eq!(PingRule::FRAMEWIRE.without_calls, limits.ping_interval_min);
}

// ---- what is learned of a path --------------------------------------------------------------

#[test]
fn a_path_as_a_table() {
    let begin = Instant::now();
    let mut path = PathLimit::new();
    let died = |path: &mut PathLimit, idle| path.died(s(idle), begin);
    let survived = |path: &mut PathLimit, idle| path.survived(s(idle), begin);
    let is = |path: &PathLimit, above: Option<u64>, at_most: Option<u64>, epoch| {
        assert_eq!(path.above(begin), above.map(s));
        assert_eq!(path.at_most(begin), at_most.map(s));
        assert_eq!(path.epoch(), epoch);
    };
    is(&path, None, None, 0);
    died(&mut path, 29);
    is(&path, None, None, 0); // So short a silence tells of the peer.
    survived(&mut path, 100);
    died(&mut path, 3600);
    is(&path, Some(100), Some(3600), 0);
    survived(&mut path, 50);
    died(&mut path, 7200);
    is(&path, Some(100), Some(3600), 0); // Weaker evidence changes nothing.
    died(&mut path, 400);
    survived(&mut path, 340);
    is(&path, Some(340), Some(400), 0);
    died(&mut path, 340);
    is(&path, None, Some(340), 1); // Not above 340 after all: the path is another.
    survived(&mut path, 500);
    is(&path, Some(500), None, 2);
}

#[test]
fn evidence_grows_old() {
    let begin = Instant::now();
    let mut path = PathLimit::new();
    path.died(s(100), begin);
    path.survived(s(40), begin + s(3600));
    let later = begin + EVIDENCE_AGE;
    assert_eq!((path.above(later), path.at_most(later)), (Some(s(40)), None));
    path.survived(s(90), later);
    assert_eq!((path.at_most(later), path.epoch()), (None, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bounds_draw_closer_within_an_epoch(
        steps in prop::collection::vec((any::<bool>(), 1u64..1000, 0u64..20_000), 1..100),
    ) {
        let mut now = Instant::now();
        let mut path = PathLimit::new();
        let mut last = (0, None, None);
        for (died, idle, gap) in steps {
            now += s(gap);
            if died { path.died(s(idle), now) } else { path.survived(s(idle), now) }
            let is = (path.epoch(), path.above(now), path.at_most(now));
            if let (Some(above), Some(at_most)) = (is.1, is.2) {
                prop_assert!(above < at_most);
            }
            if is.0 == last.0 {
                prop_assert!(is.1 >= last.1, "{last:?} then {is:?}");
                prop_assert!(last.2.is_none_or(|was| is.2.is_some_and(|at| at <= was)), "{last:?} then {is:?}");
            }
            last = is;
        }
    }

    /// A box with a fixed limit is learned from below and above, and never believed to be shorter
    /// than what was survived nor longer than what was not.
    #[test]
    fn a_fixed_limit_is_enclosed(
        limit in 30u64..2000, idles in prop::collection::vec(1u64..3000, 1..60),
    ) {
        let now = Instant::now();
        let mut planner = Planner::new(Preset::plain(), PingRule::GRPC);
        for idle in idles {
            if idle > limit { planner.died_silently(s(idle), now) } else { planner.survived(s(idle), now) }
            prop_assert!(planner.path().above(now).is_none_or(|above| above <= s(limit)));
            prop_assert!(planner.path().at_most(now).is_none_or(|at_most| at_most > s(limit)));
            prop_assert_eq!(planner.path().epoch(), 0);
        }
    }
}

// ---- the planner ----------------------------------------------------------------------------

fn planner(preset: Preset) -> Planner {
    Planner::new(preset, PingRule::GRPC)
}

#[test]
fn one_doubt_a_gap() {
    let planner = planner(Preset::plain());
    let begin = Instant::now();
    let mut pulse = Pulse::new(begin);
    assert_eq!(planner.next_ping(&pulse), None, "nobody waits");
    pulse.call_opened(begin + s(5));
    let doubt = Ping { at: begin + s(15), reason: Reason::Doubt };
    assert_eq!(planner.next_ping(&pulse), Some(doubt));
    pulse.heard(begin + s(9));
    let doubt = Ping { at: begin + s(19), reason: Reason::Doubt };
    assert_eq!(planner.next_ping(&pulse), Some(doubt), "any byte is life");
    pulse.doubt_sent(begin + s(19));
    assert_eq!(planner.next_ping(&pulse), None, "one is on its way");
    assert_eq!(planner.dead_at(&pulse), Some(begin + s(29)));
    pulse.ping_acked(begin + s(20));
    assert_eq!(planner.dead_at(&pulse), None);
    assert_eq!(planner.next_ping(&pulse), None, "none again before HEADERS or DATA");
    pulse.answered(begin + s(50));
    let doubt = Ping { at: begin + s(60), reason: Reason::Doubt };
    assert_eq!(planner.next_ping(&pulse), Some(doubt));
    pulse.call_closed();
    assert_eq!(planner.next_ping(&pulse), None);
}

#[test]
fn a_free_ping_is_one_that_follows_an_answer_after_the_last_ack() {
    let planner = planner(Preset::plain());
    let begin = Instant::now();
    let mut pulse = Pulse::new(begin);
    assert_eq!(planner.allowed_at(&pulse), Some(begin), "the first");
    pulse.ping_sent(begin);
    pulse.answered(begin + s(1));
    pulse.ping_acked(begin + s(2));
    let rule = |calls: u64| Some(begin + s(2) + s(calls) + s(calls) / 100);
    assert_eq!(planner.allowed_at(&pulse), rule(7200), "written before the PING was counted");
    pulse.call_opened(begin + s(3));
    assert_eq!(planner.allowed_at(&pulse), rule(300));
    pulse.answered(begin + s(4));
    assert_eq!(planner.allowed_at(&pulse), Some(begin + s(2)), "forgiven");
}

#[test]
fn a_complaint_doubles_every_interval() {
    let mut planner = planner(Preset { keepalive: Some(s(1)), ..Preset::plain() });
    assert_eq!(planner.keepalive(), Some(s(10)), "the floor");
    let calm = ErrorCode::ENHANCE_YOUR_CALM;
    assert!(!planner.goaway(ErrorCode::NO_ERROR, b"too_many_pings"));
    assert!(!planner.goaway(calm, b"slow down"));
    assert_eq!(planner.keepalive(), Some(s(10)));
    let begin = Instant::now();
    let mut pulse = Pulse::new(begin);
    pulse.call_opened(begin);
    pulse.ping_sent(begin);
    pulse.ping_acked(begin);
    pulse.answered(begin);
    for doubling in 1..40 {
        assert!(planner.goaway(calm, b"too_many_pings"));
        let times = 1 << doubling.min(16);
        assert_eq!(planner.keepalive(), Some(s(10 * times).min(s(7200))));
        let rule = s(300 * times).min(s(7200));
        assert_eq!(planner.allowed_at(&pulse), Some(begin + rule + rule / 100), "none is free now");
    }
    let mut planner = Planner::new(Preset::plain(), PingRule::GRPC);
    assert!(planner.goaway(calm, b"too_many_pings"));
    assert_eq!(planner.keepalive(), None, "off stays off");
}

#[test]
fn reuse_as_a_table() {
    let begin = Instant::now();
    let planner = planner(Preset::plain());
    let fresh = Pulse::new(begin);
    let at = |pulse: &Pulse, seconds, rtt| planner.reuse(pulse, rtt, begin + s(seconds));
    assert_eq!(at(&fresh, 59, ms(1)), Reuse::Now);
    assert_eq!(at(&fresh, 60, ms(1)), Reuse::Probe(ms(20)));
    assert_eq!(at(&fresh, 60, ms(80)), Reuse::Probe(ms(160)));
    assert_eq!(at(&fresh, 300, ms(1)), Reuse::Dial, "too old to be asked");
    // Probed and answered, but no call went on it: the next probe would be a strike.
    let mut probed = fresh.clone();
    probed.ping_sent(begin + s(100));
    let during = |ms_: u64| planner.reuse(&probed, ms(1), begin + s(100) + ms(ms_));
    assert_eq!(during(5), Reuse::Await(ms(15)));
    assert_eq!(during(20), Reuse::Dial);
    probed.ping_acked(begin + s(100));
    assert_eq!(at(&probed, 159, ms(1)), Reuse::Now);
    assert_eq!(at(&probed, 160, ms(1)), Reuse::Dial);
    // A call went on it and was answered: a PING is free again.
    probed.call_opened(begin + s(110));
    probed.answered(begin + s(111));
    probed.call_closed();
    assert_eq!(at(&probed, 171, ms(1)), Reuse::Probe(ms(20)));
    // A PING of another purpose on a busy connection holds nobody up.
    let mut busy = fresh;
    busy.heard(begin + s(99));
    busy.ping_sent(begin + s(100));
    assert_eq!(at(&busy, 100, ms(1)), Reuse::Now);
}

#[test]
fn a_learned_limit_moves_closing_and_probing() {
    let now = Instant::now();
    let rows = [
        // preset, survived, died; then: close after, probe after
        (Preset::plain(), None, None, s(300), s(60)),
        (Preset::plain(), None, Some(100), s(94), s(60)),
        (Preset::plain(), None, Some(40), s(34), s(30)),
        (Preset::plain(), None, Some(3600), s(300), s(60)),
        (Preset::plain(), Some(40), None, s(300), s(60)),
        (Preset::plain(), Some(200), None, s(300), s(150)),
        (Preset::plain(), Some(90), Some(100), s(94), ms(67_500)),
        (Preset::aws_alb(), Some(59), None, s(54), s(45)),
        (Preset::aws_nlb(), Some(330), None, ms(339_500), ms(247_500)),
    ];
    for (preset, survived, died, close_idle, probe_after) in rows {
        let mut planner = planner(preset);
        if let Some(idle) = survived {
            planner.survived(s(idle), now);
        }
        if let Some(idle) = died {
            planner.died_silently(s(idle), now);
        }
        assert_eq!(planner.close_idle(now), close_idle, "{survived:?} {died:?}");
        assert_eq!(planner.probe_after(now), probe_after, "{survived:?} {died:?}");
        assert_eq!(planner.close_idle(now + EVIDENCE_AGE), planner.preset().close_idle);
    }
}

// ---- against a server that counts -----------------------------------------------------------

enum Up {
    Open,
    Cancel,
    Ping,
}

enum Down {
    Ack,
    Answer,
    Trailers,
}

/// Counts strikes as grpc-go does: the first PING is free, one after HEADERS or DATA of its own is
/// free and wipes the strikes out, others must keep the interval of their case.
struct Server {
    rule: PingRule,
    last: Option<Instant>,
    forgiving: bool,
    calls: u32,
    strikes: u32,
    pings: u32,
}

impl Server {
    fn ping(&mut self, now: Instant) {
        self.pings += 1;
        let last = self.last.replace(now);
        if std::mem::take(&mut self.forgiving) {
            self.strikes = 0;
            return;
        }
        let interval = if self.calls > 0 { self.rule.with_calls } else { self.rule.without_calls };
        self.strikes += u32::from(last.is_some_and(|at| now < at + interval));
    }
}

/// Client, server and a way between them that delays but does not reorder.
struct World {
    now: Instant,
    random: Random,
    server: Server,
    pulse: Pulse,
    up: VecDeque<(Instant, Up)>,
    down: VecDeque<(Instant, Down)>,
}

impl World {
    fn new(rule: PingRule, seed: u64) -> Self {
        let now = Instant::now();
        let server = Server { rule, last: None, forgiving: false, calls: 0, strikes: 0, pings: 0 };
        Self {
            now,
            random: Random::new(seed),
            server,
            pulse: Pulse::new(now),
            up: VecDeque::new(),
            down: VecDeque::new(),
        }
    }

    /// Mostly some milliseconds, sometimes a second or two.
    fn delay(&mut self) -> Duration {
        let slow = self.random.below(20) == 0;
        ms(1 + self.random.below(if slow { 3000 } else { 50 }))
    }

    fn send(&mut self, what: Up) {
        match what {
            Up::Open => self.pulse.call_opened(self.now),
            Up::Cancel => self.pulse.call_closed(),
            Up::Ping => {}
        }
        let at = (self.now + self.delay()).max(self.up.back().map_or(self.now, |(at, _)| *at));
        self.up.push_back((at, what));
    }

    fn reply(&mut self, what: Down) {
        let at = (self.now + self.delay()).max(self.down.back().map_or(self.now, |(at, _)| *at));
        self.down.push_back((at, what));
    }

    fn arrive(&mut self) {
        while self.up.front().is_some_and(|(at, _)| *at <= self.now) {
            match self.up.pop_front() {
                Some((_, Up::Open)) => self.server.calls += 1,
                Some((_, Up::Cancel)) => self.server.calls = self.server.calls.saturating_sub(1),
                Some((at, Up::Ping)) => {
                    self.server.ping(at);
                    self.reply(Down::Ack);
                }
                None => {}
            }
        }
        while self.down.front().is_some_and(|(at, _)| *at <= self.now) {
            match self.down.pop_front() {
                Some((at, Down::Ack)) => self.pulse.ping_acked(at),
                Some((at, Down::Answer)) => self.pulse.answered(at),
                Some((at, Down::Trailers)) => {
                    self.pulse.answered(at);
                    self.pulse.call_closed();
                }
                None => {}
            }
        }
    }

    /// Something happens, or nothing for a while.
    fn happen(&mut self, planner: &Planner) {
        match self.random.below(12) {
            0 if self.pulse.calls() < 3 => {
                match planner.reuse(&self.pulse, ms(30), self.now) {
                    Reuse::Probe(_) => {
                        self.pulse.ping_sent(self.now);
                        self.send(Up::Ping);
                    }
                    // The dial may win, and this connection stays as it is.
                    Reuse::Dial if self.random.below(2) == 0 => {}
                    _ => self.send(Up::Open),
                }
            }
            // A cancelled call's trailers do not come as well.
            1 if self.pulse.calls() > 0
                && self.server.calls == self.pulse.calls()
                && self.down.is_empty() =>
            {
                self.send(Up::Cancel);
            }
            2 if self.server.calls > 0 => {
                self.server.forgiving = true;
                self.reply(Down::Answer);
            }
            3 if self.server.calls > 0 && self.up.is_empty() => {
                self.server.calls -= 1;
                self.server.forgiving = true;
                self.reply(Down::Trailers);
            }
            _ => {}
        }
        let scale = [50, 2_000, 30_000, 900_000][self.random.below(4) as usize];
        let mut rest = ms(1 + self.random.below(scale));
        // Short steps, so that what is due is done when it is due.
        while !rest.is_zero() {
            let step = rest.min(ms(1 + scale / 50));
            rest -= step;
            self.now += step;
            self.arrive();
            if let Some(ping) = planner.next_ping(&self.pulse).filter(|ping| ping.at <= self.now) {
                match ping.reason {
                    Reason::Doubt => self.pulse.doubt_sent(self.now),
                    Reason::Keepalive => self.pulse.ping_sent(self.now),
                }
                self.send(Up::Ping);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_ping_is_ever_a_strike(
        seed in any::<u64>(), ours in any::<bool>(), keepalive in prop::option::of(1u64..1000),
    ) {
        let rule = if ours { PingRule::FRAMEWIRE } else { PingRule::GRPC };
        let preset = Preset { keepalive: keepalive.map(s), ..Preset::plain() };
        let planner = Planner::new(preset, rule);
        let mut world = World::new(rule, seed);
        for _ in 0..400 {
            world.happen(&planner);
            prop_assert_eq!(world.server.strikes, 0);
        }
        prop_assert!(world.server.pings > 0, "the test must ask something");
    }
}

#[test]
fn a_stream_silent_for_an_hour_offends_nobody() {
    for (preset, at_most) in [(Preset::plain(), 1), (Preset::aws_nlb(), 12)] {
        let planner = planner(preset);
        let mut world = World::new(PingRule::GRPC, 7);
        world.send(Up::Open);
        for _ in 0..36_000 {
            world.now += ms(100);
            world.arrive();
            if planner.next_ping(&world.pulse).is_some_and(|ping| ping.at <= world.now) {
                world.pulse.doubt_sent(world.now);
                world.send(Up::Ping);
            }
        }
        assert_eq!(world.server.strikes, 0);
        let pings = world.server.pings;
        assert!(pings == at_most, "{}: {pings} PINGs", planner.preset().name);
    }
}
