//! Heap allocations per call and per message, through the public API.
//!
//! Client and server run on a thread each, so that their allocations are counted apart. The counts
//! include what the application asks for: one payload decoded on each side.
#![cfg(all(feature = "client", feature = "server", feature = "prost"))]
#![allow(clippy::unwrap_used)]

#[path = "../proto/rust/bench.rs"]
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bench;

use bench::{EchoRequest, EchoResponse};
use bytes::Bytes;
use framewire::client::Channel;
use framewire::server::{Execution, Router, Server};
use framewire::transport::MemoryConnector;
use framewire::transport::in_memory;
use framewire::unstable::grpc::{Method, Response};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const UNARY: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Unary");
const SERVER_STREAM: Method<EchoRequest, EchoResponse> =
    Method::new("/framewire.bench.v1.Echo/ServerStream");

struct Counting;

thread_local! {
    static COUNTED: Cell<Option<&'static AtomicU64>> = const { Cell::new(None) };
}

static CLIENT: AtomicU64 = AtomicU64::new(0);
static SERVER: AtomicU64 = AtomicU64::new(0);

fn count() {
    if let Ok(Some(counter)) = COUNTED.try_with(Cell::get) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

// The one way to see allocations; it hands everything on unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A server on a thread of its own, ended when the sender is dropped.
fn server() -> (MemoryConnector, tokio::sync::oneshot::Sender<()>, std::thread::JoinHandle<()>) {
    let (connector, listener) = in_memory(256 * 1024);
    let (over, ended) = tokio::sync::oneshot::channel();
    let router = Router::new()
        // Measured, a slow build on a busy machine would have a task for each call.
        .execution(&UNARY, Execution::Inline)
        .unary(&UNARY, |_, request| async move {
            Ok(Response::new(EchoResponse { payload: request.payload }))
        })
        .server_streaming(&SERVER_STREAM, |_, request, mut replies| async move {
            for _ in 0..request.count {
                replies.send(EchoResponse { payload: request.payload.clone() }).await?;
            }
            Ok(())
        });
    let thread = std::thread::spawn(move || {
        block_on(async move {
            let _server = Server::builder(router).serve(listener).unwrap();
            COUNTED.set(Some(&SERVER));
            let _ = ended.await;
            COUNTED.set(None);
        });
    });
    (connector, over, thread)
}

fn request(payload: Bytes, count: u32) -> EchoRequest {
    EchoRequest { payload, count, ..EchoRequest::default() }
}

/// Allocations of both sides, client's first, while `work` runs.
async fn counted<F: AsyncFnOnce()>(each: u32, work: F) -> [f64; 2] {
    let read = || [&CLIENT, &SERVER].map(|counter| counter.load(Ordering::SeqCst));
    let before = read();
    COUNTED.set(Some(&CLIENT));
    work().await;
    COUNTED.set(None);
    let after = read();
    [0, 1].map(|side| (after[side] - before[side]) as f64 / f64::from(each))
}

async fn calls(channel: &Channel, payload: &Bytes, calls: u32) {
    for _ in 0..calls {
        let answer = channel.unary(&UNARY, request(payload.clone(), 0)).await.unwrap();
        assert_eq!(answer.into_inner().payload.len(), payload.len());
    }
}

fn within(what: &str, [client, server]: [f64; 2], [most_client, most_server]: [f64; 2]) {
    println!("{what}: client {client:.2}, server {server:.2} allocations");
    assert!(client <= most_client, "{what}: the client allocates {client:.2} > {most_client}");
    assert!(server <= most_server, "{what}: the server allocates {server:.2} > {most_server}");
}

/// One test, so that nothing else allocates on the counted threads meanwhile.
#[test]
fn a_call_and_a_message_allocate_little() {
    let (connector, over, thread) = server();
    block_on(async {
        let channel = Channel::builder("http://memory").connector(connector).build().unwrap();
        let small = Bytes::from_static(&[7; 100]);
        // Pools, tables and buffers reach their sizes.
        calls(&channel, &small, 500).await;

        let alone = counted(1000, async || calls(&channel, &small, 1000).await).await;
        within("one unary call at a time", alone, UNARY_ALONE);

        let tasks = 50;
        let gate = Arc::new(tokio::sync::Barrier::new(tasks + 1));
        let spawned: Vec<_> = (0..tasks)
            .map(|_| {
                let (channel, small, gate) = (channel.clone(), small.clone(), Arc::clone(&gate));
                tokio::spawn(async move {
                    calls(&channel, &small, 50).await;
                    gate.wait().await;
                    gate.wait().await;
                    calls(&channel, &small, 100).await;
                })
            })
            .collect();
        gate.wait().await;
        let together = counted(5000, async || {
            gate.wait().await;
            for task in spawned {
                task.await.unwrap();
            }
        });
        within("50 unary calls at a time", together.await, UNARY_TOGETHER);

        let kilobyte = Bytes::from_static(&[7; 1024]);
        let mut stream =
            channel.server_streaming(&SERVER_STREAM, request(kilobyte, 10_000)).unwrap();
        for _ in 0..2000 {
            assert!(stream.message().await.unwrap().is_some());
        }
        let streamed = counted(6000, async || {
            for _ in 0..6000 {
                assert!(stream.message().await.unwrap().is_some());
            }
        });
        within("one message of 1 KiB streamed", streamed.await, STREAMED);
    });
    drop(over);
    thread.join().unwrap();
}

/// Most allocations, client's and server's: the measured ones and a small margin.
const UNARY_ALONE: [f64; 2] = [1.3, 3.3];
const UNARY_TOGETHER: [f64; 2] = [1.5, 3.6];
const STREAMED: [f64; 2] = [0.5, 0.5];
