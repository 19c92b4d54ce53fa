//! The table, and the same as JSON.

use crate::load::Seen;
use std::fmt::Write as _;

/// The runs of both stacks on one case, in pairs.
pub struct Comparison {
    pub case: &'static str,
    pub runtime: &'static str,
    pub stacks: [String; 2],
    pub runs: Vec<[Seen; 2]>,
}

impl Comparison {
    fn of(&self, side: usize, f: impl Fn(&Seen) -> f64) -> Vec<f64> {
        self.runs.iter().map(|pair| f(&pair[side])).collect()
    }

    /// Median of first over second, pair by pair.
    fn ratio(&self) -> f64 {
        median(self.runs.iter().map(|[a, b]| a.per_second / b.per_second).collect())
    }

    pub fn print(&self) {
        for side in [0, 1] {
            let rates = self.of(side, |seen| seen.per_second);
            let middle = |f: fn(&Seen) -> f64| number(median(self.of(side, f)));
            let low = rates.iter().copied().fold(f64::INFINITY, f64::min);
            let high = rates.iter().copied().fold(0.0, f64::max);
            let ratio = if side == 0 { format!("{:.2}x", self.ratio()) } else { String::new() };
            println!(
                "{:<18} {:<19} {:>8.0} {:>17} {:>7} {:>8} {:>8} {:>8} {:>7} {:>7}",
                if side == 0 { self.case } else { "" },
                self.stacks[side],
                median(rates),
                format!("[{low:.0}..{high:.0}]"),
                ratio,
                middle(|seen| seen.p50),
                middle(|seen| seen.p99),
                middle(|seen| seen.p999),
                middle(|seen| seen.client_cpu),
                middle(|seen| seen.server_cpu),
            );
        }
    }

    fn json(&self) -> String {
        let mut text = format!(
            "{{\"case\":\"{}\",\"runtime\":\"{}\",\"ratio\":{}",
            self.case,
            self.runtime,
            json_number(self.ratio())
        );
        for side in [0, 1] {
            let field = |name: &str, f: fn(&Seen) -> f64| {
                let values: Vec<_> = self.of(side, f).into_iter().map(json_number).collect();
                format!("\"{name}\":[{}]", values.join(","))
            };
            let fields = [
                field("per_second", |seen| seen.per_second),
                field("p50_us", |seen| seen.p50),
                field("p99_us", |seen| seen.p99),
                field("p999_us", |seen| seen.p999),
                field("client_cpu_us", |seen| seen.client_cpu),
                field("server_cpu_us", |seen| seen.server_cpu),
            ];
            let _ = write!(text, ",\"{}\":{{{}}}", self.stacks[side], fields.join(","));
        }
        text + "}"
    }
}

pub fn head(runtime: &str, rounds: usize, pinned: bool) {
    let pinned = if pinned { "server on core 0, client on core 1" } else { "not pinned" };
    println!("\n{runtime} runtime, {pinned}, median of {rounds} pairs, a server each");
    println!(
        "{:<18} {:<19} {:>8} {:>17} {:>7} {:>8} {:>8} {:>8} {:>7} {:>7}",
        "case",
        "stack",
        "per s",
        "[min..max]",
        "ratio",
        "p50 us",
        "p99",
        "p99.9",
        "cpu cl",
        "cpu sv"
    );
}

pub fn json(comparisons: &[Comparison]) -> String {
    let all: Vec<_> = comparisons.iter().map(Comparison::json).collect();
    format!("[\n{}\n]\n", all.join(",\n"))
}

fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.1}") } else { "-".into() }
}

fn json_number(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "null".into() }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => f64::NAN,
        _ if n % 2 == 1 => values[n / 2],
        _ => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
