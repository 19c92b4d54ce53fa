//! Channel, pool, servers and network under seeded chance, in virtual time: whatever happens, every
//! call ends once and tells the truth, none runs twice, and nothing is left behind.
//!
//! `FRAMEWIRE_SEEDS=100000 cargo test --test pool simulation` runs more seeds, `FRAMEWIRE_SEED=7`
//! one of them.

use crate::network::{Network, addr};
use crate::{Journal, WORK, allowing, ms, options, raw, router};
use framewire::client::{Balance, Channel};
use framewire::error::{Error, Processed};
use framewire::grpc::{Code, Request};
use framewire::net::env::Random;
use framewire::server::Server;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Seeds of an ordinary run.
const SEEDS: u64 = 1000;
const STEPS: u64 = 120;

struct World {
    random: Random,
    network: Network,
    journal: Journal,
    servers: Vec<Option<Server>>,
    limits: Vec<u32>,
    channel: Channel,
    most: u32,
    calls: Vec<(u32, JoinHandle<Result<(), Error>>)>,
    begun: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let network = Network::new();
        let journal = Journal::default();
        let n = 1 + random.below(3) as usize;
        network.name(Some((1..=n as u8).map(addr).collect()));
        let limits: Vec<u32> = (0..n).map(|_| 1 + random.below(8) as u32).collect();
        let mut options = options();
        options.seed = Some(seed);
        options.max_connections = 1 + random.below(4) as u32;
        let most = options.max_connections;
        options.balance = [Balance::PickFirst, Balance::RoundRobin, Balance::LeastLoaded]
            [random.below(3) as usize];
        options.shrink_after = Duration::from_millis(20 + random.below(200));
        options.idle_time = options.shrink_after * 2;
        if random.below(2) == 0 {
            options.max_age = Some(Duration::from_millis(50 + random.below(300)));
        }
        let builder = Channel::builder("http://test").connector(network.clone());
        let channel = builder.resolver(network.clone()).options(options).build().unwrap();
        let mut world = Self {
            random,
            network,
            journal,
            servers: (0..n).map(|_| None).collect(),
            limits,
            channel,
            most,
            calls: Vec::new(),
            begun: 0,
        };
        for n in 0..world.servers.len() {
            world.start(n);
        }
        world
    }

    fn start(&mut self, n: usize) {
        let at = addr(n as u8 + 1);
        let options = allowing(self.limits[n]);
        self.servers[n] = Some(self.network.serve(at, router(&self.journal), options));
    }

    fn begin(&mut self) {
        let id = self.begun;
        self.begun += 1;
        let mut octets = vec![self.random.below(4) as u8];
        octets.extend_from_slice(&id.to_be_bytes());
        let mut request = Request::new(raw(octets));
        if self.random.below(5) == 0 {
            request = request.with_timeout(Duration::from_millis(1 + self.random.below(80)));
        }
        if self.random.below(2) == 0 {
            request = request.with_wait_for_ready(true);
        }
        let channel = self.channel.clone();
        let call = tokio::spawn(async move { channel.unary(&WORK, request).await.map(drop) });
        self.calls.push((id, call));
    }

    async fn step(&mut self) {
        let n = self.random.below(self.servers.len() as u64) as usize;
        match self.random.below(20) {
            0..=12 => {
                for _ in 0..=self.random.below(6) {
                    self.begin();
                }
            }
            // A graceful restart, with or without a gap.
            13 | 14 => {
                if let Some(server) = self.servers[n].take() {
                    let gap = self.random.below(2) == 0;
                    if gap {
                        self.network.silence(addr(n as u8 + 1));
                    } else {
                        self.start(n);
                    }
                    tokio::spawn(server.shutdown(Duration::from_secs(5)));
                }
            }
            // It dies.
            15 => {
                if let Some(server) = self.servers[n].take() {
                    self.network.silence(addr(n as u8 + 1));
                    server.shutdown(Duration::ZERO).await;
                }
            }
            16 | 17 if self.servers[n].is_none() => self.start(n),
            18 if !self.calls.is_empty() => {
                let which = self.random.below(self.calls.len() as u64) as usize;
                self.calls[which].1.abort();
            }
            _ => ms(self.random.below(60)).await,
        }
        if self.random.below(3) == 0 {
            let time = Duration::from_micros(self.random.below(8000));
            tokio::time::sleep(time).await;
        }
        self.check();
    }

    /// What holds at every step.
    fn check(&self) {
        for n in 0..self.servers.len() {
            let open = self.network.counts(addr(n as u8 + 1)).open.load(Ordering::SeqCst);
            // As many as take calls and one more that replaces; four times as many that leave.
            assert!(open <= 5 * self.most as usize + 2, "{open} of {} open", self.most);
        }
        for handle in self.channel.connections() {
            let calls = handle.life().read().calls;
            let allowed = self.limits.iter().max().unwrap().max(&100);
            assert!(calls <= *allowed, "{calls} calls on one connection");
        }
    }

    async fn end(mut self) {
        for n in 0..self.servers.len() {
            if self.servers[n].is_none() {
                self.start(n);
            }
        }
        let calls = std::mem::take(&mut self.calls);
        let mut ends = HashMap::new();
        for (id, call) in calls {
            // Longer than any back-off that this time can bring about.
            let end = tokio::time::timeout(Duration::from_secs(600), call).await;
            ends.insert(id, end.unwrap_or_else(|_| panic!("call {id} never ended")));
        }
        ms(50).await;
        let mut ran: HashMap<u32, usize> = HashMap::new();
        for request in self.journal.take() {
            *ran.entry(u32::from_be_bytes(request[1..5].try_into().unwrap())).or_default() += 1;
        }
        for (id, end) in ends {
            let times = ran.get(&id).copied().unwrap_or(0);
            match end {
                Ok(Ok(())) => assert_eq!(times, 1, "call {id} was answered"),
                Ok(Err(error)) => {
                    let most = usize::from(error.processed() != Processed::No);
                    assert!(times <= most, "call {id} ran {times} times: {error}");
                    let known = [Code::Unavailable, Code::DeadlineExceeded];
                    assert!(known.contains(&error.code()), "call {id}: {error}");
                }
                Err(_) => assert!(times <= 1, "call {id}, given up, ran {times} times"),
            }
        }
        assert_eq!(self.channel.waiting(), 0);
        for handle in self.channel.connections() {
            assert_eq!(handle.life().read().calls, 0, "a place was not given back");
        }
        let before: Vec<_> =
            (0..self.servers.len()).map(|n| self.network.counts(addr(n as u8 + 1))).collect();
        drop(self.channel);
        ms(20_000).await;
        let open: usize = before.iter().map(|counts| counts.open.load(Ordering::SeqCst)).sum();
        assert_eq!(open, 0, "sockets are left");
    }
}

fn run(seed: u64) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step().await;
        }
        world.end().await;
    });
}

#[test]
fn whatever_happens() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (from, to) = match number("FRAMEWIRE_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, number("FRAMEWIRE_SEEDS").unwrap_or(SEEDS)),
    };
    for seed in from..to {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed}: FRAMEWIRE_SEED={seed} runs it again");
    }
}
