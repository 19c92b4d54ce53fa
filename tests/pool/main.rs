//! The pool: how many connections, which of them a call takes, who waits, and what is never lost.
//! In memory and in virtual time.
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

#[path = "../support/log.rs"]
mod log;
#[path = "../support/network.rs"]
mod network;
#[path = "../support/peer.rs"]
mod peer;

mod again;
mod caps;
mod close;
mod endpoints;
mod hedge;
mod isolation;
mod lifetime;
mod lost;
mod proved;
mod reenter;
mod shards;
mod simulation;
mod size;
mod stale;
mod stats;
mod streams;
mod tasks;
mod tenants;
mod waiting;
mod watched;

use framewire::client::{Cap, Channel};

use framewire::error::Error;
use framewire::server::{Router, Server};
use framewire::unstable::connection::options::ConnectionOptions;
use framewire::unstable::grpc::{Method, Raw, Response};
use framewire::unstable::http2::Role;
use framewire::unstable::pool::PoolOptions;
use network::{Network, addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Answers after as many milliseconds as its first byte says, times ten.
pub const WORK: Method<Raw, Raw> = Method::new("/test.Work/Do");

pub fn raw(bytes: impl AsRef<[u8]>) -> Raw {
    Raw(bytes::Bytes::copy_from_slice(bytes.as_ref()))
}

/// What the servers did: every request's bytes, once for each time that it ran.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<Vec<u8>>>>);

impl Journal {
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub fn note(&self, bytes: &[u8]) {
        self.0.lock().unwrap().push(bytes.to_vec());
    }
}

pub fn router(journal: &Journal) -> Router {
    let journal = journal.clone();
    Router::new().unary(&WORK, move |_, request: Raw| {
        journal.0.lock().unwrap().push(request.0.to_vec());
        async move {
            let time = u64::from(request.0.first().copied().unwrap_or(0)) * 10;
            tokio::time::sleep(Duration::from_millis(time)).await;
            Ok(Response::new(request))
        }
    })
}

/// A server that allows so many calls at a time on a connection.
pub fn allowing(calls: u32) -> ConnectionOptions {
    let mut options = ConnectionOptions::new(Role::Server);
    options.limits.concurrent_streams = calls;
    options
}

pub fn options() -> PoolOptions {
    let mut options = PoolOptions::new();
    options.seed = Some(11);
    // What others in this process dial does not count.
    options.cap = Some(Cap::new(1024, 1024));
    options
}

/// A channel to one server on a network of its own.
pub struct One {
    pub network: Network,
    pub channel: Channel,
    pub server: Server,
    pub journal: Journal,
}

pub fn one(calls: u32, options: PoolOptions) -> One {
    let network = Network::new();
    let journal = Journal::default();
    let server = network.serve(addr(1), router(&journal), allowing(calls));
    let channel = Channel::builder("http://test").connector(network.clone()).unstable_pool(options);
    One { channel: channel.build().unwrap(), network, server, journal }
}

impl One {
    pub fn open(&self) -> usize {
        self.network.counts(addr(1)).open.load(Ordering::SeqCst)
    }

    pub fn peak(&self) -> usize {
        self.network.counts(addr(1)).peak.load(Ordering::SeqCst)
    }

    pub fn pings(&self) -> usize {
        self.network.counts(addr(1)).pings.load(Ordering::SeqCst)
    }

    pub fn dials(&self) -> usize {
        self.network.counts(addr(1)).dials.load(Ordering::SeqCst)
    }
}

pub type Call = JoinHandle<Result<Raw, Error>>;

/// Begins a call that the server works on for `tens` times 10 ms.
pub fn begin(channel: &Channel, tens: u8) -> Call {
    let channel = channel.clone();
    tokio::spawn(async move { channel.unary(&WORK, raw([tens])).await.map(Response::into_inner) })
}

pub async fn ms(time: u64) {
    tokio::time::sleep(Duration::from_millis(time)).await;
}

/// Calls under way on each connection that lives, oldest first.
pub fn places(channel: &Channel) -> Vec<u32> {
    channel.unstable_handles().iter().map(|handle| handle.life().read().calls).collect()
}
