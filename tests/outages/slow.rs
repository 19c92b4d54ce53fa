//! Paths that are slow and lose bytes for a while, servers that stop reading, callers that do.

use crate::network::{Network, addr};
use crate::peer::{Peer, framed, request};
use crate::{
    Call, Ran, begin, begin_with, is_on_time, lone, ms, options, router, server_options, work,
};
use framewire::server::{Router, Server};
use framewire::transport::in_memory;
use framewire::transport::{Connect, ConnectFuture, Connected, Target};
use framewire::unstable::grpc::{Code, Method, Raw, Request};
use framewire::unstable::pool::PoolOptions;
use framewire::unstable::rt::Random;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Bytes that a path holds in each direction.
const BUFFER: usize = 64 * 1024;
/// Bytes of one segment.
const SEGMENT: usize = 1400;

/// What a path does to each segment.
#[derive(Clone)]
struct Path {
    /// The mean time one way; a segment takes half of it more or less at most.
    delay: Duration,
    /// How many in a thousand are lost: they come after the system has sent them again, and what was
    /// behind them waits.
    lost: u64,
    random: Arc<Mutex<Random>>,
}

impl Path {
    fn new(delay: Duration, lost: u64, seed: u64) -> Self {
        Self { delay, lost, random: Arc::new(Mutex::new(Random::new(seed))) }
    }

    fn time(&self) -> Duration {
        let mut random = self.random.lock().unwrap();
        let mut time = random.jitter(self.delay, 0.5);
        let mut again = Duration::from_millis(200) + self.delay * 2;
        while random.below(1000) < self.lost {
            time += again;
            again *= 2;
        }
        time
    }

    /// Moves bytes one way, in order.
    fn carry(
        &self,
        mut from: impl AsyncReadExt + Unpin + Send + 'static,
        mut to: impl AsyncWriteExt + Unpin + Send + 'static,
    ) {
        let (path, (sender, mut receiver)) = (self.clone(), mpsc::channel(256));
        tokio::spawn(async move {
            let mut bytes = [0; SEGMENT];
            while let Ok(n @ 1..) = from.read(&mut bytes).await {
                let due = Instant::now() + path.time();
                if sender.send((due, bytes[..n].to_vec())).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some((due, bytes)) = receiver.recv().await {
                sleep_until(due).await;
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            let _ = to.shutdown().await;
        });
    }
}

/// Dials over such a path.
struct Far(Network, Path);

impl Connect for Far {
    fn connect(&self, target: Target) -> ConnectFuture {
        let (dial, path) = (self.0.connect(target), self.1.clone());
        Box::pin(async move {
            let (io, parts) = dial.await?.into_parts();
            let (near, middle) = duplex(BUFFER);
            let ((up, down), (far_down, far_up)) = (split(middle), split(io));
            path.carry(up, far_up);
            path.carry(far_down, down);
            Ok(Connected::from_parts(Box::new(near), parts))
        })
    }
}

/// The times of these calls, in order; none failed.
async fn times(calls: Vec<Call>) -> Vec<Duration> {
    let mut times = Vec::new();
    for call in calls {
        let (result, took) = call.await.unwrap();
        result.unwrap();
        times.push(took);
    }
    times.sort();
    times
}

/// 100 ms there and back, give or take half: at one lost segment in a hundred the slowest call in a
/// hundred takes five round trips at most; at one in ten they take longer, and none fails.
#[tokio::test(start_paused = true)]
async fn a_far_path_that_loses_segments() {
    for (lost, limit) in [(0, 200), (10, 500), (100, 10_000)] {
        let network = Network::new();
        let ran = Ran::default();
        let _server = network.serve(addr(1), router(&ran), server_options());
        let far = Far(network.clone(), Path::new(Duration::from_millis(50), lost, 7));
        let mut options = options();
        // Its PINGs are lost as often as anything.
        options.driver.keepalive = Some(Duration::from_secs(10));
        options.max_connections = 1;
        let channel = lone(far, options);
        begin(&channel, 0).await.unwrap().0.unwrap();
        let mut calls = Vec::new();
        for id in 1..=3000 {
            calls.push(begin(&channel, id));
            ms(20).await;
        }
        let times = times(calls).await;
        let slow = times[times.len() * 99 / 100];
        assert!(slow <= Duration::from_millis(limit), "{lost} of 1000 lost: {slow:?}");
        assert!(lost == 0 || times[times.len() - 1] > Duration::from_millis(250), "none was lost");
        crate::each_ran_once(&ran, 3001);
        assert_eq!(network.counts(addr(1)).dials.load(Ordering::SeqCst), 1);
    }
}

/// Repeats its request as often as the first four bytes say.
const DOWN: Method<Raw, Raw> = Method::new("/test.Work/Down");

/// Time for a bulk of 32 MiB on a path of 20 ms there and back, beside a stream of which nothing is
/// read or without it.
async fn bulk(beside: bool) -> Duration {
    let network = Network::new();
    let router = Router::new().server_streaming(&DOWN, |_, request: Raw, mut replies| async move {
        for _ in 0..u32::from_be_bytes(request.0[..4].try_into().unwrap()) {
            replies.send(request.clone()).await?;
        }
        Ok(())
    });
    let _server = network.serve(addr(1), router, server_options());
    let mut options = options();
    options.max_connections = 1;
    let far = Far(network.clone(), Path::new(Duration::from_millis(10), 0, 3));
    let channel = lone(far, options);
    let message = |count: u32| {
        let mut bytes = vec![5; 32 * 1024];
        bytes[..4].copy_from_slice(&count.to_be_bytes());
        Raw(bytes.into())
    };
    let stalled = beside.then(|| channel.server_streaming(&DOWN, message(1_000_000)).unwrap());
    ms(2000).await;
    let started = Instant::now();
    let mut answers = channel.server_streaming(&DOWN, message(1024)).unwrap();
    let mut count = 0;
    while answers.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 1024);
    drop(stalled);
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_slows_no_other() {
    let (alone, beside) = (bulk(false).await, bulk(true).await);
    assert!(beside.mul_f64(0.9) <= alone, "{alone:?} alone, {beside:?} beside it");
}

/// Deadlines hold, new calls go to another connection when a PING is not answered, and a call without a
/// deadline waits: a peer that does not read is not dead.
#[tokio::test(start_paused = true)]
async fn a_server_that_stops_reading() {
    let network = Network::new();
    let mut listener = network.listen(addr(1));
    let mut options: PoolOptions = options();
    options.max_connections = 1;
    let channel = lone(network.clone(), options);
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[(4, 0x7fff_ffff)]).await;
    peer.window(0, 0x7fff_ffff - 65_535).await;
    peer.until_silent().await;
    let large = |milliseconds: Option<u64>| {
        let request = Request::new(Raw(vec![0; 4 << 20].into()));
        match milliseconds {
            Some(time) => request.with_timeout(Duration::from_millis(time)),
            None => request,
        }
    };
    let patient = begin_with(&channel, large(None));
    for time in [10, 500, 3000] {
        let (result, took) = begin_with(&channel, large(Some(time))).await.unwrap();
        assert_eq!(result.unwrap_err().code(), Code::DeadlineExceeded);
        is_on_time(took, Duration::from_millis(time));
    }
    let ran = Ran::default();
    let _server = network.serve(addr(1), router(&ran), server_options());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let started = Instant::now();
    begin_with(&channel, Request::new(work(1, 0))).await.unwrap().0.unwrap();
    assert!(started.elapsed() <= Duration::from_secs(1));
    assert!(!patient.is_finished());
    drop(peer);
    let (result, _) = patient.await.unwrap();
    assert_eq!(result.unwrap_err().code(), Code::Unavailable);
}

/// SETTINGS_INITIAL_WINDOW_SIZE, SETTINGS_MAX_FRAME_SIZE: as wide as can be.
const WIDE: [(u16, u32); 2] = [(4, 0x7fff_ffff), (5, 65_536)];

/// Bytes that so many streams of a server and of a client are rid of, each message of this size,
/// while their peers announce the widest windows and read nothing.
async fn taken_unread(streams: usize, bytes: usize) -> [usize; 2] {
    let counts = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let message = Raw(vec![5; bytes].into());
    let (connector, listener) = in_memory(BUFFER);
    let (count, answer) = (Arc::clone(&counts[0]), message.clone());
    let router = Router::new().server_streaming(&DOWN, move |_, _: Raw, mut replies| {
        let (count, answer) = (Arc::clone(&count), answer.clone());
        async move {
            for _ in 0..(20 << 20) / bytes {
                replies.send(answer.clone()).await?;
                count.fetch_add(bytes, Ordering::SeqCst);
            }
            Ok(())
        }
    });
    let _server = Server::builder(router).serve(listener).unwrap();
    let mut client = Peer::dial(&connector).await;
    client.settings(&WIDE).await;
    client.window(0, 0x7fff_ffff - 65_535).await;
    for i in 0..streams as u32 {
        client.headers(2 * i + 1, false, &request("/test.Work/Down", &[])).await;
        client.data(2 * i + 1, &framed(b"x"), true).await;
    }
    let network = Network::new();
    let mut listener = network.listen(addr(1));
    let channel = lone(network.clone(), options());
    channel.connect();
    let mut server = Peer::accept(&mut listener, &WIDE).await;
    server.window(0, 0x7fff_ffff - 65_535).await;
    server.until_silent().await;
    for _ in 0..streams {
        let (mut up, down) = channel.bidi(&DOWN, ()).unwrap();
        let (count, message) = (Arc::clone(&counts[1]), message.clone());
        tokio::spawn(async move {
            while up.send(message.clone()).await.is_ok() {
                count.fetch_add(bytes, Ordering::SeqCst);
            }
            drop(down);
        });
    }
    ms(3000).await;
    drop((client, server));
    counts.map(|count| count.load(Ordering::SeqCst))
}

/// Senders wait for the socket, not for windows alone: half a mebibyte a connection, and 64 KiB and
/// a message a stream.
#[tokio::test(start_paused = true)]
async fn wide_windows_and_nobody_who_reads() {
    for streams in [1, 8] {
        for bytes in [100, 1000, 16_000, 40_000, 65_000, 100_000] {
            let bound = (512 << 10) + 2 * BUFFER + streams * ((64 << 10) + 2 * bytes);
            for taken in taken_unread(streams, bytes).await {
                assert!(taken <= bound, "{streams} streams, {bytes}: {taken} over {bound}");
                assert!(taken >= BUFFER / 2, "{streams} streams, {bytes}: {taken} only");
            }
        }
    }
}
