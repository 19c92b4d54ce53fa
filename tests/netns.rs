//! Real sockets between two network namespaces of our own, and what networks do to them.
//!
//! Runs only with `FRAMEWIRE_NETNS=1`, since it changes the machine: it makes namespaces and removes
//! them. It needs root, `ip`, `nft` and `tc`, and fails without them. `FRAMEWIRE_NETNS_ONLY=name` runs
//! one case. Nothing leaves the namespaces.
//!
//! Each case has a pair of namespaces of its own, and all of them run at once: they mostly wait. A
//! case is a process in the client's namespace, and its servers are processes in the server's.
//! Times are what is promised and a good deal more, since the clock is real.
#![cfg(target_os = "linux")]
#![allow(
    unreachable_pub,
    dead_code,
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "netns/flows.rs"]
mod flows;
#[path = "netns/gate.rs"]
mod gate;
#[path = "support/load.rs"]
mod load;
#[path = "netns/paths.rs"]
mod paths;
#[path = "support/process.rs"]
mod process;
#[path = "netns/servers.rs"]
mod servers;
#[path = "netns/stage.rs"]
mod stage;
#[path = "netns/windows.rs"]
mod windows;

use stage::{Case, Pair, Stage, case, missing};
use std::io::Write;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The test that all of the processes run, each its part.
const TEST: &str = "calls_meet_the_faults_of_a_network";
/// Set in a case's process: its name.
const CASE: &str = "FRAMEWIRE_TEST_CASE";
/// After this a case is killed.
const LIMIT: Duration = Duration::from_secs(240);

const CASES: [(&str, Case); 17] = [
    ("a_flow_that_vanishes_under_calls", |stage| {
        case(flows::a_flow_that_vanishes_under_calls(stage))
    }),
    ("a_flow_that_vanishes_while_one_waits", |stage| {
        case(flows::a_flow_that_vanishes_while_one_waits(stage))
    }),
    ("a_quiet_flow_that_was_forgotten", |stage| {
        case(flows::a_quiet_flow_that_was_forgotten(stage))
    }),
    ("a_flow_that_is_reset", |stage| case(flows::a_flow_that_is_reset(stage))),
    ("nothing_passes_for_a_while", |stage| case(paths::nothing_passes_for_a_while(stage))),
    ("nothing_passes_for_long", |stage| case(paths::nothing_passes_for_long(stage))),
    ("an_address_that_does_not_answer", |stage| {
        case(paths::an_address_that_does_not_answer(stage))
    }),
    ("a_link_that_flaps", |stage| case(paths::a_link_that_flaps(stage))),
    ("a_link_that_loses_five_in_a_hundred", |stage| {
        case(paths::a_link_that_loses_five_in_a_hundred(stage))
    }),
    ("a_narrow_link", |stage| case(paths::a_narrow_link(stage))),
    ("a_server_that_is_killed", |stage| case(servers::a_server_that_is_killed(stage))),
    ("a_server_that_is_stopped", |stage| case(servers::a_server_that_is_stopped(stage))),
    ("windows_closed_for_45_s", |stage| case(windows::windows_that_stay_closed(stage, 45))),
    ("windows_closed_for_150_s", |stage| case(windows::windows_that_stay_closed(stage, 150))),
    ("closed_windows_and_loss", |stage| case(windows::closed_windows_and_loss(stage))),
    ("closed_windows_and_a_path_that_vanishes", |stage| {
        case(windows::closed_windows_and_a_path_that_vanishes(stage))
    }),
    ("a_stopped_server_and_a_path_that_vanishes", |stage| {
        case(windows::a_stopped_server_and_a_path_that_vanishes(stage))
    }),
];

#[test]
fn calls_meet_the_faults_of_a_network() {
    if windows::serve() {
        return;
    }
    if let Ok(name) = std::env::var(CASE) {
        let (_, case) = CASES.into_iter().find(|(known, _)| *known == name).unwrap();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        return runtime.block_on(case(Stage::from_env()));
    }
    if std::env::var("FRAMEWIRE_NETNS").as_deref() != Ok("1") {
        // Written past the capture of the test harness, so that an ordinary run shows the line.
        let line = "netns: skipped; FRAMEWIRE_NETNS=1 runs it, as root, in network namespaces";
        return writeln!(std::io::stderr(), "{line}").unwrap();
    }
    if let Some(reason) = missing() {
        panic!("FRAMEWIRE_NETNS is 1, and {reason}");
    }
    let only = std::env::var("FRAMEWIRE_NETNS_ONLY").ok();
    let cases: Vec<_> =
        CASES.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)).collect();
    // One after the other: the tools do not like company.
    let pairs: Vec<_> = (0..cases.len()).map(Pair::new).collect();
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let runs = cases.iter().zip(&pairs);
        let runs: Vec<_> =
            runs.map(|((name, _), pair)| (*name, scope.spawn(|| run(name, pair)))).collect();
        let ended = runs.into_iter().map(|(name, run)| (name, run.join()));
        ended.filter(|(_, result)| !matches!(result, Ok(true))).map(|(name, _)| name).collect()
    });
    drop(pairs);
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// One case in a process of its own; what it said is shown if it failed.
fn run(name: &str, pair: &Pair) -> bool {
    let started = Instant::now();
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &pair.client]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture"]).env(CASE, name);
    let Output { status, stdout, stderr } = pair.run(&mut command, LIMIT);
    let said = String::from_utf8_lossy(&stdout);
    let notes = said.lines().filter(|line| line.starts_with("  "));
    let notes: String = notes.map(|line| format!("{line}\n")).collect();
    let word = if status.success() { "ok" } else { "FAILED" };
    print!("{name}: {word}, {:.1} s\n{notes}", started.elapsed().as_secs_f64());
    if !status.success() {
        println!("{said}{}", String::from_utf8_lossy(&stderr));
    }
    status.success()
}
