//! Heap held by idle connections, client and server together, each after a call.
#![allow(clippy::unwrap_used)] // a test that fails should stop
#![cfg(all(feature = "client", feature = "server", feature = "prost"))]

#[path = "../proto/rust/bench.rs"]
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bench;
#[path = "support/heap.rs"]
#[expect(dead_code, reason = "the most that is held is not asked for")]
mod heap;

use bench::{EchoRequest, EchoResponse};
use framewire::client::Channel;
use framewire::server::{Router, Server};
use framewire::unstable::grpc::{Method, Response};
use std::time::Duration;

const UNARY: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Unary");
const CHANNELS: usize = 100;

/// Bytes that a channel holds before its first call, and what it holds more, both sides together,
/// once each of `n` connections has carried a call and has been quiet for a while.
async fn idle_connections(bytes: usize, n: u32) -> (usize, usize) {
    let router = Router::new().unary(&UNARY, |_, request: EchoRequest| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(Response::new(EchoResponse { payload: request.payload }))
    });
    // One call a connection, so that calls at a time make as many connections.
    let server = Server::builder(router).max_concurrent_streams(1);
    let server = server.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let target = format!("http://{}", server.local_addr().unwrap());
    let mut channels = Vec::with_capacity(CHANNELS);
    let before = heap::live();
    channels.extend((0..CHANNELS).map(|_| Channel::builder(&target).build().unwrap()));
    let channel = heap::live() - before;
    for channel in &channels {
        channel.warm(n).await.unwrap();
        let call = async || {
            let payload = vec![7; bytes].into();
            let request = EchoRequest { payload, ..EchoRequest::default() };
            let answer = channel.unary(&UNARY, request).await.unwrap();
            assert_eq!(answer.into_inner().payload.len(), bytes);
        };
        match n {
            1 => call().await,
            _ => drop(tokio::join!(call(), call())),
        }
    }
    // Longer than the quiet time after which buffers are given back.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let held = heap::live() - before;
    assert!(channels.iter().all(|channel| channel.unstable_handles().len() == n as usize));
    (channel / CHANNELS, (held - channel) / CHANNELS)
}

/// Both sides of a quiet connection in 2 × 8 kB; the channel that holds it in 4.8 kB, and 3.5 kB more
/// once it has been used: its keeper with what it measures, its metrics, a slot. A large call
/// before leaves nothing behind.
#[test]
fn an_idle_connection_holds_little() {
    for bytes in [100, 200_000] {
        let run = |n| {
            // A runtime each: what the last one held is gone.
            let builder = &mut tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().unwrap();
            runtime.block_on(idle_connections(bytes, n))
        };
        let ((channel, one), (_, two)) = (run(1), run(2));
        let (connection, used) = (two - one, (2 * one).saturating_sub(two));
        println!("after a call of {bytes} bytes: {connection} bytes a connection, both sides");
        println!("a channel: {channel} bytes, {used} more in use");
        assert!(connection <= 16_000, "{connection} bytes for an idle connection's two sides");
        assert!(channel <= 4_900, "{channel} bytes for a channel");
        assert!(used <= 3_500, "{used} bytes more for a channel in use");
    }
}
