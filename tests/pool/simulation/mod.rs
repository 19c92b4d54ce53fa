//! Channels, pools, servers, resolver and network under seeded chance, in virtual time: whatever
//! happens, every call ends once and tells the truth, none runs more often than its policy allows,
//! no bound is passed at any step, and nothing is left behind.
//!
//! `FRAMEWIRE_SEEDS=100000 cargo test --release --test pool simulation` runs more seeds, from
//! `FRAMEWIRE_FIRST` on; `FRAMEWIRE_SEED=7` runs one of them and prints what happened.

mod calls;
mod world;

use world::World;

/// Seeds without `FRAMEWIRE_SEEDS`; `.ci/run` sets 1000.
const SEEDS: u64 = 150;
/// One seed in so many runs twice: the same must happen.
const TWICE: u64 = 15;
const STEPS: u64 = 120;

/// What happened, a line for each event.
fn run(seed: u64) -> Vec<String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step().await;
        }
        world.end().await
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn seeds() -> u64 {
    number("FRAMEWIRE_SEEDS").unwrap_or(SEEDS)
}

#[test]
fn whatever_happens() {
    let (from, to) = match number("FRAMEWIRE_SEED") {
        Some(seed) => (seed, seed + 1),
        None => {
            let first = number("FRAMEWIRE_FIRST").unwrap_or(0);
            (first, first + seeds())
        }
    };
    let mut failed = Vec::new();
    for seed in from..to {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(lines) if to == from + 1 => println!("{}", lines.join("\n")),
            Ok(_) => {}
            Err(_) => failed.push(seed),
        }
    }
    assert!(failed.is_empty(), "FRAMEWIRE_SEED= runs one of these again: {failed:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in (0..seeds().div_ceil(TWICE)).filter(|seed| !world::is_restless(*seed)) {
        let (one, two) = (run(seed), run(seed));
        let differs = one.iter().zip(&two).find(|(one, two)| one != two);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.len(), two.len(), "seed {seed}");
        assert!(one.len() > 200, "seed {seed}: {} events", one.len());
    }
}
