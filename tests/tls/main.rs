//! Calls over TLS, in memory.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
#![cfg(feature = "tls-ring")]

#[path = "../support/identity.rs"]
mod identity;

mod versions;
