//! [`Channel`] makes calls to one target over a pool of connections.
//!
//! [`Channel::builder`] sets TLS, deadlines, retry and hedging policies and pool limits. A channel is
//! a cheap clone; it opens no connection before the first call. Layer 7: it uses every layer below.

mod builder;
mod call;
mod calls;
mod channel;
mod hedge;
mod plain;
mod policy;
mod retry;
mod shard_key;
mod shards;
mod streaming;

#[doc = include_str!("pool.md")]
pub mod pool {}

pub use crate::advisor::sizing::{ControllerOptions, Goal, Wait};
pub use crate::advisor::trend::Warning;
pub use crate::connection::handle::Leak;
pub use crate::connection::keepalive::Preset;
pub use crate::pool::{
    Balance, Cap, CapStats, ChannelState, ConnectionState, ConnectionStats, Count, Counts, Dns,
    EndpointStats, Finding, PoolAdvice, PoolOptions, PoolStats, Resolve, ResolveFuture, Severity,
    Share, Static, TenantStats, metrics,
};
pub use builder::{BuildError, ChannelBuilder};
pub use call::CallTimeline;
pub use channel::{Channel, Interceptor};
pub use plain::{HttpRequest, HttpResponse};
pub use policy::{HedgePolicy, RetryPolicy};
pub use shard_key::ShardKey;
pub use shards::Channels;
pub use streaming::{Sender, Streaming};
