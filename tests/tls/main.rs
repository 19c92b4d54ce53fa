//! Calls over TLS, in memory.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
#![cfg(feature = "tls-ring")]

mod either;
mod flight;
#[path = "../support/identity.rs"]
mod identity;
mod parties;
mod rejected;
mod replaced;
mod shards;
mod silence;
mod versions;
