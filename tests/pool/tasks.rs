//! The end of a task of ours, by a panic in user code or with its runtime, is an event that the pool
//! handles: calls that wait go on or fail with the cause, and dials continue.

use crate::network::{Network, addr};
use crate::{Call, Journal, WORK, allowing, ms, options, raw, router};
use framewire::client::{Channel, ChannelState};
use framewire::error::{Error, Kind, Processed};
use framewire::server::Server;
use framewire::transport::{
    AddressesFuture, BoxedIo, Connect, ConnectFuture, Target, TcpAcceptor, TcpConnector,
};
use framewire::unstable::grpc::{Code, Method, Raw, Request, Response};
use framewire::unstable::pool::{Resolve, ResolveFuture};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;

/// Where a user's connector panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Connect,
    Future,
    AfterAwait,
    MapIo,
    Read,
    Write,
    DropOfFuture,
    ProvideFor,
    Addresses,
}

const PLACES: [Place; 9] = [
    Place::Connect,
    Place::Future,
    Place::AfterAwait,
    Place::MapIo,
    Place::Read,
    Place::Write,
    Place::DropOfFuture,
    Place::ProvideFor,
    Place::Addresses,
];

/// Panics in so many dials, then connects.
#[derive(Clone)]
struct Panicking {
    network: Network,
    place: Place,
    times: Arc<AtomicUsize>,
}

impl Panicking {
    /// Whether this is a time to panic.
    fn is_due(&self) -> bool {
        let take = |left: usize| left.checked_sub(1);
        self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        // Not while another panic unwinds.
        if !std::thread::panicking() {
            panic!("a secret");
        }
    }
}

impl Connect for Panicking {
    fn connect(&self, target: Target) -> ConnectFuture {
        let dial = self.network.connect(target);
        if self.place == Place::ProvideFor || !self.is_due() {
            return dial;
        }
        assert_ne!(self.place, Place::Connect, "a secret");
        let place = self.place;
        Box::pin(async move {
            assert_ne!(place, Place::Future, "a secret");
            let _bomb = (place == Place::DropOfFuture).then_some(Bomb);
            let connected = dial.await?;
            assert_ne!(place, Place::AfterAwait, "a secret");
            Ok(connected.map_io(move |io| {
                assert_ne!(place, Place::MapIo, "a secret");
                Trap { io, place }
            }))
        })
    }

    fn addresses(&self, _: &Target) -> Option<AddressesFuture> {
        if self.place == Place::Addresses && self.is_due() {
            panic!("a secret");
        }
        None
    }

    fn provide_for(&self, _: u32) {
        if self.place == Place::ProvideFor && self.is_due() {
            panic!("a secret");
        }
    }
}

/// A stream that panics.
struct Trap {
    io: BoxedIo,
    place: Place,
}

impl AsyncRead for Trap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        assert_ne!(self.place, Place::Read, "a secret");
        Pin::new(&mut *self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Trap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        assert_ne!(self.place, Place::Write, "a secret");
        Pin::new(&mut *self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}

fn is_a_failed_dial(error: &Error, what: impl std::fmt::Debug) {
    assert_eq!(
        (error.code(), error.kind()),
        (Code::Unavailable, Kind::Connect),
        "{what:?}: {error}"
    );
    assert_eq!(error.processed(), Processed::No, "{what:?}: {error}");
    let text = error.to_string();
    assert!(text.contains("panicked") && !text.contains("secret"), "{what:?}: {text}");
}

/// Each place, twice: a call without patience fails with the cause, one that waits for ready is served
/// once a dial succeeds, and so is the channel by itself.
#[tokio::test(start_paused = true)]
async fn a_connector_that_panics_is_a_failed_dial() {
    for place in PLACES {
        let network = Network::new();
        let _server = network.serve(addr(1), router(&Journal::default()), allowing(100));
        let times = if place == Place::ProvideFor { 1 } else { 2 };
        let connector = Panicking { network, place, times: Arc::new(AtomicUsize::new(times)) };
        let channel = Channel::builder("http://test").connector(connector.clone());
        let channel = channel.unstable_pool(options()).build().unwrap();
        let patient = channel.clone();
        let patient = tokio::spawn(async move {
            let request = Request::new(raw([0])).with_wait_for_ready(true);
            patient.unary(&WORK, request).await.map(drop)
        });
        let result = tokio::time::timeout(Duration::from_secs(1), channel.unary(&WORK, raw([0])));
        let result = result.await.unwrap_or_else(|_| panic!("{place:?}: the call waits for ever"));
        if place == Place::ProvideFor {
            result.unwrap();
        } else {
            is_a_failed_dial(&result.unwrap_err(), place);
            assert_eq!(*channel.state().borrow(), ChannelState::TransientFailure, "{place:?}");
        }
        ms(5_000).await;
        assert!(patient.is_finished(), "{place:?}: {}", channel.stats());
        patient.await.unwrap().unwrap();
        channel.unary(&WORK, raw([0])).await.unwrap();
        assert_eq!(connector.times.load(Ordering::SeqCst), 0, "{place:?}");
    }
}

/// A resolver that panics, at once or later, has failed: as one that answers with an error.
#[tokio::test(start_paused = true)]
async fn a_resolver_that_panics_has_failed() {
    struct Bad(Network, bool, AtomicUsize);
    impl Resolve for Bad {
        fn resolve(&self, target: Target) -> ResolveFuture {
            if self.2.fetch_add(1, Ordering::SeqCst) > 0 {
                return self.0.resolve(target);
            }
            assert!(self.1, "a secret");
            Box::pin(async { panic!("a secret") })
        }
    }
    for later in [false, true] {
        let network = Network::new();
        network.name(Some(vec![addr(1)]));
        let _server = network.serve(addr(1), router(&Journal::default()), allowing(100));
        let builder = Channel::builder("http://test").connector(network.clone());
        let builder = builder.resolver(Bad(network, later, AtomicUsize::new(0)));
        let channel = builder.unstable_pool(options()).build().unwrap();
        let result = tokio::time::timeout(Duration::from_secs(1), channel.unary(&WORK, raw([0])));
        is_a_failed_dial(&result.await.expect("the call waits for ever").unwrap_err(), later);
        ms(3_000).await;
        channel.unary(&WORK, raw([0])).await.unwrap();
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A server with a runtime of its own, and its target.
fn server() -> (Runtime, Server, String) {
    let runtime = runtime();
    let journal = Journal::default();
    let router = router(&journal);
    let (server, target) = runtime.block_on(async {
        let acceptor = TcpAcceptor::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let target = format!("http://{}", acceptor.local_addr().unwrap());
        (Server::builder(router).serve(acceptor).unwrap(), target)
    });
    (runtime, server, target)
}

fn call(runtime: &Runtime, channel: &Channel) -> Result<(), Error> {
    runtime.block_on(async {
        let call = channel.unary(&WORK, raw([0]));
        let call = tokio::time::timeout(Duration::from_secs(60), call).await;
        call.expect("the call hangs").map(drop)
    })
}

/// The runtime that dialled, keeps the connection and runs the maintenance ends: the next call dials on
/// its own runtime, at once.
#[test]
fn a_runtime_that_ends_takes_its_connections_and_nothing_else() {
    let (_running, _server, target) = server();
    let channel = Channel::builder(&target).unstable_pool(options()).build().unwrap();
    for _ in 0..3 {
        let runtime = runtime();
        for _ in 0..10 {
            call(&runtime, &channel).unwrap();
        }
        assert_eq!(channel.unstable_handles().len(), 1);
        drop(runtime);
        assert!(channel.unstable_handles().is_empty(), "{}", channel.stats());
        assert_eq!(channel.stats().cap.open, 0, "its socket is returned");
    }
}

/// A connector of which one dial, the one of this number, never ends.
struct Deaf(TcpConnector, AtomicUsize, usize);

impl Connect for Deaf {
    fn connect(&self, target: Target) -> ConnectFuture {
        if self.1.fetch_add(1, Ordering::SeqCst) == self.2 {
            return Box::pin(std::future::pending());
        }
        self.0.connect(target)
    }
}

fn begin_on(runtime: &Runtime, channel: &Channel, method: &'static Method<Raw, Raw>) -> Call {
    let channel = channel.clone();
    runtime.spawn(async move { channel.unary(method, raw([0])).await.map(Response::into_inner) })
}

fn wait_for(waiting: u32, channel: &Channel) {
    until("no call waits", || channel.waiting() >= waiting);
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let late = std::time::Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(std::time::Instant::now() < late, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A call on each runtime waits; then the first runtime ends. How the other's call ended.
fn first_runtime_ends(ends: Runtime, stays: &Runtime, channel: &Channel) -> Result<Raw, Error> {
    let _lost = begin_on(&ends, channel, &WORK);
    wait_for(1, channel);
    let waits = begin_on(stays, channel, &WORK);
    wait_for(2, channel);
    drop(ends);
    let limit = Duration::from_secs(60);
    let ended = stays.block_on(async { tokio::time::timeout(limit, waits).await });
    ended.expect("the call hangs").unwrap()
}

/// The runtime that dials and maintains the channel ends. The calls of another runtime that wait fail with
/// the cause, as nothing of ours is left that could go on; the next call is served.
#[test]
fn a_runtime_that_ends_while_it_dials_leaves_no_call_behind() {
    let (_running, _server, target) = server();
    let connector = Deaf(TcpConnector::new(), AtomicUsize::new(0), 0);
    let channel = Channel::builder(&target).connector(connector);
    let channel = channel.unstable_pool(options()).build().unwrap();
    let (ends, stays) = (runtime(), runtime());
    let error = first_runtime_ends(ends, &stays, &channel).unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.is_retry_safe() && error.to_string().contains("runtime"), "{error}");
    call(&stays, &channel).unwrap();
}

/// A warm-up goes on when the runtime that dials and maintains the channel ends.
#[test]
fn a_warm_up_outlasts_the_runtime_that_dials() {
    let (_running, _server, target) = server();
    let connector = Deaf(TcpConnector::new(), AtomicUsize::new(0), 0);
    let channel = Channel::builder(&target).connector(connector);
    let mut options = options();
    // It has an end if nothing goes on.
    options.dial_time = Duration::from_secs(60);
    let channel = channel.unstable_pool(options).build().unwrap();
    let (ends, stays) = (runtime(), runtime());
    let _lost = begin_on(&ends, &channel, &WORK);
    wait_for(1, &channel);
    let warm = channel.clone();
    let warm = stays.spawn(async move { warm.warm(1).await });
    // It has begun once the channel keeps a connection for it, which nothing shows.
    std::thread::sleep(Duration::from_millis(50));
    drop(ends);
    let warmed =
        stays.block_on(async { tokio::time::timeout(Duration::from_secs(30), warm).await });
    let warmed = warmed.expect("nothing dials").unwrap().unwrap();
    assert_eq!((warmed.ready, warmed.is_complete()), (1, true), "{warmed}");
}

const HOLD: Method<Raw, Raw> = Method::new("/test.Work/Hold");

/// The runtime of a dial ends, that of the channel's maintenance does not: the calls that wait go on with
/// another dial.
#[test]
fn a_dial_that_ends_with_its_runtime_is_followed_by_another() {
    let running = runtime();
    let release = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&release);
    let router = router(&Journal::default()).unary(&HOLD, move |_, request: Raw| {
        let held = Arc::clone(&held);
        async move {
            held.notified().await;
            Ok(Response::new(request))
        }
    });
    let (_server, target) = running.block_on(async {
        let acceptor = TcpAcceptor::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let target = format!("http://{}", acceptor.local_addr().unwrap());
        let server = Server::builder(router).unstable_connection(allowing(1));
        (server.serve(acceptor).unwrap(), target)
    });
    let connector = Deaf(TcpConnector::new(), AtomicUsize::new(0), 1);
    let channel = Channel::builder(&target).connector(connector);
    let channel = channel.unstable_pool(options()).build().unwrap();
    let (ends, stays) = (runtime(), runtime());
    call(&stays, &channel).unwrap();
    let busy = begin_on(&stays, &channel, &HOLD);
    until("no call is in flight", || channel.stats().calls() >= 1);
    // No permit is left: this call brings the dial that never ends.
    first_runtime_ends(ends, &stays, &channel).unwrap();
    assert!(!busy.is_finished(), "it had a connection of its own");
    release.notify_one();
    stays.block_on(busy).unwrap().unwrap();
}
