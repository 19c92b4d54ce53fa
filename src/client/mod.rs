//! Floor 4, client: a channel and its calls.

mod builder;
mod call;
mod channel;
mod plain;
mod retry;
mod streaming;

pub use crate::net::liveness::Preset;
pub use crate::net::pool::{
    Balance, Cap, CapStats, ChannelState, ConnectionState, ConnectionStats, Dns, EndpointStats,
    Finding, PoolOptions, PoolStats, Resolve, ResolveFuture, Severity, Static,
};
pub use builder::{BuildError, ChannelBuilder};
pub use call::CallTimeline;
pub use channel::{Channel, Interceptor};
pub use plain::{HttpRequest, HttpResponse};
pub use retry::RetryPolicy;
pub use streaming::{Sender, Streaming};
