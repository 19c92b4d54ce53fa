//! The load of one run, and what was seen.

use crate::cases::{Case, Shape};
use crate::cpu;
use crate::stack::{BoxError, Client, RealHead};
use bytes::Bytes;
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// When to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub warm: Duration,
    pub measure: Duration,
    /// A number of calls instead of a time, for instruments that make time meaningless.
    pub calls: Option<u32>,
    pub server: Option<u32>,
}

/// What one run saw; streams have no latency.
#[derive(Clone, Copy, Default, Debug)]
pub struct Seen {
    pub per_second: f64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    /// Microseconds of CPU per call or message.
    pub client_cpu: f64,
    pub server_cpu: f64,
}

#[derive(Clone)]
struct Window {
    begin: Instant,
    end: Instant,
    left: Option<Arc<AtomicI64>>,
}

impl Window {
    fn new(plan: Plan) -> Self {
        let begin = Instant::now() + plan.warm;
        let left = plan.calls.map(|calls| Arc::new(AtomicI64::new(calls.into())));
        let end = begin + plan.measure;
        Self { begin: if left.is_some() { Instant::now() } else { begin }, end, left }
    }

    /// Whether another call may begin now.
    fn is_open(&self, now: Instant) -> bool {
        match &self.left {
            Some(left) => left.fetch_sub(1, Ordering::Relaxed) > 0,
            None => now < self.end,
        }
    }
}

/// What one task saw inside the window.
#[derive(Default)]
struct ConnectionCounters {
    calls: u64,
    nanos: Vec<u64>,
}

impl ConnectionCounters {
    fn note(&mut self, window: &Window, from: Instant, to: Instant) {
        if to >= window.begin && (window.left.is_some() || to <= window.end) {
            self.calls += 1;
            self.nanos.push(u64::try_from((to - from).as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

pub async fn run<C: Client>(client: C, case: Case, plan: Plan) -> Result<Seen, BoxError> {
    let mut first = client.clone();
    // Dial, handshake and first call are no part of any figure.
    first.unary(Bytes::new(), None).await?;
    let payload = Bytes::from(vec![7; case.payload]);
    let window = Window::new(plan);
    let cpu = tokio::spawn(watch_cpu(window.clone(), plan.server));
    let mut tasks = Vec::new();
    match case.shape {
        Shape::Unary { in_flight, real_head } => {
            for n in 0..in_flight {
                let (client, payload) = (client.clone(), payload.clone());
                let first = (n as u64) << 32;
                tasks.push(tokio::spawn(calls(client, payload, real_head, first, window.clone())));
            }
        }
        Shape::ServerStream => {
            tasks.push(tokio::spawn(messages(client, payload, window.clone(), false)));
        }
        Shape::PingPong => {
            tasks.push(tokio::spawn(messages(client, payload, window.clone(), true)));
        }
    }
    let mut nanos = Histogram::<u64>::new(3)?;
    let mut calls = 0;
    for task in tasks {
        let tally = task.await??;
        calls += tally.calls;
        for value in tally.nanos {
            nanos.record(value)?;
        }
    }
    let took = if plan.calls.is_some() { window.begin.elapsed() } else { plan.measure };
    if plan.calls.is_some() {
        cpu.abort();
    }
    let [client_cpu, server_cpu] = cpu.await.unwrap_or_default();
    let count = calls as f64;
    let micros = |quantile| nanos.value_at_quantile(quantile) as f64 / 1e3;
    let latency = |quantile| if nanos.is_empty() { f64::NAN } else { micros(quantile) };
    let each = |spent: Option<u64>| spent.map_or(f64::NAN, |spent| spent as f64 / 1e3 / count);
    Ok(Seen {
        per_second: count / took.as_secs_f64(),
        p50: latency(0.5),
        p99: latency(0.99),
        p999: latency(0.999),
        client_cpu: each(client_cpu),
        server_cpu: each(server_cpu),
    })
}

/// CPU time of both sides between the window's ends.
async fn watch_cpu(window: Window, server: Option<u32>) -> [Option<u64>; 2] {
    let read = || [cpu::nanos(std::process::id()), server.and_then(cpu::nanos)];
    tokio::time::sleep_until(window.begin.into()).await;
    let before = read();
    tokio::time::sleep_until(window.end.into()).await;
    let after = read();
    [0, 1].map(|side| after[side]?.checked_sub(before[side]?))
}

async fn calls<C: Client>(
    mut client: C,
    payload: Bytes,
    real_head: bool,
    first: u64,
    window: Window,
) -> Result<ConnectionCounters, BoxError> {
    let mut tally = ConnectionCounters::default();
    let mut head = real_head.then(RealHead::new);
    let mut n = first;
    let mut from = Instant::now();
    while window.is_open(from) {
        if let Some(head) = &mut head {
            n += 1;
            head.vary(n);
        }
        let answer = client.unary(payload.clone(), head.as_ref()).await?;
        if answer.len() != payload.len() {
            return Err("the echo has another size".into());
        }
        let to = Instant::now();
        tally.note(&window, from, to);
        from = to;
    }
    Ok(tally)
}

async fn messages<C: Client>(
    mut client: C,
    payload: Bytes,
    window: Window,
    ping_pong: bool,
) -> Result<ConnectionCounters, BoxError> {
    let mut tally = ConnectionCounters::default();
    let mut from = Instant::now();
    let mut wrong = false;
    let size = payload.len();
    let go_on = |bytes: usize| {
        let to = Instant::now();
        wrong |= bytes != size;
        tally.note(&window, from, to);
        from = to;
        window.is_open(to) && !wrong
    };
    if ping_pong {
        client.ping_pong(payload, go_on).await?;
    } else {
        client.server_stream(payload, go_on).await?;
        // Time between messages says how they were batched, not how long one took.
        tally.nanos.clear();
    }
    if wrong { Err("the echo has another size".into()) } else { Ok(tally) }
}
