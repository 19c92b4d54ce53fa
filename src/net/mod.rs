//! Floor 3: tokio and rustls. Sockets, TLS, and what drives a connection.

pub mod accept;
pub mod connect;
pub mod connect_error;
pub mod env;
pub mod io;
pub mod memory;
pub mod sniff;
pub mod sync;
pub mod target;
pub mod tcp;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub mod tls;
#[cfg(unix)]
pub mod unix;
