//! A storm of sockets. Calls come in bursts; a client that dials for each, or a pool that dials
//! whenever none is free and keeps only a few, opens a socket for almost every call. Each leaves
//! a TIME_WAIT of a minute, and a port is not free before. The counts here are small on purpose:
//! far from the end of the ports.

use crate::echo::{self, tonic_call};
use crate::svg::{Bars, Chart};
use crate::table::{Table, count, time};
use crate::{BoxError, Outcome, Setting};
use framewire::client::{Advanced, Cap, Channel};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tonic::transport::Endpoint;

/// Calls that begin at once.
const BURST: u32 = 100;
/// Between two bursts.
const PAUSE: Duration = Duration::from_millis(30);
/// What the server waits before it answers.
const SERVICE: Duration = Duration::from_millis(5);
/// Idle connections that the pool without bound keeps: the default of a widely used HTTP client.
const KEPT: usize = 2;
/// Connections of our channel, as by default.
const MOST: u32 = 4;
const NAMES: [&str; 3] = ["socket per call", "pool without bound", "our channel"];

/// Dials whenever none is free.
struct Unbounded {
    endpoint: Endpoint,
    idle: Mutex<Vec<tonic::transport::Channel>>,
}

/// How a call finds its connection.
enum Client {
    PerCall(Endpoint),
    Unbounded(Unbounded),
    Ours(Channel),
}

impl Client {
    async fn call(&self, dials: &AtomicU32) -> Result<(), BoxError> {
        match self {
            Self::PerCall(endpoint) => {
                dials.fetch_add(1, Ordering::Relaxed);
                Ok(tonic_call(&endpoint.connect().await?, SERVICE, None).await?)
            }
            Self::Unbounded(pool) => {
                let found = pool.idle.lock().pop();
                let connection = match found {
                    Some(connection) => connection,
                    None => {
                        dials.fetch_add(1, Ordering::Relaxed);
                        pool.endpoint.connect().await?
                    }
                };
                tonic_call(&connection, SERVICE, None).await?;
                let mut idle = pool.idle.lock();
                if idle.len() < KEPT {
                    idle.push(connection);
                }
                Ok(())
            }
            Self::Ours(channel) => echo::call(channel, SERVICE).await,
        }
    }
}

/// Sockets of the table of the system with this port at either end: connected from this side, and
/// in TIME_WAIT. `None` where there is no such table.
fn sockets(port: u16) -> Option<(u32, u32)> {
    const ESTABLISHED: &str = "01";
    const TIME_WAIT: &str = "06";
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let port = format!(":{port:04X}");
    let (mut open, mut waiting) = (0, 0);
    for line in table.lines().skip(1) {
        let mut words = line.split_whitespace().skip(1);
        let (Some(local), Some(remote), Some(state)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        match state {
            ESTABLISHED if remote.ends_with(&port) => open += 1,
            TIME_WAIT if local.ends_with(&port) || remote.ends_with(&port) => waiting += 1,
            _ => {}
        }
    }
    Some((open, waiting))
}

/// Looks at the table until it is told to stop; returns the most sockets connected at a time.
fn watch(port: u16, over: &AtomicBool) -> Option<u32> {
    let mut most = None;
    while !over.load(Ordering::Relaxed) {
        let (open, _) = sockets(port)?;
        most = most.max(Some(open));
        std::thread::sleep(Duration::from_millis(2));
    }
    most
}

/// What one client did to the machine.
struct Seen {
    calls: u32,
    failed: u32,
    dials: u32,
    peak: Option<u32>,
    waiting: Option<u32>,
    took: Duration,
}

async fn storm(client: Client, port: u16, bursts: u32) -> Result<Seen, BoxError> {
    let client = Arc::new(client);
    let dials = Arc::new(AtomicU32::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let watching = {
        let over = Arc::clone(&over);
        tokio::task::spawn_blocking(move || watch(port, &over))
    };
    // Somebody else's, if the port was used before.
    let foreign = sockets(port).map_or(0, |(_, waiting)| waiting);
    let began = std::time::Instant::now();
    let (mut calls, mut failed) = (0, 0);
    for _ in 0..bursts {
        let burst: Vec<_> = (0..BURST)
            .map(|_| {
                let (client, dials) = (Arc::clone(&client), Arc::clone(&dials));
                tokio::spawn(async move { client.call(&dials).await.is_ok() })
            })
            .collect();
        for call in burst {
            calls += 1;
            failed += u32::from(!call.await?);
        }
        tokio::time::sleep(PAUSE).await;
    }
    let took = began.elapsed();
    over.store(true, Ordering::Relaxed);
    let peak = watching.await?;
    let dials = match &*client {
        Client::Ours(channel) => u32::try_from(channel.stats().cap.dials)?,
        _ => dials.load(Ordering::Relaxed),
    };
    // The last connections take a moment to close.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let waiting = sockets(port).map(|(_, waiting)| waiting.saturating_sub(foreign));
    Ok(Seen { calls, failed, dials, peak, waiting, took })
}

fn client(name: &str, port: u16) -> Result<Client, BoxError> {
    let endpoint = echo::endpoint(port)?;
    Ok(match name {
        "socket per call" => Client::PerCall(endpoint),
        "pool without bound" => Client::Unbounded(Unbounded { endpoint, idle: Mutex::default() }),
        _ => {
            let channel = Channel::builder(&echo::target(port)).max_connections(MOST);
            // A bound of its own, so that its dials are counted apart.
            let advanced = Advanced::default().cap(Cap::new(64, 64));
            Client::Ours(channel.advanced(advanced).build()?)
        }
    })
}

pub(crate) async fn run(setting: Setting) -> Result<Outcome, BoxError> {
    let bursts = setting.pick(20, 8);
    let mut all = Vec::new();
    for name in NAMES {
        // A server for each, so that its port tells the sockets apart; a usual limit of streams.
        let (server, port) = echo::serve(100)?;
        all.push(storm(client(name, port)?, port, bursts).await?);
        server.shutdown(Duration::from_secs(1)).await;
    }

    let optional = |value: Option<u32>| value.map_or_else(|| "not known".into(), count);
    let mut table = Table::new(NAMES);
    table.row("calls", all.iter().map(|seen| count(seen.calls)));
    table.row("failed calls", all.iter().map(|seen| count(seen.failed)));
    table.row("dials", all.iter().map(|seen| count(seen.dials)));
    table.row("sockets open at the peak", all.iter().map(|seen| optional(seen.peak)));
    table.row("sockets in TIME_WAIT afterwards", all.iter().map(|seen| optional(seen.waiting)));
    table.row("time for all bursts", all.iter().map(|seen| time(seen.took)));
    table.note(format!(
        "bursts of {BURST} calls, {} after each; the server answers after {} and allows 100 calls \
         a connection; the pool without bound keeps {KEPT} idle connections",
        time(PAUSE),
        time(SERVICE)
    ));
    table.note("sockets are counted in /proc/net/tcp, every 2 ms and 100 ms after the last burst");

    let series = NAMES.iter().zip(&all).map(|(name, seen)| {
        let numbers = [Some(seen.dials), seen.peak, seen.waiting];
        let values = numbers.into_iter().map_while(|number| number.map(f64::from));
        ((*name).to_owned(), values.collect())
    });
    let chart = Chart::Bars(Bars {
        title: format!("Sockets for {} calls in bursts of {BURST}", bursts * BURST),
        unit: "sockets".into(),
        groups: ["dials", "open at the peak", "TIME_WAIT afterwards"].map(str::to_owned).into(),
        series: series.collect(),
    });
    let mut outcome = Outcome::new(
        table,
        vec![chart],
        "a bound on connections is no bound on calls when each carries many; without one, a burst \
         becomes sockets, and each socket a minute of TIME_WAIT",
    );
    outcome.check(all[0].dials == all[0].calls, "a socket per call is a dial per call");
    let ours = &all[2];
    outcome.check(ours.failed == 0, format!("ours: {} calls failed", ours.failed));
    outcome.check(ours.dials <= MOST, format!("ours: {} dials, {MOST} allowed", ours.dials));
    let kept = ours.peak.is_none_or(|peak| peak <= MOST) && ours.waiting.unwrap_or(0) == 0;
    outcome.check(kept, "ours: more sockets than connections");
    Ok(outcome)
}
