//! The servers, and the channels to them.

use crate::again::Child;
use crate::calls::PANICS;
use crate::child::Start;
use crate::identity::Identity;
use crate::seed::{Rng, Shared};
use framewire::Budget;
use framewire::Code;
use framewire::client::{
    Advanced, Balance, Cap, Channel, ChannelBuilder, HedgePolicy, RetryPolicy, Share, Static,
};
use framewire::tls::ClientTls;
use framewire::transport::{
    Connect, ConnectError, ConnectErrorKind, ConnectFuture, ConnectPhase, Target, TcpConnector,
};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The servers by what they are.
pub const PLAIN: usize = 0;
/// Reached through the relay.
pub const BEHIND: usize = 1;
pub const TLS: usize = 2;
pub const FOREIGN: usize = 3;
/// Closes its connections by age.
pub const AGED: usize = 4;
pub const SERVERS: usize = 5;

/// One life of a server: its log, and what may be asked of it.
pub struct Life {
    pub server: usize,
    pub log: PathBuf,
    /// It was stopped, or killed, so that answers may be lost.
    pub harmed: bool,
    /// What it said at its end: streams cut, handlers, tasks, descriptors, bytes.
    pub end: Option<Vec<u64>>,
}

/// A server that runs, was stopped, or is being started again.
pub struct Server {
    pub child: Option<Child>,
    pub start: Start,
    pub life: usize,
}

pub struct World {
    pub servers: Vec<Server>,
    pub relay: Child,
    pub lives: Vec<Life>,
    folder: PathBuf,
    rng: Rng,
}

impl World {
    pub async fn start(seed: u64) -> Self {
        let mut rng = Rng::of(seed, 1);
        let folder = format!("{}/chaos-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let folder = PathBuf::from(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let identity = Identity::new("chaos.test");
        let files = [
            ("root", identity.root.clone()),
            ("chain", identity.chain.clone()),
            ("key", identity.key_pem()),
        ];
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut world_lives = Vec::new();
        let mut servers = Vec::new();
        for n in 0..SERVERS {
            let (part, more) = match n {
                TLS => ("server", format!("tls={}", folder.display())),
                AGED => ("server", "age=1.5".to_owned()),
                FOREIGN => ("foreign", String::new()),
                _ => ("server", String::new()),
            };
            let log = folder.join(format!("{n}-0"));
            let mut start = Start { part, listen: anywhere, seed: rng.next(), log, more };
            let child = start.start().await;
            start.listen = child.address;
            let life = Life { server: n, log: start.log.clone(), harmed: false, end: None };
            world_lives.push(life);
            servers.push(Server { child: Some(child), start, life: n });
        }
        let more = servers[BEHIND].start.listen.to_string();
        let log = folder.join("relay");
        let relay = Start { part: "relay", listen: anywhere, seed: rng.next(), log, more };
        let relay = relay.start().await;
        Self { servers, relay, lives: world_lives, folder, rng }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a client finds it.
    fn at(&self, n: usize) -> SocketAddr {
        if n == BEHIND { self.relay.address } else { self.servers[n].start.listen }
    }

    pub fn addresses(&self, servers: &[usize]) -> Vec<SocketAddr> {
        servers.iter().map(|n| self.at(*n)).collect()
    }

    /// Starts the server again, at its address, with a log of its own.
    pub async fn revive(&mut self, n: usize) {
        let life = self.lives.len();
        let log = self.folder.join(format!("{n}-{life}"));
        let server = &mut self.servers[n];
        server.start.log = log.clone();
        server.start.seed = self.rng.next();
        server.child = Some(server.start.start().await);
        server.life = life;
        self.lives.push(Life { server: n, log, harmed: false, end: None });
    }

    pub fn life(&mut self, n: usize) -> &mut Life {
        &mut self.lives[self.servers[n].life]
    }
}

/// Ends it by SIGTERM; what it said.
pub async fn retire(mut child: Child, part: &str) -> Option<Vec<u64>> {
    child.signal("TERM").await;
    let mut end = None;
    if part == "server" {
        let line = child.line("ends ").await;
        end = Some(line.split_whitespace().map(|n| n.parse().unwrap()).collect());
    }
    assert!(child.ended().await, "a {part} ended badly");
    end
}

/// A connector that fails, is late, and panics.
struct Shaky {
    rng: Shared,
    well: Arc<AtomicBool>,
}

impl Connect for Shaky {
    fn connect(&self, target: Target) -> ConnectFuture {
        let (n, late) = {
            let mut rng = self.rng.lock().unwrap();
            (rng.range(0, 99), Duration::from_millis(rng.range(0, 400)))
        };
        let dial = TcpConnector::new().connect(target.clone());
        if self.well.load(Ordering::SeqCst) {
            return dial;
        }
        match n {
            0..3 => panic!("chaos: in a connector"),
            3..6 => Box::pin(async move {
                tokio::time::sleep(late).await;
                panic!("chaos: in a dial")
            }),
            6..12 => {
                let (kind, phase) = (ConnectErrorKind::Other, ConnectPhase::Socket);
                let error = ConnectError::new(kind, phase, &target);
                Box::pin(std::future::ready(Err(error.with_detail("chaos"))))
            }
            12..25 => Box::pin(async move {
                tokio::time::sleep(late).await;
                dial.await
            }),
            _ => dial,
        }
    }
}

/// How often a call of a channel may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    None,
    Retry(u32),
    Hedge(u32),
}

impl Policy {
    pub fn most(self) -> u32 {
        match self {
            Self::None => 1,
            Self::Retry(n) | Self::Hedge(n) => n,
        }
    }
}

/// What all channels share.
pub struct Clients {
    pub cap: Arc<Cap>,
    pub budget: Arc<Budget>,
    pub well: Arc<AtomicBool>,
    rng: Shared,
    tls: ClientTls,
    addresses: Vec<SocketAddr>,
}

pub const CHANNELS: usize = 5;

impl Clients {
    pub fn new(world: &World, seed: u64) -> Self {
        let root = std::fs::read(world.folder().join("root")).unwrap();
        Self {
            cap: Cap::new(64, 8),
            budget: Budget::new(32 << 20),
            well: Arc::default(),
            rng: Arc::new(Mutex::new(Rng::of(seed, 2))),
            tls: ClientTls::builder().roots_pem(root).build().unwrap(),
            addresses: world.addresses(&[PLAIN, BEHIND, TLS, FOREIGN, AGED]),
        }
    }

    fn base(&self, target: &str, servers: &[usize]) -> ChannelBuilder {
        let addresses = servers.iter().map(|n| self.addresses[*n]).collect();
        let advanced = Advanced::new().cap(Arc::clone(&self.cap));
        let advanced = advanced.settings_timeout(Duration::from_secs(2));
        Channel::builder(target)
            .resolver(Static(addresses))
            .advanced(advanced)
            .budget(Arc::clone(&self.budget))
            .connect_timeout(Duration::from_secs(3))
            .backoff(Duration::from_millis(50), Duration::from_secs(1))
            .intercept(|metadata| {
                assert!(!metadata.contains(PANICS), "chaos: in an interceptor");
                Ok(())
            })
    }

    fn shaky(&self) -> Shaky {
        Shaky { rng: Arc::clone(&self.rng), well: Arc::clone(&self.well) }
    }

    pub fn channel(&self, n: usize) -> (Channel, Policy) {
        let plain = "http://servers.test";
        let retry = RetryPolicy::new(4).on(Code::Unavailable);
        let retry = retry.backoff(Duration::from_millis(20), 1.6, Duration::from_millis(500));
        let (builder, policy) = match n {
            0 => {
                let builder = self.base(plain, &[PLAIN, BEHIND, FOREIGN, AGED]);
                let builder = builder.balance(Balance::RoundRobin).connector(self.shaky());
                (builder.max_connections(4), Policy::None)
            }
            1 => {
                let builder = self.base(plain, &[BEHIND, PLAIN, AGED]);
                let builder = builder.balance(Balance::PickFirst).retry(retry);
                (builder, Policy::Retry(4))
            }
            2 => {
                let builder = self.base(plain, &[PLAIN, AGED, FOREIGN]).connector(self.shaky());
                let hedge = HedgePolicy::new(2, Duration::from_millis(30));
                let builder = builder.balance(Balance::LeastLoaded).hedge(hedge);
                (builder.max_connections(2), Policy::Hedge(2))
            }
            3 => {
                let builder = self.base("https://chaos.test", &[TLS]).tls(self.tls.clone());
                (builder.balance(Balance::RoundRobin), Policy::None)
            }
            _ => {
                let builder = self.base(plain, &[PLAIN, FOREIGN]).max_queued_calls(64);
                (builder.balance(Balance::RoundRobin).max_connections(1), Policy::None)
            }
        };
        (builder.build().unwrap(), policy)
    }

    /// The handles of a channel that callers use: the last one is shared by two tenants.
    pub fn handles(&self, n: usize) -> (Vec<Channel>, Policy) {
        let (channel, policy) = self.channel(n);
        if n + 1 < CHANNELS {
            return (vec![channel], policy);
        }
        let large = channel.tenant("large", Share::new().weight(3));
        let small = channel.tenant("small", Share::new().max_calls(8));
        (vec![channel, large, small], policy)
    }
}
