//! How a connection comes to be: the trait users can implement, and what is told about the result.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use crate::transport::connect_error::{ConnectError, Fault};
pub use crate::transport::connect_error_kind::ConnectErrorKind;
use crate::transport::io::BoxedIo;
pub use crate::transport::progress::{ConnectPhase, Progress};
pub use crate::transport::target::{Scheme, Target, TargetError, TargetErrorKind};

/// The future of one dial. Dropping it abandons the dial and closes what was opened.
pub type ConnectFuture = Pin<Box<dyn Future<Output = Result<Connected, ConnectError>> + Send>>;

/// Opens byte streams to a target: TCP, TLS over another connector, a Unix socket, a pipe, or
/// whatever the user writes (a proxy, a tunnel, a test).
///
/// A connector sets no overall deadline: the caller drops the future when time is up.
pub trait Connect: Send + Sync + 'static {
    /// Starts one dial to `target`.
    fn connect(&self, target: Target) -> ConnectFuture;

    /// The generation of the TLS configuration that a dial would use now, to compare with
    /// [`TlsInfo::generation`]. Default `None`: there is none that could be replaced.
    fn tls_generation(&self) -> Option<u64> {
        None
    }

    /// Hears how many connections its channel may hold at a time, before the first dial and whenever
    /// that changes: for what is sized by it, as a store of TLS sessions is. Whoever wraps another
    /// connector passes it on. Default nothing.
    fn provide_for(&self, connections: u32) {
        let _ = connections;
    }
}

impl<C: Connect + ?Sized> Connect for Arc<C> {
    fn connect(&self, target: Target) -> ConnectFuture {
        (**self).connect(target)
    }

    fn tls_generation(&self) -> Option<u64> {
        (**self).tls_generation()
    }

    fn provide_for(&self, connections: u32) {
        (**self).provide_for(connections);
    }
}

impl<C: Connect + ?Sized> Connect for Box<C> {
    fn connect(&self, target: Target) -> ConnectFuture {
        (**self).connect(target)
    }

    fn tls_generation(&self) -> Option<u64> {
        (**self).tls_generation()
    }

    fn provide_for(&self, connections: u32) {
        (**self).provide_for(connections);
    }
}

/// An open stream, on either side, and what is known about it.
pub struct Connected {
    /// The bytes.
    pub io: BoxedIo,
    /// Where they go, and how they are protected.
    pub info: ConnectionInfo,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What is known about an open stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The other end, `None` if the connector does not say.
    pub peer: Option<PeerAddr>,
    /// This end, `None` if the connector does not say.
    pub local: Option<PeerAddr>,
    /// The TLS session, `None` for plaintext.
    pub tls: Option<TlsInfo>,
    /// How long each step took; zero for a step that was not taken.
    pub timings: ConnectTimings,
}

/// One end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerAddr {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A Unix socket; the connecting side usually has no path.
    Unix(Option<PathBuf>),
    /// A pipe inside this process.
    Memory,
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Unix(None) => f.write_str("unix:"),
            Self::Memory => f.write_str("memory"),
        }
    }
}

/// What a TLS handshake agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsInfo {
    /// Which generation of its configuration this end used: `ClientTls::generation` or
    /// `ServerTls::generation` when the handshake began.
    pub generation: u64,
    /// How long the handshake took, waiting for the peer included.
    pub handshake: Duration,
    /// Whether an earlier session was resumed: no certificate was sent.
    pub resumed: bool,
    /// `TLSv1_3` or `TLSv1_2`.
    pub version: &'static str,
    /// The cipher suite's registered name, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
    /// The protocol ALPN chose; always `h2` on a stream this crate hands out.
    pub alpn: Option<Bytes>,
    /// The peer's chain in DER, its own certificate first; empty if it showed none. After a
    /// resumption this is the chain of the full handshake.
    pub peer_certificates: Vec<Bytes>,
}

/// How long the steps of a dial took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectTimings {
    /// Name to addresses.
    pub resolve: Duration,
    /// First SYN to the established connection, waiting for slower addresses included.
    pub tcp: Duration,
    /// ClientHello to the end of the handshake, as [`TlsInfo::handshake`].
    pub tls: Duration,
}
