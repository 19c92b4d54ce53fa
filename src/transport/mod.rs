//! Layer 3: how connections are opened and accepted: TCP, TLS, Unix sockets, in-memory pipes.
//!
//! A channel opens its connections with a [`Connect`], a server accepts them from an [`Accept`].
//! Both return a [`Connected`]: a byte stream, what is known about it, and the system socket below
//! it. [`Target`] says where to connect to; [`SocketOptions`] are set on TCP sockets; [`in_memory`]
//! connects a channel and a server of one process.

pub(crate) mod accept;
pub(crate) mod connect;
pub(crate) mod connect_error;
mod connect_error_kind;
mod info;
pub(crate) mod io;
pub(crate) mod memory;
pub(crate) mod options;
mod progress;
pub(crate) mod race;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub(crate) mod sniff;
pub(crate) mod socket;
pub(crate) mod target;
pub(crate) mod tcp;
pub(crate) mod tcp_info;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub(crate) mod tls;
#[cfg(unix)]
pub(crate) mod unix;

pub use accept::{Accept, AcceptFuture};
pub use connect::{AddressesFuture, Connect, ConnectFuture};
pub use connect_error::{ConnectError, Fault};
pub use connect_error_kind::ConnectErrorKind;
pub use info::{ConnectTimings, Connected, ConnectedParts, ConnectionInfo, PeerAddr, TlsInfo};
pub use io::{BoxedIo, Io};
pub use memory::{MemoryConnector, MemoryListener, listener as in_memory};
pub use options::{SocketOptions, TcpKeepalive};
pub use progress::ConnectPhase;
pub use socket::SocketHandle;
pub use target::{Scheme, Target, TargetError, TargetErrorKind};
pub use tcp::{TcpAcceptor, TcpConnector};
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub use tls::TlsConnector;
#[cfg(unix)]
pub use unix::{UnixAcceptor, UnixConnector};
