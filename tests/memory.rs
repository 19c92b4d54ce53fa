//! Heap held by idle connections, client and server together, each after a call.
#![allow(clippy::unwrap_used)] // a test that fails should stop
#![cfg(all(feature = "client", feature = "server", feature = "prost"))]

#[path = "../proto/rust/bench.rs"]
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bench;

use bench::{EchoRequest, EchoResponse};
use framewire::client::Channel;
use framewire::grpc::{Method, Response};
use framewire::server::{Router, Server};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const UNARY: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Unary");
const CONNECTIONS: usize = 200;

struct Live;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// The one way to see what is held; it hands everything on unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Live {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Live = Live;

/// Octets that a channel holds before its first call, and what its connection adds, both sides.
async fn idle_connections(octets: usize) -> (usize, usize) {
    let router = Router::new().unary(&UNARY, |_, request: EchoRequest| async move {
        Ok(Response::new(EchoResponse { payload: request.payload }))
    });
    let server = Server::builder(router).bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let target = format!("http://{}", server.local_addr().unwrap());
    let mut channels = Vec::with_capacity(CONNECTIONS);
    let before = LIVE.load(Ordering::SeqCst);
    channels.extend((0..CONNECTIONS).map(|_| Channel::builder(&target).build().unwrap()));
    let channel = LIVE.load(Ordering::SeqCst) - before;
    for channel in &channels {
        let payload = vec![7; octets].into();
        let request = EchoRequest { payload, ..EchoRequest::default() };
        let answer = channel.unary(&UNARY, request).await.unwrap();
        assert_eq!(answer.into_inner().payload.len(), octets);
    }
    // Longer than the quiet time after which buffers are given back.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let held = LIVE.load(Ordering::SeqCst) - before;
    assert!(channels.iter().all(|channel| channel.connections().len() == 1));
    (channel / CONNECTIONS, (held - channel) / CONNECTIONS)
}

/// Both sides of a quiet connection in 2 × 8 kB, and the channel that holds it in 4 kB; a large call
/// before leaves nothing behind.
#[test]
fn an_idle_connection_holds_little() {
    for octets in [100, 200_000] {
        // A runtime each: what the last one held is gone.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (channel, held) = runtime.block_on(idle_connections(octets));
        println!("after a call of {octets} octets: {held} octets held, both sides together");
        println!("a channel: {channel} octets");
        assert!(held <= 16_000, "{held} octets for an idle connection's two sides");
        assert!(channel <= 4_000, "{channel} octets for a channel");
    }
}
