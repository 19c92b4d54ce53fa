//! The presets as a table, and what is learned of a path.

use crate::connection::keepalive::path::EVIDENCE_AGE;
use crate::connection::keepalive::*;
use proptest::prelude::*;
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

// ---- what is learned of a path --------------------------------------------------------------

#[test]
fn a_path_as_a_table() {
    let begin = Instant::now();
    let mut path = PathLimit::new();
    let died = |path: &mut PathLimit, idle| path.died(s(idle), begin);
    let survived = |path: &mut PathLimit, idle| path.survived(s(idle), begin);
    let is = |path: &PathLimit, above: Option<u64>, at_most: Option<u64>| {
        assert_eq!(path.above(begin), above.map(s));
        assert_eq!(path.at_most(begin), at_most.map(s));
    };
    is(&path, None, None);
    died(&mut path, 29);
    is(&path, None, None); // So short a silence tells of the peer.
    survived(&mut path, 100);
    died(&mut path, 3600);
    is(&path, Some(100), Some(3600));
    survived(&mut path, 50);
    died(&mut path, 7200);
    is(&path, Some(100), Some(3600)); // Weaker evidence changes nothing.
    died(&mut path, 400);
    survived(&mut path, 340);
    is(&path, Some(340), Some(400));
    died(&mut path, 340);
    is(&path, None, Some(340)); // Not above 340 after all: the path is another.
    survived(&mut path, 500);
    is(&path, Some(500), None);
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
    assert_eq!(path.at_most(later), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// An observation tightens its own bound, and leaves or drops the other one.
    #[test]
    fn bounds_tighten_or_are_dropped(
        steps in prop::collection::vec((any::<bool>(), 1u64..1000, 0u64..20_000), 1..100),
    ) {
        let mut now = Instant::now();
        let mut path = PathLimit::new();
        for (died, idle, gap) in steps {
            now += s(gap);
            let was = (path.above(now), path.at_most(now));
            if died { path.died(s(idle), now) } else { path.survived(s(idle), now) }
            let is = (path.above(now), path.at_most(now));
            if let (Some(above), Some(at_most)) = is {
                prop_assert!(above < at_most);
            }
            if died {
                prop_assert!(is.0 == was.0 || is.0.is_none(), "{was:?} then {is:?}");
                let tighter = was.1.is_none_or(|was| is.1.is_some_and(|at| at <= was));
                prop_assert!(tighter, "{was:?} then {is:?}");
            } else {
                prop_assert!(is.0 >= was.0.max(Some(s(idle))), "{was:?} then {is:?}");
                prop_assert!(is.1 == was.1 || is.1.is_none(), "{was:?} then {is:?}");
            }
        }
    }

    /// A box with a fixed limit is learned from below and above, and never believed to be shorter
    /// than what was survived nor longer than what was not.
    #[test]
    fn a_fixed_limit_is_enclosed(
        limit in 30u64..2000, idles in prop::collection::vec(1u64..3000, 1..60),
    ) {
        let now = Instant::now();
        let mut path = PathLimit::new();
        for idle in idles {
            if idle > limit { path.died(s(idle), now) } else { path.survived(s(idle), now) }
            prop_assert!(path.above(now).is_none_or(|above| above <= s(limit)));
            prop_assert!(path.at_most(now).is_none_or(|at_most| at_most > s(limit)));
        }
    }
}

#[test]
fn a_learned_limit_moves_closing_and_probing() {
    let now = Instant::now();
    let rows = [
        // configured probe, survived, died; then: safe idle time, probe after
        (60, None, None, None, s(60)),
        (60, None, Some(100), Some(s(94)), s(60)),
        (60, None, Some(40), Some(s(34)), s(30)),
        (60, None, Some(3600), Some(s(3492)), s(60)),
        (60, Some(40), None, None, s(60)),
        (60, Some(200), None, None, s(150)),
        (60, Some(90), Some(100), Some(s(94)), ms(67_500)),
        (45, Some(59), None, None, s(45)),
    ];
    for (wish, survived, died, safe, probe_after) in rows {
        let mut path = PathLimit::new();
        if let Some(idle) = survived {
            path.survived(s(idle), now);
        }
        if let Some(idle) = died {
            path.died(s(idle), now);
        }
        assert_eq!(path.at_most(now).map(below), safe, "{survived:?} {died:?}");
        assert_eq!(path.probe_after(s(wish), now), probe_after, "{survived:?} {died:?}");
        assert_eq!(path.probe_after(s(wish), now + EVIDENCE_AGE), s(wish));
    }
}
