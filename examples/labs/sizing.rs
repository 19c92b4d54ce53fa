//! How many connections a load needs. The two loads by which pools are often explained, computed
//! by Erlang's formula and played through by a simulation that knows nothing of it.

use crate::svg::{Chart, Lines, Marks, Series};
use crate::table::{Table, count, time};
use crate::{BoxError, Outcome, Setting};
use framewire::unstable::advisor::sizing::{Goal, Load, Sizing, erlang};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Streams that a usual server allows on a connection.
const STREAMS: u32 = 100;
/// Same seed, same simulation.
const SEED: u64 = 41;
/// For exponential times, the 99th percentile is so many times the mean: ln 100.
const P99_OVER_MEAN: f64 = 4.605_170_185_988_091;

/// A load, what is often quoted for it, and the servers for which it is played through.
struct Case {
    rate: f64,
    mean: Duration,
    cores: u32,
    quoted: u32,
    servers: [u64; 4],
}

impl Case {
    fn words(&self) -> String {
        format!("{}/s of {:?}", self.rate, self.mean)
    }
}

const CASES: [Case; 2] = [
    Case {
        rate: 200.0,
        mean: Duration::from_millis(15),
        cores: 4,
        quoted: 12,
        servers: [4, 8, 9, 12],
    },
    Case {
        rate: 800.0,
        mean: Duration::from_millis(8),
        cores: 8,
        quoted: 32,
        servers: [8, 10, 12, 14],
    },
];

/// Uniform numbers in (0, 1], the same for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.next().ln()
    }
}

/// What became of the calls of a simulation.
struct Simulated {
    /// The share that found every server busy.
    waits: f64,
    mean_wait: Duration,
}

/// Calls arrive at random, take the server that is free first, and wait in order if none is.
fn simulate(load: &Load, servers: u64, calls: u32) -> Simulated {
    let mut random = Random(SEED);
    // When each server is free, in nanoseconds, the earliest on top.
    let mut free: BinaryHeap<Reverse<u64>> = (0..servers).map(|_| Reverse(0)).collect();
    let (mut now, mut waited, mut waits) = (0.0, 0.0, 0_u32);
    for _ in 0..calls {
        now += random.exponential(1e9 / load.rate);
        let Reverse(earliest) = free.pop().unwrap_or(Reverse(0));
        let begins = f64::max(now, earliest as f64);
        if begins > now {
            waits += 1;
            waited += begins - now;
        }
        let ends = begins + random.exponential(load.mean.as_secs_f64() * 1e9);
        free.push(Reverse(ends as u64));
    }
    Simulated {
        waits: f64::from(waits) / f64::from(calls),
        mean_wait: Duration::from_secs_f64(waited / f64::from(calls) / 1e9),
    }
}

/// What the cases add up to.
struct Findings {
    sizes: Table,
    queue: Table,
    explained: Vec<String>,
    series: Vec<Series>,
    broken: Vec<String>,
}

impl Findings {
    /// How many connections and streams.
    fn size(&mut self, case: &Case) -> Result<Sizing, BoxError> {
        let load = Load::new(case.rate, case.mean);
        let sizing = Sizing::new(load, STREAMS, None, Goal::default())?;
        let mut two = Goal::default();
        two.min = 2;
        let redundant = Sizing::new(load, STREAMS, None, two)?;
        let what = case.words();
        self.sizes.row(
            format!("{what}, {} cores: connections", case.cores),
            [case.quoted.to_string(), sizing.connections.to_string()],
        );
        let (mean, streams) = read_as_p99(case)?;
        let rows = [
            ("    if one may be lost".into(), redundant.connections.into()),
            ("    streams, so that 1 % waits at most".into(), sizing.streams_needed),
            (
                format!("    the same if {:?} is the p99, so the mean {}", case.mean, time(mean)),
                streams,
            ),
        ];
        for (row, number) in rows {
            self.sizes.row(row, [String::new(), number.to_string()]);
        }
        self.explained.extend(format!("{what}: {sizing}").lines().map(str::to_owned));
        if sizing.connections != 1 || redundant.connections != 2 {
            self.broken.push(format!("{what}: one connection is enough, two if one may be lost"));
        }
        Ok(sizing)
    }

    /// How many wait, by the formula and played through.
    fn wait(&mut self, case: &Case, sizing: &Sizing, calls: u32) {
        let (what, load) = (case.words(), &sizing.load);
        let most = case.servers.into_iter().max().unwrap_or(0);
        let percent = |servers| (servers as f64, erlang::waiting(sizing.offered, servers) * 100.0);
        let formula = (sizing.offered.ceil() as u64..=most).map(percent).collect();
        let mut played = Vec::new();
        for servers in case.servers {
            let waits = erlang::waiting(sizing.offered, servers);
            let mean = load.mean.mul_f64(waits / (servers as f64 - sizing.offered));
            let simulated = simulate(load, servers, calls);
            let words = |waits: f64, mean| format!("{:.2} %, {}", waits * 100.0, time(mean));
            self.queue.row(
                format!("{what}, c = {servers}: calls that wait, mean wait"),
                [words(waits, mean), words(simulated.waits, simulated.mean_wait)],
            );
            if (waits - simulated.waits).abs() > 0.015 {
                self.broken.push(format!("{what}, c = {servers}: formula and simulation differ"));
            }
            played.push((servers as f64, simulated.waits * 100.0));
        }
        self.series.push((format!("{what}, Erlang C"), Marks::Line, formula));
        self.series.push((format!("{what}, simulated"), Marks::Points, played));
    }
}

pub(crate) fn run(setting: Setting) -> Result<Outcome, BoxError> {
    let calls = setting.pick(1_000_000, 200_000);
    let mut found = Findings {
        sizes: Table::new(["often quoted", "ours"]),
        queue: Table::new(["Erlang C", "simulated"]),
        explained: Vec::new(),
        series: Vec::new(),
        broken: Vec::new(),
    };
    for case in &CASES {
        let sizing = found.size(case)?;
        found.wait(case, &sizing, calls);
    }
    let Findings { sizes, mut queue, explained, series, broken } = found;
    queue.note(format!(
        "c is calls under way at a time: streams, or connections if each carries one call; \
         {} calls a row, seed {SEED}",
        count(calls)
    ));
    explained.into_iter().for_each(|line| queue.note(line));
    let chart = Chart::Lines(Lines {
        title: "Calls that find every server busy".into(),
        x: "c: calls that may be under way at a time".into(),
        y: "% of calls".into(),
        series,
    });
    let mut outcome = Outcome::new(
        queue,
        vec![chart],
        format!(
            "size by the mean, not by a percentile; count streams, not connections: one carries \
             {STREAMS}, so both loads want one, or two if one may be lost"
        ),
    );
    outcome.tables.insert(0, sizes);
    broken.into_iter().for_each(|point| outcome.check(false, point));
    Ok(outcome)
}

/// The mean, and the streams wanted, if the figure is a 99th percentile, as it often is.
fn read_as_p99(case: &Case) -> Result<(Duration, u64), BoxError> {
    let mean = case.mean.div_f64(P99_OVER_MEAN);
    let sizing = Sizing::new(Load::new(case.rate, mean), STREAMS, None, Goal::default())?;
    Ok((mean, sizing.streams_needed))
}
