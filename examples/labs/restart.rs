//! Three servers are restarted one after the other, each gracefully, under a constant rate of
//! calls: what a roll-out does every day. A drain says by two GOAWAYs which calls it still
//! answers; whether a client loses any is up to the client.

use crate::echo::{self, tonic_call};
use crate::svg::{Chart, Lines, Marks};
use crate::table::{Table, count, quantile, time};
use crate::{BoxError, Outcome, Setting};
use framewire::client::{Balance, Channel, Static};
use framewire::server::Server;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// Between two calls.
const TICK: Duration = Duration::from_millis(2);
/// What a server waits before it answers.
const SERVICE: Duration = Duration::from_millis(5);
/// First back-off of ours after a failed dial, scaled down from 1 s as the restarts are.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(120);
const DEADLINE: Duration = Duration::from_secs(2);
const NAMES: [&str; 2] = ["tonic, balanced list", "our channel, round robin"];

#[derive(Clone)]
enum Client {
    Tonic(tonic::transport::Channel),
    Ours(Channel),
}

impl Client {
    fn tonic(addresses: &[SocketAddr]) -> Result<Self, BoxError> {
        let endpoints: Result<Vec<_>, _> =
            addresses.iter().map(|address| echo::endpoint(address.port())).collect();
        Ok(Self::Tonic(tonic::transport::Channel::balance_list(endpoints?.into_iter())))
    }

    fn ours(addresses: &[SocketAddr]) -> Result<Self, BoxError> {
        // The name is only said; the resolver tells the addresses.
        let channel = Channel::builder("http://service.example:80")
            .resolver(Static(addresses.to_vec()))
            .balance(Balance::RoundRobin)
            .backoff(BACKOFF, BACKOFF_MAX)
            .build()?;
        Ok(Self::Ours(channel))
    }

    /// How a call failed, if it did.
    async fn call(&self) -> Result<(), String> {
        match self {
            Self::Tonic(channel) => {
                let result = tonic_call(channel, SERVICE, Some(DEADLINE)).await;
                result.map_err(|status| format!("{:?}: {}", status.code(), status.message()))
            }
            Self::Ours(channel) => {
                let request = framewire::Request::new(echo::request(SERVICE));
                let result = channel.unary(&echo::ECHO, request.with_timeout(DEADLINE)).await;
                result.map(drop).map_err(|error| error.to_string())
            }
        }
    }
}

/// What the callers saw.
#[derive(Default)]
struct Seen {
    calls: u32,
    failed: BTreeMap<String, u32>,
    times: Vec<Duration>,
    /// Seconds since the start, and calls begun up to then that failed.
    growth: Vec<(f64, f64)>,
    restarts: u32,
    /// Calls that servers had to cut, since their grace had passed.
    cut: usize,
}

impl Seen {
    fn failures(&self) -> u32 {
        self.failed.values().sum()
    }
}

fn start(address: SocketAddr) -> Result<Server, BoxError> {
    Ok(Server::builder(echo::router()).bind(address)?)
}

/// How the servers are restarted.
#[derive(Clone, Copy)]
struct Roll {
    /// Restarts of each server.
    rounds: u32,
    /// From a server's end to its next beginning, and from there to the next one's end.
    down: Duration,
}

/// Restarts each server in turn; returns restarts, and calls that were cut.
async fn roll(
    servers: Vec<(Server, SocketAddr)>,
    Roll { rounds, down }: Roll,
) -> Result<(u32, usize), BoxError> {
    let (mut restarts, mut cut) = (0, 0);
    let mut servers = servers;
    for _ in 0..rounds {
        let mut next = Vec::new();
        for (server, address) in servers {
            tokio::time::sleep(down).await;
            let report = server.shutdown(Duration::from_secs(2)).await;
            cut += report.forced;
            tokio::time::sleep(down).await;
            next.push((start(address)?, address));
            restarts += 1;
        }
        servers = next;
    }
    tokio::time::sleep(down).await;
    for (server, _) in servers {
        server.shutdown(Duration::from_secs(2)).await;
    }
    Ok((restarts, cut))
}

/// A call every tick while the servers are restarted.
async fn run_one(
    client: impl Fn(&[SocketAddr]) -> Result<Client, BoxError>,
    plan: Roll,
) -> Result<Seen, BoxError> {
    let mut servers = Vec::new();
    for _ in 0..3 {
        let server = start(([127, 0, 0, 1], 0).into())?;
        let address = server.local_addr().ok_or("no address")?;
        servers.push((server, address));
    }
    let addresses: Vec<_> = servers.iter().map(|(_, address)| *address).collect();
    let client = client(&addresses)?;
    // Dials and first calls are no part of it.
    for _ in 0..20 {
        client.call().await?;
    }
    // The last restarts are over before the last calls begin.
    let until = Instant::now() + plan.down * (6 * plan.rounds);
    let rolling = tokio::spawn(roll(servers, plan));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = Vec::new();
    let start = Instant::now();
    while Instant::now() < until {
        ticks.tick().await;
        let client = client.clone();
        calls.push(tokio::spawn(async move {
            let began = Instant::now();
            (client.call().await, began, began.elapsed())
        }));
    }
    let mut seen = Seen::default();
    for call in calls {
        let (result, began, took) = call.await?;
        seen.calls += 1;
        seen.times.push(took);
        if let Err(text) = result {
            *seen.failed.entry(text).or_default() += 1;
        }
        seen.growth.push(((began - start).as_secs_f64(), seen.failures().into()));
    }
    (seen.restarts, seen.cut) = rolling.await??;
    Ok(seen)
}

pub(crate) async fn run(setting: Setting) -> Result<Outcome, BoxError> {
    let plan =
        Roll { rounds: setting.pick(4, 1), down: Duration::from_millis(setting.pick(200, 140)) };
    let mut all = [run_one(Client::tonic, plan).await?, run_one(Client::ours, plan).await?];

    let mut table = Table::new(NAMES);
    table.row("calls", all.each_ref().map(|seen| count(seen.calls)));
    table.row("servers restarted", all.each_ref().map(|seen| count(seen.restarts)));
    table.row("failed calls", all.each_ref().map(|seen| count(seen.failures())));
    table.row("calls cut by a server", all.each_ref().map(|seen| count(seen.cut as f64)));
    for (what, share) in [("p50", 0.5), ("p99", 0.99), ("longest call", 1.0)] {
        table.row(what, all.each_mut().map(|seen| time(quantile(&mut seen.times, share))));
    }
    for (name, seen) in NAMES.iter().zip(&all) {
        for (text, n) in &seen.failed {
            table.note(format!("{name}: {n} x {text}"));
        }
    }
    table.note(format!(
        "a call every {}, answered after {}; servers of this crate, drained by two GOAWAYs with \
         2 s of grace, down for {}, one after the other",
        time(TICK),
        time(SERVICE),
        time(plan.down)
    ));
    table.note(format!(
        "times are scaled down together, our first back-off from 1 s to {}; tonic's has none",
        time(BACKOFF)
    ));
    let series = NAMES
        .iter()
        .zip(&all)
        .map(|(name, seen)| ((*name).to_owned(), Marks::Line, seen.growth.clone()));
    let chart = Chart::Lines(Lines {
        title: format!("Three servers, each restarted {} time(s)", plan.rounds),
        x: "seconds".into(),
        y: "calls that failed so far".into(),
        series: series.collect(),
    });
    let mut outcome = Outcome::new(
        table,
        vec![chart],
        "a roll-out loses no call if the server drains and the client leaves a draining \
         connection, sends again what was not processed, and prefers endpoints that are ready",
    );
    let [usual, ours] = &all;
    outcome.check(ours.failures() == 0, format!("ours: {} calls failed", ours.failures()));
    outcome.check(usual.restarts == ours.restarts, "as many restarts for both");
    Ok(outcome)
}
