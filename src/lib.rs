//! A gRPC transport for Rust, built from the frame up.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "client")]
pub mod client;
pub mod error;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "_net")]
pub mod transport;
pub mod unstable;

// Inside the crate, the layers go by their short names.
#[cfg(feature = "_net")]
pub(crate) use unstable::{advisor, call, connection, memory, pool, rt};
pub(crate) use unstable::{grpc, http2};
