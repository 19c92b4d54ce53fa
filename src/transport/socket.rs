//! System sockets that a connection owns and others may look at: the handle, and the stream.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::transport::tcp_info::{self, TcpInfo};

#[cfg(unix)]
use std::os::fd::{AsFd as AsSystemSocket, BorrowedFd as BorrowedSystemSocket};
#[cfg(windows)]
use std::os::windows::io::{AsSocket as AsSystemSocket, BorrowedSocket as BorrowedSystemSocket};

/// Refers to the system socket below a connection, however many streams wrap it.
///
/// It reads socket options and statistics while the connection is open. It holds no descriptor and
/// keeps no socket open: the connection alone owns the socket. Clones refer to the same socket.
///
/// ```
/// # #[cfg(unix)]
/// # fn main() -> std::io::Result<()> {
/// use framewire::transport::SocketHandle;
/// use std::net::TcpListener;
/// use std::os::fd::AsFd;
/// use std::sync::Arc;
///
/// let socket = Arc::new(TcpListener::bind("127.0.0.1:0")?);
/// let handle = SocketHandle::new(&socket);
/// assert!(handle.with(|descriptor| descriptor.try_clone_to_owned().is_ok()).unwrap());
///
/// drop(socket);
/// assert!(handle.with(|_| ()).is_none());
/// # Ok(())
/// # }
/// # #[cfg(not(unix))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct SocketHandle(Weak<dyn AsSystemSocket + Send + Sync>);

impl SocketHandle {
    /// Returns a handle of `socket`. The handle ends when the last `Arc` of the socket is dropped.
    #[must_use]
    pub fn new<S: AsSystemSocket + Send + Sync + 'static>(socket: &Arc<S>) -> Self {
        let socket: Weak<S> = Arc::downgrade(socket);
        Self(socket)
    }

    /// Calls `look` with the borrowed descriptor; returns `None` if the socket is closed.
    ///
    /// The socket stays open until `look` returns, even if its connection ends meanwhile. `look`
    /// must not read, write, shut down or close the socket: the connection would fail.
    pub fn with<R>(&self, look: impl FnOnce(BorrowedSystemSocket<'_>) -> R) -> Option<R> {
        let socket = self.0.upgrade()?;
        #[cfg(unix)]
        let borrowed = socket.as_fd();
        #[cfg(windows)]
        let borrowed = socket.as_socket();
        Some(look(borrowed))
    }

    /// Returns what the system knows about the TCP connection; `None` if it is closed or the system
    /// does not say.
    pub(crate) fn tcp_info(&self) -> Option<TcpInfo> {
        self.with(|socket| tcp_info::read(&socket)).flatten()
    }
}

impl fmt::Debug for SocketHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.0.strong_count() > 0;
        f.debug_struct("SocketHandle").field("open", &open).finish()
    }
}

/// What [`SharedStream`] needs of tokio's streams: reads and writes through a shared reference.
pub(crate) trait System: AsSystemSocket + Send + Sync + 'static {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn try_io(&self, interest: Interest, f: impl FnOnce() -> io::Result<()>) -> io::Result<()>;
    fn try_read(&self, buf: &mut ReadBuf<'_>) -> io::Result<usize>;
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
    fn try_write_vectored(&self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize>;
}

macro_rules! system {
    ($stream:ty) => {
        impl System for $stream {
            fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                <$stream>::poll_read_ready(self, cx)
            }

            fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                <$stream>::poll_write_ready(self, cx)
            }

            fn try_io(
                &self,
                interest: Interest,
                f: impl FnOnce() -> io::Result<()>,
            ) -> io::Result<()> {
                <$stream>::try_io(self, interest, f)
            }

            fn try_read(&self, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
                self.try_read_buf(buf)
            }

            fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
                <$stream>::try_write(self, bytes)
            }

            fn try_write_vectored(&self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize> {
                <$stream>::try_write_vectored(self, bytes)
            }
        }
    };
}

system!(TcpStream);
#[cfg(unix)]
system!(UnixStream);

/// Whether the system reports readiness by edges: then a short read empties the socket, and the
/// next edge reports new bytes.
const EDGES: bool = cfg!(any(target_os = "linux", target_os = "android", target_os = "macos"));

/// A system's stream behind an [`Arc`], so that a [`SocketHandle`] can refer to it. Costs one
/// allocation per connection and no second descriptor. It makes the same system calls as the
/// stream alone, except one `EAGAIN` after a partial write that is not vectored.
#[derive(Debug)]
pub(crate) struct SharedStream<S>(Arc<S>);

impl<S: System> SharedStream<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(Arc::new(stream))
    }

    pub(crate) fn handle(&self) -> SocketHandle {
        SocketHandle::new(&self.0)
    }
}

impl<S: System> AsyncRead for SharedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = &*self.0;
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let (space, mut read) = (buf.remaining(), false);
            // `try_io` clears the readiness that it saw before the read if the closure returns
            // `WouldBlock`. After a short read this saves the read that would find nothing.
            let outcome = stream.try_io(Interest::READABLE, || {
                let bytes = stream.try_read(buf)?;
                read = true;
                let emptied = EDGES && bytes > 0 && bytes < space;
                if emptied { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match outcome {
                Err(error) if !read && error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                Err(_) if !read => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: System> AsyncWrite for SharedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write_vectored(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&*self.0).shutdown(std::net::Shutdown::Write))
    }
}
