//! The trait that opens streams.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

pub(crate) use crate::transport::connect_error::ConnectError;
pub(crate) use crate::transport::connect_error_kind::ConnectErrorKind;
pub(crate) use crate::transport::info::{ConnectTimings, Connected, ConnectionInfo, PeerAddr};
pub(crate) use crate::transport::progress::ConnectPhase;
pub(crate) use crate::transport::progress::Progress;
pub(crate) use crate::transport::target::Target;

/// The future of one dial. Dropping it abandons the dial and closes what it opened.
pub type ConnectFuture = Pin<Box<dyn Future<Output = Result<Connected, ConnectError>> + Send>>;

/// The future of a look-up: addresses in the order in which they are tried.
pub type AddressesFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Opens byte streams to a target: TCP, TLS over another connector, a Unix socket, a pipe, or
/// your own (a proxy, a tunnel, a test).
///
/// A connector sets no overall deadline: the caller drops the future at its own.
///
/// A connector that counts the dials of another one:
///
/// ```
/// # fn main() {
/// use framewire::transport::{
///     BoxedIo, Connect, ConnectFuture, ConnectPhase, Target, TcpConnector,
/// };
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// struct Counting {
///     inner: TcpConnector,
///     dials: Arc<AtomicUsize>,
/// }
///
/// impl Connect for Counting {
///     fn connect(&self, target: Target) -> ConnectFuture {
///         // Shown in the channel's statistics while the dial runs.
///         target.enter(ConnectPhase::Socket);
///         self.dials.fetch_add(1, Ordering::Relaxed);
///         let dial = self.inner.connect(target);
///         Box::pin(async move {
///             let connected = dial.await?;
///             // A real wrapper puts its own stream around `io` here.
///             Ok(connected.map_io(|io: BoxedIo| io))
///         })
///     }
/// }
///
/// let connector = Counting { inner: TcpConnector::new(), dials: Arc::default() };
/// # let _ = connector;
/// # }
/// ```
pub trait Connect: Send + Sync + 'static {
    /// Starts one dial to `target`. Must not block.
    ///
    /// # Errors
    ///
    /// The future returns a [`ConnectError`] whose [`kind`](ConnectError::kind) says what failed.
    fn connect(&self, target: Target) -> ConnectFuture;

    /// Looks up the addresses of `target`, for a channel without a resolver. The channel then calls
    /// [`connect`](Self::connect) with [`Target::at`] each of them, in this order, and tries each to
    /// the end, TLS, ALPN and SETTINGS included: the next one after 250 ms without progress, or as soon
    /// as one fails (RFC 8305). A wrapper passes it on. Default `None`: the connector finds the server
    /// by itself, and one call of `connect` is one attempt.
    fn addresses(&self, target: &Target) -> Option<AddressesFuture> {
        let _ = target;
        None
    }

    /// Returns the generation of the TLS configuration that a dial would use now, for comparison
    /// with [`TlsInfo::generation`](crate::transport::TlsInfo::generation). Default `None`: no configuration that can be replaced.
    fn tls_generation(&self) -> Option<u64> {
        None
    }

    /// Receives how many connections its channel may hold at a time: before the first dial, and
    /// after each change. A store of TLS sessions is sized by it. A wrapper passes it on. Default:
    /// does nothing.
    fn provide_for(&self, connections: u32) {
        let _ = connections;
    }
}

impl<C: Connect + ?Sized> Connect for Arc<C> {
    fn connect(&self, target: Target) -> ConnectFuture {
        (**self).connect(target)
    }

    fn addresses(&self, target: &Target) -> Option<AddressesFuture> {
        (**self).addresses(target)
    }

    fn tls_generation(&self) -> Option<u64> {
        (**self).tls_generation()
    }

    fn provide_for(&self, connections: u32) {
        (**self).provide_for(connections);
    }
}

impl<C: Connect + ?Sized> Connect for Box<C> {
    fn connect(&self, target: Target) -> ConnectFuture {
        (**self).connect(target)
    }

    fn addresses(&self, target: &Target) -> Option<AddressesFuture> {
        (**self).addresses(target)
    }

    fn tls_generation(&self) -> Option<u64> {
        (**self).tls_generation()
    }

    fn provide_for(&self, connections: u32) {
        (**self).provide_for(connections);
    }
}
