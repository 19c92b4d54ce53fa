//! Floor 4, server: a router, its handlers, and the listener that feeds them.

mod contained;
mod context;
mod grpc;
mod listener;
mod plain;
mod router;
mod streaming;

pub use crate::connection::driver::{ConnectionOptions, DrainReport};
pub use context::{Cancelled, Context};
pub use listener::{Server, ServerBuilder, Shutdown};
pub use plain::{HttpReply, HttpRequest};
pub use router::{Interceptor, Router};
pub use streaming::{Replies, Requests};
