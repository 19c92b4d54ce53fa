//! PINGs: doubt, keepalive, and what servers that count them make of it.

use crate::link::Faults;
use crate::memory_pair::{DOWN, UNARY, lone_channel, raw};
use crate::peer::{Frame, Peer, framed};
use framewire::client::Channel;
use framewire::error::{Error, Processed};
use framewire::transport::MemoryListener;
use framewire::unstable::grpc::{Code, Raw, Response};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Half of a window: what arrives makes the client measure the path.
pub const WINDOW_HALF: usize = 64 * 1024;

async fn settle() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

pub fn begin(channel: &Channel, message: Raw) -> JoinHandle<Result<Response<Raw>, Error>> {
    let channel = channel.clone();
    tokio::spawn(async move { channel.unary(&UNARY, message).await })
}

/// A peer that has fallen silent is asked with one PING whether it lives. Without an answer new calls
/// go elsewhere; the call in flight goes on, since a slow peer is not dead.
#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_once_and_gets_no_new_calls() {
    let (channel, mut listener) = lone_channel(PoolOptions::new(), Faults::default());
    let call = begin(&channel, raw(""));
    let mut peer = Peer::accept(&mut listener, &[]).await;
    peer.next(FrameType::Headers).await;
    // Nobody reads the PING: 10 s of silence, and 10 s for the answer. Then the next one is dialled.
    let started = Instant::now();
    let mut second = Peer::accept(&mut listener, &[]).await;
    let took = started.elapsed().as_secs();
    assert!((19..=21).contains(&took), "{took} s");
    let other = begin(&channel, raw(""));
    second.next(FrameType::Headers).await;
    second.answer(1, b"elsewhere").await;
    assert_eq!(other.await.unwrap().unwrap().into_inner(), raw("elsewhere"));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!call.is_finished(), "ended by silence alone");
    peer.answer(1, b"after all").await;
    assert_eq!(call.await.unwrap().unwrap().into_inner(), raw("after all"));
    let mut pings = 0;
    while let Some(frame) = peer.unanswered().await {
        assert_ne!(frame.kind, FrameType::RstStream);
        pings += usize::from(frame.kind == FrameType::Ping);
    }
    assert_eq!(pings, 1);
}

/// A user who asks for keepalive means it: without an answer within its own timeout the calls end, and
/// the time before a PING has no part in that.
#[tokio::test(start_paused = true)]
async fn with_keepalive_an_unanswered_ping_ends_the_calls() {
    let mut options = PoolOptions::new();
    options.driver.keepalive = Some(Duration::from_secs(40));
    options.driver.keepalive_timeout = Duration::from_secs(3);
    options.driver.doubt.after = Duration::from_secs(3600);
    let (channel, mut listener) = lone_channel(options, Faults::default());
    let call = begin(&channel, raw(""));
    let mut peer = Peer::accept(&mut listener, &[]).await;
    peer.next(FrameType::Headers).await;
    let started = Instant::now();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.processed()), (Code::Unavailable, Processed::Maybe), "{error}");
    assert!(error.to_string().contains("keepalive_timeout"), "{error}");
    assert_eq!(started.elapsed().as_secs(), 43);
}

/// A call whose peer answers the PING goes on for as long as it takes.
#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_has_all_the_time() {
    let (channel, mut listener) = lone_channel(PoolOptions::new(), Faults::default());
    let call = begin(&channel, raw(""));
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let script = tokio::spawn(async move {
        peer.next(FrameType::Headers).await;
        peer.next(FrameType::Ping).await;
        tokio::time::sleep(Duration::from_secs(300)).await;
        peer.answer(1, b"late").await;
        peer
    });
    assert_eq!(call.await.unwrap().unwrap().into_inner(), raw("late"));
    drop(script.await.unwrap());
}

/// Periodic PINGs are sent when asked for, and no more often than every ten seconds.
#[tokio::test(start_paused = true)]
async fn keepalive_is_a_wish_and_has_a_least_interval() {
    for (wish, least) in [(None, None), (Some(1), Some(10)), (Some(25), Some(25))] {
        let mut options = PoolOptions::new();
        options.driver.keepalive = wish.map(Duration::from_secs);
        options.driver.keepalive_without_calls = true;
        let (channel, mut listener) = lone_channel(options, Faults::default());
        channel.connect();
        let mut peer = Peer::accept(&mut listener, &[]).await;
        let until = Instant::now() + Duration::from_secs(120);
        let mut pings = Vec::new();
        while let Ok(frame) = tokio::time::timeout_at(until, peer.unanswered()).await {
            let frame = frame.expect("the connection lives");
            if frame.kind == FrameType::Ping {
                pings.push(Instant::now());
                peer.pong(&frame).await;
            }
        }
        let gaps: Vec<u64> = pings.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
        match least {
            None => assert!(pings.is_empty(), "{pings:?}"),
            Some(least) => {
                assert!(!gaps.is_empty() && gaps.iter().all(|gap| *gap == least), "{gaps:?}");
            }
        }
    }
}

/// Each connection sends a PING after so many seconds, and the peer finds that too many.
async fn pings_after(channel: &Channel, listener: &mut MemoryListener, seconds: [u64; 3]) {
    for interval in seconds {
        channel.connect();
        let mut peer = Peer::accept(listener, &[]).await;
        let started = Instant::now();
        while peer.unanswered().await.expect("a PING").kind != FrameType::Ping {}
        assert_eq!(started.elapsed().as_secs(), interval);
        peer.goaway(0, ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings").await;
        settle().await;
    }
}

/// A peer that finds the PINGs too many: the next connection sends half as many.
#[tokio::test(start_paused = true)]
async fn too_many_pings_double_the_interval() {
    let mut options = PoolOptions::new();
    options.driver.keepalive = Some(Duration::from_secs(15));
    options.driver.keepalive_without_calls = true;
    let (channel, mut listener) = lone_channel(options, Faults::default());
    pings_after(&channel, &mut listener, [15, 30, 60]).await;
    // Another reason to be calm changes nothing.
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    peer.goaway(0, ErrorCode::ENHANCE_YOUR_CALM, "").await;
    settle().await;
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let started = Instant::now();
    while peer.unanswered().await.expect("a PING").kind != FrameType::Ping {}
    assert_eq!(started.elapsed().as_secs(), 120);
}

/// A lost PING: the quiet connection is given up, and the next call dials anew.
#[tokio::test(start_paused = true)]
async fn a_keepalive_without_an_answer_ends_the_connection() {
    let mut options = PoolOptions::new();
    options.driver.keepalive = Some(Duration::from_secs(10));
    options.driver.keepalive_without_calls = true;
    let (channel, mut listener) = lone_channel(options, Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    while peer.unanswered().await.is_some() {}
    assert!(channel.unstable_handles().is_empty());
}

/// Counts PINGs as a default grpc-go server does: 5 min with streams, 2 h without, HEADERS and DATA
/// that it sends forgive, time does not, and the third strike ends the connection.
#[derive(Default)]
struct Enforcement {
    last: Option<Instant>,
    forgiven: bool,
    strikes: u32,
    worst: u32,
    pings: u32,
}

impl Enforcement {
    fn ping(&mut self, streams: bool) {
        self.pings += 1;
        let last = self.last.replace(Instant::now());
        if std::mem::take(&mut self.forgiven) {
            self.strikes = 0;
            return;
        }
        let least = Duration::from_secs(if streams { 300 } else { 7200 });
        self.strikes += u32::from(last.is_some_and(|at| at.elapsed() < least));
        self.worst = self.worst.max(self.strikes);
    }
}

/// Serves for `time`, counting: unary calls are answered, streams get a head and `bytes` each
/// `beat`, as many as make a client measure the path if they are a window's half.
async fn enforce(peer: &mut Peer, time: u64, beat: Option<u64>, bytes: usize) -> Enforcement {
    let mut law = Enforcement::default();
    let until = Instant::now() + Duration::from_secs(time);
    let mut streams: Vec<u32> = Vec::new();
    let mut next = beat.map(|beat| Instant::now() + Duration::from_secs(beat));
    loop {
        let wait = next.map_or(until, |at| at.min(until));
        let Ok(frame) = tokio::time::timeout_at(wait, peer.unanswered()).await else {
            if Instant::now() >= until {
                return law;
            }
            for id in &streams {
                for piece in framed(&vec![7; bytes]).chunks(16_384) {
                    peer.data(*id, piece, false).await;
                }
                law.forgiven = true;
            }
            next = beat.map(|beat| Instant::now() + Duration::from_secs(beat));
            continue;
        };
        let frame: Frame = frame.expect("the connection lives");
        match frame.kind {
            FrameType::Ping => {
                law.ping(!streams.is_empty());
                peer.pong(&frame).await;
            }
            FrameType::Headers if frame.field(":path") == Some("/test.Echo/Unary") => {
                peer.answer(frame.id, b"").await;
                law.forgiven = true;
            }
            FrameType::Headers => {
                streams.push(frame.id);
                peer.response(frame.id).await;
                law.forgiven = true;
            }
            _ => {}
        }
    }
}

/// A stream that is silent for an hour, or speaks now and then, costs no strike too many: with
/// doubt, probes for the calls beside it, measuring PINGs and a keepalive that suits the rule.
#[tokio::test(start_paused = true)]
async fn a_stream_silent_for_an_hour_offends_no_default_server() {
    for keepalive in [None, Some(320)] {
        for bytes in [4, WINDOW_HALF] {
            for beat in [None, Some(7), Some(11), Some(45), Some(400)] {
                let law = beside_calls(keepalive, bytes, beat).await;
                let case = format!("keepalive {keepalive:?}, {bytes} bytes each {beat:?} s");
                assert!(law.worst <= 2, "{} strikes: {case}", law.worst);
                let measured = bytes == WINDOW_HALF && beat.is_some();
                assert!(law.pings > 0 || beat == Some(7), "doubt asks: {case}");
                assert!(law.pings > 5 || !measured, "{} PINGs: {case}", law.pings);
            }
        }
    }
}

/// An hour of a stream, and of calls at times when the connection is in use and when it is not.
async fn beside_calls(keepalive: Option<u64>, bytes: usize, beat: Option<u64>) -> Enforcement {
    let mut options = PoolOptions::new();
    options.driver.keepalive = keepalive.map(Duration::from_secs);
    options.driver.limits.connection_window = 2 * WINDOW_HALF as u32;
    let (channel, mut listener) = lone_channel(options, Faults::default());
    let stream = tokio::spawn({
        let channel = channel.clone();
        async move {
            let mut replies = channel.server_streaming(&DOWN, raw("")).unwrap();
            while replies.message().await.unwrap().is_some() {}
        }
    });
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let calls = tokio::spawn({
        let channel = channel.clone();
        async move {
            for pause in [1, 1, 61, 130, 5, 400, 12, 12, 90] {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                channel.unary(&UNARY, raw("")).await.unwrap();
            }
        }
    });
    let law = enforce(&mut peer, 3600, beat, bytes).await;
    calls.await.unwrap();
    assert_eq!(channel.unstable_handles().len(), 1);
    stream.abort();
    law
}

/// Alone for an hour, the stream is asked about once.
#[tokio::test(start_paused = true)]
async fn doubt_asks_once_between_answers() {
    let (channel, mut listener) = lone_channel(PoolOptions::new(), Faults::default());
    let stream = tokio::spawn(async move {
        let mut replies = channel.server_streaming(&DOWN, raw("")).unwrap();
        replies.message().await.unwrap();
    });
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let law = enforce(&mut peer, 3600, None, 4).await;
    assert_eq!((law.pings, law.worst), (1, 0));
    stream.abort();
}

/// A periodic PING that suits a default server: never without calls, every 320 s with one.
#[tokio::test(start_paused = true)]
async fn keepalive_rests_without_calls() {
    let mut options = PoolOptions::new();
    options.driver.keepalive = Some(Duration::from_secs(320));
    options.idle_time = Duration::from_secs(100_000);
    let (channel, mut listener) = lone_channel(options, Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    let law = enforce(&mut peer, 3600, None, 4).await;
    assert_eq!(law.pings, 0, "nobody asked for PINGs without calls");
    let stream = tokio::spawn(async move {
        let mut replies = channel.server_streaming(&DOWN, raw("")).unwrap();
        replies.message().await.unwrap();
    });
    let law = enforce(&mut peer, 3600, None, 4).await;
    assert!((11..=13).contains(&law.pings), "{}", law.pings);
    assert!(law.worst <= 1, "{}", law.worst);
    stream.abort();
}

/// A call on a connection that was quiet for less than the probe's age is not doubted at once.
#[tokio::test(start_paused = true)]
async fn silence_before_a_call_is_no_doubt() {
    let (channel, mut listener) = lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    // The prefaces are out of the way: the call's head brings no answer.
    peer.until_silent().await;
    tokio::time::sleep(Duration::from_secs(45)).await;
    let call = begin(&channel, raw(""));
    peer.next(FrameType::Headers).await;
    let started = Instant::now();
    peer.next(FrameType::Ping).await;
    assert_eq!(started.elapsed().as_secs(), 10);
    peer.answer(1, b"").await;
    call.await.unwrap().unwrap();
}

/// Acknowledgements of PINGs that nobody sent begin nothing, whatever they carry; nor does a second one.
#[tokio::test(start_paused = true)]
async fn an_unsolicited_pong_is_ignored() {
    let (channel, mut listener) = lone_channel(PoolOptions::new(), Faults::default());
    channel.connect();
    let mut peer = Peer::accept(&mut listener, &[]).await;
    for _ in 0..2 {
        for opaque in [b"fw.drain", b"fw.doubt", b"fw.probe", b"fw.bdp.1"] {
            let mut pong = vec![0, 0, 8, 6, 1, 0, 0, 0, 0];
            pong.extend_from_slice(opaque);
            peer.send(&pong).await;
        }
        // SETTINGS, acknowledged once more than sent.
        peer.send(&[0, 0, 0, 4, 1, 0, 0, 0, 0]).await;
    }
    for id in [1, 3] {
        let call = begin(&channel, raw(""));
        let frame = loop {
            let frame = peer.frame().await.expect("the connection lives");
            assert_ne!(frame.kind, FrameType::GoAway);
            if frame.kind == FrameType::Headers {
                break frame;
            }
        };
        assert_eq!(frame.id, id);
        peer.answer(id, b"").await;
        call.await.unwrap().unwrap();
    }
}

/// Two hours between PINGs suit every default server: doubling ends there.
#[tokio::test(start_paused = true)]
async fn the_interval_doubles_up_to_two_hours() {
    let mut options = PoolOptions::new();
    options.driver.keepalive = Some(Duration::from_secs(5000));
    options.driver.keepalive_without_calls = true;
    options.idle_time = Duration::from_secs(100_000);
    let (channel, mut listener) = lone_channel(options, Faults::default());
    pings_after(&channel, &mut listener, [5000, 7200, 7200]).await;
}
