//! Floor 4, client: a channel and its calls.

mod call;
mod channel;
mod plain;
mod streaming;

pub use crate::net::liveness::Preset;
pub use crate::net::pool::{
    Balance, Cap, ChannelState, Dns, PoolOptions, Resolve, ResolveFuture, Static,
};
pub use call::CallTimeline;
pub use channel::{BuildError, Channel, ChannelBuilder, Interceptor};
pub use plain::{HttpRequest, HttpResponse};
pub use streaming::{Sender, Streaming};
