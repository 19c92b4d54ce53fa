//! Simulated pools: leaks are found in time, and what only looks alike is passed over.

use crate::advisor::trend::*;
use crate::rt::Random;

/// A pool whose calls come at random and last exponentially, observed once a second.
struct Pool {
    random: Random,
    /// Mean duration of a call, in seconds.
    lasting: f64,
    cap: u32,
    in_flight: f64,
}

struct Outcome {
    warnings: Vec<(u64, Warning)>,
    /// The second of the first call that found no slot.
    refusal: Option<u64>,
}

impl Pool {
    fn new(seed: u64, lasting: f64, cap: u32, load: f64) -> Self {
        Self { random: Random::new(seed), lasting, cap, in_flight: load }
    }

    /// A normal deviate, as the sum of twelve.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.random.below(1 << 32) as f64 / (1u64 << 32) as f64).sum::<f64>() - 6.0
    }

    /// One second with `load` calls offered: some end, others begin.
    fn step(&mut self, load: f64) {
        let ends = 1.0 - (-1.0 / self.lasting).exp();
        let n = self.in_flight;
        let mut scattered = |mean: f64, variance: f64| mean + self.normal() * variance.sqrt();
        let gone = scattered(n * ends, n * ends * (1.0 - ends));
        let come = scattered(load * ends, load * ends);
        self.in_flight = (n - gone + come).max(0.0).round();
    }

    fn run(
        mut self,
        seconds: u64,
        load: impl Fn(u64) -> f64,
        leaked: impl Fn(u64) -> f64,
    ) -> Outcome {
        let begin = Instant::now();
        let mut detector = Detector::new();
        let mut warnings = Vec::new();
        for second in 0..seconds {
            self.step(load(second));
            let taken = self.in_flight + leaked(second);
            let cap = f64::from(self.cap);
            if taken >= cap {
                return Outcome { warnings, refusal: Some(second) };
            }
            let crowded = (taken / cap - 0.75).max(0.0);
            let sample = Sample {
                slots_in_use: taken as u32,
                waiters: (crowded * 100.0) as u32,
                wait: Duration::from_secs_f64(crowded / 10.0),
                dials: 0.0,
                open: (taken / 75.0).ceil() as u32,
                cap: self.cap,
            };
            let now = begin + Duration::from_secs(second);
            if let Some(warning) = detector.observe(now, &sample) {
                warnings.push((second, warning));
            }
        }
        Outcome { warnings, refusal: None }
    }
}

const LEAK_BEGINS: u64 = 1500;

/// Seconds between the first warning and the first refusal.
fn lead(name: &str, outcome: &Outcome) -> u64 {
    let refusal =
        outcome.refusal.unwrap_or_else(|| panic!("{name}: the leak never fills the pool"));
    let Some((at, warning)) = outcome.warnings.first() else { panic!("{name}: nobody warned") };
    assert!(*at >= LEAK_BEGINS, "{name}: warned at {at}, before the leak: {warning}");
    refusal - at
}

fn leak(per_second: f64) -> impl Fn(u64) -> f64 {
    move |second| second.saturating_sub(LEAK_BEGINS) as f64 * per_second
}

#[test]
fn a_slot_a_second_is_found_a_minute_before_the_first_refusal() {
    for seed in 0..5 {
        for load in [100.0, 300.0, 600.0] {
            // The longer its calls, the further a load wanders by itself: six hundred calls of 20 s go
            // as far in a minute as this leak does.
            for lasting in if load < 600.0 { [0.1, 2.0, 20.0] } else { [0.1, 0.5, 1.0] } {
                let name = format!("seed {seed}, load {load}, calls of {lasting} s");
                let pool = Pool::new(seed, lasting, 1000, load);
                let outcome = pool.run(5000, |_| load, leak(1.0));
                assert!(lead(&name, &outcome) >= 60, "{name}: {}", lead(&name, &outcome));
            }
        }
    }
}

#[test]
fn a_thousandth_a_second_is_found_whatever_the_size() {
    for seed in 0..5 {
        for cap in [100, 500, 1000, 10_000, 100_000] {
            // A tenth of a slot a second is soon lost in the noise of fifty.
            for share in if cap == 100 { [0.1, 0.2, 0.3] } else { [0.1, 0.3, 0.5] } {
                let load = f64::from(cap) * share;
                let name = format!("seed {seed}, cap {cap}, load {load}");
                let pool = Pool::new(seed, 1.0, cap, load);
                let outcome = pool.run(5000, |_| load, leak(f64::from(cap) / 1000.0));
                assert!(lead(&name, &outcome) >= 60, "{name}: {}", lead(&name, &outcome));
            }
        }
    }
}

#[test]
fn a_leak_a_tenth_as_fast_is_found() {
    for seed in 0..5 {
        let pool = Pool::new(seed, 1.0, 1000, 300.0);
        let outcome = pool.run(12_000, |_| 300.0, leak(0.1));
        let name = format!("seed {seed}");
        assert!(lead(&name, &outcome) >= 600, "{name}: {}", lead(&name, &outcome));
    }
}

#[test]
fn a_leak_from_the_start_is_found() {
    for seed in 0..5 {
        let outcome =
            Pool::new(seed, 1.0, 1000, 200.0).run(5000, |_| 200.0, |second| second as f64);
        let (at, _) = outcome.warnings.first().unwrap();
        assert!(outcome.refusal.unwrap() - at >= 60, "seed {seed}: {at}");
    }
}

#[test]
fn a_leak_below_bursts_is_found() {
    // A tenth of the cap more, for 10 s of each minute.
    let load = |second: u64| if second % 60 < 10 { 300.0 } else { 200.0 };
    for seed in 0..5 {
        let pool = Pool::new(seed, 1.0, 1000, 200.0);
        let outcome = pool.run(5000, load, leak(1.0));
        let name = format!("seed {seed}");
        assert!(lead(&name, &outcome) >= 60, "{name}: {}", lead(&name, &outcome));
    }
}

fn silent(name: &str, outcome: &Outcome) {
    assert_eq!(outcome.refusal, None, "{name}: the simulation itself refuses");
    if let Some((at, warning)) = outcome.warnings.first() {
        panic!("{name}: at {at} s: {warning}");
    }
}

#[test]
fn constant_load_is_silent() {
    for seed in 0..2 {
        for (cap, share) in [(100, 0.5), (1000, 0.3), (1000, 0.8), (10_000, 0.5), (10_000, 0.9)] {
            for lasting in [0.1, 1.0, 10.0, 60.0] {
                let load = f64::from(cap) * share;
                let pool = Pool::new(seed, lasting, cap, load);
                let outcome = pool.run(6 * 3600, |_| load, |_| 0.0);
                silent(&format!("seed {seed}, {share} of {cap}, calls of {lasting} s"), &outcome);
            }
        }
    }
}

#[test]
fn the_tides_of_a_day_are_silent() {
    for seed in 0..5 {
        for hours in [12.0, 24.0] {
            let load = move |second: u64| {
                let turn = second as f64 / (hours * 3600.0) * std::f64::consts::TAU;
                500.0 - 300.0 * turn.cos()
            };
            let pool = Pool::new(seed, 1.0, 1000, load(0));
            let outcome = pool.run(24 * 3600, load, |_| 0.0);
            silent(&format!("seed {seed}, {hours} h"), &outcome);
        }
    }
}

#[test]
fn bursts_are_silent() {
    for seed in 0..5 {
        let mut random = Random::new(seed ^ 0xb0b);
        let mut plan = Vec::new();
        let mut at = 0;
        while at < 6 * 3600 {
            at += 5 + random.below(240);
            let (lasts, height) = (5 + random.below(40), 100.0 + random.below(400) as f64);
            plan.push((at, at + lasts, height));
            at += lasts;
        }
        let mut table = vec![300.0; 7 * 3600];
        for (from, to, height) in plan {
            table[from as usize..to as usize].iter_mut().for_each(|load| *load += height);
        }
        let pool = Pool::new(seed, 0.5, 1000, 300.0);
        let outcome = pool.run(6 * 3600, |second| table[second as usize], |_| 0.0);
        silent(&format!("seed {seed}"), &outcome);
    }
}

#[test]
fn a_step_that_settles_is_silent() {
    for seed in 0..2 {
        for settles in [0.1, 10.0, 30.0, 60.0] {
            for (from, to) in [(0.0, 600.0), (300.0, 700.0), (300.0, 800.0), (700.0, 800.0)] {
                let load = move |second: u64| {
                    let since = second.saturating_sub(1800) as f64;
                    to + (from - to) * (-since / settles).exp()
                };
                let pool = Pool::new(seed, 1.0, 1000, from);
                let outcome = pool.run(2 * 3600, load, |_| 0.0);
                silent(&format!("seed {seed}, {from} to {to} within {settles} s"), &outcome);
            }
        }
    }
}

#[test]
fn a_start_from_nothing_is_silent() {
    for seed in 0..2 {
        for settles in [1.0, 30.0, 120.0] {
            let load = move |second: u64| 700.0 * (1.0 - (-(second as f64) / settles).exp());
            let outcome = Pool::new(seed, 1.0, 1000, 0.0).run(3600, load, |_| 0.0);
            silent(&format!("seed {seed}, within {settles} s"), &outcome);
        }
    }
}

#[test]
fn a_warning_says_what_moved_and_comes_again_only_as_the_end_comes_near() {
    let pool = Pool::new(1, 1.0, 1000, 300.0);
    let outcome = pool.run(5000, |_| 300.0, leak(1.0));
    let refusal = outcome.refusal.unwrap();
    let (at, first) = &outcome.warnings[0];
    let foretold = at + first.in_time.as_secs();
    assert!(foretold.abs_diff(refusal) < 240, "foretold {foretold}, came {refusal}");
    assert!(first.per_second > 0.5 && first.per_second < 1.5, "{first}");
    assert_eq!(first.signals[0].what, What::SlotsInUse, "{first}");
    assert!(first.signals.iter().all(|signal| signal.to > signal.from));
    let (_, last) = outcome.warnings.last().unwrap();
    let moved: Vec<What> = last.signals.iter().map(|signal| signal.what).collect();
    assert_eq!(moved, [What::SlotsInUse, What::Waiters, What::Wait, What::Open], "{last}");
    assert!((3..=10).contains(&outcome.warnings.len()), "{:?}", outcome.warnings);
    let apart = outcome.warnings.windows(2).map(|pair| (pair[0].1.in_time, pair[1].1.in_time));
    assert!(apart.into_iter().all(|(before, after)| after < before));
}

#[test]
fn the_line_of_a_warning() {
    let warning = Warning {
        in_time: Duration::from_secs(580),
        per_second: 1.0,
        over: Duration::from_secs(120),
        signals: vec![
            Signal { what: What::SlotsInUse, from: 312.0, to: 391.0 },
            Signal { what: What::Wait, from: 0.0, to: 0.0042 },
            Signal { what: What::Dials, from: 0.1, to: 1.25 },
        ],
    };
    assert_eq!(
        warning.to_string(),
        "slots run out in about 580 s (+1.00 per second over 120 s): slots in use 312 -> 391, \
         wait 0.0 -> 4.2 ms, dials per second 0.10 -> 1.25"
    );
}

#[test]
fn gaps_and_clocks_that_go_back() {
    let begin = Instant::now() + Duration::from_secs(10);
    let mut detector = Detector::new();
    let sample = |slots_in_use| Sample { slots_in_use, cap: 1000, ..Sample::default() };
    // A rise of which only the ends are seen is none.
    for second in (0..10_000).step_by(31) {
        let seen =
            detector.observe(begin + Duration::from_secs(second), &sample(second as u32 / 10));
        let known = second > 1200;
        assert!(seen.is_none() || known, "only the longest window takes one sample in 31 s");
        let past = detector.observe(begin - Duration::from_secs(1), &sample(0));
        assert_eq!(past, None);
    }
    // Nonsense in a value that only accompanies does no harm.
    let odd = Sample { dials: f64::NAN, cap: 0, ..sample(5) };
    for second in 10_000..10_300 {
        detector.observe(begin + Duration::from_secs(second), &odd);
    }
}
