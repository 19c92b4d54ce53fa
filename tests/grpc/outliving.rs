//! Handlers that outlive their streams count against the stream limit until they have ended.

use crate::memory_pair::{SILENT, Setup, UNARY, raw};
use crate::peer::{Peer, framed, request};
use framewire::server::Router;
use framewire::unstable::grpc::{Raw, Response};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::sleep;

const LIMIT: usize = 4;

/// Counts handlers that live.
#[derive(Default)]
struct Lives {
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Life(Arc<Lives>);

impl Life {
    fn new(lives: &Arc<Lives>) -> Self {
        let now = lives.now.fetch_add(1, Ordering::SeqCst) + 1;
        lives.most.fetch_max(now, Ordering::SeqCst);
        Self(lives.clone())
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn ask(peer: &mut Peer, id: u32, path: &str) {
    peer.headers(id, false, &request(path, &[])).await;
    peer.data(id, &framed(b"x"), true).await;
}

/// Requests that a client resets at once, and handlers that run on: never more of them than streams are
/// allowed, then REFUSED_STREAM; once they have ended, the connection serves as before.
#[tokio::test(start_paused = true)]
async fn detached_handlers_count_until_they_have_ended() {
    let (lives, gate) = (Arc::new(Lives::default()), Arc::new(Semaphore::new(0)));
    let (counted, closed) = (lives.clone(), gate.clone());
    let router = Router::new()
        .unary(&SILENT, move |ctx, _: Raw| {
            let (life, gate) = (Life::new(&counted), closed.clone());
            async move {
                let _life = life;
                ctx.detach();
                let _ = gate.acquire().await;
                Ok(Response::new(raw("")))
            }
        })
        .unary(&UNARY, |_, request: Raw| async move { Ok(Response::new(request)) });
    let mut setup = Setup::new(router);
    setup.server.limits.concurrent_streams = LIMIT as u32;
    let pair = setup.start();
    let mut peer = Peer::dial(&pair.connector).await;
    for n in 0..2 * LIMIT as u32 {
        ask(&mut peer, 2 * n + 1, "/test.Echo/Silent").await;
        sleep(Duration::from_millis(10)).await;
        peer.reset(2 * n + 1, ErrorCode::CANCEL).await;
    }
    ask(&mut peer, 101, "/test.Echo/Unary").await;
    let refused = peer.next(FrameType::RstStream).await;
    assert_eq!(refused.number(), ErrorCode::REFUSED_STREAM.0);
    assert_eq!(lives.now.load(Ordering::SeqCst), LIMIT);
    assert_eq!(lives.most.load(Ordering::SeqCst), LIMIT);
    gate.add_permits(LIMIT);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(lives.now.load(Ordering::SeqCst), 0);
    ask(&mut peer, 103, "/test.Echo/Unary").await;
    assert_eq!(peer.next(FrameType::Data).await.id, 103);
}

/// A client that replaces all its calls at once gets every answer: requests wait for the handlers of the
/// streams that were reset in the same read.
#[tokio::test(start_paused = true)]
async fn requests_wait_for_handlers_that_are_being_dropped() {
    let lives = Arc::new(Lives::default());
    let counted = lives.clone();
    let router = Router::new()
        .unary(&SILENT, move |_, _: Raw| {
            let life = Life::new(&counted);
            async move {
                let _life = life;
                std::future::pending().await
            }
        })
        .unary(&UNARY, |_, request: Raw| async move { Ok(Response::new(request)) });
    let mut setup = Setup::new(router);
    setup.server.limits.concurrent_streams = LIMIT as u32;
    let pair = setup.start();
    let mut peer = Peer::dial(&pair.connector).await;
    let limit = LIMIT as u32;
    for n in 0..limit {
        ask(&mut peer, 2 * n + 1, "/test.Echo/Silent").await;
    }
    sleep(Duration::from_millis(10)).await;
    for n in 0..limit {
        peer.reset(2 * n + 1, ErrorCode::CANCEL).await;
    }
    for n in limit..2 * limit {
        ask(&mut peer, 2 * n + 1, "/test.Echo/Unary").await;
    }
    let mut answered = Vec::new();
    for _ in 0..limit {
        answered.push(peer.next(FrameType::Data).await.id);
    }
    answered.sort_unstable();
    assert_eq!(answered, (limit..2 * limit).map(|n| 2 * n + 1).collect::<Vec<_>>());
    assert_eq!(lives.most.load(Ordering::SeqCst), LIMIT);
}
