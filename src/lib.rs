//! A gRPC transport for Rust, built from the frame up.
//!
//! ```text
//!  floor 4   client/        server/       what users call: Channel, Server, streaming, unary
//!            ─────────────────────
//!  floor 3   net/                         tokio and rustls: sockets, TLS, driver, slots, pool
//!            ═════════════════════        the sans-IO line: nothing above it is needed below it
//!  floor 2   grpc/                        messages, metadata, status, timeouts
//!            ─────────────────────
//!  floor 1   http2/                       frames, HPACK, windows, streams, connection
//! ```
//!
//! Imports run downwards only; `tests/tidy.rs` checks it. Every floor is public, so tests, benches
//! and fuzz targets need no back door; floors 1 to 3 are unstable until 1.0.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "client")]
pub mod client;
pub mod error;
pub mod grpc;
pub mod http2;
#[cfg(feature = "_net")]
pub mod net;
#[cfg(feature = "server")]
pub mod server;
