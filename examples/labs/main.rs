//! Labs: failure patterns of connection pools, made visible. Each runs the usual outcome beside
//! ours, on this machine, now.
//!
//! ```text
//! cargo run --release -p labs -- contention
//!   --list     the labs, a line each
//!   --all      one after the other
//!   --quick    a few seconds each, for CI
//!   --netns    silent-nat: in a network namespace, where bytes are dropped by nft (Linux, root)
//! ```
//!
//! Every number in a table was measured in that run. A lab fails, and with it this program, if what
//! it says does not hold; speeds are shown and never judged. Its chart is `target/labs/NAME.svg`.

#[path = "../../proto/rust/bench.rs"]
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bench;

mod alpn;
mod contention;
mod echo;
mod eviction;
mod neighbour;
mod path;
mod restart;
mod silent_nat;
mod sizing;
mod storm;
mod svg;
mod table;
mod tls;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};
use svg::Chart;
use table::{Table, say};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a lab is to run.
#[derive(Clone, Copy, Debug, Default)]
struct Setting {
    quick: bool,
    netns: bool,
}

impl Setting {
    /// One value for people, another for CI.
    fn pick<T>(self, normal: T, quick: T) -> T {
        if self.quick { quick } else { normal }
    }
}

/// What a lab has found.
#[derive(Debug)]
struct Outcome {
    tables: Vec<Table>,
    charts: Vec<Chart>,
    /// What to learn from it, in one line.
    learn: String,
    /// Points of the lab that did not hold.
    broken: Vec<String>,
}

impl Outcome {
    fn new(table: Table, charts: Vec<Chart>, learn: impl Into<String>) -> Self {
        Self { tables: vec![table], charts, learn: learn.into(), broken: Vec::new() }
    }

    /// Notes that `point` does not hold.
    fn check(&mut self, holds: bool, point: impl Into<String>) {
        if !holds {
            self.broken.push(point.into());
        }
    }
}

type LabFuture = Pin<Box<dyn Future<Output = Result<Outcome, BoxError>>>>;

struct Lab {
    name: &'static str,
    line: &'static str,
    run: fn(Setting) -> LabFuture,
}

const LABS: &[Lab] = &[
    Lab {
        name: "contention",
        line: "1 to 500 callers on one handle: pools of one call a connection, and multiplexing",
        run: |setting| Box::pin(contention::run(setting)),
    },
    Lab {
        name: "storm",
        line: "bursts of calls: a socket for each, a pool without bound, and a pool that multiplexes",
        run: |setting| Box::pin(storm::run(setting)),
    },
    Lab {
        name: "silent-nat",
        line: "a path forgets a connection and tells nobody",
        run: |setting| Box::pin(silent_nat::run(setting)),
    },
    Lab {
        name: "eviction",
        line: "connections are closed for their rest while calls check them out",
        run: |setting| Box::pin(eviction::run(setting)),
    },
    Lab {
        name: "tls",
        line: "the first call with TLS, and a server that stops to offer h2",
        run: |setting| Box::pin(tls::run(setting)),
    },
    Lab {
        name: "restart",
        line: "three servers are restarted in turn, each gracefully, under a constant rate",
        run: |setting| Box::pin(restart::run(setting)),
    },
    Lab {
        name: "neighbour",
        line: "one tenant floods, another makes a call now and then",
        run: |setting| Box::pin(neighbour::run(setting)),
    },
    Lab {
        name: "sizing",
        line: "how many connections a load needs: Erlang's formula beside a simulation",
        run: |setting| Box::pin(async move { sizing::run(setting) }),
    },
];

fn main() -> Result<(), BoxError> {
    let mut setting = Setting::default();
    let mut wanted: Vec<&Lab> = Vec::new();
    for word in std::env::args().skip(1) {
        match word.trim_start_matches("--") {
            "list" => return list(),
            "all" => wanted = LABS.iter().collect(),
            "quick" => setting.quick = true,
            "netns" => setting.netns = true,
            name => match LABS.iter().find(|lab| lab.name == name) {
                Some(lab) => wanted.push(lab),
                None => return Err(format!("no lab {word}; --list names them").into()),
            },
        }
    }
    if wanted.is_empty() {
        return list();
    }
    if setting.netns {
        path::enter_netns()?;
    }
    let mut broken = Vec::new();
    for lab in wanted {
        if !run(lab, setting)? {
            broken.push(lab.name);
        }
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(format!("what they say does not hold: {}", broken.join(", ")).into())
    }
}

fn list() -> Result<(), BoxError> {
    for lab in LABS {
        say(format!("{:<12} {}", lab.name, lab.line));
    }
    Ok(())
}

/// Runs a lab on a runtime of its own, so that nothing of it is left for the next one.
fn run(lab: &Lab, setting: Setting) -> Result<bool, BoxError> {
    say(format!("== {}: {}\n", lab.name, lab.line));
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on((lab.run)(setting));
    runtime.shutdown_timeout(Duration::from_secs(1));
    let outcome = outcome.map_err(|error| format!("{}: {error}", lab.name))?;
    outcome.tables.iter().for_each(Table::print);
    say(format!("Learn: {}", outcome.learn));
    let folder = Path::new("target/labs");
    std::fs::create_dir_all(folder)?;
    let file = folder.join(lab.name).with_extension("svg");
    svg::write(&file, &outcome.charts)?;
    for point in &outcome.broken {
        say(format!("DOES NOT HOLD: {point}"));
    }
    say(format!("{:.1} s, chart in {}\n", began.elapsed().as_secs_f64(), file.display()));
    Ok(outcome.broken.is_empty())
}
