//! The storm: calls at a steady rate from two runtimes, and what is done to them meanwhile.

use crate::calls::{Ended, Spec, make};
use crate::seed::Rng;
use crate::world::{AGED, CHANNELS, Clients, FOREIGN, Policy, SERVERS, World, retire};
use framewire::client::Channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Calls a second.
const RATE: u64 = 250;
/// Calls in flight beyond which no more begin.
const AT_ONCE: usize = 1000;
/// What a call may take beyond its deadline on a busy machine, before it counts as hung.
pub const HANG: Duration = Duration::from_secs(10);
/// The same for a call without a deadline, counted from the end of the storm.
const REST: Duration = Duration::from_secs(30);

/// Identifiers from here on are of calls whose connections may end with a runtime.
pub const DYING: u64 = 1 << 32;
/// From here on, of calls that nothing stands against.
pub const FAIR: u64 = 2 << 32;

/// One call that has ended.
#[derive(Debug)]
pub struct Record {
    pub spec: Spec,
    pub policy: Policy,
    pub channel: usize,
    pub ended: Ended,
    pub took: Duration,
}

/// The two runtimes that make calls, and the channels.
pub struct Callers {
    pub many: Runtime,
    pub one: Handle,
    pub clients: Clients,
    channels: Mutex<Vec<(Vec<Channel>, Policy)>>,
    until: Instant,
    stop: Arc<tokio::sync::Notify>,
}

impl Callers {
    pub fn new(clients: Clients, until: Instant) -> Self {
        let many = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = Arc::new(tokio::sync::Notify::new());
        let (send, receive) = std::sync::mpsc::channel();
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            let one = Builder::new_current_thread().enable_all().build().unwrap();
            send.send(one.handle().clone()).unwrap();
            one.block_on(stopped.notified());
        });
        let one = receive.recv().unwrap();
        let channels = within(&many, || (0..CHANNELS).map(|n| clients.handles(n)).collect());
        Self { many, one, clients, channels: Mutex::new(channels), until, stop }
    }

    pub fn channel(&self, n: usize, rng: &mut Rng) -> (Channel, Policy) {
        let channels = self.channels.lock().unwrap();
        let (handles, policy) = &channels[n];
        (handles[rng.next() as usize % handles.len()].clone(), *policy)
    }

    /// A handle of each channel.
    pub fn all(&self) -> Vec<Channel> {
        self.channels.lock().unwrap().iter().map(|(handles, _)| handles[0].clone()).collect()
    }

    /// A new channel in the place of an old one, whose calls go on.
    fn replace(&self, n: usize) {
        let _guard = self.many.enter();
        let new = self.clients.handles(n);
        let old = std::mem::replace(&mut self.channels.lock().unwrap()[n], new);
        drop(old);
    }

    /// Begins a call; the future watches it from here.
    pub fn begin(
        &self,
        on: &Handle,
        n: usize,
        (channel, policy): (Channel, Policy),
        spec: Spec,
    ) -> impl Future<Output = Record> + Send + 'static {
        let began = Instant::now();
        let limit = match spec.timeout {
            Some(timeout) => timeout + HANG,
            None => self.until.saturating_duration_since(began) + REST,
        };
        let task: JoinHandle<_> = on.spawn({
            let spec = spec.clone();
            async move {
                let ended = make(&channel, &spec).await;
                (ended, began.elapsed())
            }
        });
        async move {
            let (ended, took) = match timeout(limit, task).await {
                Ok(Ok(ended)) => ended,
                Ok(Err(error)) if error.is_panic() => (Ended::Panicked, began.elapsed()),
                Ok(Err(_)) => (Ended::Dropped, began.elapsed()),
                Err(_) => (Ended::Hung, began.elapsed()),
            };
            Record { spec, policy, channel: n, ended, took }
        }
    }

    /// Drops the channels and what makes calls; the tasks that are left.
    pub fn drop_channels(&self) {
        self.channels.lock().unwrap().clear();
    }

    pub fn tasks(&self) -> (usize, usize) {
        (self.many.metrics().num_alive_tasks(), self.one.metrics().num_alive_tasks())
    }

    pub fn end(self) {
        self.stop.notify_one();
        self.many.shutdown_background();
    }
}

/// Runs it where tasks are tasks of this runtime.
fn within<T>(runtime: &Runtime, f: impl FnOnce() -> T) -> T {
    let _guard = runtime.enter();
    f()
}

/// Begins calls until the time has come. A machine that is too busy for their rate gets fewer: calls that
/// nobody had the time to run would say nothing about the crate.
pub async fn load(callers: Arc<Callers>, seed: u64) -> Vec<Record> {
    let mut rng = Rng::of(seed, 3);
    let (mut calls, mut ended) = (JoinSet::new(), Vec::new());
    let began = Instant::now();
    let (mut id, mut left_out) = (0, 0);
    while Instant::now() < callers.until {
        let due = began.elapsed().as_millis() as u64 * RATE / 1000 - left_out;
        while id < due && calls.len() < AT_ONCE {
            id += 1;
            let spec = Spec::draw(id, &mut rng);
            let n = rng.next() as usize % CHANNELS;
            let channel = callers.channel(n, &mut rng);
            let on = if rng.per_mille(600) { callers.many.handle() } else { &callers.one };
            calls.spawn(callers.begin(on, n, channel, spec));
        }
        left_out += due - id;
        while let Some(record) = calls.try_join_next() {
            ended.push(record.unwrap());
        }
        sleep(Duration::from_millis(2)).await;
    }
    println!("{left_out} calls were left out while {AT_ONCE} ran");
    ended.extend(calls.join_all().await);
    ended
}

/// What is done to the servers, the channels and the runtimes; the calls that it made itself.
pub async fn harm(callers: Arc<Callers>, world: &mut World, seed: u64) -> Vec<Record> {
    let mut rng = Rng::of(seed, 4);
    let mut calls = JoinSet::new();
    let mut next_id = DYING;
    let mut stopped: Vec<(usize, Instant)> = Vec::new();
    let mut dead: Vec<(usize, Instant)> = Vec::new();
    let mut retired: JoinSet<(usize, usize, Option<Vec<u64>>)> = JoinSet::new();
    let began = Instant::now();
    loop {
        let now = Instant::now();
        for (n, _) in due(&mut stopped, now) {
            if let Some(child) = &world.servers[n].child {
                child.signal("CONT").await;
            }
        }
        for (n, _) in due(&mut dead, now) {
            world.revive(n).await;
        }
        while let Some(ended) = retired.try_join_next() {
            let (n, life, end) = ended.unwrap();
            world.lives[life].end = end;
            dead.push((n, now + Duration::from_millis(rng.range(0, 400))));
        }
        if now >= callers.until {
            break;
        }
        let n = rng.next() as usize % SERVERS;
        let act = rng.range(0, 99);
        let said = format!("{:6.2} s", began.elapsed().as_secs_f64());
        let is_stopped = stopped.iter().any(|(other, _)| *other == n);
        match act {
            0..25 if !is_stopped => {
                if let Some(child) = world.servers[n].child.take() {
                    println!("{said}: SIGTERM to server {n}");
                    let (life, part) = (world.servers[n].life, world.servers[n].start.part);
                    retired.spawn(async move { (n, life, retire(child, part).await) });
                }
            }
            25..40 => {
                if let Some(mut child) = world.servers[n].child.take() {
                    println!("{said}: SIGKILL to server {n}");
                    world.life(n).harmed = true;
                    child.signal("KILL").await;
                    child.ended().await;
                    stopped.retain(|(other, _)| *other != n);
                    dead.push((n, now + Duration::from_millis(rng.range(0, 600))));
                }
            }
            40..55 if !is_stopped && world.servers[n].child.is_some() => {
                let time = Duration::from_millis(rng.range(100, 3000));
                println!("{said}: SIGSTOP to server {n} for {time:?}");
                world.life(n).harmed = true;
                world.servers[n].child.as_ref().unwrap().signal("STOP").await;
                stopped.push((n, now + time));
            }
            55..65 => {
                let n = rng.next() as usize % CHANNELS;
                println!("{said}: channel {n} is replaced");
                callers.replace(n);
            }
            65..75 => {
                println!("{said}: a worker is blocked for 400 ms");
                let on = if rng.per_mille(500) { callers.many.handle() } else { &callers.one };
                on.spawn(async { std::thread::sleep(Duration::from_millis(400)) });
            }
            75..90 => {
                println!("{said}: a runtime dies in the middle of its calls");
                runtime_dies(&callers, &mut rng, &mut next_id, &mut calls).await;
            }
            _ => {
                let channel = callers.channel(rng.next() as usize % CHANNELS, &mut rng).0;
                println!("{said}: {}", state_line(&channel.stats()));
                let _ = (channel.advice(), channel.drain_replaced(), channel.connections());
            }
        }
        sleep(Duration::from_millis(rng.range(50, 600))).await;
    }
    heal(&callers, world, stopped, dead, retired).await;
    calls.join_all().await
}

fn due(list: &mut Vec<(usize, Instant)>, now: Instant) -> Vec<(usize, Instant)> {
    let (due, rest) = list.drain(..).partition(|(_, at)| *at <= now);
    *list = rest;
    due
}

/// A channel that is first used on a runtime that soon ends, and on another that does not.
async fn runtime_dies(
    callers: &Arc<Callers>,
    rng: &mut Rng,
    next_id: &mut u64,
    calls: &mut JoinSet<Record>,
) {
    let dies = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let n = rng.pick(&[0, 2, 4]);
    let channel = {
        let _guard = dies.enter();
        callers.clients.channel(n)
    };
    for i in 0..20 {
        *next_id += 1;
        let spec = Spec::draw(*next_id, rng);
        let on = if i % 2 == 0 { dies.handle() } else { callers.many.handle() };
        calls.spawn(callers.begin(on, n, channel.clone(), spec));
    }
    sleep(Duration::from_millis(rng.pick(&[0, 1, 5, 20, 100, 300]))).await;
    dies.shutdown_background();
}

/// Everything runs again, and nothing goes wrong any more.
async fn heal(
    callers: &Callers,
    world: &mut World,
    stopped: Vec<(usize, Instant)>,
    dead: Vec<(usize, Instant)>,
    mut retired: JoinSet<(usize, usize, Option<Vec<u64>>)>,
) {
    for (n, _) in stopped {
        if let Some(child) = &world.servers[n].child {
            child.signal("CONT").await;
        }
    }
    for (n, _) in dead {
        world.revive(n).await;
    }
    while let Some(ended) = retired.join_next().await {
        let (n, life, end) = ended.unwrap();
        world.lives[life].end = end;
        world.revive(n).await;
    }
    callers.clients.well.store(true, std::sync::atomic::Ordering::SeqCst);
    world.relay.tell("heal").await;
    if let Some(child) = &mut world.servers[FOREIGN].child {
        child.tell("heal").await;
    }
}

/// Calls that nothing stands against any more.
pub async fn fair(callers: &Arc<Callers>, seed: u64) -> Vec<Record> {
    let mut rng = Rng::of(seed, 5);
    let mut calls = JoinSet::new();
    // What the last faults have begun may take its course.
    sleep(Duration::from_secs(1)).await;
    for i in 0..200 {
        let spec = Spec::fair(FAIR + i, &mut rng);
        let n = i as usize % CHANNELS;
        let channel = callers.channel(n, &mut rng);
        let on = if i % 3 == 0 { &callers.one } else { callers.many.handle() };
        calls.spawn(callers.begin(on, n, channel, spec));
        sleep_until(Instant::now() + Duration::from_millis(5)).await;
    }
    calls.join_all().await
}

/// Servers whose answers reach the client if they drain in peace: no relay, no abrupt GOAWAY.
pub fn answers_arrive(server: usize) -> bool {
    [crate::world::PLAIN, crate::world::TLS, AGED].contains(&server)
}

fn state_line(stats: &framewire::client::PoolStats) -> String {
    let (calls, connections) = (stats.calls(), stats.connections.len());
    format!("{:?}, {calls} calls, {connections} connections", stats.state)
}
