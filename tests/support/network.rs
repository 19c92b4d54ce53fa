//! Servers of ours at addresses of a network in memory, and what happened at each of them.

use framewire::server::{Router, Server};

use framewire::transport::BoxedIo;
use framewire::transport::in_memory;
use framewire::transport::{Accept, AcceptFuture};
use framewire::transport::{
    Connect, ConnectError, ConnectErrorKind, ConnectFuture, ConnectPhase, Target,
};
use framewire::transport::{MemoryConnector, MemoryListener};
use framewire::unstable::connection::options::ConnectionOptions;
use framewire::unstable::pool::{Resolve, ResolveFuture};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that a link holds in each direction.
const BUFFER: usize = 64 * 1024;
/// The header of a PING that is no ACK.
const PING: [u8; 9] = [0, 0, 8, 6, 0, 0, 0, 0, 0];

pub fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 443))
}

/// What was counted at one address.
#[derive(Debug, Default)]
pub struct Counts {
    pub dials: AtomicUsize,
    pub open: AtomicUsize,
    /// The most connections that were ever open at a time.
    pub peak: AtomicUsize,
    /// PINGs that clients sent, ACKs apart.
    pub pings: AtomicUsize,
}

#[derive(Default)]
struct Host {
    connector: Option<MemoryConnector>,
    counts: Arc<Counts>,
    /// Links that live or did: set where the path has forgotten one.
    forgotten: Vec<Arc<AtomicBool>>,
    /// Time that a dial there takes on top.
    slow: Duration,
}

/// The network. Clones are the same network.
#[derive(Clone, Default)]
pub struct Network {
    hosts: Arc<Mutex<HashMap<SocketAddr, Host>>>,
    names: Arc<Mutex<Option<Vec<SocketAddr>>>>,
    asked: Arc<AtomicUsize>,
    all: Arc<Counts>,
    /// Time that a dial takes.
    pub dial_time: Duration,
}

impl Network {
    pub fn new() -> Self {
        Self { dial_time: Duration::from_millis(2), ..Self::default() }
    }

    /// Listens at an address; who listened there before hears of no new connection.
    pub fn listen(&self, at: SocketAddr) -> MemoryListener {
        let (connector, listener) = in_memory(BUFFER);
        self.hosts.lock().unwrap().entry(at).or_default().connector = Some(connector);
        listener
    }

    /// A server of ours at an address.
    pub fn serve(&self, at: SocketAddr, router: Router, options: ConnectionOptions) -> Server {
        Server::builder(router)
            .unstable_connection(options)
            .serve(Patient(self.listen(at)))
            .unwrap()
    }

    /// Listens as [`Network::listen`], for a server that stays when the address is taken from it.
    pub fn patient(&self, at: SocketAddr) -> impl Accept + use<> {
        Patient(self.listen(at))
    }

    /// Nobody listens there any more: dials are refused.
    pub fn silence(&self, at: SocketAddr) {
        self.hosts.lock().unwrap().entry(at).or_default().connector = None;
    }

    /// The path forgets every link to that address: bytes vanish, nobody is told.
    pub fn forget(&self, at: SocketAddr) {
        let mut hosts = self.hosts.lock().unwrap();
        for link in hosts.entry(at).or_default().forgotten.drain(..) {
            link.store(true, Ordering::SeqCst);
        }
    }

    /// Dials there take so much longer from now on.
    pub fn slow(&self, at: SocketAddr, time: Duration) {
        self.hosts.lock().unwrap().entry(at).or_default().slow = time;
    }

    pub fn counts(&self, at: SocketAddr) -> Arc<Counts> {
        Arc::clone(&self.hosts.lock().unwrap().entry(at).or_default().counts)
    }

    /// What was counted at all addresses together: dials and sockets.
    pub fn all(&self) -> &Counts {
        &self.all
    }

    /// What the resolver says from now on; `None` is a failure.
    pub fn name(&self, addresses: Option<Vec<SocketAddr>>) {
        *self.names.lock().unwrap() = addresses;
    }

    /// Times that the resolver was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A listener that outlives its connectors: the network may take them away.
struct Patient(MemoryListener);

impl Accept for Patient {
    fn accept(&mut self) -> AcceptFuture<'_> {
        Box::pin(async {
            match self.0.accept().await {
                Ok(connected) => Ok(connected),
                Err(_) => std::future::pending().await,
            }
        })
    }
}

impl Connect for Network {
    fn connect(&self, target: Target) -> ConnectFuture {
        let at = target.address().unwrap_or_else(|| addr(1));
        let forgotten = Arc::new(AtomicBool::new(false));
        let (connector, counts, slow) = {
            let mut hosts = self.hosts.lock().unwrap();
            let host = hosts.entry(at).or_default();
            host.forgotten.push(Arc::clone(&forgotten));
            (host.connector.clone(), Arc::clone(&host.counts), host.slow)
        };
        for counts in [&counts, &self.all] {
            counts.dials.fetch_add(1, Ordering::SeqCst);
        }
        // The socket counts from the dial on.
        let socket = [&counts, &self.all].map(|counts| Socket::new(Arc::clone(counts)));
        let time = self.dial_time + slow;
        Box::pin(async move {
            tokio::time::sleep(time).await;
            let Some(connector) = connector else {
                let kind = ConnectErrorKind::Refused;
                return Err(ConnectError::new(kind, ConnectPhase::Socket, &target));
            };
            let connected = connector.connect(target).await?;
            Ok(connected.map_io(|io| QueuedReservation { io, counts, forgotten, _socket: socket }))
        })
    }
}

impl Resolve for Network {
    fn resolve(&self, _: Target) -> ResolveFuture {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let names = self.names.lock().unwrap().clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            names.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "the resolver is away"))
        })
    }
}

/// A socket that counts while it lives.
struct Socket(Arc<Counts>);

impl Socket {
    fn new(counts: Arc<Counts>) -> Self {
        let open = counts.open.fetch_add(1, Ordering::SeqCst) + 1;
        counts.peak.fetch_max(open, Ordering::SeqCst);
        Self(counts)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

struct QueuedReservation {
    io: BoxedIo,
    counts: Arc<Counts>,
    forgotten: Arc<AtomicBool>,
    _socket: [Socket; 2],
}

impl AsyncRead for QueuedReservation {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.forgotten.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        Pin::new(&mut *self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for QueuedReservation {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let pings = bytes.windows(PING.len()).filter(|bytes| *bytes == PING).count();
        self.counts.pings.fetch_add(pings, Ordering::SeqCst);
        if self.forgotten.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut *self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.forgotten.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}
