//! Many callers on one handle. A pool that gives each connection one call at a time, as those of
//! databases do, has as many calls under way as connections: callers beyond that only wait. A
//! connection of HTTP/2 carries all of them.

use crate::echo::{self, tonic_call};
use crate::svg::{Bars, Chart};
use crate::table::{Table, count, median, millis, quantile, time};
use crate::{BoxError, Outcome, Setting};
use framewire::client::Channel;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

const CALLERS: [usize; 4] = [1, 16, 100, 500];
/// Connections of the two pools that use each for one call at a time.
const POOL: usize = 16;
/// What the server waits before it answers.
const SERVICE: Duration = Duration::from_millis(1);
const NAMES: [&str; 4] = ["mutex pool", "semaphore pool", "tonic channel", "our channel"];

/// A lock round the free connections, and a bell for those who find none.
struct MutexPool {
    free: Mutex<Vec<Channel>>,
    freed: Notify,
}

impl MutexPool {
    async fn call(&self) -> Result<(), BoxError> {
        let connection = loop {
            let mut bell = std::pin::pin!(self.freed.notified());
            // Listens before it looks, so that no ring is missed in between.
            bell.as_mut().enable();
            if let Some(connection) = self.free.lock().pop() {
                break connection;
            }
            bell.await;
        };
        let result = echo::call(&connection, SERVICE).await;
        self.free.lock().push(connection);
        self.freed.notify_one();
        result
    }
}

/// A permit for each connection, given in order.
struct SemaphorePool {
    free: Mutex<Vec<Channel>>,
    permits: Semaphore,
}

impl SemaphorePool {
    async fn call(&self) -> Result<(), BoxError> {
        let _permit = self.permits.acquire().await?;
        let connection = self.free.lock().pop().ok_or("a permit without a connection")?;
        let result = echo::call(&connection, SERVICE).await;
        self.free.lock().push(connection);
        result
    }
}

/// Whom the callers share.
#[derive(Clone)]
enum Contender {
    Mutex(Arc<MutexPool>),
    Semaphore(Arc<SemaphorePool>),
    Tonic(tonic::transport::Channel),
    Ours(Channel),
}

impl Contender {
    async fn call(&self) -> Result<(), BoxError> {
        match self {
            Self::Mutex(pool) => pool.call().await,
            Self::Semaphore(pool) => pool.call().await,
            Self::Tonic(channel) => Ok(tonic_call(channel, SERVICE, None).await?),
            Self::Ours(channel) => echo::call(channel, SERVICE).await,
        }
    }
}

/// One connection, dialled.
async fn connection(port: u16) -> Result<Channel, BoxError> {
    // The connector sets TCP_NODELAY, reads it back, and refuses a socket without it.
    let channel = Channel::builder(&echo::target(port)).max_connections(1).build()?;
    channel.warm(1).await?;
    Ok(channel)
}

async fn connections(port: u16) -> Result<Vec<Channel>, BoxError> {
    let mut all = Vec::new();
    for _ in 0..POOL {
        all.push(connection(port).await?);
    }
    Ok(all)
}

async fn contenders(port: u16) -> Result<[Contender; 4], BoxError> {
    let locked = MutexPool { free: Mutex::new(connections(port).await?), freed: Notify::new() };
    let counted =
        SemaphorePool { free: Mutex::new(connections(port).await?), permits: Semaphore::new(POOL) };
    Ok([
        Contender::Mutex(Arc::new(locked)),
        Contender::Semaphore(Arc::new(counted)),
        Contender::Tonic(echo::endpoint(port)?.connect().await?),
        Contender::Ours(connection(port).await?),
    ])
}

/// What one run saw.
#[derive(Clone, Copy, Default)]
struct Seen {
    rate: f64,
    mean: f64,
    p50: f64,
    p99: f64,
    /// Calls that were still open when the window closed count with what they had waited so far.
    longest: f64,
    /// Callers of whom no call ended inside the window.
    starved: f64,
}

/// `callers` call without a pause; what ends inside the window counts.
async fn measure(
    contender: &Contender,
    callers: usize,
    warm: Duration,
    window: Duration,
) -> Result<Seen, BoxError> {
    let begin = Instant::now() + warm;
    let end = begin + window;
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let contender = contender.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut open = Duration::ZERO;
                let mut from = Instant::now();
                while from < end {
                    contender.call().await?;
                    let to = Instant::now();
                    if to >= begin && to < end {
                        times.push(to - from);
                    }
                    open = end.saturating_duration_since(from);
                    from = to;
                }
                Ok::<_, BoxError>((times, open))
            })
        })
        .collect();
    let mut times = Vec::new();
    let (mut longest, mut starved) = (Duration::ZERO, 0);
    for task in tasks {
        let (mut its_own, open) = task.await??;
        starved += u32::from(its_own.is_empty());
        longest = longest.max(open);
        times.append(&mut its_own);
    }
    if times.is_empty() {
        return Err("no call ended inside the window".into());
    }
    let sum: Duration = times.iter().sum();
    Ok(Seen {
        rate: times.len() as f64 / window.as_secs_f64(),
        mean: sum.as_secs_f64() / times.len() as f64,
        p50: quantile(&mut times, 0.5).as_secs_f64(),
        p99: quantile(&mut times, 0.99).as_secs_f64(),
        longest: quantile(&mut times, 1.0).max(longest).as_secs_f64(),
        starved: starved.into(),
    })
}

/// The time in which calls are counted.
fn window(setting: Setting) -> Duration {
    Duration::from_millis(setting.pick(220, 100))
}

/// For each number of callers, what each contender did: the median of the rounds.
type Measured = Vec<[Seen; 4]>;

async fn all_rounds(contenders: &[Contender; 4], setting: Setting) -> Result<Measured, BoxError> {
    let rounds = setting.pick(3, 1);
    let warm = Duration::from_millis(setting.pick(100, 50));
    let window = window(setting);
    let mut measured = Vec::new();
    for callers in CALLERS {
        let mut runs = vec![Vec::new(); contenders.len()];
        for _ in 0..rounds {
            // Side by side: what else the machine does in the meantime meets all of them.
            for (contender, runs) in contenders.iter().zip(&mut runs) {
                runs.push(measure(contender, callers, warm, window).await?);
            }
        }
        let mut medians = [Seen::default(); 4];
        for (runs, out) in runs.iter().zip(&mut medians) {
            let middle = |part: fn(&Seen) -> f64| median(runs.iter().map(part));
            *out = Seen {
                rate: middle(|seen| seen.rate),
                mean: middle(|seen| seen.mean),
                p50: middle(|seen| seen.p50),
                p99: middle(|seen| seen.p99),
                longest: middle(|seen| seen.longest),
                starved: middle(|seen| seen.starved),
            };
        }
        measured.push(medians);
    }
    Ok(measured)
}

pub(crate) async fn run(setting: Setting) -> Result<Outcome, BoxError> {
    // More streams than callers: the peer's limit is the subject of another lab.
    let (_server, port) = echo::serve(2048)?;
    let measured = all_rounds(&contenders(port).await?, setting).await?;

    let mut outcome = Outcome::new(
        table(&measured),
        charts(&measured),
        "one call a connection caps the calls under way, whatever the lock; and where rate x mean \
         stays below the callers, some starve whom no percentile counts",
    );
    for (callers, seen) in CALLERS.iter().zip(&measured) {
        // The mutex pool gives a connection to whoever comes first, and that is who just had it.
        for (name, seen) in NAMES.iter().zip(seen).skip(1) {
            let ratio = seen.rate * seen.mean / *callers as f64;
            let point = format!("Little's law: {name} with {callers} callers, ratio {ratio:.2}");
            // Calls that last as long as the window stand half outside of it.
            let tells = seen.mean * 2.0 <= window(setting).as_secs_f64();
            outcome.check(!tells || (0.7..1.3).contains(&ratio), point);
        }
        // A machine that stands still for a moment starves a few of them.
        let few = seen[3].starved * 20.0 <= *callers as f64;
        outcome.check(few, format!("{callers} callers on ours: {} starve", seen[3].starved));
    }
    Ok(outcome)
}

fn table(measured: &Measured) -> Table {
    let seconds = |seconds| time(Duration::from_secs_f64(seconds));
    let mut table = Table::new(NAMES);
    for (callers, seen) in CALLERS.iter().zip(measured) {
        table.row(format!("{callers} callers, calls/s"), seen.map(|seen| count(seen.rate)));
        table.row(
            "    p50 / p99",
            seen.map(|seen| format!("{} / {}", seconds(seen.p50), seconds(seen.p99))),
        );
        table.row("    longest, open calls too", seen.map(|seen| seconds(seen.longest)));
        table.row("    rate x mean", seen.map(|seen| format!("{:.1}", seen.rate * seen.mean)));
        table.row("    callers without answer", seen.map(|seen| count(seen.starved)));
    }
    table.note(format!(
        "the server answers after {}; {POOL} connections in each of the two pools, one in each \
         channel; client and server share this process; medians of rounds side by side",
        time(SERVICE)
    ));
    table.note(
        "Little's law: rate x mean is the number of callers that are served; p50 and p99 know only \
         calls that ended inside the window",
    );
    table
}

fn charts(measured: &Measured) -> Vec<Chart> {
    let panel = |title: &str, unit: &str, part: fn(&Seen) -> f64| {
        let series = NAMES.iter().enumerate().map(|(i, name)| {
            ((*name).to_owned(), measured.iter().map(|seen| part(&seen[i])).collect())
        });
        Chart::Bars(Bars {
            title: title.into(),
            unit: unit.into(),
            groups: CALLERS.iter().map(|n| format!("{n} callers")).collect(),
            series: series.collect(),
        })
    };
    vec![
        panel("Calls per second by callers on one handle", "calls/s", |seen| seen.rate),
        panel("Longest time of a call, calls still open included", "ms", |seen| {
            millis(Duration::from_secs_f64(seen.longest))
        }),
    ]
}
