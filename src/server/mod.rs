//! [`Server`] accepts connections and serves a [`Router`] of handlers.
//!
//! [`Server::builder`] takes the router, TLS and limits; [`Server::shutdown`] drains connections and
//! reports what was cut. Layer 7: it uses every layer below but the pool.

mod admission;
mod advanced;
mod builder;
mod contained;
mod context;
mod grpc;
mod handshakes;
mod head;
mod listener;
mod plain;
mod router;
mod streaming;
#[cfg(feature = "tower")]
mod tower;

pub use crate::call::stalls::Stalls;
pub use crate::connection::check::{Finding, Severity};
pub use crate::connection::cost::Execution;
pub use crate::connection::driver::DrainReport;
pub use advanced::Advanced;
pub use builder::{BuildError, ServerBuilder};
pub use context::{Cancelled, Context, Interceptor};
pub use listener::{Server, Shutdown};
pub use plain::{HttpReply, HttpRequest};
pub use router::Router;
pub use streaming::{Replies, Requests};
#[cfg(feature = "tower")]
pub use tower::ServerBody;
