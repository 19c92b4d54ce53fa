//! A side that does not read: a transport that takes no byte from its socket for a while, so that the
//! system closes the window of TCP.

use framewire::transport::{
    Accept, AcceptFuture, BoxedIo, Connect, ConnectFuture, Connected, Target, TcpAcceptor,
    TcpConnector,
};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// When the sockets behind it are read again.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<Option<Instant>>>);

impl Gate {
    /// From now on nothing is read for so long.
    pub fn shut(&self, time: Duration) {
        *self.0.lock().unwrap() = Some(Instant::now() + time);
    }

    /// A connector whose sockets are behind this gate.
    pub fn connector(&self) -> impl Connect + use<> {
        Behind { gate: self.clone(), inner: TcpConnector::new() }
    }

    /// The same for a server.
    pub fn acceptor(&self, inner: TcpAcceptor) -> impl Accept + use<> {
        Behind { gate: self.clone(), inner }
    }

    fn wrap(&self, connected: Connected) -> Connected {
        let gate = self.clone();
        connected.map_io(|io| Stream { gate, io, pause: Box::pin(sleep_until(Instant::now())) })
    }
}

struct Behind<T> {
    gate: Gate,
    inner: T,
}

impl Connect for Behind<TcpConnector> {
    fn connect(&self, target: Target) -> ConnectFuture {
        let (gate, dial) = (self.gate.clone(), self.inner.connect(target));
        Box::pin(async move { Ok(gate.wrap(dial.await?)) })
    }
}

impl Accept for Behind<TcpAcceptor> {
    fn accept(&mut self) -> AcceptFuture<'_> {
        Box::pin(async move { Ok(self.gate.wrap(self.inner.accept().await?)) })
    }
}

struct Stream {
    gate: Gate,
    io: BoxedIo,
    pause: Pin<Box<Sleep>>,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let until = *self.gate.0.lock().unwrap();
        if let Some(until) = until.filter(|until| Instant::now() < *until) {
            self.pause.as_mut().reset(until);
            ready!(self.pause.as_mut().poll(cx));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
