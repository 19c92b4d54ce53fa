//! The byte streams below connections.

use tokio::io::{AsyncRead, AsyncWrite};

/// Any ordered, reliable, two-way byte stream: TCP, TLS, a Unix socket, a pipe in memory.
///
/// Implemented for every type with these bounds. A connection writes with `poll_write_vectored`
/// where `is_write_vectored` says so.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A boxed [`Io`]: one virtual call per read or write.
pub type BoxedIo = Box<dyn Io>;
