//! TCP: socket options, dialling several addresses, listening.
//!
//! One of the socket files, the only ones with conditions on the operating system.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::rt;
use crate::transport::accept::{
    Accept, AcceptBackoff, AcceptFuture, AcceptSource, accept_with_backoff,
};
use crate::transport::connect::{
    AddressesFuture, Connect, ConnectError, ConnectErrorKind, ConnectFuture, ConnectPhase,
    ConnectTimings, Connected, ConnectionInfo, PeerAddr, Target,
};
pub(crate) use crate::transport::options::SocketOptions;
use crate::transport::race::race;
use crate::transport::socket::SharedStream;
use crate::transport::tcp_info;

/// How long one address may stay silent before the next one is tried in parallel (RFC 8305 §5).
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Opens TCP connections.
///
/// It resolves the name and tries the addresses in turn, IPv6 and IPv4 alternating: a further one
/// every 250 ms, or as soon as one fails. The first to answer wins, the others are closed
/// (RFC 8305). A target with [`Target::at`] is dialled at that address alone.
#[derive(Clone, Debug, Default)]
pub struct TcpConnector {
    options: SocketOptions,
}

impl TcpConnector {
    /// Returns a connector with the default [`SocketOptions`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a connector that sets `options` on its sockets.
    #[must_use]
    pub const fn with_options(options: SocketOptions) -> Self {
        Self { options }
    }
}

impl Connect for TcpConnector {
    fn connect(&self, target: Target) -> ConnectFuture {
        Box::pin(connect(target, self.options.clone()))
    }

    fn addresses(&self, target: &Target) -> Option<AddressesFuture> {
        if target.address().is_some() || target.unix_path().is_some() {
            return None;
        }
        let target = target.clone();
        Some(Box::pin(async move {
            let addresses = rt::resolve(target.host(), target.port()).await?;
            Ok(interleave(addresses))
        }))
    }
}

async fn connect(target: Target, options: SocketOptions) -> Result<Connected, ConnectError> {
    if target.unix_path().is_some() {
        return Err(ConnectError::new(
            ConnectErrorKind::Unsupported,
            ConnectPhase::Socket,
            &target,
        )
        .with_detail("a TCP connector was given a Unix socket"));
    }
    let start = rt::now();
    target.enter(ConnectPhase::Resolve);
    let addresses = match target.address() {
        Some(address) => vec![address],
        None => rt::resolve(target.host(), target.port()).await.map_err(|error| {
            ConnectError::new(ConnectErrorKind::Resolve, ConnectPhase::Resolve, &target)
                .with_source(error)
        })?,
    };
    let resolved = rt::now();
    target.enter(ConnectPhase::Socket);
    let dial = |addr| {
        let options = options.clone();
        async move { rt::connect_tcp(addr, |socket| options.apply(socket)).await }
    };
    let stream = race(interleave(addresses), dial, || rt::sleep(ATTEMPT_DELAY))
        .await
        .map_err(|failures| dial_error(&target, failures))?;
    let timings = ConnectTimings {
        resolve: resolved.saturating_duration_since(start),
        tcp: rt::now().saturating_duration_since(resolved),
        tls: Duration::ZERO,
    };
    let info = info_of(&stream, timings);
    Ok(connected(stream, info))
}

/// A stream with its handle.
fn connected(stream: TcpStream, info: ConnectionInfo) -> Connected {
    let stream = SharedStream::new(stream);
    let socket = stream.handle();
    Connected::new(stream).with_info(info).with_socket(socket)
}

fn info_of(stream: &TcpStream, timings: ConnectTimings) -> ConnectionInfo {
    ConnectionInfo {
        peer: stream.peer_addr().ok().map(PeerAddr::Tcp),
        local: stream.local_addr().ok().map(PeerAddr::Tcp),
        tls: None,
        timings,
    }
}

/// One error out of all addresses' errors: the kind of the first, the words of each.
fn dial_error(target: &Target, failures: Vec<(SocketAddr, io::Error)>) -> ConnectError {
    let words: Vec<String> =
        failures.iter().map(|(addr, error)| format!("{addr}: {error}")).collect();
    match failures.into_iter().next() {
        Some((_, error)) => {
            ConnectError::from_io(ConnectPhase::Socket, target, error).with_detail(words.join("; "))
        }
        None => ConnectError::new(ConnectErrorKind::Resolve, ConnectPhase::Resolve, target)
            .with_detail("the name has no address"),
    }
}

/// Alternates the families, beginning with the resolver's first choice (RFC 8305 §4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|addr| addr.is_ipv6() == first_is_v6);
    let mut mixed = Vec::with_capacity(preferred.len() + others.len());
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    loop {
        let pair = [preferred.next(), others.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

/// Accepts TCP connections on one address.
///
/// If the process runs out of descriptors, it waits 10 ms to 1 s between attempts, doubled each
/// time, and goes on. A peer that left before it was accepted is skipped.
#[derive(Debug)]
pub struct TcpAcceptor {
    source: TcpSource,
    backoff: AcceptBackoff,
}

#[derive(Debug)]
struct TcpSource {
    listener: TcpListener,
    options: SocketOptions,
}

impl TcpAcceptor {
    /// Listens on `addr` with the default [`SocketOptions`]; port 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// The system's error, for example if another socket uses the address; kind `Unsupported` outside a tokio
    /// runtime with I/O (`enable_io`, `enable_all`).
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let listener = rt::listen_tcp(addr)?;
        tcp_info::bound_retransmission(&listener);
        Ok(Self::from_listener(listener, SocketOptions::default()))
    }

    /// Accepts from `listener` and sets `options` on each accepted socket.
    #[must_use]
    pub const fn from_listener(listener: TcpListener, options: SocketOptions) -> Self {
        Self { source: TcpSource { listener, options }, backoff: AcceptBackoff::new() }
    }

    /// Returns the address that it listens on, with the port that the system chose.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.listener.local_addr()
    }

    /// Returns the number of errors while accepting that did not end the listener.
    #[must_use]
    pub const fn errors(&self) -> u64 {
        self.backoff.errors()
    }
}

impl AcceptSource for TcpSource {
    type Connection = Connected;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Connected>> {
        self.listener.poll_accept(cx).map(|accepted| {
            let (stream, peer) = accepted?;
            // A socket that takes no options is one whose peer has left: the next one may be fine.
            self.options
                .apply(&stream)
                .map_err(|error| io::Error::new(io::ErrorKind::ConnectionAborted, error))?;
            let mut info = info_of(&stream, ConnectTimings::default());
            info.peer = Some(PeerAddr::Tcp(peer));
            Ok(connected(stream, info))
        })
    }
}

impl Accept for TcpAcceptor {
    fn accept(&mut self) -> AcceptFuture<'_> {
        Box::pin(accept_with_backoff(&mut self.source, &mut self.backoff))
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
