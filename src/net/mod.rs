//! Floor 3: tokio and rustls. Sockets, TLS, and what drives a connection.

pub mod accept;
pub mod again;
mod bounds;
pub mod budget;
pub mod change;
pub mod connect;
pub mod connect_error;
pub mod contain;
pub mod dispatch;
pub mod driver;
pub mod engine;
pub mod env;
pub mod exchange;
pub mod halves;
pub mod handle;
pub mod handoff;
pub mod io;
pub mod keep;
pub mod life;
pub mod liveness;
#[cfg(all(test, framewire_loom))]
mod loom_tests;
pub mod memory;
pub mod messages;
pub mod pool;
pub mod progress;
pub mod quota;
pub mod slot;
pub mod sniff;
pub mod stalls;
pub mod sync;
pub mod tally;
pub mod target;
pub mod tcp;
pub mod timeline;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub mod tls;
#[cfg(unix)]
pub mod unix;
mod unsent;
