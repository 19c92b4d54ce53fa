//! What a connection moves its bytes over.

use tokio::io::{AsyncRead, AsyncWrite};

/// Any ordered, reliable, two-way byte stream: TCP, TLS, a Unix socket, a pipe in memory.
///
/// Implemented for every type that qualifies.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// An [`Io`] whose type is forgotten: one virtual call a turn, paid once per read or `writev`.
pub type BoxedIo = Box<dyn Io>;
