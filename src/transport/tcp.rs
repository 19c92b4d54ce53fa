//! TCP: socket options, dialling several addresses, listening.
//!
//! One of the socket files, the only ones with conditions on the operating system.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::rt;
use crate::transport::accept::{
    Accept, AcceptBackoff, AcceptFuture, AcceptSource, accept_patiently,
};
use crate::transport::connect::{
    Connect, ConnectError, ConnectErrorKind, ConnectFuture, ConnectPhase, ConnectTimings,
    Connected, ConnectionInfo, PeerAddr, Target,
};

/// How long one address may stay silent before the next is tried beside it (RFC 8305 §5).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// What is set on every TCP socket, dialled or accepted. TCP_NODELAY is always on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// How long sent bytes may stay unacknowledged before the system gives the connection up
    /// (TCP_USER_TIMEOUT, Linux only); it also bounds the SYNs of one dial. Default `None`: the
    /// system decides, which takes minutes. A window that stays closed counts as unacknowledged,
    /// so a set value also ends connections to a peer that is alive and reads slowly.
    ///
    /// A channel does not depend on it: `ChannelBuilder::connect_timeout` bounds a dial, and
    /// `ChannelBuilder::keepalive_timeout` finds a dead peer while a call waits.
    pub user_timeout: Option<Duration>,
    /// TCP keepalive. Default 10 s, 3 s, 3 probes; `None` leaves it off.
    pub keepalive: Option<TcpKeepalive>,
}

/// The three numbers of TCP keepalive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Silence before the first probe; whole seconds.
    pub idle: Duration,
    /// Time between probes; whole seconds.
    pub interval: Duration,
    /// Unanswered probes that end the connection. With a user timeout set, that one decides.
    pub probes: u32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            user_timeout: None,
            keepalive: Some(TcpKeepalive {
                idle: Duration::from_secs(10),
                interval: Duration::from_secs(3),
                probes: 3,
            }),
        }
    }
}

#[cfg(unix)]
use std::os::fd::AsFd as AsSystemSocket;
#[cfg(windows)]
use std::os::windows::io::AsSocket as AsSystemSocket;

impl SocketOptions {
    /// Sets the options on a socket, connected or not, and reads TCP_NODELAY back.
    ///
    /// # Errors
    ///
    /// The system's, or `Unsupported` if TCP_NODELAY did not stay on.
    pub fn apply(&self, socket: &impl AsSystemSocket) -> io::Result<()> {
        let socket = socket2::SockRef::from(socket);
        socket.set_tcp_nodelay(true)?;
        if !socket.tcp_nodelay()? {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "TCP_NODELAY stays off"));
        }
        if let Some(keepalive) = &self.keepalive {
            let parameters =
                socket2::TcpKeepalive::new().with_time(keepalive.idle.max(Duration::from_secs(1)));
            #[cfg(any(target_os = "linux", target_os = "macos", windows))]
            let parameters = parameters
                .with_interval(keepalive.interval.max(Duration::from_secs(1)))
                .with_retries(keepalive.probes.max(1));
            socket.set_tcp_keepalive(&parameters)?;
        }
        #[cfg(target_os = "linux")]
        if self.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.user_timeout)?;
        }
        Ok(())
    }
}

/// Dials TCP: resolves, then tries the addresses in turn, families interleaved, a further one every
/// 250 ms or as soon as one fails; the first to answer wins and the others are closed (RFC 8305).
#[derive(Clone, Debug, Default)]
pub struct TcpConnector {
    options: SocketOptions,
}

impl TcpConnector {
    /// With the default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With other options.
    #[must_use]
    pub const fn with_options(options: SocketOptions) -> Self {
        Self { options }
    }
}

impl Connect for TcpConnector {
    fn connect(&self, target: Target) -> ConnectFuture {
        Box::pin(connect(target, self.options.clone()))
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
    target.progress().enter(ConnectPhase::Resolve);
    let addresses = match target.address() {
        Some(address) => vec![address],
        None => rt::resolve(target.host(), target.port()).await.map_err(|error| {
            ConnectError::new(ConnectErrorKind::Resolve, ConnectPhase::Resolve, &target)
                .with_source(error)
        })?,
    };
    let resolved = rt::now();
    target.progress().enter(ConnectPhase::Socket);
    let dial = |addr| {
        let options = options.clone();
        async move { rt::connect_tcp(addr, |socket| options.apply(socket)).await }
    };
    let stream = race(interleave(addresses), ATTEMPT_DELAY, dial)
        .await
        .map_err(|failures| dial_error(&target, failures))?;
    let timings = ConnectTimings {
        resolve: resolved.saturating_duration_since(start),
        tcp: rt::now().saturating_duration_since(resolved),
        tls: Duration::ZERO,
    };
    Ok(Connected { info: info_of(&stream, timings), io: Box::new(stream) })
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

struct Attempt<T> {
    addr: SocketAddr,
    dial: Pin<Box<dyn Future<Output = io::Result<T>> + Send>>,
}

/// Polls every attempt once: a success ends the race, a failure is noted and the attempt removed.
fn poll_attempts<T>(
    attempts: &mut Vec<Attempt<T>>,
    failures: &mut Vec<(SocketAddr, io::Error)>,
    cx: &mut Context<'_>,
) -> Poll<Option<T>> {
    let before = attempts.len();
    let mut winner = None;
    attempts.retain_mut(|attempt| match attempt.dial.as_mut().poll(cx) {
        _ if winner.is_some() => false,
        Poll::Pending => true,
        Poll::Ready(Ok(stream)) => {
            winner = Some(stream);
            false
        }
        Poll::Ready(Err(error)) => {
            failures.push((attempt.addr, error));
            false
        }
    });
    match winner {
        Some(stream) => Poll::Ready(Some(stream)),
        None if attempts.len() < before || attempts.is_empty() => Poll::Ready(None),
        None => Poll::Pending,
    }
}

/// Starts an attempt every `delay`, or as soon as one failed; the first success drops the others.
async fn race<T, D, F>(
    addresses: Vec<SocketAddr>,
    delay: Duration,
    dial: D,
) -> Result<T, Vec<(SocketAddr, io::Error)>>
where
    D: Fn(SocketAddr) -> F,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut waiting = addresses.into_iter();
    let mut attempts: Vec<Attempt<T>> = Vec::new();
    let mut failures = Vec::new();
    loop {
        match waiting.next() {
            Some(addr) => attempts.push(Attempt { addr, dial: Box::pin(dial(addr)) }),
            None if attempts.is_empty() => return Err(failures),
            None => {}
        }
        let step = poll_fn(|cx| poll_attempts(&mut attempts, &mut failures, cx));
        let winner = if waiting.as_slice().is_empty() {
            step.await
        } else {
            rt::timeout(delay, step).await.unwrap_or(None)
        };
        if let Some(stream) = winner {
            return Ok(stream);
        }
    }
}

/// Listens on one TCP address.
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
    /// Listens on `addr` with the default options; port 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self::from_listener(rt::listen_tcp(addr)?, SocketOptions::default()))
    }

    /// Takes over a listener the caller opened.
    #[must_use]
    pub const fn from_listener(listener: TcpListener, options: SocketOptions) -> Self {
        Self { source: TcpSource { listener, options }, backoff: AcceptBackoff::new() }
    }

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.listener.local_addr()
    }

    /// Errors met while accepting, all of them survived.
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
            Ok(Connected { io: Box::new(stream), info })
        })
    }
}

impl Accept for TcpAcceptor {
    fn accept(&mut self) -> AcceptFuture<'_> {
        Box::pin(accept_patiently(&mut self.source, &mut self.backoff))
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
