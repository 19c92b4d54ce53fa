//! Connections that a server lets go of: by age, with a grace, and for want of calls.

use crate::memory_pair::{BIDI, Pair, Setup, UNARY, raw, router};
use crate::peer::{Frame, Peer, framed, request};
use framewire::error::Kind;
use framewire::unstable::connection::options::ConnectionOptions;
use framewire::unstable::grpc::Code;
use framewire::unstable::http2::frame::FrameType;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const AGE: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(7);
const IDLE: Duration = Duration::from_secs(30);

fn pair(with: impl FnOnce(&mut ConnectionOptions)) -> Pair {
    let mut setup = Setup::new(router());
    // The client keeps its connection whatever the server thinks of it.
    setup.client.idle_time = Duration::MAX;
    with(&mut setup.server);
    setup.start()
}

/// Give or take a tenth, and the clock's grain.
fn is_about(took: Duration, age: Duration) -> bool {
    took >= age.mul_f64(0.9) && took <= age.mul_f64(1.1) + Duration::from_millis(5)
}

/// What each GOAWAY says: last identifier and text.
fn goaways(frames: &[Frame]) -> Vec<(u32, String)> {
    let all = frames.iter().filter(|frame| frame.kind == FrameType::GoAway);
    all.map(|f| (f.number(), String::from_utf8_lossy(&f.payload[8..]).into_owned())).collect()
}

/// Everything until the server closes, however long that takes.
async fn until_closed(peer: &mut Peer) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let day = Duration::from_secs(86_400);
        match tokio::time::timeout(day, peer.frame_at_leisure()).await.expect("never closed") {
            Some(frame) => frames.push(frame),
            None => return frames,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_drained() {
    let pair = pair(|options| options.max_age = Some(AGE));
    let mut peer = Peer::dial(&pair.connector).await;
    let started = Instant::now();
    peer.headers(1, false, &request("/test.Echo/Bidi", &[])).await;
    let goaway = loop {
        let frame = peer.frame_at_leisure().await.unwrap();
        if frame.kind == FrameType::GoAway {
            break frame;
        }
    };
    assert!(is_about(started.elapsed(), AGE), "{:?}", started.elapsed());
    assert_eq!(goaway.number(), 0x7fff_ffff, "what is under way is still welcome");
    let last = peer.next(FrameType::GoAway).await;
    assert_eq!(goaways(&[last]), [(1, "max_age".to_owned())]);
    // The stream goes on without end, since there is no grace.
    for _ in 0..24 {
        sleep(Duration::from_secs(3600)).await;
        peer.data(1, &framed(b"still here"), false).await;
        assert_eq!(peer.next(FrameType::Data).await.payload, framed(b"still here"));
    }
    peer.data(1, b"", true).await;
    let rest = until_closed(&mut peer).await;
    assert!(rest.iter().any(|f| f.field("grpc-status") == Some("0")), "{rest:?}");
    assert_eq!(pair.server.handle().connections(), 1, "until the peer closes too");
    drop(peer);
    sleep(Duration::from_millis(5)).await;
    assert_eq!(pair.server.handle().connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn connections_of_one_age_do_not_end_together() {
    let pair = pair(|options| {
        options.max_age = Some(AGE);
        options.seed = Some(1);
    });
    let started = Instant::now();
    let mut ends = Vec::new();
    for _ in 0..20 {
        let mut peer = Peer::dial(&pair.connector).await;
        ends.push(tokio::spawn(async move {
            until_closed(&mut peer).await;
            started.elapsed()
        }));
    }
    let mut distinct = std::collections::BTreeSet::new();
    for end in ends {
        let took = end.await.unwrap();
        assert!(is_about(took, AGE), "{took:?}");
        distinct.insert(took.as_millis() / 100);
    }
    assert!(distinct.len() > 10, "{distinct:?}");
}

#[tokio::test(start_paused = true)]
async fn what_outlives_the_grace_of_an_age_is_cut() {
    let pair = pair(|options| {
        options.max_age = Some(AGE);
        options.max_age_grace = Some(GRACE);
    });
    let (mut up, mut down) = pair.channel.bidi(&BIDI, ()).unwrap();
    let started = Instant::now();
    up.send(raw("x")).await.unwrap();
    assert!(down.message().await.unwrap().is_some());
    let error = down.message().await.unwrap_err();
    let took = started.elapsed();
    assert!(took > GRACE && is_about(took - GRACE, AGE), "{took:?}");
    assert_eq!((error.code(), error.kind()), (Code::Unavailable, Kind::Status), "{error}");
    assert_eq!(
        error.status().message(),
        "the connection reached its maximum age, and its grace passed before the call ended"
    );
    drop((up, down));
    let report = pair.server.shutdown(GRACE).await;
    assert_eq!(report.forced, 0, "that was not the drain's doing");
}

/// Calls that follow each other over twenty ages: none of them notices.
#[tokio::test(start_paused = true)]
async fn no_call_is_lost_to_an_age() {
    let pair = pair(|options| {
        options.max_age = Some(Duration::from_secs(1));
        options.max_age_grace = Some(Duration::from_secs(1));
    });
    let mut seen = std::collections::BTreeSet::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        let calls = [(); 3].map(|()| pair.channel.unary(&UNARY, raw("x")));
        for call in calls {
            call.await.unwrap();
        }
        seen.extend(pair.channel.unstable_handles().iter().map(|handle| handle.id()));
        sleep(Duration::from_millis(7)).await;
    }
    assert!((16..=24).contains(&seen.len()), "{} connections", seen.len());
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_calls_is_closed() {
    let pair = pair(|options| options.max_idle = Some(IDLE));
    let mut peer = Peer::dial(&pair.connector).await;
    let started = Instant::now();
    let frames = until_closed(&mut peer).await;
    let took = started.elapsed();
    assert!(took >= IDLE && took <= IDLE + Duration::from_millis(5), "{took:?}");
    assert_eq!(goaways(&frames), [(0x7fff_ffff, String::new()), (0, "max_idle".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn calls_keep_a_connection_and_pings_do_not() {
    let pair = pair(|options| options.max_idle = Some(IDLE));
    let mut peer = Peer::dial(&pair.connector).await;
    // A stream for longer than that, then short ones: idleness begins anew at each end.
    peer.headers(1, false, &request("/test.Echo/Bidi", &[])).await;
    sleep(IDLE * 3).await;
    peer.data(1, b"", true).await;
    for id in [3, 5, 7] {
        sleep(IDLE.mul_f64(0.9)).await;
        peer.headers(id, false, &request("/test.Echo/Unary", &[])).await;
        peer.data(id, &framed(b""), true).await;
    }
    let last = Instant::now();
    for _ in 0..2 {
        sleep(IDLE / 3).await;
        peer.send(&[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).await;
    }
    let frames = until_closed(&mut peer).await;
    let took = last.elapsed();
    assert!(took >= IDLE && took <= IDLE + Duration::from_millis(5), "{took:?}");
    assert_eq!(frames.iter().filter(|f| f.field("grpc-status") == Some("0")).count(), 4);
}

#[tokio::test(start_paused = true)]
async fn neither_is_on_by_default() {
    let pair = pair(|_| {});
    pair.channel.unary(&UNARY, raw("")).await.unwrap();
    let before = pair.channel.unstable_handles()[0].id();
    sleep(Duration::from_secs(7 * 86_400)).await;
    pair.channel.unary(&UNARY, raw("")).await.unwrap();
    assert_eq!(pair.channel.unstable_handles()[0].id(), before);
}

/// Bytes of a frame that never ends are no stream: they do not keep an idle connection.
#[tokio::test(start_paused = true)]
async fn a_dribbled_frame_keeps_no_connection() {
    let pair = pair(|options| options.max_idle = Some(IDLE));
    let mut peer = Peer::dial(&pair.connector).await;
    let started = Instant::now();
    let dribble = async {
        // The header of a PING, one byte in five seconds.
        for byte in [0, 0, 8, 6, 0, 0, 0, 0] {
            sleep(Duration::from_secs(5)).await;
            peer.send(&[byte]).await;
            let waited = Duration::from_millis(1);
            while let Ok(frame) = tokio::time::timeout(waited, peer.unanswered()).await {
                if frame.is_none_or(|frame| frame.kind == FrameType::GoAway) {
                    return;
                }
            }
        }
        panic!("the connection is kept");
    };
    dribble.await;
    assert!(started.elapsed() <= IDLE + Duration::from_secs(6), "{:?}", started.elapsed());
}
