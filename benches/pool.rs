//! Taking a permit for a call and releasing it: the connections of this crate's pool against a pool
//! behind a mutex and one behind a semaphore, by 1, 2 and 8 threads.
//!
//! `cargo bench -p benches --bench pool`: time per permit, all threads together. Each pool has four
//! connections. Ours takes a permit as the pool's choice of a connection does, with
//! `Handle::reserve`; the choice itself is not measured. The other two hand out a whole connection,
//! as for a database, so that they never carry more callers than they have connections: a caller
//! that finds none spins.
#![allow(clippy::unwrap_used, clippy::panic)] // a bench that fails should stop
#![allow(missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use framewire::server::{Router, Server};
use framewire::transport::Target;
use framewire::transport::in_memory;
use framewire::unstable::pool::{Pool, PoolOptions};
use std::hint::black_box;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

const CONNECTIONS: u32 = 4;

/// Runs `n` times `work` on each of so many threads; from the start of the first to the last's end.
fn on_threads(threads: usize, n: u64, work: impl Fn() + Sync) -> Duration {
    let barrier = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let run = || {
            barrier.wait();
            for _ in 0..n {
                work();
            }
        };
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        barrier.wait();
        let begin = Instant::now();
        all.into_iter().for_each(|one| one.join().unwrap());
        begin.elapsed()
    })
}

/// Stands for a connection.
struct Connection([u64; 8]);

struct MutexPool(Mutex<Vec<Connection>>);

impl MutexPool {
    fn new() -> Self {
        Self(Mutex::new((0..CONNECTIONS).map(|n| Connection([n.into(); 8])).collect()))
    }

    fn take(&self) -> Connection {
        loop {
            if let Some(connection) = self.0.lock().unwrap().pop() {
                black_box(&connection.0);
                return connection;
            }
            thread::yield_now();
        }
    }

    fn give(&self, connection: Connection) {
        self.0.lock().unwrap().push(connection);
    }
}

fn ours() -> (tokio::runtime::Runtime, Server, Pool) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let (server, pool) = runtime.block_on(async {
        let (connector, listener) = in_memory(64 * 1024);
        let server =
            Server::builder(Router::new()).max_concurrent_streams(100).serve(listener).unwrap();
        let target = Target::parse("http://bench").unwrap();
        let mut options = PoolOptions::new();
        options.max_connections = CONNECTIONS;
        let pool = Pool::new(target, Arc::new(connector), options);
        pool.warm(CONNECTIONS).await.unwrap();
        (server, pool)
    });
    (runtime, server, pool)
}

fn permits(c: &mut Criterion) {
    let (_runtime, _server, pool) = ours();
    let connections = pool.connections();
    let reserve = || connections.iter().find_map(|handle| handle.reserve().ok());
    let locked = MutexPool::new();
    let behind = (Semaphore::new(CONNECTIONS as usize), MutexPool::new());
    let mut group = c.benchmark_group("permit");
    group.throughput(Throughput::Elements(1));
    for threads in [1, 2, 8] {
        let per_thread = |n: u64| n.div_ceil(threads as u64);
        group.bench_function(BenchmarkId::new("framewire", threads), |b| {
            b.iter_custom(|n| {
                on_threads(threads, per_thread(n), || drop(black_box(reserve().unwrap())))
            });
        });
        group.bench_function(BenchmarkId::new("mutex", threads), |b| {
            b.iter_custom(|n| {
                on_threads(threads, per_thread(n), || locked.give(black_box(locked.take())))
            });
        });
        group.bench_function(BenchmarkId::new("semaphore", threads), |b| {
            b.iter_custom(|n| {
                on_threads(threads, per_thread(n), || {
                    let permit = loop {
                        if let Ok(permit) = behind.0.try_acquire() {
                            break permit;
                        }
                        thread::yield_now();
                    };
                    let connection = behind.1.take();
                    behind.1.give(black_box(connection));
                    drop(permit);
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, permits);
criterion_main!(benches);
