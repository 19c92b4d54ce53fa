//! A noisy neighbour. One tenant floods a server, another makes a call now and then. In one queue
//! the quiet one waits behind all that the flood has put there.

use crate::echo::{self, ECHO, tonic_call};
use crate::svg::{Bars, Chart};
use crate::table::{Table, count, millis, quantile, time};
use crate::{BoxError, Outcome, Setting};
use framewire::client::{Channel, Share};
use framewire::error::Phase;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Calls that the server allows on a connection.
const STREAMS: u32 = 10;
/// What the server waits before it answers.
const SERVICE: Duration = Duration::from_millis(5);
/// Callers of the tenant that floods; each has a call under way at all times.
const NOISY: usize = 200;
/// Between two calls of the quiet tenant.
const TICK: Duration = Duration::from_millis(10);

/// How the two tenants share the way to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Tonic,
    Queue,
    Tenants,
    Channels,
}

impl Sharing {
    const ALL: [Self; 4] = [Self::Tonic, Self::Queue, Self::Tenants, Self::Channels];

    const fn name(self) -> &'static str {
        match self {
            Self::Tonic => "tonic, one channel",
            Self::Queue => "our channel, one queue",
            Self::Tenants => "our channel, tenants",
            Self::Channels => "our channel for each",
        }
    }

    /// The way of the noisy tenant and that of the quiet one.
    fn clients(self, port: u16) -> Result<[Client; 2], BoxError> {
        Ok(match self {
            Self::Tonic => {
                let channel = echo::endpoint(port)?.connect_lazy();
                [Client::Tonic(channel.clone()), Client::Tonic(channel)]
            }
            Self::Queue => {
                let channel = channel(port)?;
                [Client::Ours(channel.clone()), Client::Ours(channel)]
            }
            Self::Tenants => {
                let channel = channel(port)?;
                ["noisy", "quiet"].map(|who| Client::Ours(channel.tenant(who, Share::new())))
            }
            Self::Channels => [Client::Ours(channel(port)?), Client::Ours(channel(port)?)],
        })
    }
}

/// A channel with one connection, as tonic's: the server's limit is what the tenants compete for.
fn channel(port: u16) -> Result<Channel, BoxError> {
    Ok(Channel::builder(&echo::target(port)).max_connections(1).build()?)
}

#[derive(Clone)]
enum Client {
    Tonic(tonic::transport::Channel),
    Ours(Channel),
}

impl Client {
    /// One call; how long it waited for a place, where the client tells.
    async fn call(&self) -> Result<Option<Duration>, BoxError> {
        match self {
            Self::Tonic(channel) => {
                tonic_call(channel, SERVICE, None).await?;
                Ok(None)
            }
            Self::Ours(channel) => {
                let (_, timeline) = channel.unary_timed(&ECHO, echo::request(SERVICE)).await?;
                Ok(Some(timeline.spent(Phase::PoolWait) + timeline.spent(Phase::StreamQuota)))
            }
        }
    }
}

/// What the tenants saw.
struct Seen {
    noisy_rate: f64,
    /// Of the quiet tenant.
    waits: Vec<Duration>,
    times: Vec<Duration>,
    connections: usize,
}

async fn share(sharing: Sharing, length: Duration) -> Result<Seen, BoxError> {
    let (server, port) = echo::serve(STREAMS)?;
    let [noisy, quiet] = sharing.clients(port)?;
    quiet.call().await?;
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let flood: Vec<_> = (0..NOISY)
        .map(|_| {
            let (noisy, over, done) = (noisy.clone(), Arc::clone(&over), Arc::clone(&done));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    noisy.call().await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, BoxError>(())
            })
        })
        .collect();
    // The queue has filled up by then.
    tokio::time::sleep(Duration::from_millis(150)).await;
    let (began, before) = (Instant::now(), done.load(Ordering::Relaxed));
    let (mut waits, mut times) = (Vec::new(), Vec::new());
    let mut ticks = tokio::time::interval(TICK);
    while began.elapsed() < length {
        ticks.tick().await;
        let from = Instant::now();
        waits.extend(quiet.call().await?);
        times.push(from.elapsed());
    }
    let noisy_rate = (done.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    let connections = server.handle().connections();
    over.store(true, Ordering::Relaxed);
    for caller in flood {
        caller.await??;
    }
    Ok(Seen { noisy_rate, waits, times, connections })
}

pub(crate) async fn run(setting: Setting) -> Result<Outcome, BoxError> {
    let length = Duration::from_millis(setting.pick(3000, 500));
    let mut all = Vec::new();
    for sharing in Sharing::ALL {
        all.push(share(sharing, length).await?);
    }
    let mut table = Table::new(Sharing::ALL.map(Sharing::name));
    table.row("quiet tenant: calls", all.iter().map(|seen| count(seen.times.len() as f64)));
    for (what, share) in [("p50", 0.5), ("p99", 0.99)] {
        let waits = all.iter_mut().map(|seen| match seen.waits.is_empty() {
            true => "not told".to_owned(),
            false => time(quantile(&mut seen.waits, share)),
        });
        table.row(format!("    waited for a place, {what}"), waits);
    }
    for (what, share) in [("p50", 0.5), ("p99", 0.99)] {
        let times = all.iter_mut().map(|seen| time(quantile(&mut seen.times, share)));
        table.row(format!("    whole call, {what}"), times);
    }
    table.row("noisy tenant: calls/s", all.iter().map(|seen| count(seen.noisy_rate)));
    table.row("connections", all.iter().map(|seen| count(seen.connections as f64)));
    table.note(format!(
        "the server answers after {} and allows {STREAMS} calls a connection; {NOISY} noisy \
         callers, and one that calls every {}; one connection a channel",
        time(SERVICE),
        time(TICK)
    ));
    let series = Sharing::ALL.iter().zip(&mut all).map(|(sharing, seen)| {
        let both = [0.5, 0.99].map(|share| millis(quantile(&mut seen.times, share)));
        (sharing.name().to_owned(), both.to_vec())
    });
    let chart = Chart::Bars(Bars {
        title: "The quiet tenant's calls while another floods".into(),
        unit: "ms, whole call".into(),
        groups: ["p50", "p99"].map(str::to_owned).into(),
        series: series.collect(),
    });
    let mut outcome = Outcome::new(
        table,
        vec![chart],
        "one queue makes everybody wait for the loudest; tenants of one channel are served in turn, \
         so that the quiet one waits for one call of the other; a channel for each tenant ends \
         that, too, and costs a connection for each",
    );
    let mut wait = |i: usize| {
        let of = all.get_mut(i).map(|seen| quantile(&mut seen.waits, 0.5));
        of.unwrap_or_default()
    };
    let (queue, tenants, channels) = (wait(1), wait(2), wait(3));
    let point = format!(
        "half of the calls wait {queue:?} in one queue, {tenants:?} as tenants, {channels:?} apart"
    );
    outcome.check(tenants.max(channels) * 4 < queue, point);
    Ok(outcome)
}
