//! Connections inside one process, for tests and for services that call each other at home.

use std::io;

use tokio::sync::mpsc;

use crate::transport::accept::{Accept, AcceptFuture};
use crate::transport::connect::{
    Connect, ConnectError, ConnectErrorKind, ConnectFuture, ConnectPhase, Connected,
    ConnectionInfo, PeerAddr, Target,
};

/// Connections that may wait to be accepted; further dials wait.
const BACKLOG: usize = 128;

/// A connector and the listener it reaches, whatever the target says.
///
/// Each direction of a connection holds at most `buffer` bytes, at least 1.
#[must_use]
pub fn listener(buffer: usize) -> (MemoryConnector, MemoryListener) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    (MemoryConnector { sender, buffer: buffer.max(1) }, MemoryListener { receiver })
}

/// The dialling end of [`listener`].
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
    let info = ConnectionInfo {
        peer: Some(PeerAddr::Memory),
        local: Some(PeerAddr::Memory),
        ..ConnectionInfo::default()
    };
    Connected { io: Box::new(stream), info }
}

/// The accepting end of [`listener`]. Dropping it refuses further dials.
#[derive(Debug)]
pub struct MemoryListener {
    receiver: mpsc::Receiver<Connected>,
}

impl Accept for MemoryListener {
    fn accept(&mut self) -> AcceptFuture<'_> {
        Box::pin(async {
            self.receiver.recv().await.ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotConnected, "every connector was dropped")
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
