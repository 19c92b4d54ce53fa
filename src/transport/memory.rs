//! Connections inside one process, for tests and for services of one process.

use std::io;

use tokio::sync::mpsc;

use crate::transport::accept::{Accept, AcceptFuture};
use crate::transport::connect::{
    Connect, ConnectError, ConnectErrorKind, ConnectFuture, ConnectPhase, Connected,
    ConnectionInfo, PeerAddr, Target,
};

/// Connections that may wait to be accepted; further dials wait.
const BACKLOG: usize = 128;

/// Returns a connector and the listener that it reaches, whatever the target says.
///
/// Each direction of a connection holds at most `buffer` bytes, at least 1. At most 128 connections
/// wait to be accepted; further dials wait. Neither end uses a socket.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use framewire::transport::{Accept, Connect, in_memory};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let (connector, mut listener) = in_memory(64 * 1024);
/// let mut near = connector.connect("http://any.name".parse()?).await?;
/// let mut far = listener.accept().await?;
///
/// near.io.write_all(b"ping").await?;
/// let mut bytes = [0; 4];
/// far.io.read_exact(&mut bytes).await?;
/// assert_eq!(&bytes, b"ping");
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn listener(buffer: usize) -> (MemoryConnector, MemoryListener) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    (MemoryConnector { sender, buffer: buffer.max(1) }, MemoryListener { receiver })
}

/// Opens connections to the [`MemoryListener`] that [`in_memory`](listener) returned with it.
#[derive(Clone, Debug)]
pub struct MemoryConnector {
    sender: mpsc::Sender<Connected>,
    buffer: usize,
}

impl Connect for MemoryConnector {
    fn connect(&self, target: Target) -> ConnectFuture {
        let sender = self.sender.clone();
        let (near, far) = tokio::io::duplex(self.buffer);
        Box::pin(async move {
            let refused =
                || ConnectError::new(ConnectErrorKind::Refused, ConnectPhase::Socket, &target);
            sender.send(connected(far)).await.map_err(|_| refused())?;
            Ok(connected(near))
        })
    }
}

fn connected(stream: tokio::io::DuplexStream) -> Connected {
    let info = ConnectionInfo::new().with_peer(PeerAddr::Memory).with_local(PeerAddr::Memory);
    Connected::new(stream).with_info(info)
}

/// Accepts the connections of a [`MemoryConnector`] and its clones.
///
/// Dropping it refuses further dials. It ends with an error of kind `UnexpectedEof` when the last connector is
/// dropped.
#[derive(Debug)]
pub struct MemoryListener {
    receiver: mpsc::Receiver<Connected>,
}

impl Accept for MemoryListener {
    fn accept(&mut self) -> AcceptFuture<'_> {
        Box::pin(async {
            self.receiver.recv().await.ok_or_else(|| {
                io::Error::new(io::ErrorKind::UnexpectedEof, "every connector was dropped")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::transport::memory::*;

    fn target() -> Target {
        Target::parse("http://anything").unwrap()
    }

    #[tokio::test]
    async fn bytes_go_both_ways() {
        let (connector, mut listener) = listener(16);
        let mut client = connector.connect(target()).await.unwrap();
        let mut server = listener.accept().await.unwrap();
        assert_eq!(client.info.peer, Some(PeerAddr::Memory));
        client.io.write_all(b"ping").await.unwrap();
        let mut bytes = [0; 4];
        server.io.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");
        server.io.write_all(b"pong").await.unwrap();
        client.io.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"pong");
        drop(client);
        assert_eq!(server.io.read(&mut bytes).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_dropped_end_is_an_error_at_the_other() {
        let (connector, listener_end) = listener(16);
        drop(listener_end);
        let error = connector.connect(target()).await.unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::Refused);

        let (connector, mut listener_end) = listener(16);
        drop(connector);
        assert!(listener_end.accept().await.is_err());
    }
}
