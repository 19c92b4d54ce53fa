//! [`Server`] accepts connections and serves a [`Router`] of handlers.
//!
//! [`Server::builder`] takes the router, TLS and limits; [`Server::shutdown`] drains connections and
//! reports what was cut. Layer 7: it uses every layer below but the pool.

mod contained;
mod context;
mod grpc;
mod head;
mod listener;
mod plain;
mod router;
mod streaming;

pub use crate::connection::driver::{ConnectionOptions, DrainReport};
pub use context::{Cancelled, Context, Interceptor};
pub use listener::{Server, ServerBuilder, Shutdown};
pub use plain::{HttpReply, HttpRequest};
pub use router::Router;
pub use streaming::{Replies, Requests};
