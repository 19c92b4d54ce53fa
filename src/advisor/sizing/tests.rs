//! Sizes against computed vectors, and a controller that neither swings nor leaves its bounds.

use crate::advisor::sizing::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::time::Instant;

fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}

/// One call at once on a connection and nothing held back: the plain queue.
const fn plain(wait: Wait) -> Goal {
    Goal { wait, headroom: 0.0, min: 1, max: 1000 }
}

fn row_1() -> Load {
    Load::new(200.0, ms(15.0))
}

fn row_2() -> Load {
    Load::new(800.0, ms(8.0))
}

#[test]
fn two_rows_with_one_call_a_connection() {
    let goal = plain(Wait::Share(0.01));
    let one = Sizing::new(row_1(), 1, None, goal).unwrap();
    assert!((one.offered - 3.0).abs() < 1e-12);
    assert_eq!((one.connections, one.bound), (9, Bound::Streams));
    assert!(one.waits > 0.003 && one.waits < 0.005, "{}", one.waits);
    let two = Sizing::new(row_2(), 1, None, goal).unwrap();
    assert!((two.offered - 6.4).abs() < 1e-12);
    assert_eq!(two.connections, 14);
    assert!((two.waits - 0.007).abs() < 0.0005);
}

#[test]
fn two_rows_over_http2() {
    for load in [row_1(), row_2()] {
        let sizing = Sizing::new(load, 100, None, Goal::default()).unwrap();
        assert_eq!((sizing.connections, sizing.for_streams), (1, 1));
        assert_eq!(sizing.servers, 100);
        assert!(sizing.waits < 1e-9 && sizing.mean_wait.unwrap() < ms(0.001));
    }
}

#[test]
fn mean_waits_of_the_rows() {
    let at = |load, connections| {
        let goal = Goal { min: connections, max: connections, ..plain(Wait::Share(0.01)) };
        Sizing::new(load, 1, None, goal).unwrap().mean_wait.unwrap().as_secs_f64() * 1e3
    };
    assert!((at(row_1(), 4) - 7.6).abs() < 0.05, "{}", at(row_1(), 4));
    assert!((at(row_2(), 8) - 2.3).abs() < 0.05, "{}", at(row_2(), 8));
}

#[test]
fn a_percentile_in_place_of_the_mean_asks_for_too_much() {
    // Of exponential times the 99th percentile is ln 100 = 4.6 times the mean.
    let honest = Load::new(200.0, ms(15.0 / 100f64.ln()));
    let goal = plain(Wait::Share(0.01));
    let connections = |load| Sizing::new(load, 1, None, goal).unwrap().connections;
    assert_eq!((connections(honest), connections(row_1())), (4, 9));
}

#[test]
fn variance_is_corrected_for() {
    let goal = Goal { min: 1, max: 1, ..plain(Wait::Share(0.5)) };
    let wait = |load| Sizing::new(load, 1, None, goal).unwrap().mean_wait.unwrap().as_secs_f64();
    let load = Load::new(50.0, ms(10.0));
    // One server: the formula of Pollaczek and Khinchine, exact for any variance.
    assert!((wait(load) - 0.010).abs() < 1e-9);
    assert!((wait(load.with_variance(0.0)) - 0.005).abs() < 1e-9);
    assert!((wait(load.with_variance(9.0 * 1e-4)) - 0.050).abs() < 1e-9);
    let bursts = Load { burstiness: 3.0, ..load };
    assert!((wait(bursts) - 0.020).abs() < 1e-9);
}

#[test]
fn goals_of_time() {
    let size = |wait| Sizing::new(row_1(), 1, None, plain(wait)).unwrap();
    let mean = size(Wait::Mean(ms(1.0)));
    assert!(mean.mean_wait.unwrap() <= ms(1.0));
    let fewer = Goal { min: mean.connections - 1, max: mean.connections - 1, ..mean.goal };
    assert!(Sizing::new(row_1(), 1, None, fewer).unwrap().mean_wait.unwrap() > ms(1.0));
    // P(W > t) = C·e^(-(c-a)t/S): at 5 servers C = 0.236, so the 99th percentile waits 23.7 ms.
    assert_eq!(size(Wait::Quantile(0.99, ms(24.0))).connections, 5);
    assert_eq!(size(Wait::Quantile(0.99, ms(23.0))).connections, 6);
    assert_eq!(size(Wait::Quantile(0.99, Duration::ZERO)).connections, 9, "as a share of 1 %");
}

#[test]
fn bytes_decide_where_streams_do_not() {
    // 65,535 bytes of window over 20 ms let 3.3 MB/s through; 100 calls of 200 kB want 20 MB/s.
    let link = Link {
        bandwidth: None,
        rtt: ms(20.0),
        up: Way::new(500.0),
        down: Way { bytes: 200_000.0, window: 65_535 },
    };
    let load = Load::new(100.0, ms(50.0));
    let goal = Goal { headroom: 0.0, ..Goal::default() };
    let sizing = Sizing::new(load, 100, Some(link), goal).unwrap();
    assert!((sizing.rate_down - 3_276_750.0).abs() < 1.0);
    assert_eq!((sizing.connections, sizing.bound), (7, Bound::Down));
    assert_eq!((sizing.for_streams, sizing.for_up), (1, 1));
    // With headroom a connection counts for three quarters.
    let sizing = Sizing::new(load, 100, Some(link), Goal::default()).unwrap();
    assert_eq!(sizing.for_down, 9);
    // A window that fits lets the bandwidth decide.
    let down = Way { window: 16 << 20, ..link.down };
    let wide = Link { bandwidth: Some(12.5e6), down, ..link };
    let sizing = Sizing::new(load, 100, Some(wide), goal).unwrap();
    assert_eq!((sizing.rate_down, sizing.for_down), (12.5e6, 2));
    let up = Link { up: link.down, down: link.up, ..link };
    assert_eq!(Sizing::new(load, 100, Some(up), goal).unwrap().bound, Bound::Up);
}

/// A window that nobody knows decides nothing, and no rate is calculated from it.
#[test]
fn an_unknown_window_is_no_limit() {
    let unknown = Way { bytes: 500.0, window: u64::MAX };
    let link = Link { bandwidth: None, rtt: ms(1.0), up: unknown, down: Way::new(0.0) };
    let sizing = Sizing::new(row_1(), 100, Some(link), Goal::default()).unwrap();
    assert_eq!((sizing.rate_up, sizing.for_up), (f64::INFINITY, 0));
    assert!(!sizing.to_string().contains("MB/s"), "{sizing}");
    let link = Link { bandwidth: Some(1e6), ..link };
    let sizing = Sizing::new(row_1(), 100, Some(link), Goal::default()).unwrap();
    assert_eq!((sizing.rate_up, sizing.for_up), (1e6, 1));
}

#[test]
fn bounds_are_kept_and_said() {
    let goal = Goal { min: 2, max: 3, ..plain(Wait::Share(0.01)) };
    let idle = Sizing::new(Load::new(0.0, ms(1.0)), 1, None, goal).unwrap();
    assert_eq!((idle.connections, idle.bound, idle.waits), (2, Bound::Min, 0.0));
    let busy = Sizing::new(row_2(), 1, None, goal).unwrap();
    assert_eq!((busy.connections, busy.bound), (3, Bound::Max));
    assert_eq!((busy.waits, busy.mean_wait), (1.0, None));
    assert!(busy.utilisation > 2.0 && busy.for_streams == 14);
}

#[test]
fn senseless_inputs_are_named() {
    let good = row_1();
    let cases = [
        (Load { rate: f64::NAN, ..good }, 1, Goal::default(), "rate"),
        (Load { rate: -1.0, ..good }, 1, Goal::default(), "rate"),
        (good.with_variance(f64::INFINITY), 1, Goal::default(), "variance"),
        (Load { burstiness: -0.1, ..good }, 1, Goal::default(), "burstiness"),
        (good, 0, Goal::default(), "streams per connection"),
        (good, 1, plain(Wait::Share(0.0)), "wait"),
        (good, 1, plain(Wait::Quantile(1.0, ms(1.0))), "wait"),
        (good, 1, Goal { headroom: 1.0, ..Goal::default() }, "headroom (0 to 0.9)"),
        (good, 1, Goal { min: 3, max: 2, ..Goal::default() }, "min and max"),
    ];
    for (load, streams, goal, name) in cases {
        assert_eq!(Sizing::new(load, streams, None, goal), Err(SizingError::Input(name)));
    }
    let huge = Load::new(1e9, Duration::from_secs(1));
    assert_eq!(Sizing::new(huge, 1, None, Goal::default()), Err(SizingError::TooLarge));
}

#[test]
fn a_peer_without_limit_and_a_large_load() {
    let load = Load::new(1e6, Duration::from_secs(1));
    let sizing = Sizing::new(load, u32::MAX, None, Goal::default()).unwrap();
    assert_eq!((sizing.connections, sizing.waits), (1, 0.0));
    let needed = sizing.streams_needed as f64;
    assert!(needed > 1e6 + 1e3 && needed < 1e6 + 4e3, "{needed}: load + about 2.4 of its roots");
}

#[test]
fn it_explains_itself() {
    let link = Link {
        bandwidth: None,
        rtt: ms(20.0),
        up: Way::new(0.0),
        down: Way { bytes: 50_000.0, window: 1 << 20 },
    };
    let load = Load::new(1200.0, ms(40.0));
    let text = Sizing::new(load, 50, Some(link), Goal::default()).unwrap().to_string();
    let want = "\
connections: 2 (calls in flight decide)
load: 1200.0 calls/s x 40.00ms = 48.00 calls in flight
streams: 66 so that at most 1.000 % of the calls wait; 88 with 25 % headroom; at 50 per connection: 2 connections
bytes down: 52.429 MB/s per connection: 2 connections
result: 100 streams, 48.0 % in use, 0.000 % of the calls wait, 0.00ns on average";
    assert_eq!(text, want);
    let goal = Goal { max: 1, ..plain(Wait::Mean(ms(2.0))) };
    let text = Sizing::new(row_2(), 1, None, goal).unwrap().to_string();
    assert!(text.contains("the maximum; the load needs more"), "{text}");
    assert!(text.ends_with("100.000 % of the calls wait, longer and longer: the load is too high"));
}

// ---- the controller -------------------------------------------------------------------------

const fn seen(load: Load, streams: u32, connections: u32) -> Observation {
    Observation { load, streams, link: None, waited: 0.0, mean_wait: Duration::ZERO, connections }
}

/// Follows the advice, one observation a second; returns each move.
fn follow(
    controller: &mut Controller,
    start: u32,
    seconds: u64,
    mut observe: impl FnMut(u64, u32) -> Observation,
) -> (u32, Vec<(u64, Advice)>) {
    let begin = Instant::now();
    let mut connections = start;
    let mut moves = Vec::new();
    for second in 0..seconds {
        let seen = observe(second, connections);
        let advice = controller.observe(begin + Duration::from_secs(second), &seen);
        match advice {
            Advice::Stay => continue,
            Advice::Grow(n) => connections += n,
            Advice::Shrink(n) => connections -= n,
        }
        moves.push((second, advice));
    }
    (connections, moves)
}

#[test]
fn grows_at_once_and_shrinks_after_the_hold() {
    let mut controller = Controller::new(ControllerOptions::default());
    let busy = Load::new(2000.0, ms(100.0));
    let quiet = Load::new(200.0, ms(100.0));
    let (end, moves) = follow(&mut controller, 1, 400, |second, have| {
        seen(if (10..100).contains(&second) { busy } else { quiet }, 100, have)
    });
    // 200 erlangs want 235 streams, 314 with headroom; 20 want 32 and, divided by 0.7, fewer than
    // a connection's.
    assert_eq!(moves, [(10, Advice::Grow(3)), (160, Advice::Shrink(3))]);
    assert_eq!(end, 1);
    assert_eq!(controller.last().unwrap().connections, 1);
}

#[test]
fn a_dip_shorter_than_the_hold_changes_nothing() {
    let mut controller = Controller::new(ControllerOptions::default());
    let (_, moves) = follow(&mut controller, 4, 1000, |second, have| {
        let rate = if second % 60 < 55 { 200.0 } else { 2000.0 };
        seen(Load::new(rate, ms(100.0)), 100, have)
    });
    assert_eq!(moves, []);
}

#[test]
fn a_gap_in_the_observations_proves_nothing() {
    let options = ControllerOptions::default();
    let mut controller = Controller::new(options);
    let begin = Instant::now();
    let quiet = seen(Load::new(1.0, ms(1.0)), 100, 4);
    assert_eq!(controller.observe(begin, &quiet), Advice::Stay);
    let later = begin + options.hold * 10;
    assert_eq!(controller.observe(later, &quiet), Advice::Stay);
    assert_eq!(controller.observe(later + options.hold, &quiet), Advice::Shrink(3));
}

#[test]
fn waits_teach_what_the_arithmetic_does_not_see() {
    let mut controller = Controller::new(ControllerOptions::default());
    let (end, moves) = follow(&mut controller, 1, 3600, |_, have| {
        let waited = if have < 4 { 0.2 } else { 0.0 };
        Observation { waited, ..seen(Load::new(200.0, ms(10.0)), 100, have) }
    });
    let one = Advice::Grow(1);
    assert_eq!(moves, [(0, one), (2, one), (4, one)], "one a settling time, and none given up");
    assert_eq!(end, 4);
    // Once the load has gone the lesson goes too.
    let (end, _) =
        follow(&mut controller, 4, 200, |_, have| seen(Load::new(20.0, ms(10.0)), 100, have));
    assert_eq!(end, 1);
}

#[test]
fn senseless_observations_change_nothing() {
    let mut controller = Controller::new(ControllerOptions::default());
    let load = Load { rate: f64::NAN, ..Load::new(1.0, ms(1.0)) };
    let now = Instant::now();
    assert_eq!(controller.observe(now, &seen(load, 100, 3)), Advice::Stay);
    assert_eq!(controller.observe(now, &seen(Load::new(1e9, ms(1e3)), 0, 3)), Advice::Stay);
    assert_eq!(controller.observe(now, &seen(Load::new(1e9, ms(1e3)), 1, 3)), Advice::Grow(7));
    assert_eq!(controller.observe(now, &seen(load, 100, 12)), Advice::Shrink(2), "over max");
    assert_eq!(controller.observe(now, &seen(load, 100, 0)), Advice::Grow(1), "under min");
}

fn goals() -> impl Strategy<Value = Wait> {
    prop_oneof![
        (0.0001..0.5).prop_map(Wait::Share),
        (1u64..50_000).prop_map(|us| Wait::Mean(Duration::from_micros(us))),
        (0.5..0.999, 0u64..50_000).prop_map(|(q, us)| Wait::Quantile(q, Duration::from_micros(us))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, rng_seed: RngSeed::Fixed(20), ..ProptestConfig::default() })]

    /// On a load that only trembles by 15 % the size turns round at most once, then rests.
    #[test]
    fn never_oscillates_on_constant_load(
        wait in goals(),
        rate in 0.1f64..3000.0,
        mean in 1f64..200.0,
        streams in 1u32..200,
        start in 1u32..40,
        tremble in 0.0f64..0.15,
        seed in any::<u64>(),
        waits_below in 0u32..50,
    ) {
        let goal = Goal { wait, min: 1, max: 40, ..Goal::default() };
        let options = ControllerOptions { goal, ..ControllerOptions::default() };
        let mut random = crate::rt::Random::new(seed);
        let mut controller = Controller::new(options);
        let (_, moves) = follow(&mut controller, start, 500, |_, have| {
            let unit = random.below(2_000_001) as f64 / 1e6 - 1.0;
            let load = Load::new(rate * (1.0 + tremble * unit), ms(mean));
            let long = have < waits_below;
            Observation {
                waited: if long { 1.0 } else { 0.0 },
                mean_wait: if long { Duration::from_secs(9) } else { Duration::ZERO },
                ..seen(load, streams, have)
            }
        });
        let grows: Vec<bool> = moves.iter().map(|(_, a)| matches!(a, Advice::Grow(_))).collect();
        let turns = grows.windows(2).filter(|pair| pair[0] != pair[1]).count();
        prop_assert!(turns <= 1, "{moves:?}");
        // Only giving back may come late: it waits for a long while without a peak.
        let late = moves.iter().filter(|(second, _)| *second >= 300);
        prop_assert!(late.clone().all(|(_, a)| matches!(a, Advice::Shrink(_))), "{moves:?}");
        prop_assert!(late.count() <= 1, "{moves:?}");
    }

    /// Whatever is observed, following the advice stays within the bounds, or comes back at once.
    #[test]
    fn never_leaves_its_bounds(
        steps in prop::collection::vec(
            (0u64..90, 0.0f64..20_000.0, 0f64..500.0, 0u32..300, 0.0f64..1.0), 1..80),
        min in 1u32..5,
        more in 0u32..20,
        start in 0u32..60,
    ) {
        let max = min + more;
        let goal = Goal { min, max, ..Goal::default() };
        let mut controller =
            Controller::new(ControllerOptions { goal, ..ControllerOptions::default() });
        let mut now = Instant::now();
        let mut have = start;
        for (gap, rate, mean, streams, waited) in steps {
            now += Duration::from_secs(gap);
            let seen = Observation { waited, ..seen(Load::new(rate, ms(mean)), streams, have) };
            match controller.observe(now, &seen) {
                Advice::Stay => {}
                Advice::Grow(n) => have += n,
                Advice::Shrink(n) => have -= n,
            }
            prop_assert!((min..=max).contains(&have), "{have} of {min}..={max}");
        }
    }

    /// A larger load never needs fewer, and the answer satisfies its goal unless capped.
    #[test]
    fn sizes_are_monotone_and_sufficient(
        wait in goals(), rate in 0.1f64..5000.0, mean in 1f64..200.0, streams in 1u32..200,
    ) {
        let goal = Goal { wait, max: 100_000, ..Goal::default() };
        let size = |rate| Sizing::new(Load::new(rate, ms(mean)), streams, None, goal).unwrap();
        let sizing = size(rate);
        prop_assert!(size(rate * 1.3).connections >= sizing.connections);
        prop_assert!(sizing.servers >= sizing.streams_wanted);
        prop_assert!(sizing.utilisation < 1.0);
        let slack = Duration::from_nanos(2);
        match wait {
            Wait::Share(most) => prop_assert!(sizing.waits <= most),
            Wait::Mean(most) => prop_assert!(sizing.mean_wait.unwrap() <= most + slack),
            Wait::Quantile(..) => {}
        }
    }
}
