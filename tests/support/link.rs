//! A link with faults, put between a client and whatever it dials: single bytes, delays, a cut,
//! a stall. It can keep the bytes of both directions.

use framewire::transport::BoxedIo;
use framewire::transport::{Accept, AcceptFuture};
use framewire::transport::{Connect, ConnectFuture, Connected, Target};
use framewire::transport::{MemoryConnector, MemoryListener};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The bytes that went over a link: to the server, to the client.
pub type Trace = Arc<Mutex<(Vec<u8>, Vec<u8>)>>;

/// What is wrong with a link.
#[derive(Clone, Default, Debug)]
pub struct Faults {
    /// Bytes that one read or write moves at most.
    pub piece: Option<usize>,
    /// Time that the response's bytes take.
    pub delay: Option<Duration>,
    /// The connection is lost once so many bytes were written to it.
    pub cut_written: Option<usize>,
    /// The connection is lost once so many bytes were read from it.
    pub cut_read: Option<usize>,
    /// No byte is taken once so many were written.
    pub stall_written: Option<usize>,
    /// Where the bytes are kept.
    pub trace: Option<Trace>,
}

/// Dials over links with faults. Counts its dials.
#[derive(Clone, Debug)]
pub struct FaultyConnector {
    inner: MemoryConnector,
    faults: Faults,
    dials: Arc<AtomicUsize>,
}

impl FaultyConnector {
    pub fn new(inner: MemoryConnector, faults: Faults) -> Self {
        Self { inner, faults, dials: Arc::new(AtomicUsize::new(0)) }
    }

    /// Dials so far, wherever the connector was moved to.
    pub fn dials(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.dials)
    }
}

impl Connect for FaultyConnector {
    fn connect(&self, target: Target) -> ConnectFuture {
        self.dials.fetch_add(1, Ordering::Relaxed);
        let faults = self.faults.clone();
        let dial = self.inner.connect(target);
        Box::pin(async move { Ok(over(dial.await?, faults)) })
    }
}

/// Accepts over links with faults: what is read and written is the server's.
pub struct FaultyListener {
    pub inner: MemoryListener,
    pub faults: Faults,
}

impl Accept for FaultyListener {
    fn accept(&mut self) -> AcceptFuture<'_> {
        Box::pin(async { Ok(over(self.inner.accept().await?, self.faults.clone())) })
    }
}

fn over(connected: Connected, faults: Faults) -> Connected {
    connected.map_io(|io| FaultyIo { io, faults, written: 0, read: 0, sleep: None })
}

/// One end of a link with faults.
struct FaultyIo {
    io: BoxedIo,
    faults: Faults,
    written: usize,
    read: usize,
    sleep: Option<Pin<Box<Sleep>>>,
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the link was cut")
}

impl AsyncRead for FaultyIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.faults.cut_read.is_some_and(|at| this.read >= at)
            || this.faults.cut_written.is_some_and(|at| this.written >= at)
        {
            return Poll::Ready(Err(cut()));
        }
        if let Some(sleep) = &mut this.sleep {
            ready!(sleep.as_mut().poll(cx));
        }
        let left = this.faults.cut_read.map_or(usize::MAX, |at| at - this.read);
        let most = this.faults.piece.unwrap_or(usize::MAX).min(left).min(buf.remaining());
        let mut bytes = vec![0; most];
        let mut piece = ReadBuf::new(&mut bytes);
        let poll = Pin::new(&mut *this.io).poll_read(cx, &mut piece);
        ready!(poll)?;
        let filled = piece.filled();
        this.read += filled.len();
        buf.put_slice(filled);
        if let Some(trace) = &this.faults.trace {
            trace.lock().unwrap().1.extend_from_slice(filled);
        }
        this.sleep = this.faults.delay.map(|delay| Box::pin(tokio::time::sleep(delay)));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FaultyIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.faults.cut_written.is_some_and(|at| this.written >= at) {
            return Poll::Ready(Err(cut()));
        }
        if this.faults.stall_written.is_some_and(|at| this.written >= at) {
            return Poll::Pending;
        }
        let left = |at: Option<usize>| at.map_or(usize::MAX, |at| at - this.written);
        let most = bytes.len().min(this.faults.piece.unwrap_or(usize::MAX));
        let most = most.min(left(this.faults.cut_written)).min(left(this.faults.stall_written));
        let n = ready!(Pin::new(&mut *this.io).poll_write(cx, &bytes[..most]))?;
        this.written += n;
        if let Some(trace) = &this.faults.trace {
            trace.lock().unwrap().0.extend_from_slice(&bytes[..n]);
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}
