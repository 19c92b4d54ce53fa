//! Layer 3: sockets, TLS, Unix sockets, in-memory pipes, targets: how byte streams come to be.

pub mod accept;
pub mod connect;
pub mod connect_error;
mod connect_error_kind;
pub mod io;
pub mod memory;
pub mod progress;
pub mod sniff;
pub mod target;
pub mod tcp;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub mod tls;
#[cfg(unix)]
pub mod unix;
