//! gRPC calls end to end, in memory and in virtual time, on this crate's driver and on `h2` behind
//! the seam: `engines.rs` says which test runs on which.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../support/h2_driver.rs"]
mod h2_driver;
#[path = "../support/link.rs"]
mod link;
#[path = "../support/memory_pair.rs"]
mod memory_pair;
#[path = "../support/peer.rs"]
mod peer;

mod age;
mod bodies;
mod budget;
mod cancel;
mod connections;
mod cut;
mod deadline;
mod drain;
mod engines;
mod execution;
mod expiry;
mod fairness;
mod full;
mod heads;
mod hedge;
mod keepalive;
mod kept;
mod kinds;
mod late;
mod limits;
mod many;
mod outliving;
mod panics;
mod probe;
mod refusals;
mod requests;
mod retry;
mod retry_streams;
mod stalls;
mod streaming;
mod timeline;
