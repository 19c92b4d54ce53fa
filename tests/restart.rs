//! Servers that are restarted one after the other, for real: processes that get SIGTERM, over TCP.
//!
//! `FRAMEWIRE_RESTART_SECONDS=60` makes it longer than the few seconds of an ordinary run.
#![cfg(unix)]
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

#[path = "support/load.rs"]
mod load;
#[path = "support/process.rs"]
mod process;

use framewire::client::{Balance, Channel, Static};

use framewire::unstable::pool::PoolOptions;
use load::Load;
use process::{Process, Ran};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The test that servers run, in their part.
const TEST: &str = "a_rolling_restart_fails_no_call_and_repeats_none";
/// Calls a second of each channel.
const RATE: u32 = 1000;
/// Time from one SIGTERM to the next: a channel's first back-off and the start of a process fit.
const STEP: Duration = Duration::from_millis(1800);
/// Time that a server is away.
const AWAY: Duration = Duration::from_millis(200);

fn seconds() -> u64 {
    let text = std::env::var("FRAMEWIRE_RESTART_SECONDS").ok();
    text.map_or(6, |text| text.parse().expect("a number of seconds"))
}

fn channel(addresses: &[SocketAddr], balance: Balance) -> Channel {
    let mut options = PoolOptions::new();
    options.balance = balance;
    let builder = Channel::builder("http://servers.test").unstable_pool(options);
    builder.resolver(Static(addresses.to_vec())).build().unwrap()
}

/// Ends the server by SIGTERM, and adds what it ran; none of its streams was cut.
async fn retire(server: Process, all: &mut Ran) {
    server.signal("TERM").await;
    let (ran, forced) = server.report().await;
    assert_eq!(forced, 0, "streams were cut");
    for (id, times) in ran {
        *all.entry(id).or_default() += times;
    }
}

#[test]
fn a_rolling_restart_fails_no_call_and_repeats_none() {
    if process::serve() {
        return;
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(rolling_restart());
}

async fn rolling_restart() {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Some(Process::start(&[], TEST, anywhere).await));
    }
    let addresses: Vec<_> = servers.iter().flatten().map(|server| server.address).collect();
    // One that uses all servers at once, and one that moves from one to the next.
    let mut first = 1;
    let loads = [Balance::RoundRobin, Balance::PickFirst].map(|balance| {
        let load = Load::start(channel(&addresses, balance), RATE, first);
        first += 1 << 30;
        load
    });
    let mut all = Ran::new();
    let until = Instant::now() + Duration::from_secs(seconds());
    let mut restarts = 0;
    sleep(Duration::from_millis(500)).await;
    while restarts < 3 || Instant::now() < until {
        let next = Instant::now() + STEP;
        let n = restarts % 3;
        retire(servers[n].take().unwrap(), &mut all).await;
        sleep(AWAY).await;
        servers[n] = Some(Process::start(&[], TEST, addresses[n]).await);
        restarts += 1;
        tokio::time::sleep_until(next).await;
    }
    let mut begun = 0;
    for load in loads {
        begun += load.stop_unharmed(Duration::from_secs(60)).await as usize;
    }
    for server in servers.into_iter().flatten() {
        retire(server, &mut all).await;
    }
    println!("{begun} calls, {restarts} restarts");
    let twice: Vec<_> = all.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "ran more than once: {twice:?}");
    assert_eq!(all.len(), begun, "every call ran");
}
