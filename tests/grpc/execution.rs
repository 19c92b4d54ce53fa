//! Which task runs the user's code on a server. Polls that hold their thread are in real time, where the order
//! of events decides; how long a poll takes is virtual time.

use crate::memory_pair::{On, raw};
use crate::peer::{Frame, Peer, framed, request};
use bytes::Buf;
use framewire::client::Channel;
use framewire::codec::EncodeBuf;
use framewire::server::{Execution, HttpReply, Router};
use framewire::transport::in_memory;
use framewire::unstable::grpc::{Decode, Encode, Encoding, Method, Raw, Request, Response, Status};
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::http2::frame::header::Flags;
use framewire::unstable::http2::frame::write;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// User code that waits here holds its thread.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

static DECODE: Gate = Gate { open: Mutex::new(false), opened: Condvar::new() };
static ENCODE: Gate = Gate { open: Mutex::new(false), opened: Condvar::new() };

struct SlowDecode;

impl Decode for SlowDecode {
    fn decode(_: impl Buf) -> Result<Self, Status> {
        DECODE.pass();
        Ok(Self)
    }
}

struct SlowEncode;

impl Encode for SlowEncode {
    fn encoded_len(&self) -> usize {
        0
    }

    fn encode(&self, _: &mut EncodeBuf<'_>) {
        ENCODE.pass();
    }
}

/// Opens a gate, also where a test fails: a thread that waits would outlive it.
struct Opens<F: FnMut()>(F);

impl<F: FnMut()> Drop for Opens<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

const CALLS: u32 = 3;

/// Calls a path several times; all of them wait in user code while a PING is answered. Then `open`.
async fn answers_a_ping_beside(router: Router, path: &str, open: impl FnMut()) {
    let opens = Opens(open);
    let (connector, listener) = in_memory(64 * 1024);
    let _server = On::FRAMEWIRE.server(router).serve(listener).unwrap();
    let mut peer = Peer::dial(&connector).await;
    for call in 0..CALLS {
        let id = 2 * call + 1;
        peer.headers(id, false, &request(path, &[])).await;
        peer.data(id, &framed(b"x"), true).await;
    }
    let mut ping = Vec::new();
    write::ping(&mut ping, false, *b"question");
    peer.send(&ping).await;
    let pong = |frame: &Frame| frame.kind == FrameType::Ping && frame.flags.has(Flags::ACK);
    loop {
        let frame = peer.frame().await.expect("the connection ended");
        assert_ne!(frame.kind, FrameType::Headers, "{path}: {frame:?}");
        if pong(&frame) {
            break;
        }
    }
    drop(opens);
    let mut ended = 0;
    while ended < CALLS {
        ended += u32::from(peer.frame().await.expect("the connection ended").ends());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_ping_is_answered_beside_handlers_that_block() {
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let router = Router::new().unary(&Method::new("/test.Slow/Handler"), move |_, request: Raw| {
        pass.pass();
        async move { Ok(Response::new(request)) }
    });
    answers_a_ping_beside(router, "/test.Slow/Handler", || gate.open()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_ping_is_answered_beside_interceptors_that_block() {
    for path in ["/test.Slow/Unary", "/test.Slow/Down", "/test.Slow/Bidi"] {
        let gate = Arc::new(Gate::default());
        let pass = Arc::clone(&gate);
        let router = Router::new()
            .intercept(move |_| {
                pass.pass();
                Ok(())
            })
            .unary(&Method::new("/test.Slow/Unary"), |_, r: Raw| async { Ok(Response::new(r)) })
            .server_streaming::<Raw, Raw, _, _>(&Method::new("/test.Slow/Down"), |_, _, _| async {
                Ok(())
            })
            .bidi::<Raw, Raw, _, _>(&Method::new("/test.Slow/Bidi"), |_, _, _| async { Ok(()) });
        answers_a_ping_beside(router, path, || gate.open()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_ping_is_answered_beside_codecs_that_block() {
    let decode = Router::new().unary(&Method::new("/test.Slow/Decode"), |_, _: SlowDecode| async {
        Ok(Response::new(raw("")))
    });
    answers_a_ping_beside(decode, "/test.Slow/Decode", || DECODE.open()).await;
    let encode = Router::new().unary(&Method::new("/test.Slow/Encode"), |_, _: Raw| async {
        Ok(Response::new(SlowEncode))
    });
    answers_a_ping_beside(encode, "/test.Slow/Encode", || ENCODE.open()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_ping_is_answered_beside_plain_handlers_that_block() {
    let gate = Arc::new(Gate::default());
    let (pass, opens) = (Arc::clone(&gate), Opens(|| gate.open()));
    let router = Router::new().http("/", move |_| {
        pass.pass();
        async { HttpReply::new(200) }
    });
    let (connector, listener) = in_memory(64 * 1024);
    let _server = On::FRAMEWIRE.server(router).serve(listener).unwrap();
    let mut peer = Peer::dial(&connector).await;
    let head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "test")];
    peer.headers(1, true, &head).await;
    let mut ping = Vec::new();
    write::ping(&mut ping, false, *b"question");
    peer.send(&ping).await;
    while !peer.next(FrameType::Ping).await.flags.has(Flags::ACK) {}
    drop(opens);
    assert_eq!(peer.next(FrameType::Headers).await.field(":status"), Some("200"));
}

const WHERE: Method<Raw, Raw> = Method::new("/test.Execution/Where");

/// The time of a poll that is asked to be slow.
const SLOW: Duration = Duration::from_millis(300);
/// The time of a poll that is asked to pause.
const PAUSE: Duration = Duration::from_millis(5);

/// A method that tells which task began it.
fn tells_its_task(router: Router) -> Channel {
    let router = router.unary(&WHERE, |_, request: Raw| async move {
        let id = tokio::task::id().to_string();
        // Moves the clock within this poll.
        match &request.0[..] {
            b"slow" => tokio::time::advance(SLOW).await,
            b"pause" => tokio::time::advance(PAUSE).await,
            b"block" => {
                std::thread::sleep(Duration::from_millis(1));
                tokio::time::advance(PAUSE).await;
            }
            _ => {}
        }
        Ok(Response::new(raw(id)))
    });
    let (connector, listener) = in_memory(64 * 1024);
    let _server = On::FRAMEWIRE.server(router).serve(listener).unwrap();
    On::FRAMEWIRE.channel().connector(connector).build().unwrap()
}

async fn task(channel: &Channel, request: Request<Raw>) -> Raw {
    channel.unary(&WHERE, request).await.unwrap().into_inner()
}

async fn of(channel: &Channel, message: &str) -> Raw {
    task(channel, Request::new(raw(message))).await
}

/// Calls as often as a method is spawned until it is proved, then once more: returns the connection's task.
async fn proved(channel: &Channel) -> Raw {
    let mut spawned = Vec::new();
    for _ in 0..16 {
        let task = of(channel, "x").await;
        assert!(!spawned.contains(&task), "a method is proved too early");
        spawned.push(task);
    }
    let connection = of(channel, "x").await;
    assert!(!spawned.contains(&connection));
    assert_eq!(of(channel, "x").await, connection);
    connection
}

#[tokio::test(start_paused = true)]
async fn a_method_is_spawned_until_it_is_proved_and_after_one_slow_poll() {
    let channel = tells_its_task(Router::new());
    let connection = proved(&channel).await;
    // Nobody knows that beforehand.
    assert_eq!(of(&channel, "slow").await, connection);
    for _ in 0..2_000 {
        assert_ne!(of(&channel, "x").await, connection);
    }
    tokio::time::advance(999 * SLOW).await;
    for _ in 0..100 {
        assert_ne!(of(&channel, "x").await, connection);
    }
    tokio::time::advance(SLOW).await;
    assert_eq!(proved(&channel).await, connection);
}

/// In a pause, time passes and the thread computes nothing, as when it waits for a CPU.
#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_method_is_not_barred_for_what_its_thread_waits_for_a_cpu() {
    let channel = tells_its_task(Router::new());
    let connection = proved(&channel).await;
    assert_eq!(of(&channel, "pause").await, connection);
    // Nobody knew what the thread did then.
    assert_eq!(proved(&channel).await, connection);
    for _ in 0..100 {
        assert_eq!(of(&channel, "pause").await, connection);
    }
    assert_eq!(of(&channel, "block").await, connection);
    tokio::time::advance(999 * PAUSE).await;
    for _ in 0..100 {
        assert_ne!(of(&channel, "x").await, connection);
    }
    tokio::time::advance(PAUSE).await;
    assert_eq!(proved(&channel).await, connection);
}

#[tokio::test(start_paused = true)]
async fn a_proved_method_is_spawned_for_what_is_large_or_compressed() {
    let channel = tells_its_task(Router::new());
    let connection = proved(&channel).await;
    for (message, encoding, inline) in [
        (vec![b'x'; 16 * 1024 - 5], Encoding::Identity, true),
        (vec![b'x'; 16 * 1024], Encoding::Identity, false),
        (vec![b'x'], Encoding::Gzip, false),
    ] {
        let what = format!("{} bytes, {encoding:?}", message.len());
        let request = Request::new(raw(message)).with_encoding(encoding);
        assert_eq!(task(&channel, request).await == connection, inline, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_is_not_measured() {
    let channel = tells_its_task(Router::new().execution(&WHERE, Execution::Inline));
    let connection = of(&channel, "x").await;
    for message in ["slow", "x"] {
        assert_eq!(of(&channel, message).await, connection);
    }
    let spawned = Router::new().execution(&WHERE, Execution::Spawned);
    for router in [spawned, Router::new().spawn_always(true)] {
        let channel = tells_its_task(router);
        let mut last = of(&channel, "x").await;
        for _ in 0..1_000 {
            let next = of(&channel, "x").await;
            assert_ne!(last, next);
            last = next;
        }
    }
    let always = Router::new().spawn_always(true).execution(&WHERE, Execution::Inline);
    let channel = tells_its_task(always);
    assert_eq!(of(&channel, "x").await, of(&channel, "x").await);
}
