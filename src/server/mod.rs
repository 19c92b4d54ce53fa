//! Floor 4, server: a router, its handlers, and the listener that feeds them.

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
