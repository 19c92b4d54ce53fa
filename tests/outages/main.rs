//! What a channel does when servers, names and paths fail it, as its callers see it. In memory and in
//! virtual time; the table is in `spec-notes/faults.md`.
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

#[path = "../support/identity.rs"]
mod identity;
#[path = "../support/network.rs"]
mod network;
#[path = "../support/peer.rs"]
mod peer;

mod dials;
mod drains;
mod herd;
mod names;
mod places;
mod refusals;
mod silence;
mod slow;

use framewire::client::{Cap, Channel};

use framewire::error::Error;
use framewire::server::Router;
use framewire::transport::{Connect, ConnectFuture, Target};
use framewire::unstable::connection::options::ConnectionOptions;
use framewire::unstable::grpc::{Method, Raw, Request, Response};
use framewire::unstable::http2::Role;
use framewire::unstable::pool::PoolOptions;
use network::Network;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Answers with its request after as many milliseconds as the first byte says.
pub const WORK: Method<Raw, Raw> = Method::new("/test.Work/Do");

/// How often each identifier ran.
pub type Ran = Arc<Mutex<HashMap<u32, usize>>>;

pub fn work(id: u32, milliseconds: u8) -> Raw {
    let mut bytes = vec![milliseconds];
    bytes.extend_from_slice(&id.to_be_bytes());
    Raw(bytes.into())
}

pub fn id_of(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[1..5].try_into().unwrap())
}

pub fn router(ran: &Ran) -> Router {
    let ran = Arc::clone(ran);
    Router::new().unary(&WORK, move |_, request: Raw| {
        *ran.lock().unwrap().entry(id_of(&request.0)).or_default() += 1;
        async move {
            ms(u64::from(request.0[0])).await;
            Ok(Response::new(request))
        }
    })
}

/// Every one of so many calls ran once.
pub fn each_ran_once(ran: &Ran, calls: usize) {
    let ran = ran.lock().unwrap();
    assert!(ran.values().all(|times| *times == 1), "calls ran more than once");
    assert_eq!(ran.len(), calls);
}

pub fn server_options() -> ConnectionOptions {
    ConnectionOptions::new(Role::Server)
}

pub fn options() -> PoolOptions {
    let mut options = PoolOptions::new();
    options.seed = Some(5);
    // What others in this process dial does not count.
    options.cap = Some(Cap::new(1024, 1024));
    options
}

/// A channel to the addresses that the network names.
pub fn named(network: &Network, options: PoolOptions) -> Channel {
    let builder = Channel::builder("http://test").connector(network.clone()).unstable_pool(options);
    builder.resolver(network.clone()).build().unwrap()
}

/// A channel to one address.
pub fn lone(connector: impl Connect, options: PoolOptions) -> Channel {
    Channel::builder("http://test").connector(connector).unstable_pool(options).build().unwrap()
}

/// A network on which dials to some addresses never end.
#[derive(Clone)]
pub struct Deaf(pub Network, pub Vec<SocketAddr>);

impl Connect for Deaf {
    fn connect(&self, target: Target) -> ConnectFuture {
        let deaf = target.address().is_some_and(|at| self.1.contains(&at));
        let dial = self.0.connect(target);
        if deaf { Box::pin(std::future::pending()) } else { dial }
    }
}

/// How a call ended, and when, counted from its beginning.
pub type Call = JoinHandle<(Result<(), Error>, Duration)>;

pub fn begin_with(channel: &Channel, request: Request<Raw>) -> Call {
    let channel = channel.clone();
    let started = Instant::now();
    tokio::spawn(async move {
        let result = channel.unary(&WORK, request).await.map(drop);
        (result, started.elapsed())
    })
}

pub fn begin(channel: &Channel, id: u32) -> Call {
    begin_with(channel, Request::new(work(id, 0)))
}

pub async fn ms(time: u64) {
    tokio::time::sleep(Duration::from_millis(time)).await;
}

/// Ended within 50 ms after its deadline, not before.
pub fn is_on_time(took: Duration, deadline: Duration) {
    let late = took.checked_sub(deadline);
    assert!(late.is_some_and(|late| late <= Duration::from_millis(50)), "{took:?}");
}
