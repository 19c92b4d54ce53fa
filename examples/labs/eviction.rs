//! A connection is closed for its rest at the moment when a call wants it. A pool that asks "is it
//! open?" and then uses it takes two steps; between them the connection may go. One atomic step
//! cannot lose that race to the pool's own eviction; and a call that meets a server's GOAWAY, and
//! was not processed, moves to another connection.

use crate::svg::{Bars, Chart};
use crate::table::{Table, count, time};
use crate::{BoxError, Outcome, Setting, echo};
use framewire::client::{Advanced, Cap, Channel, HttpRequest};
use framewire::server::{HttpReply, Router, Server};
use h2::client::SendRequest;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Pools at work side by side, each with one connection and these callers.
const POOLS: usize = 16;
const CALLERS: usize = 4;
const THREADS: usize = 8;
/// Time without calls after which a connection is closed: as short as this to see in seconds what
/// minutes of rest show in months.
const REST: Duration = Duration::from_millis(2);

/// Who closes connections that rest, and what callers do between checkout and use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Case {
    PoolEvicts,
    PoolEvictsAndCallersWait,
    ServerEvicts,
}

impl Case {
    const ALL: [Self; 3] = [Self::PoolEvicts, Self::PoolEvictsAndCallersWait, Self::ServerEvicts];

    fn words(self) -> &'static str {
        match self {
            Self::PoolEvicts => "the pool evicts",
            Self::PoolEvictsAndCallersWait => "the pool evicts, callers await a token",
            Self::ServerEvicts => "the server evicts",
        }
    }
}

/// A connection as a pool sees it.
struct Connection {
    requests: SendRequest<bytes::Bytes>,
    open: AtomicBool,
    calls: AtomicU32,
    used: Mutex<Instant>,
    task: tokio::task::AbortHandle,
}

/// The usual pool: first it checks, then it uses.
struct TwoSteps {
    port: u16,
    case: Case,
    current: tokio::sync::Mutex<Option<Arc<Connection>>>,
    dials: AtomicU32,
}

impl TwoSteps {
    /// The first step: a connection that is open.
    async fn checkout(&self) -> Result<Arc<Connection>, BoxError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &*current
            && connection.open.load(Ordering::SeqCst)
        {
            return Ok(Arc::clone(connection));
        }
        self.dials.fetch_add(1, Ordering::Relaxed);
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        socket.set_nodelay(true)?;
        let (requests, driver) = h2::client::handshake(socket).await?;
        let connection = Arc::new_cyclic(|me: &std::sync::Weak<Connection>| {
            let me = me.clone();
            let task = tokio::spawn(async move {
                let _ = driver.await;
                if let Some(me) = me.upgrade() {
                    me.open.store(false, Ordering::SeqCst);
                }
            });
            Connection {
                requests,
                open: AtomicBool::new(true),
                calls: AtomicU32::new(0),
                used: Mutex::new(Instant::now()),
                task: task.abort_handle(),
            }
        });
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Closes the connection once it has rested.
    async fn evict(&self) {
        loop {
            tokio::time::sleep(REST / 4).await;
            let Some(connection) = self.current.lock().await.clone() else { continue };
            let rests = connection.calls.load(Ordering::SeqCst) == 0;
            if rests && connection.used.lock().elapsed() >= REST {
                connection.open.store(false, Ordering::SeqCst);
                connection.task.abort();
            }
        }
    }

    async fn call(&self) -> Result<(), BoxError> {
        let connection = self.checkout().await?;
        let request = http::Request::post(echo::target(self.port) + "/").body(())?;
        token(self.case).await;
        // The second step.
        connection.calls.fetch_add(1, Ordering::SeqCst);
        let result = exchange(&connection, request).await;
        *connection.used.lock() = Instant::now();
        connection.calls.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

/// What a call may wait for beside its connection, between the two steps: here for one turn of the
/// scheduler, as for a token that is in a cache.
async fn token(case: Case) {
    if case == Case::PoolEvictsAndCallersWait {
        tokio::task::yield_now().await;
    }
}

async fn exchange(connection: &Connection, request: http::Request<()>) -> Result<(), BoxError> {
    let mut requests = connection.requests.clone().ready().await?;
    let (response, _) = requests.send_request(request, true)?;
    match response.await?.status().as_u16() {
        200 => Ok(()),
        other => Err(format!("status {other}").into()),
    }
}

/// One pool of either kind.
#[derive(Clone)]
enum Pool {
    Usual(Arc<TwoSteps>),
    Ours(Channel, Case),
}

impl Pool {
    async fn call(&self) -> Result<(), BoxError> {
        match self {
            Self::Usual(pool) => pool.call().await,
            Self::Ours(channel, case) => {
                token(*case).await;
                match channel.http(HttpRequest::new("POST", "/")).await?.status {
                    200 => Ok(()),
                    other => Err(format!("status {other}").into()),
                }
            }
        }
    }

    fn dials(&self) -> u64 {
        match self {
            Self::Usual(pool) => pool.dials.load(Ordering::Relaxed).into(),
            Self::Ours(channel, _) => channel.stats().cap.dials,
        }
    }
}

fn pool(ours: bool, case: Case, port: u16) -> Result<Pool, BoxError> {
    if ours {
        let mut advanced = Advanced::default().cap(Cap::new(1024, 100_000));
        let mut builder = Channel::builder(&echo::target(port)).max_connections(1);
        if case != Case::ServerEvicts {
            builder = builder.idle_timeout(REST);
            advanced = advanced.shrink_after(REST);
        }
        let channel = builder.advanced(advanced).build()?;
        return Ok(Pool::Ours(channel, case));
    }
    let pool = Arc::new(TwoSteps {
        port,
        case,
        current: tokio::sync::Mutex::default(),
        dials: AtomicU32::new(0),
    });
    if case != Case::ServerEvicts {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.evict().await });
    }
    Ok(Pool::Usual(pool))
}

/// What the callers of all pools saw.
#[derive(Default)]
struct Seen {
    calls: u32,
    dials: u64,
    /// How calls failed, and how many so.
    failed: BTreeMap<String, u32>,
}

impl Seen {
    fn failures(&self) -> u32 {
        self.failed.values().sum()
    }
}

async fn callers(pool: Pool, seed: u64, until: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut state = seed;
    while Instant::now() < until {
        if let Err(error) = pool.call().await {
            *seen.failed.entry(echo::chain(&*error)).or_default() += 1;
        }
        seen.calls += 1;
        // Pauses round the time of rest, so that calls and evictions meet.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let most = REST.as_micros() as u64 * 5;
        tokio::time::sleep(Duration::from_micros((state >> 33) % most)).await;
    }
    seen
}

/// All pools of one kind against a server of their own.
async fn race(ours: bool, case: Case, length: Duration) -> Result<Seen, BoxError> {
    let idle = (case == Case::ServerEvicts).then_some(REST);
    let router = Router::new().http("/", |_| async { HttpReply::new(200) });
    let server =
        Server::builder(router).max_connection_idle(idle).bind(([127, 0, 0, 1], 0).into())?;
    let port = server.local_addr().ok_or("no address")?.port();
    let until = Instant::now() + length;
    let mut pools = Vec::new();
    let mut tasks = Vec::new();
    for i in 0..POOLS {
        let pool = pool(ours, case, port)?;
        for j in 0..CALLERS {
            let seed = (i * CALLERS + j) as u64;
            tasks.push(tokio::spawn(callers(pool.clone(), seed, until)));
        }
        pools.push(pool);
    }
    let mut all = Seen::default();
    for task in tasks {
        let seen = task.await?;
        all.calls += seen.calls;
        for (text, n) in seen.failed {
            *all.failed.entry(text).or_default() += n;
        }
    }
    all.dials = pools.iter().map(Pool::dials).sum();
    Ok(all)
}

/// For each case, what the usual pools saw and what ours did.
fn races(length: Duration) -> Result<Vec<(Case, [Seen; 2])>, BoxError> {
    let mut all = Vec::new();
    for case in Case::ALL {
        let runtime = || {
            tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()
        };
        let usual = runtime()?.block_on(race(false, case, length))?;
        let ours = runtime()?.block_on(race(true, case, length))?;
        all.push((case, [usual, ours]));
    }
    Ok(all)
}

pub(crate) async fn run(setting: Setting) -> Result<Outcome, BoxError> {
    let length = Duration::from_millis(setting.pick(3000, 350));
    // On runtimes of its own: more threads than cores, so that one may stop between two steps.
    let all = tokio::task::spawn_blocking(move || races(length)).await??;

    let mut table = Table::new(["check, then use", "our channel"]);
    for (case, seen) in &all {
        let who = case.words();
        table.row(format!("{who}: calls"), seen.each_ref().map(|seen| count(seen.calls)));
        table.row("    connections dialled", seen.each_ref().map(|seen| count(seen.dials as f64)));
        table.row("    failed calls", seen.each_ref().map(|seen| count(seen.failures())));
        for (text, n) in &seen[0].failed {
            table.note(format!("usual, {who}: {n} x {text}"));
        }
    }
    table.note(format!(
        "{POOLS} pools with a connection each, {CALLERS} callers a pool, {THREADS} threads; \
         connections are closed after {} without calls, scaled down from minutes",
        time(REST)
    ));
    table.note("our pool looks for rest every 10 ms at most, so it evicts fewer");
    let series = ["check, then use", "our channel"].iter().enumerate().map(|(i, name)| {
        let values = all.iter().map(|(_, seen)| f64::from(seen[i].failures()));
        ((*name).to_owned(), values.collect())
    });
    let chart = Chart::Bars(Bars {
        title: "Calls that failed because their connection was being closed".into(),
        unit: "failed calls".into(),
        groups: Case::ALL.map(|case| case.words().to_owned()).into(),
        series: series.collect(),
    });
    let mut outcome = Outcome::new(
        table,
        vec![chart],
        "checkout and eviction must be one step on one word; what a server closes must be sent \
         again if it surely was not processed",
    );
    for (case, [_, ours]) in &all {
        let who = case.words();
        for (text, n) in &ours.failed {
            outcome.check(false, format!("ours, {who}: {n} x {text}"));
        }
    }
    let dials: u64 = all.iter().map(|(_, [_, ours])| ours.dials).sum();
    outcome.check(dials > (all.len() * POOLS) as u64, "ours: no connection was evicted");
    Ok(outcome)
}
