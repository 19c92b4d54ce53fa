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

pub use accept::{Accept, AcceptFuture};
pub use connect::{
    Connect, ConnectFuture, ConnectTimings, Connected, ConnectionInfo, PeerAddr, TlsInfo,
};
pub use connect_error::{ConnectError, ConnectErrorKind, ConnectPhase};
pub use io::{BoxedIo, Io};
pub use memory::{MemoryConnector, MemoryListener, listener as in_memory};
pub use target::{Scheme, Target, TargetError, TargetErrorKind};
pub use tcp::{SocketOptions, TcpAcceptor, TcpConnector, TcpKeepalive};
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub use tls::TlsConnector;
#[cfg(unix)]
pub use unix::{UnixAcceptor, UnixConnector};
