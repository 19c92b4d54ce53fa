//! User code that calls back into its channel, from every place where the crate runs it: a resolver, a
//! connector, a stream, an interceptor, a codec, a waker, a log subscriber, a metrics recorder, and the
//! drops of their values. No lock is held there, so nothing deadlocks.

use crate::network::{Network, addr};
use crate::{Journal, WORK, allowing, begin, ms, options, raw, router};
use bytes::Buf;
use framewire::client::{Channel, Channels, RetryPolicy};
use framewire::codec::{Decode, Encode, EncodeBuf};
use framewire::transport::{
    AddressesFuture, BoxedIo, Connect, ConnectError, ConnectErrorKind, ConnectFuture, ConnectPhase,
    Target,
};
use framewire::unstable::pool::{Resolve, ResolveFuture};
use framewire::{Method, Request, Status};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// What a callback does with its channel.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Does {
    Looks,
    Calls,
    Closes,
    Drops,
}

/// The channel, for callbacks.
struct Back {
    does: Does,
    channel: Mutex<Option<Channel>>,
    shards: Channels,
    /// How often each place has called back.
    from: Mutex<BTreeMap<&'static str, u32>>,
}

/// What a callback does may cause another one, so each place stops after a while.
const OFTEN: u32 = 50;

thread_local! {
    /// A callback runs: what it does may call another one.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

fn poll_once<T>(future: impl Future<Output = T>) {
    let _ = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
}

impl Back {
    fn call(&self, from: &'static str) {
        if INSIDE.try_with(|inside| inside.replace(true)).unwrap_or(true) {
            return;
        }
        let count = {
            let mut places = self.from.lock().unwrap();
            let count = places.entry(from).or_default();
            *count += 1;
            *count
        };
        let channel = self.channel.lock().unwrap().clone();
        if self.does == Does::Looks {
            assert!(self.shards.len() <= 1 && self.shards.stats().len() <= 1);
        }
        if let Some(channel) = channel.filter(|_| count < OFTEN) {
            self.act(&channel);
        }
        INSIDE.with(|inside| inside.set(false));
    }

    fn act(&self, channel: &Channel) {
        match self.does {
            Does::Looks => {
                assert!(!channel.stats().to_string().is_empty());
                channel.reset_connect_backoff();
                let _ = (*channel.state().borrow(), channel.waiting(), channel.advice());
                channel.connect();
            }
            // Submitted, and cancelled at once.
            Does::Calls => {
                poll_once(channel.unary(&WORK, raw([0])));
                poll_once(channel.warm(1));
            }
            Does::Closes => poll_once(channel.close(Duration::ZERO)),
            Does::Drops => {
                let last = self.channel.lock().unwrap().take();
                drop(last);
            }
        }
    }
}

/// A value of the user whose drop calls back.
struct Dropped(Arc<Back>, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.call(self.1);
    }
}

impl std::fmt::Debug for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.call("the text of an error");
        f.write_str("an error")
    }
}

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Dropped {}

/// A transport whose every method calls back.
struct Transport(Arc<Back>, Network);

impl Connect for Transport {
    fn connect(&self, target: Target) -> ConnectFuture {
        let (back, connecting) = (Arc::clone(&self.0), self.1.connect(target.clone()));
        back.call("connect");
        Box::pin(async move {
            back.call("the future of connect");
            match connecting.await {
                Ok(connected) => Ok(connected.map_io(|io| Io(io, back))),
                Err(_) => {
                    let source = Dropped(back, "the drop of an error");
                    let kind = ConnectErrorKind::Refused;
                    let error = ConnectError::new(kind, ConnectPhase::Socket, &target);
                    Err(error.with_source(io::Error::other(source)))
                }
            }
        })
    }

    fn addresses(&self, _: &Target) -> Option<AddressesFuture> {
        self.0.call("addresses");
        None
    }

    fn provide_for(&self, _: u32) {
        self.0.call("provide_for");
    }

    fn tls_generation(&self) -> Option<u64> {
        self.0.call("tls_generation");
        Some(1)
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.0.call("the drop of a connector");
    }
}

struct Io(BoxedIo, Arc<Back>);

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.1.call("poll_read");
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.1.call("poll_write");
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.1.call("poll_shutdown");
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.1.call("the drop of a stream");
    }
}

struct Names(Arc<Back>, Network);

impl Resolve for Names {
    fn resolve(&self, target: Target) -> ResolveFuture {
        self.0.call("resolve");
        let (back, names) = (Arc::clone(&self.0), self.1.resolve(target));
        Box::pin(async move {
            let names = names.await;
            back.call("the future of resolve");
            names.map_err(|_| io::Error::other(Dropped(back, "the drop of an error")))
        })
    }
}

thread_local! {
    static CODEC: Cell<Option<&'static Back>> = const { Cell::new(None) };
}

/// A message whose codec calls back.
struct Coded;

impl Coded {
    fn call(from: &'static str) {
        if let Some(back) = CODEC.get() {
            back.call(from);
        }
    }
}

impl Encode for Coded {
    fn encoded_len(&self) -> usize {
        Self::call("encoded_len");
        1
    }

    fn encode(&self, out: &mut EncodeBuf<'_>) {
        Self::call("encode");
        out.put_slice(&[1]);
    }
}

impl Decode for Coded {
    fn decode(_: impl Buf) -> Result<Self, Status> {
        Self::call("decode");
        Ok(Self)
    }
}

const CODED: Method<Coded, Coded> = Method::new("/test.Work/Do");

/// Wakes another one after it has called back.
struct Wakes(Dropped, Waker);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.0.call("wake");
        self.1.wake_by_ref();
    }
}

/// Polls with wakers that call back.
async fn waking<T>(back: &Arc<Back>, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        let dropped = Dropped(Arc::clone(back), "the drop of a waker");
        let waker = Waker::from(Arc::new(Wakes(dropped, cx.waker().clone())));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

/// Everything that is logged calls back.
#[derive(Clone)]
struct Lines(Arc<Back>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.call("a log subscriber");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every metric calls back.
mod recorder {
    use super::Back;
    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata,
        SharedString, Unit,
    };
    use std::sync::Arc;

    #[derive(Clone)]
    pub(super) struct Recorder(pub(super) Arc<Back>);

    impl metrics::Recorder for Recorder {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            self.0.call("the registration of a metric");
            Counter::from_arc(Arc::new(self.clone()))
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(Arc::new(self.clone()))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(Arc::new(self.clone()))
        }
    }

    impl CounterFn for Recorder {
        fn increment(&self, _: u64) {
            self.0.call("a counter");
        }
        fn absolute(&self, _: u64) {
            self.0.call("a counter");
        }
    }

    impl GaugeFn for Recorder {
        fn increment(&self, _: f64) {
            self.0.call("a gauge");
        }
        fn decrement(&self, _: f64) {
            self.0.call("a gauge");
        }
        fn set(&self, _: f64) {
            self.0.call("a gauge");
        }
    }

    impl HistogramFn for Recorder {
        fn record(&self, _: f64) {
            self.0.call("a histogram");
        }
    }
}

/// A channel's life: it resolves and dials, fails and succeeds, its calls wait, are retried, cancelled
/// and expire, its servers drain, and it ends.
async fn life(back: &Arc<Back>) {
    let network = Network::new();
    network.name(None);
    let server = network.serve(addr(1), router(&Journal::default()), allowing(1));
    let mut options = options();
    options.max_connections = 2;
    options.backoff = Duration::from_millis(10);
    let interceptor = {
        let back = Arc::new(Dropped(Arc::clone(back), "the drop of an interceptor"));
        move |_: &mut _| {
            back.0.call("an interceptor");
            Ok(())
        }
    };
    let builder = || {
        Channel::builder("http://test")
            .connector(Transport(Arc::clone(back), network.clone()))
            .resolver(Names(Arc::clone(back), network.clone()))
            .retry(RetryPolicy::new(3))
            .intercept(interceptor.clone())
            .unstable_pool(options.clone())
    };
    // Its callbacks use the set.
    let _shard = back
        .shards
        .get(builder().via("w").resolved_by("n").intercepted_as("i").shard("one"))
        .unwrap();
    let channel = builder().build().unwrap();
    *back.channel.lock().unwrap() = Some(channel.clone());
    let unresolved = waking(back, channel.unary(&WORK, raw([0])));
    let _ = timeout(Duration::from_secs(5), unresolved).await;
    network.name(Some(vec![addr(2), addr(1)]));
    ms(40_000).await;
    let _ = timeout(Duration::from_secs(5), waking(back, channel.unary(&CODED, Coded))).await;
    let many = (0..4).map(|tens| {
        let request = Request::new(raw([tens])).with_timeout(Duration::from_millis(25));
        waking(back, channel.unary(&WORK, request))
    });
    let _ = timeout(Duration::from_secs(5), futures_all(many)).await;
    poll_once(channel.unary(&WORK, raw([0])));
    let call = begin(&channel, 5);
    ms(10).await;
    server.shutdown(Duration::from_millis(10)).await;
    call.abort();
    network.name(Some(vec![addr(2)]));
    let lost = timeout(Duration::from_secs(5), waking(back, channel.unary(&WORK, raw([0])))).await;
    let _ = lost;
    ms(3_000).await;
    if back.does != Does::Drops {
        let _ = timeout(Duration::from_secs(5), channel.close(Duration::from_secs(1))).await;
    }
    let last = back.channel.lock().unwrap().take();
    drop((last, channel, interceptor));
    back.shards.close(Duration::ZERO).await;
    ms(1_000).await;
}

async fn futures_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) {
    let mut futures: Vec<_> = futures.map(Box::pin).map(Some).collect();
    std::future::poll_fn(|cx| {
        for future in &mut futures {
            if future.as_mut().is_some_and(|one| one.as_mut().poll(cx).is_ready()) {
                *future = None;
            }
        }
        if futures.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Runs a life on a thread of its own. Returns the places from which callbacks came.
fn run(does: Does) -> BTreeMap<&'static str, u32> {
    let (done, ended) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let back = Arc::new(Back {
            does,
            channel: Mutex::new(None),
            shards: Channels::new(4, 8, 64),
            from: Mutex::default(),
        });
        CODEC.set(Some(Box::leak(Box::new(Arc::clone(&back)))));
        let lines = Lines(Arc::clone(&back));
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_writer(move || lines.clone())
            .finish();
        let _log = tracing::subscriber::set_default(subscriber);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        metrics::with_local_recorder(&recorder::Recorder(Arc::clone(&back)), || {
            runtime.block_on(life(&back));
            drop(runtime);
        });
        let from = std::mem::take(&mut *back.from.lock().unwrap());
        done.send(from).unwrap();
    });
    let from = ended.recv_timeout(Duration::from_secs(120));
    let from = from.unwrap_or_else(|_| panic!("a callback that {does:?} hangs"));
    thread.join().unwrap();
    from
}

#[test]
fn callbacks_that_look_at_their_channel() {
    let from = run(Does::Looks);
    for place in [
        "a log subscriber",
        "addresses",
        "an interceptor",
        "connect",
        "decode",
        "encode",
        "poll_read",
        "poll_shutdown",
        "poll_write",
        "provide_for",
        "resolve",
        "the drop of a connector",
        "the drop of a stream",
        "the drop of a waker",
        "the drop of an error",
        "the drop of an interceptor",
        "the future of connect",
        "the future of resolve",
        "wake",
        "a counter",
        "a gauge",
        "a histogram",
        "the registration of a metric",
    ] {
        assert!(from.contains_key(place), "nothing came from {place}: {from:?}");
    }
}

#[test]
fn callbacks_that_make_calls() {
    run(Does::Calls);
}

#[test]
fn callbacks_that_close_their_channel() {
    run(Does::Closes);
}

#[test]
fn callbacks_that_drop_their_channel() {
    run(Does::Drops);
}
