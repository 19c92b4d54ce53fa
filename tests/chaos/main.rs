//! Chaos: servers that are restarted, drained, stopped and killed, paths that pause and cut, peers that
//! refuse and say GOAWAY, callers that cancel, user code that panics, runtimes that die; with retries,
//! hedges and tenants. Real sockets and real processes. At the end no call hangs, none ran twice, and
//! counts, tasks, sockets, budget and heap are where they began.
//!
//! `FRAMEWIRE_CHAOS_SECONDS` says how long, `FRAMEWIRE_SEED` repeats what was drawn.
#![cfg(target_os = "linux")]
#![allow(
    unreachable_pub,
    dead_code,
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../support/child.rs"]
mod again;
mod audit;
mod calls;
mod child;
mod foreign;
#[path = "../support/heap.rs"]
mod heap;
mod lossy;
mod messages;
mod proxies;
mod relay;
mod seed;
mod servant;
mod storm;
mod world;

#[path = "../support/identity.rs"]
mod identity;

use audit::Findings;
use child::{descriptors, until};
use std::sync::Arc;
use std::time::Duration;
use storm::{Callers, fair, harm, load};
use tokio::time::Instant;
use world::{Clients, World, retire};

/// The test that the other processes run, each its part.
pub const CHILD: &str = "after_the_storm_all_is_accounted_for";
/// The part of the process that the storm has for itself.
pub const STORM: &str = "storm";
/// Bytes that the process may hold more than before, once all is dropped: what the runtimes and the
/// allocator's users outside the crate keep.
const HEAP: usize = 1 << 20;

fn seconds() -> u64 {
    let text = std::env::var("FRAMEWIRE_CHAOS_SECONDS").ok();
    text.map_or(10, |text| text.parse().expect("a number of seconds"))
}

#[test]
fn after_the_storm_all_is_accounted_for() {
    quiet_panics();
    if let Some(told) = child::told() {
        return match &*told.part {
            "server" => servant::serve(&told),
            "foreign" => {
                // It asserts in `drop` what an end in the middle of calls does not hold.
                std::panic::set_hook(Box::new(|_| {}));
                foreign::serve(&told);
            }
            "relay" => relay::serve(&told),
            STORM => storm_of_its_own(),
            other => panic!("{other}?"),
        };
    }
    assert!(child::apart(&[]), "the storm failed");
}

fn storm_of_its_own() {
    let seed = seed::seed();
    println!("FRAMEWIRE_SEED={seed} FRAMEWIRE_CHAOS_SECONDS={}", seconds());
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
    let findings = runtime.block_on(chaos(seed));
    if let Some(report) = findings.report() {
        panic!("FRAMEWIRE_SEED={seed} FRAMEWIRE_CHAOS_SECONDS={}\n{report}", seconds());
    }
}

/// The same on a path that loses one packet in a hundred.
#[test]
fn in_a_network_that_loses_packets() {
    assert!(lossy::run(), "the storm failed");
}

#[test]
fn through_nginx() {
    through(proxies::NGINX);
}

#[test]
fn through_haproxy() {
    through(proxies::HAPROXY);
}

/// As the storm, with this proxy between; skipped where it is not installed.
fn through(proxy: proxies::Proxy) {
    if !proxies::is_installed(proxy.program) {
        return proxies::skipped(proxy.program);
    }
    quiet_panics();
    let seed = seed::seed();
    let seconds = seconds().div_ceil(2);
    println!("{}: FRAMEWIRE_SEED={seed}", proxy.program);
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
    let findings = runtime.block_on(proxies::through(proxy, seed, seconds));
    if let Some(report) = findings.report() {
        panic!("FRAMEWIRE_SEED={seed}, {}\n{report}", proxy.program);
    }
}

/// Says nothing of the panics that the test wants.
fn quiet_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload();
        let text = text.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| info.payload().downcast_ref::<String>().cloned());
        if !text.is_some_and(|text| text.contains("chaos: ")) {
            usual(info);
        }
    }));
}

async fn chaos(seed: u64) -> Findings {
    let mut findings = Findings::default();
    let mut world = World::start(seed).await;
    let until_then = Instant::now() + Duration::from_secs(seconds());
    let clients = Clients::new(&world, seed);
    let callers = Arc::new(Callers::new(clients, until_then));
    let own = (descriptors(), heap::live());
    let loaded = tokio::spawn(load(Arc::clone(&callers), seed));
    let mut records = harm(Arc::clone(&callers), &mut world, seed).await;
    records.extend(loaded.await.unwrap());
    let fair = fair(&callers, seed).await;
    for record in fair.iter().filter(|record| !matches!(record.ended, calls::Ended::Well)) {
        findings.add("a call failed although nothing stood against it", format!("{record:?}"));
    }
    records.extend(fair);
    let held = gauges(&callers, &mut world, own, &mut findings).await;
    for n in 0..world.servers.len() {
        let server = &mut world.servers[n];
        let (child, part, life) = (server.child.take().unwrap(), server.start.part, server.life);
        world.lives[life].end = retire(child, part).await;
    }
    let runs = audit::runs(&world.lives);
    audit::calls(&records, &runs, None, &mut findings);
    audit::answers(&records, &world.lives, &mut findings);
    audit::ends(&world.lives, &mut findings);
    println!("{}", tally(&records));
    let before = heap::live();
    drop(records);
    let records = before - heap::live();
    println!("{held} bytes of heap are held more than before, {records} of them by the test");
    let held = held.saturating_sub(records);
    findings.expect(held <= HEAP, "heap is left", || format!("{held} bytes"));
    Arc::into_inner(callers).expect("nobody calls any more").end();
    if findings.report().is_none() {
        let _ = std::fs::remove_dir_all(world.folder());
    }
    findings
}

/// How the calls ended, in a line.
fn tally(records: &[storm::Record]) -> String {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for record in records {
        let key = match &record.ended {
            calls::Ended::Error(error) => format!("{:?}/{:?}", error.kind(), error.code()),
            other => format!("{other:?}").chars().take_while(|c| c.is_alphabetic()).collect(),
        };
        *counts.entry(key).or_default() += 1;
    }
    let counts: Vec<_> = counts.iter().map(|(key, n)| format!("{n} {key}")).collect();
    format!("{} calls: {}", records.len(), counts.join(", "))
}

/// What is counted in this process and in the servers, first with channels that have no calls, then
/// without channels; the heap that is held more than before.
async fn gauges(
    callers: &Callers,
    world: &mut World,
    (fds, live): (usize, usize),
    findings: &mut Findings,
) -> usize {
    let limit = Duration::from_secs(10);
    for (n, channel) in callers.all().into_iter().enumerate() {
        let rests = until(limit, async || {
            let stats = channel.stats();
            let tenants = stats.tenants.iter().all(|tenant| tenant.calls + tenant.waiting == 0);
            stats.calls() == 0 && stats.waiting + stats.waiting_for_quota == 0 && tenants
        });
        let rests = rests.await;
        findings.expect(rests, "a channel without calls counts some", || {
            format!("channel {n}: {}", channel.stats())
        });
    }
    callers.drop_channels();
    let (cap, budget) = (&callers.clients.cap, &callers.clients.budget);
    let left = || (cap.open(), budget.used(), callers.tasks(), descriptors().saturating_sub(fds));
    let gone = until(limit, async || left() == (0, 0, (0, 0), 0)).await;
    findings.expect(gone, "dropped channels leave something behind", || {
        let (open, used, tasks, sockets) = left();
        format!("{open} sockets in the cap, {used} bytes, {tasks:?} tasks, {sockets} descriptors")
    });
    let held = heap::live().saturating_sub(live);
    for (n, server) in world.servers.iter_mut().enumerate() {
        if server.start.part != "server" {
            continue;
        }
        let child = server.child.as_mut().unwrap();
        let mut said = String::new();
        let rests = until(limit, async || {
            child.tell("gauges").await;
            said = child.line("gauges ").await;
            said == "0 0 0"
        });
        let rests = rests.await;
        findings.expect(rests, "a server without clients counts some", || {
            format!("server {n}: {said} (handlers, connections, bytes)")
        });
    }
    held
}
