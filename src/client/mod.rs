//! [`Channel`] makes calls to one target over a pool of connections.
//!
//! [`Channel::builder`] sets TLS, deadlines, retry and hedging policies and pool limits. A channel is
//! a cheap clone; it opens no connection before the first call. Layer 7: it uses every layer below.

mod advanced;
mod build_error;
mod builder;
mod call;
mod calls;
mod channel;
mod deadline;
mod hedge;
mod options;
mod plain;
mod policy;
mod retry;
mod settings;
mod shard_key;
mod shards;
mod streaming;
mod throttle;
#[cfg(feature = "tower")]
mod tower;

#[doc = include_str!("pool.md")]
pub mod pool {}

pub use crate::advisor::sizing::{Bound, ControllerOptions, Goal, Load, Sizing, Wait};
pub use crate::advisor::trend::{Signal, Warning, What as SignalKind};
pub use crate::call::stalls::Stalls;
pub use crate::connection::handle::Leak;
pub use crate::connection::keepalive::{Doubt, Preset};
pub use crate::pool::{
    Balance, Cap, CapStats, ChannelState, CloseReport, ConnectionState, ConnectionStats, Count,
    Counts, Dns, EndpointStats, Finding, PoolAdvice, PoolStats, Resolve, ResolveFuture, Severity,
    Share, Static, TenantStats, Warmed, metrics,
};
pub use advanced::Advanced;
pub use build_error::BuildError;
pub use builder::ChannelBuilder;
pub use call::CallTimeline;
pub use channel::{Channel, Interceptor};
pub use plain::{HttpRequest, HttpResponse};
pub use policy::{HedgePolicy, RetryPolicy};
pub use shard_key::ShardKey;
pub use shards::Channels;
pub use streaming::{Sender, Streaming};
#[cfg(feature = "tower")]
pub use tower::{ErrorMode, HttpService, ResponseBody, ResponseFuture};
