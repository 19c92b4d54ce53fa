//! The world of one seed: what it is made of, what may happen in it, and what holds at every step.

use super::calls::{Call, id_of, router};
use crate::network::{Network, addr};
use crate::{Journal, allowing, ms, options};
use framewire::client::{Balance, Cap, Channel, ChannelBuilder, HedgePolicy, RetryPolicy, Share};
use framewire::error::Error;
use framewire::server::Server;
use framewire::unstable::rt::Random;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Calls beyond the first are allowed one connection that knows nothing of its peer yet.
const BEFORE_SETTINGS: u32 = 100;

/// What happened, in order.
#[derive(Clone)]
struct Trace(Arc<Mutex<Vec<String>>>, Instant);

impl Trace {
    fn note(&self, what: impl std::fmt::Display) {
        let line = format!("{:>12.3} ms  {what}", self.1.elapsed().as_secs_f64() * 1000.0);
        self.0.lock().unwrap().push(line);
    }
}

pub struct World {
    random: Random,
    network: Network,
    journal: Journal,
    servers: Vec<Option<Server>>,
    limits: Vec<u32>,
    /// Whether servers end connections by their age and when they rest.
    restless: bool,
    cap: Arc<Cap>,
    channels: Vec<Channel>,
    /// Each channel and its tenants: whom calls are made by.
    callers: Vec<Channel>,
    /// Of which channel, which tenant, how many calls at a time.
    quotas: HashMap<(usize, String), u32>,
    /// Connections that a channel may have at an address, and attempts that a call may have.
    most: u32,
    attempts: usize,
    calls: Vec<(Call, JoinHandle<Result<(), Error>>)>,
    begun: u32,
    trace: Trace,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let network = Network::new();
        let n = 1 + random.below(3) as usize;
        network.name(Some((1..=n as u8).map(addr).collect()));
        let limits: Vec<u32> = (0..n).map(|_| 1 + random.below(8) as u32).collect();
        // Scarce in a third of the worlds.
        let sockets = [64, 64, 1 + random.below(6) as u32][random.below(3) as usize];
        let cap = Cap::new(sockets, 1024);
        let most = 1 + random.below(4) as u32;
        let (policy, attempts) = policy(&mut random);
        let channels: Vec<Channel> = (0..=random.below(2))
            .map(|_| {
                let builder = Channel::builder("http://test").connector(network.clone());
                let builder = builder.resolver(network.clone());
                let options = draw_options(seed, most, &cap, &mut random);
                policy(builder.unstable_pool(options)).build().unwrap()
            })
            .collect();
        let (mut callers, mut quotas) = (channels.clone(), HashMap::new());
        for (n, channel) in channels.iter().enumerate() {
            for label in ["a", "b"].iter().take(random.below(3) as usize) {
                let share = Share::new().weight(1 + random.below(4) as u32).max_waiting(10_000);
                let quota = 1 + random.below(20) as u32;
                quotas.insert((n, (*label).to_owned()), quota);
                callers.push(channel.tenant(label, share.max_calls(quota)));
            }
        }
        let mut world = Self {
            restless: is_restless(seed),
            random,
            network,
            journal: Journal::default(),
            servers: (0..n).map(|_| None).collect(),
            limits,
            cap,
            channels,
            callers,
            quotas,
            most,
            attempts,
            calls: Vec::new(),
            begun: 0,
            trace: Trace(Arc::default(), Instant::now()),
        };
        for n in 0..world.servers.len() {
            world.start(n);
        }
        world
    }

    fn start(&mut self, n: usize) {
        let mut options = allowing(self.limits[n]);
        if self.restless {
            options.seed = Some(self.random.next_u64());
            options.max_age = Some(Duration::from_millis(30 + self.random.below(400)));
            options.max_idle = Some(Duration::from_millis(10 + self.random.below(200)));
        }
        self.servers[n] = Some(self.network.serve(at(n), router(&self.journal), options));
    }

    fn begin(&mut self) {
        let call = Call::draw(self.begun, &mut self.random);
        self.begun += 1;
        let who = self.random.below(self.callers.len() as u64) as usize;
        self.trace.note(format_args!("{call:?} by {who}"));
        let (channel, trace) = (self.callers[who].clone(), self.trace.clone());
        let made = tokio::spawn(async move {
            let end = call.make(channel).await;
            match &end {
                Ok(()) => trace.note(format_args!("{} answered", call.id)),
                Err(error) => trace.note(format_args!("{} failed: {}", call.id, plain(error))),
            }
            end
        });
        self.calls.push((call, made));
    }

    pub async fn step(&mut self) {
        match self.random.below(40) {
            0..=24 => {
                for _ in 0..=self.random.below(6) {
                    self.begin();
                }
            }
            25..=32 => self.of_servers().await,
            33 => self.of_network(),
            34 | 35 => self.of_channels(),
            36 if !self.calls.is_empty() => {
                let which = self.random.below(self.calls.len() as u64) as usize;
                self.trace.note(format_args!("{} given up", self.calls[which].0.id));
                self.calls[which].1.abort();
            }
            _ => ms(self.random.below(60)).await,
        }
        if self.random.below(3) == 0 {
            tokio::time::sleep(Duration::from_micros(self.random.below(8000))).await;
        }
        self.check();
    }

    async fn of_servers(&mut self) {
        let n = self.random.below(self.servers.len() as u64) as usize;
        let Some(server) = self.servers[n].take() else {
            self.trace.note(format_args!("server {n} is there again"));
            return self.start(n);
        };
        match self.random.below(5) {
            // It dies.
            0 => {
                self.trace.note(format_args!("server {n} dies"));
                self.network.silence(at(n));
                server.shutdown(Duration::ZERO).await;
            }
            // A graceful restart, with or without a gap.
            1 | 2 => {
                self.trace.note(format_args!("server {n} drains"));
                self.network.silence(at(n));
                tokio::spawn(server.shutdown(Duration::from_secs(5)));
            }
            3 => {
                self.trace.note(format_args!("server {n} is replaced"));
                self.start(n);
                tokio::spawn(server.shutdown(Duration::from_secs(5)));
            }
            _ => self.servers[n] = Some(server),
        }
    }

    fn of_network(&mut self) {
        let n = self.random.below(self.servers.len() as u64) as usize;
        match self.random.below(4) {
            0 => {
                self.trace.note(format_args!("the path to {n} forgets"));
                self.network.forget(at(n));
            }
            1 => {
                let time =
                    Duration::from_millis([0, 5, 300, 25_000][self.random.below(4) as usize]);
                self.trace.note(format_args!("dials to {n} take {time:?} more"));
                self.network.slow(at(n), time);
            }
            2 => {
                self.trace.note("the resolver fails");
                self.network.name(None);
            }
            _ => {
                let some = self.random.next_u64();
                let names = (0..self.servers.len()).filter(|n| some >> n & 1 == 1).map(at);
                let names: Vec<_> = names.collect();
                self.trace.note(format_args!("the resolver says {names:?}"));
                self.network.name(Some(names));
            }
        }
    }

    fn of_channels(&mut self) {
        let n = self.random.below(self.channels.len() as u64) as usize;
        let channel = self.channels[n].clone();
        if self.random.below(3) == 0 {
            let many = self.random.below(u64::from(self.most) + 1) as u32;
            self.trace.note(format_args!("channel {n} is to warm {many}"));
            let trace = self.trace.clone();
            tokio::spawn(async move {
                let warm = tokio::time::timeout(Duration::from_secs(1), channel.warm(many)).await;
                let how = match warm {
                    Ok(Ok(_)) => "is warm".to_owned(),
                    Ok(Err(error)) => format!("is not warm: {}", plain(&error)),
                    Err(_) => "is not warm yet".to_owned(),
                };
                trace.note(format_args!("channel {n} {how}"));
            });
            return;
        }
        let handles = channel.unstable_handles();
        if !handles.is_empty() {
            let which = self.random.below(handles.len() as u64) as usize;
            self.trace.note(format_args!("channel {n} says goodbye to its connection {which}"));
            handles[which].goodbye();
        }
    }

    /// What holds at every step.
    fn check(&self) {
        let peak = self.network.all().peak.load(Ordering::SeqCst);
        let sockets = self.cap.sockets() as usize;
        assert!(peak <= sockets, "{peak} sockets, and {sockets} are allowed");
        for n in 0..self.servers.len() {
            let open = self.network.counts(at(n)).open.load(Ordering::SeqCst);
            // As many as take calls and one more that replaces; four times as many that leave.
            let most = (5 * self.most as usize + 2) * self.channels.len();
            assert!(open <= most, "{open} of {most} open");
        }
        for (n, channel) in self.channels.iter().enumerate() {
            for handle in channel.unstable_handles() {
                let calls = handle.life().read().calls;
                let allowed = self.limits.iter().max().unwrap().max(&BEFORE_SETTINGS);
                assert!(calls <= *allowed, "{calls} calls on one connection");
            }
            for tenant in channel.stats().tenants {
                let quota = self.quotas[&(n, tenant.label.clone())];
                assert!(tenant.calls <= quota, "{tenant:?}, and {quota} are allowed");
            }
        }
    }

    /// Everything is well again: each call ends, and what it says is true. Then nothing is left.
    pub async fn end(mut self) -> Vec<String> {
        self.network.name(Some((0..self.servers.len()).map(at).collect()));
        for n in 0..self.servers.len() {
            self.network.slow(at(n), Duration::ZERO);
            if self.servers[n].is_none() {
                self.start(n);
            }
        }
        // What was to stay warm for one channel is not there for another. Those that were told so in
        // the last step have heard it.
        ms(1).await;
        for channel in &self.channels {
            channel.warm(0).await.unwrap();
        }
        let mut ends = Vec::new();
        for (call, made) in std::mem::take(&mut self.calls) {
            // Longer than any back-off that this time can bring about.
            let end = tokio::time::timeout(Duration::from_secs(600), made).await;
            let Ok(end) = end else {
                let stats: String =
                    self.channels.iter().map(|one| format!("{}\n", one.stats())).collect();
                panic!("{call:?} never ended:\n{stats}")
            };
            if let Err(error) = &end {
                assert!(error.is_cancelled(), "{call:?}: {error}");
            }
            ends.push((call, end.ok()));
        }
        ms(50).await;
        let mut ran: HashMap<u32, usize> = HashMap::new();
        for message in self.journal.take() {
            *ran.entry(id_of(&message)).or_default() += 1;
        }
        for (call, end) in &ends {
            call.judge(end.as_ref(), ran.get(&call.id).copied().unwrap_or(0), self.attempts);
        }
        for channel in &self.channels {
            assert_eq!(channel.waiting(), 0);
            for handle in channel.unstable_handles() {
                assert_eq!(handle.life().read().calls, 0, "a place was not given back");
            }
            let stats = channel.stats();
            assert!(stats.tenants.iter().all(|one| one.calls + one.waiting == 0), "{stats}");
        }
        let handles: Vec<_> = self
            .channels
            .iter()
            .flat_map(Channel::unstable_handles)
            .map(|h| Arc::downgrade(&h))
            .collect();
        drop((self.channels, self.callers));
        ms(40_000).await;
        let open = self.network.all().open.load(Ordering::SeqCst);
        assert_eq!((open, self.cap.open()), (0, 0), "sockets are left");
        let left = handles.iter().filter(|handle| handle.strong_count() > 0).count();
        assert_eq!(left, 0, "connections are left in memory");
        self.trace.note(format_args!("{} dials", self.network.all().dials.load(Ordering::SeqCst)));
        std::mem::take(&mut *self.trace.0.lock().unwrap())
    }
}

/// Connections are numbered throughout the process: the numbers differ from run to run.
fn plain(error: &Error) -> String {
    let text = error.to_string();
    let Some((before, after)) = text.split_once("; connection ") else { return text };
    format!("{before}; connection{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn at(n: usize) -> SocketAddr {
    addr(n as u8 + 1)
}

/// Whether servers of this world end connections by their age. It differs by the connection's number,
/// which is another one in each run.
pub const fn is_restless(seed: u64) -> bool {
    seed % 4 == 3
}

/// Half of the worlds have no policy, the others retry or hedge; with the attempts that it allows.
fn policy(random: &mut Random) -> (impl Fn(ChannelBuilder) -> ChannelBuilder + use<>, usize) {
    let attempts = 2 + random.below(3) as u32;
    let delay = Duration::from_millis(random.below(40));
    let which = random.below(4);
    let apply = move |builder: ChannelBuilder| match which {
        0 => builder.retry(RetryPolicy::new(attempts).backoff(delay, 1.5, delay * 3)),
        1 => builder.hedge(HedgePolicy::new(attempts, delay)),
        _ => builder,
    };
    (apply, if which < 2 { attempts as usize } else { 1 })
}

fn draw_options(
    seed: u64,
    most: u32,
    cap: &Arc<Cap>,
    random: &mut Random,
) -> framewire::unstable::pool::PoolOptions {
    let mut options = options();
    (options.seed, options.driver.seed) = (Some(seed), Some(seed));
    options.cap = Some(Arc::clone(cap));
    options.max_connections = most;
    // What stays open for one channel is not there for another.
    let least = random.below(2) as u32 * random.below(u64::from(most)) as u32;
    options.min_connections = if cap.sockets() < 64 { 0 } else { least };
    options.balance =
        [Balance::PickFirst, Balance::RoundRobin, Balance::LeastLoaded][random.below(3) as usize];
    options.shrink_after = Duration::from_millis(20 + random.below(200));
    options.idle_time = options.shrink_after * 2;
    if random.below(2) == 0 {
        options.max_age = Some(Duration::from_millis(50 + random.below(300)));
    }
    // Most times between calls are longer, and a dead path is found sooner.
    if random.below(2) == 0 {
        options.driver.probe_after = Some(Duration::from_millis(5 + random.below(60)));
        let answer = Duration::from_millis(50 + random.below(500));
        (options.driver.doubt.after, options.driver.doubt.answer) = (answer, answer);
        options.driver.keepalive_timeout = answer;
    }
    // Pipes have no system that could tell a dead path from a slow one: PINGs do.
    options.driver.keepalive = Some(Duration::from_secs(3600));
    // Some streams send more than is kept of them.
    options.keep_bytes = [8, 16, 256 * 1024][random.below(3) as usize];
    options
}
