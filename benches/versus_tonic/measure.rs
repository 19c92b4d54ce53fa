//! One load, one clock and one set of figures for every stack.

use super::Failure;
use bytes::Bytes;
use hdrhistogram::Histogram;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is asked of a stack.
pub(crate) trait Stack: Clone + Send + Sync + 'static {
    /// One unary echo; `realistic` with the head of a real service's call.
    fn unary(
        &self,
        payload: Bytes,
        realistic: bool,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Streams messages of `octets` until `stop`, counting them.
    fn stream(
        &self,
        octets: usize,
        count: u32,
    ) -> impl Future<Output = Result<u64, Failure>> + Send;
    /// `rounds` messages to and fro on one stream.
    fn ping_pong(&self, rounds: u32) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A shape of load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Case {
    Unary { concurrency: usize, realistic: bool, octets: usize },
    Stream { octets: usize, count: u32 },
    PingPong,
}

impl Case {
    pub(crate) const ALL: [&'static str; 9] = [
        "unary c=1",
        "unary c=16",
        "unary c=100",
        "unary c=1000",
        "realistic c=100",
        "unary16k c=16",
        "stream 64KiB",
        "stream 1KiB",
        "ping-pong",
    ];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let unary = |concurrency| Self::Unary { concurrency, realistic: false, octets: 100 };
        Some(match name {
            "unary c=1" => unary(1),
            "unary c=16" => unary(16),
            "unary c=100" => unary(100),
            "unary c=1000" => unary(1000),
            "realistic c=100" => Self::Unary { concurrency: 100, realistic: true, octets: 100 },
            "unary16k c=16" => Self::Unary { concurrency: 16, realistic: false, octets: 16 << 10 },
            "stream 64KiB" => Self::Stream { octets: 64 << 10, count: 1000 },
            "stream 1KiB" => Self::Stream { octets: 1 << 10, count: 50_000 },
            "ping-pong" => Self::PingPong,
            _ => return None,
        })
    }
}

/// What one run showed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    rate: f64,
    p50: f64,
    p99: f64,
    p999: f64,
    client_cpu: f64,
    server_cpu: f64,
}

impl Figures {
    pub(crate) const HEAD: &'static str =
        "      per s [min..max]                p50 µs   p99 µs p99.9 µs  CPU µs/op client server";

    pub(crate) fn line(self) -> String {
        let Self { rate, p50, p99, p999, client_cpu, server_cpu } = self;
        format!("{rate} {p50} {p99} {p999} {client_cpu} {server_cpu}")
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<f64>().ok());
        let mut next = || numbers.next().flatten();
        Some(Self {
            rate: next()?,
            p50: next()?,
            p99: next()?,
            p999: next()?,
            client_cpu: next()?,
            server_cpu: next()?,
        })
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

pub(crate) fn median(runs: &[Figures]) -> String {
    let of = |f: fn(&Figures) -> f64| middle(runs.iter().map(f).collect());
    let rates = || runs.iter().map(|run| run.rate);
    format!(
        "{:>10.0} [{:>9.0}..{:>9.0}] {:>9.1} {:>8.1} {:>8.1} {:>17.3} {:>6.3}",
        of(|r| r.rate),
        rates().fold(f64::INFINITY, f64::min),
        rates().fold(0.0, f64::max),
        of(|r| r.p50),
        of(|r| r.p99),
        of(|r| r.p999),
        of(|r| r.client_cpu),
        of(|r| r.server_cpu),
    )
}

pub(crate) fn ratio(base: &[Figures], other: &[Figures]) -> String {
    let ratios: Vec<f64> = base.iter().zip(other).map(|(b, o)| o.rate / b.rate).collect();
    let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let high = ratios.iter().copied().fold(0.0, f64::max);
    format!("{:.2} [{low:.2}..{high:.2}]", middle(ratios))
}

/// CPU time of a process in µs: its threads' time on a core.
fn cpu(pid: u32) -> f64 {
    let folder = if pid == 0 { "/proc/self/task".into() } else { format!("/proc/{pid}/task") };
    let Ok(tasks) = std::fs::read_dir(folder) else { return 0.0 };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .sum::<f64>()
        / 1000.0
}

/// Runs a case: a warm-up, then the window that counts.
pub(crate) async fn run<S: Stack>(
    stack: S,
    case: Case,
    seconds: f64,
    server: u32,
) -> Result<Figures, Failure> {
    window(&stack, case, 0.3).await?;
    let (client_before, server_before) = (cpu(0), cpu(server));
    let started = Instant::now();
    let (operations, histogram) = window(&stack, case, seconds).await?;
    let elapsed = started.elapsed().as_secs_f64();
    let operations = operations.max(1) as f64;
    let at = |q: f64| histogram.value_at_quantile(q) as f64 / 1000.0;
    Ok(Figures {
        rate: operations / elapsed,
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        client_cpu: (cpu(0) - client_before) / operations,
        server_cpu: (cpu(server) - server_before) / operations,
    })
}

async fn window<S: Stack>(
    stack: &S,
    case: Case,
    seconds: f64,
) -> Result<(u64, Histogram<u64>), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let workers = if let Case::Unary { concurrency, .. } = case { concurrency } else { 1 };
    let tasks: Vec<_> = (0..workers)
        .map(|_| tokio::spawn(worker(stack.clone(), case, Arc::clone(&stop))))
        .collect();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Histogram::new(3)?;
    let mut operations = 0;
    for task in tasks {
        let (count, histogram) = task.await??;
        operations += count;
        all.add(histogram)?;
    }
    Ok((operations, all))
}

async fn worker<S: Stack>(
    stack: S,
    case: Case,
    stop: Arc<AtomicBool>,
) -> Result<(u64, Histogram<u64>), Failure> {
    let mut histogram = Histogram::new(3)?;
    let mut operations = 0;
    let octets = if let Case::Unary { octets, .. } = case { octets } else { 0 };
    let payload = Bytes::from(vec![7; octets]);
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        let done = match case {
            Case::Unary { realistic, .. } => {
                stack.unary(payload.clone(), realistic).await?;
                1
            }
            Case::Stream { octets, count } => stack.stream(octets, count).await?,
            Case::PingPong => {
                stack.ping_pong(200).await?;
                200
            }
        };
        operations += done;
        let nanoseconds = started.elapsed().as_nanos() as u64 / done.max(1);
        histogram.record(nanoseconds.max(1))?;
    }
    Ok((operations, histogram))
}
