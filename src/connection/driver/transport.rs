//! The byte stream below a connection. It may be user code: a panic in it is the loss of the connection.

use crate::http2::SendBuffer;
use crate::rt::contain::{Panicked, contain};
use crate::transport::io::{BoxedIo, Io};
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

/// Slices of one vectored write.
const SLICES: usize = 64;

/// A byte stream whose panics are contained, that of its drop included.
pub(super) struct Transport(BoxedIo);

impl Transport {
    pub(super) const fn new(io: BoxedIo) -> Self {
        Self(io)
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.contained("poll_read", |io| io.poll_read(cx, buf))
    }

    /// Writes once.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        out: &SendBuffer,
    ) -> Poll<io::Result<usize>> {
        match self.contained("poll_write", |io| write(io, cx, out)) {
            Poll::Ready(Ok(n)) if n > out.len() => {
                let text = format!("the transport says that it wrote {n} of {} bytes", out.len());
                Poll::Ready(Err(io::Error::other(text)))
            }
            polled => polled,
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.contained("poll_flush", |io| io.poll_flush(cx))
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.contained("poll_shutdown", |io| io.poll_shutdown(cx))
    }

    fn contained<R>(
        &mut self,
        method: &str,
        poll: impl FnOnce(Pin<&mut dyn Io>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        contain(|| poll(Pin::new(&mut *self.0))).unwrap_or_else(|Panicked| {
            Poll::Ready(Err(io::Error::other(format!("the transport panicked in {method}"))))
        })
    }

    /// Closes the byte stream.
    pub(super) fn close(&mut self) {
        let io = std::mem::replace(&mut self.0, Box::new(tokio::io::empty()));
        if contain(|| drop(io)).is_err() {
            crate::rt::log!(error, "the transport of a connection panicked when it was dropped");
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.close();
    }
}

fn write(io: Pin<&mut dyn Io>, cx: &mut Context<'_>, out: &SendBuffer) -> Poll<io::Result<usize>> {
    let mut pieces = out.slices();
    let first = pieces.next().unwrap_or_default();
    let Some(second) = pieces.next() else {
        return io.poll_write(cx, first);
    };
    let mut slices = [IoSlice::new(&[]); SLICES];
    slices[0] = IoSlice::new(first);
    slices[1] = IoSlice::new(second);
    let mut count = 2;
    for (slice, piece) in slices.iter_mut().skip(2).zip(pieces) {
        *slice = IoSlice::new(piece);
        count += 1;
    }
    io.poll_write_vectored(cx, slices.get(..count).unwrap_or_default())
}
