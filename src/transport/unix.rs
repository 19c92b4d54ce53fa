//! Unix sockets.

use std::io;
use std::path::Path;
use std::task::{Context, Poll};

use tokio::net::{UnixListener, UnixStream};

use crate::rt;
use crate::transport::accept::{
    Accept, AcceptBackoff, AcceptFuture, AcceptSource, accept_with_backoff,
};
use crate::transport::connect::{
    Connect, ConnectError, ConnectErrorKind, ConnectFuture, ConnectPhase, ConnectTimings,
    Connected, ConnectionInfo, PeerAddr, Target,
};
use crate::transport::socket::SharedStream;

/// Opens connections to `unix:` targets; refuses others with `Unsupported`.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnixConnector;

impl Connect for UnixConnector {
    fn connect(&self, target: Target) -> ConnectFuture {
        Box::pin(connect(target))
    }
}

async fn connect(target: Target) -> Result<Connected, ConnectError> {
    let Some(path) = target.unix_path() else {
        let kind = ConnectErrorKind::Unsupported;
        return Err(ConnectError::new(kind, ConnectPhase::Socket, &target)
            .with_detail("a Unix connector was given a TCP address"));
    };
    let start = rt::now();
    let stream = rt::connect_unix(path)
        .await
        .map_err(|error| ConnectError::from_io(ConnectPhase::Socket, &target, error))?;
    let info = ConnectionInfo::new()
        .with_peer(PeerAddr::Unix(Some(path.to_owned())))
        .with_local(PeerAddr::Unix(None))
        .with_timings(ConnectTimings::new().with_tcp(rt::now().saturating_duration_since(start)));
    Ok(connected(stream, info))
}

/// A stream with its handle.
fn connected(stream: UnixStream, info: ConnectionInfo) -> Connected {
    let stream = SharedStream::new(stream);
    let socket = stream.handle();
    Connected::new(stream).with_info(info).with_socket(socket)
}

/// Accepts connections on a Unix socket. Dropping it leaves the socket's file behind.
#[derive(Debug)]
pub struct UnixAcceptor {
    source: UnixSource,
    backoff: AcceptBackoff,
}

#[derive(Debug)]
struct UnixSource(UnixListener);

impl UnixAcceptor {
    /// Listens on `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// The system's error, for example if `path` exists; kind `Unsupported` outside a tokio
    /// runtime with I/O (`enable_io`, `enable_all`).
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self::from_listener(rt::listen_unix(path.as_ref())?))
    }

    /// Accepts from `listener`.
    #[must_use]
    pub const fn from_listener(listener: UnixListener) -> Self {
        Self { source: UnixSource(listener), backoff: AcceptBackoff::new() }
    }
}

impl AcceptSource for UnixSource {
    type Connection = Connected;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Connected>> {
        self.0.poll_accept(cx).map_ok(|(stream, peer)| {
            let local = stream.local_addr().ok();
            let path = local.and_then(|addr| addr.as_pathname().map(Path::to_owned));
            let info = ConnectionInfo::new()
                .with_peer(PeerAddr::Unix(peer.as_pathname().map(Path::to_owned)))
                .with_local(PeerAddr::Unix(path));
            connected(stream, info)
        })
    }
}

impl Accept for UnixAcceptor {
    fn accept(&mut self) -> AcceptFuture<'_> {
        Box::pin(accept_with_backoff(&mut self.source, &mut self.backoff))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::transport::unix::*;

    #[tokio::test]
    async fn a_unix_socket_carries_bytes() {
        let name = format!("framewire-{}-{:x}.sock", std::process::id(), rt::entropy());
        let path = std::env::temp_dir().join(name);
        let mut acceptor = UnixAcceptor::bind(&path).unwrap();
        let target = Target::parse(&format!("unix:{}", path.display())).unwrap();
        let mut client = UnixConnector.connect(target.clone()).await.unwrap();
        let mut server = acceptor.accept().await.unwrap();
        assert_eq!(client.info.peer, Some(PeerAddr::Unix(Some(path.clone()))));
        assert_eq!(server.info.local, client.info.peer);
        client.io.write_all(b"ping").await.unwrap();
        let mut bytes = [0; 4];
        server.io.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");

        drop(acceptor);
        std::fs::remove_file(&path).unwrap();
        let error = UnixConnector.connect(target).await.unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::Refused);
    }

    #[tokio::test]
    async fn a_tcp_target_is_refused() {
        let target = Target::parse("http://a.example").unwrap();
        let error = UnixConnector.connect(target).await.unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::Unsupported);
    }
}
