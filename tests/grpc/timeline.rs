//! Where a call's time went, in calls that wait here and there for randomly chosen times: the
//! phases add up to the wall time, to the nanosecond.

use crate::link::{Faults, FaultyConnector};
use crate::memory_pair::{UNARY, raw};
use crate::peer::{Frame, Peer, framed};
use framewire::client::{CallTimeline, Channel};
use framewire::error::Phase;
use framewire::transport::Accept;
use framewire::transport::MemoryListener;
use framewire::transport::in_memory;
use framewire::transport::{Connect, ConnectFuture, Target};
use framewire::unstable::grpc::Request;
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use framewire::unstable::rt::Random;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SEEDS: u64 = 150;

fn millis(random: &mut Random, below: u64) -> Duration {
    Duration::from_millis(random.below(below))
}

/// A dial that takes its time in each of its steps.
struct Slow {
    inner: FaultyConnector,
    steps: [Duration; 3],
}

impl Connect for Slow {
    fn connect(&self, target: Target) -> ConnectFuture {
        let dial = self.inner.connect(target);
        let [resolve, tcp, tls] = self.steps;
        Box::pin(async move {
            sleep(resolve + tcp + tls).await;
            let mut connected = dial.await?;
            connected.info.timings.resolve = resolve;
            connected.info.timings.tcp = tcp;
            connected.info.timings.tls = tls;
            Ok(connected)
        })
    }
}

/// A server with moods: it answers each call that it does not refuse, on this connection or on the next.
async fn server(mut listener: MemoryListener, mut random: Random) {
    loop {
        if random.below(8) == 0 {
            // A failed dial: patient calls wait for the backoff.
            drop(listener.accept().await);
            continue;
        }
        let window = [0, 1_000, 65_535, 1 << 20][random.below(4) as usize];
        let settings = [(3, 1 + random.below(3) as u32), (4, window)];
        let pause = millis(&mut random, 50);
        let mut peer = Peer::accept_late(&mut listener, &settings, pause).await;
        if random.below(2) == 0 {
            // Then the socket is what holds a long request up.
            peer.window(0, 1 << 24).await;
        }
        tokio::spawn(serve(peer, window, Random::new(random.next_u64())));
    }
}

async fn serve(mut peer: Peer, window: u32, mut random: Random) {
    let mut calls = 1 + random.below(6);
    let (mut last, mut bound) = (0, u32::MAX);
    while let Some(frame) = peer.frame().await {
        let ours = frame.id > 0 && frame.id <= bound;
        if !ours || !matches!(frame.kind, FrameType::Headers | FrameType::Data) {
            continue;
        }
        last = last.max(frame.id);
        sleep(millis(&mut random, 40)).await;
        if frame.kind == FrameType::Headers && random.below(8) == 0 {
            peer.reset(frame.id, ErrorCode::REFUSED_STREAM).await;
            continue;
        }
        give_credit(&mut peer, &frame, window).await;
        if frame.ends() {
            answer(&mut peer, frame.id, &mut random).await;
            calls = calls.saturating_sub(1);
            if calls == 0 && bound == u32::MAX {
                // What is above the last one seen moves to the next connection.
                bound = last;
                peer.goaway(bound, ErrorCode::NO_ERROR, "enough").await;
            }
        }
    }
}

async fn give_credit(peer: &mut Peer, frame: &Frame, window: u32) {
    let bytes = frame.payload.len() as u32;
    if frame.kind == FrameType::Data && bytes > 0 {
        peer.window(0, bytes).await;
        if !frame.ends() {
            peer.window(frame.id, bytes).await;
        }
    } else if window == 0 {
        peer.window(frame.id, 30_000).await;
    }
}

async fn answer(peer: &mut Peer, id: u32, random: &mut Random) {
    peer.response(id).await;
    sleep(millis(random, 30)).await;
    peer.data(id, &framed(b"answer"), false).await;
    sleep(millis(random, 30)).await;
    peer.headers(id, true, &[("grpc-status", "0")]).await;
}

/// One call, whose caller looks away once; its timeline and its wall time, unless the server has refused
/// it too often.
async fn call(channel: Channel, mut random: Random) -> Option<(CallTimeline, Duration)> {
    sleep(millis(&mut random, 300)).await;
    let bytes = [0, 900, 50_000, 300_000][random.below(4) as usize];
    let request = Request::new(raw(vec![7; bytes])).with_wait_for_ready(true);
    let started = Instant::now();
    let mut call = pin!(channel.unary_timed(&UNARY, request));
    let pause = millis(&mut random, 200);
    if let Ok(done) = tokio::time::timeout(Duration::ZERO, &mut call).await {
        panic!("nothing is answered in no time: {done:?}");
    }
    sleep(pause).await;
    match call.await {
        Ok((_, timeline)) => Some((timeline, started.elapsed())),
        Err(error) => {
            assert_eq!(error.h2_code(), Some(ErrorCode::REFUSED_STREAM), "{error}");
            None
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_phases_of_any_call_add_up_to_its_wall_time() {
    let mut met = [Duration::ZERO; Phase::ALL.len()];
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let (connector, listener) = in_memory(16 * 1024);
        let faults = Faults { piece: Some(1 + random.below(9_000) as usize), ..Faults::default() };
        let steps = [0; 3].map(|_| millis(&mut random, 80));
        let slow = Slow { inner: FaultyConnector::new(connector, faults), steps };
        let mut options = PoolOptions::new();
        options.seed = Some(seed);
        options.driver.limits.streams_before_settings = 1 + random.below(3) as u32;
        let channel = Channel::builder("http://test").connector(slow).unstable_pool(options);
        let channel = channel.build().unwrap();
        let serving = tokio::spawn(server(listener, Random::new(random.next_u64())));
        let calls: Vec<_> = (0..1 + random.below(8))
            .map(|_| tokio::spawn(call(channel.clone(), Random::new(random.next_u64()))))
            .collect();
        for call in calls {
            let Some((timeline, wall)) = call.await.unwrap() else { continue };
            let parts: Duration = Phase::ALL.iter().map(|phase| timeline.spent(*phase)).sum();
            assert_eq!(parts, wall, "seed {seed}: {timeline:?}");
            assert_eq!((timeline.total(), timeline.wall()), (parts, parts), "seed {seed}");
            for phase in Phase::ALL {
                met[phase as usize] += timeline.spent(phase);
            }
        }
        serving.abort();
    }
    // Every phase was met, so each was counted in its place.
    for phase in Phase::ALL {
        assert!(!met[phase as usize].is_zero(), "no call waited {}: {met:?}", phase.words());
    }
}
