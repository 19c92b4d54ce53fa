//! An open stream on either side, and what is known about it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::transport::io::{BoxedIo, Io};
use crate::transport::socket::SocketHandle;

/// An open stream with what is known about it: the result of `Connect` and `Accept`.
///
/// A wrapper replaces the stream and keeps the rest: [`map_io`](Self::map_io), or
/// [`into_parts`](Self::into_parts) and [`from_parts`](Self::from_parts) around an `await`.
///
/// ```
/// # fn main() {
/// use framewire::transport::{Connected, ConnectionInfo, PeerAddr};
/// use tokio::io::BufStream;
///
/// let (near, _far) = tokio::io::duplex(1024);
/// let info = ConnectionInfo::new().with_peer(PeerAddr::Memory);
/// let connected = Connected::new(near).with_info(info);
///
/// let wrapped = connected.map_io(BufStream::new);
/// assert_eq!(wrapped.info.peer, Some(PeerAddr::Memory));
/// # }
/// ```
#[non_exhaustive]
pub struct Connected {
    /// The byte stream.
    pub io: BoxedIo,
    /// The ends of the stream, its protection, and how long it took to open.
    pub info: ConnectionInfo,
    /// The system socket below the stream, `None` if there is none or the connector keeps it.
    pub socket: Option<SocketHandle>,
}

impl Connected {
    /// Returns a connection over `io`, with nothing known about it.
    ///
    /// A stream that is boxed already goes to [`from_parts`](Self::from_parts), which adds no
    /// second box.
    #[must_use]
    pub fn new(io: impl Io) -> Self {
        Self::from_parts(Box::new(io), ConnectedParts::default())
    }

    /// Sets what is known about the stream.
    #[must_use]
    pub fn with_info(mut self, info: ConnectionInfo) -> Self {
        self.info = info;
        self
    }

    /// Sets the handle of the system socket below the stream.
    #[must_use]
    pub fn with_socket(mut self, socket: SocketHandle) -> Self {
        self.socket = Some(socket);
        self
    }

    /// Replaces the stream by one that `wrap` makes of it; information and socket stay.
    #[must_use]
    pub fn map_io<T: Io>(self, wrap: impl FnOnce(BoxedIo) -> T) -> Self {
        let (io, parts) = self.into_parts();
        Self::from_parts(Box::new(wrap(io)), parts)
    }

    /// Separates the stream from everything else.
    #[must_use]
    pub fn into_parts(self) -> (BoxedIo, ConnectedParts) {
        let Self { io, info, socket } = self;
        (io, ConnectedParts { info, socket })
    }

    /// Joins a stream and everything else.
    #[must_use]
    pub fn from_parts(io: BoxedIo, parts: ConnectedParts) -> Self {
        let ConnectedParts { info, socket } = parts;
        Self { io, info, socket }
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("info", &self.info)
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// Everything of a [`Connected`] except its stream. The default knows nothing.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConnectedParts {
    /// The ends of the stream, its protection, and how long it took to open.
    pub info: ConnectionInfo,
    /// The system socket below the stream, `None` if there is none or the connector keeps it.
    pub socket: Option<SocketHandle>,
}

/// What is known about an open stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The address of the peer, `None` if the connector does not report it.
    pub peer: Option<PeerAddr>,
    /// The local address, `None` if the connector does not report it.
    pub local: Option<PeerAddr>,
    /// The TLS session, `None` for plaintext.
    pub tls: Option<TlsInfo>,
    /// How long each step of the dial took; zero for a step that did not happen.
    pub timings: ConnectTimings,
}

impl ConnectionInfo {
    /// Returns a value in which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the address of the peer.
    #[must_use]
    pub fn with_peer(mut self, peer: PeerAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Sets the local address.
    #[must_use]
    pub fn with_local(mut self, local: PeerAddr) -> Self {
        self.local = Some(local);
        self
    }

    /// Sets the TLS session.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsInfo) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets how long the steps of the dial took.
    #[must_use]
    pub const fn with_timings(mut self, timings: ConnectTimings) -> Self {
        self.timings = timings;
        self
    }
}

/// The address of one end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerAddr {
    /// An IP address and a port.
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
#[non_exhaustive]
pub struct TlsInfo {
    /// The generation of the TLS configuration that this end used: `ClientTls::generation` or
    /// `ServerTls::generation` when the handshake began. 0 for other implementations of TLS.
    pub generation: u64,
    /// How long the handshake took, waiting for the peer included.
    pub handshake: Duration,
    /// Whether the handshake resumed an earlier session: the peer sent no certificate.
    pub resumed: bool,
    /// `TLSv1_3` or `TLSv1_2`.
    pub version: &'static str,
    /// The cipher suite's registered name, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
    /// The protocol that ALPN chose; always `h2` on a stream that this crate returns.
    pub alpn: Option<Bytes>,
    /// The peer's chain in DER, its own certificate first; empty if it sent none. After a
    /// resumption this is the chain of the full handshake.
    pub peer_certificates: Vec<Bytes>,
}

impl TlsInfo {
    /// Returns the information of a full handshake with this version and cipher suite; set the
    /// other fields directly.
    #[must_use]
    pub fn new(version: &'static str, cipher: &'static str) -> Self {
        Self { version, cipher, ..Self::default() }
    }

    /// Sets the protocol that ALPN chose.
    #[must_use]
    pub fn with_alpn(mut self, alpn: Bytes) -> Self {
        self.alpn = Some(alpn);
        self
    }

    /// Sets the peer's chain in DER, its own certificate first.
    #[must_use]
    pub fn with_peer_certificates(mut self, chain: Vec<Bytes>) -> Self {
        self.peer_certificates = chain;
        self
    }
}

/// How long the steps of a dial took. The default is zero for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectTimings {
    /// From the name to its addresses.
    pub resolve: Duration,
    /// From the first SYN to the established connection, waiting for slower addresses included.
    pub tcp: Duration,
    /// From the ClientHello to the end of the handshake, as [`TlsInfo::handshake`].
    pub tls: Duration,
}

impl ConnectTimings {
    /// Returns zero for each step.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time of name resolution.
    #[must_use]
    pub const fn with_resolve(mut self, time: Duration) -> Self {
        self.resolve = time;
        self
    }

    /// Sets the time of opening the socket.
    #[must_use]
    pub const fn with_tcp(mut self, time: Duration) -> Self {
        self.tcp = time;
        self
    }

    /// Sets the time of the TLS handshake.
    #[must_use]
    pub const fn with_tls(mut self, time: Duration) -> Self {
        self.tls = time;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::transport::info::*;

    #[test]
    fn a_wrapper_keeps_information_and_socket() {
        let socket = Arc::new(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let (near, _far) = tokio::io::duplex(1);
        let connected = Connected::new(near)
            .with_info(ConnectionInfo::new().with_peer(PeerAddr::Memory))
            .with_socket(SocketHandle::new(&socket))
            .map_io(tokio::io::BufStream::new);
        assert_eq!(connected.info.peer, Some(PeerAddr::Memory));
        let handle = connected.socket.unwrap();
        assert!(handle.with(|_| ()).is_some());
        drop(socket);
        assert!(handle.with(|_| ()).is_none());
    }
}
