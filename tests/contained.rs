//! User code of a client: codecs, interceptors, wakers and transports. A panic in it ends its own call, code
//! that blocks delays nobody else, and the connection goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::Buf;
use framewire::client::{Channel, ChannelBuilder};
use framewire::codec::{Decode, Encode, EncodeBuf};
use framewire::error::{Error, Initiator, Kind, Processed};
use framewire::server::{Router, Server};
use framewire::transport::{
    Accept, AcceptFuture, BoxedIo, Connect, ConnectFuture, Target, in_memory,
};
use framewire::unstable::grpc::{Code, Metadata, Method, Raw, Request, Response, Status};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

const UNARY: Method<Raw, Raw> = Method::new("/test.Echo/Unary");
const STREAM: Method<Raw, Raw> = Method::new("/test.Echo/Stream");
/// Ends well, whatever the request.
const DONE: Method<Raw, Raw> = Method::new("/test.Contained/Done");
const REFUSE: Method<Raw, Raw> = Method::new("/test.Echo/Refuse");
const CODED_UNARY: Method<Coded, Coded> = Method::new("/test.Echo/Unary");
const CODED_STREAM: Method<Coded, Coded> = Method::new("/test.Echo/Stream");
/// A wait that takes so long hangs.
const HANG: Duration = Duration::from_secs(20);

fn raw(text: &str) -> Raw {
    Raw(text.to_owned().into())
}

fn serve(build: impl FnOnce(ChannelBuilder) -> Channel) -> (Server, Channel) {
    let router = Router::new()
        .unary(&UNARY, |_, request: Raw| async move { Ok(Response::new(request)) })
        .bidi(&STREAM, |_, mut requests, mut replies| async move {
            while let Some(request) = requests.message().await? {
                replies.send(request).await?;
            }
            Ok(())
        })
        .bidi(&DONE, |_, _, _| async move { Ok(()) })
        .bidi(&REFUSE, |_, _, _| async move {
            Err::<(), _>(Status::new(Code::PermissionDenied, "not yours"))
        });
    let (connector, listener) = in_memory(256 * 1024);
    let server = Server::builder(router).serve(listener).unwrap();
    (server, build(Channel::builder("http://test").connector(connector)))
}

fn connected() -> (Server, Channel) {
    serve(|builder| builder.build().unwrap())
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("hangs")
}

/// Calls go on over the channel's one connection, which is this one; returns it.
async fn goes_on(channel: &Channel, first: impl Into<Option<u64>>) -> u64 {
    let response = within(channel.unary(&UNARY, raw("beside"))).await.unwrap();
    assert_eq!(response.into_inner(), raw("beside"));
    let ids: Vec<_> = channel.unstable_handles().iter().map(|handle| handle.id()).collect();
    let first = first.into().unwrap_or(ids[0]);
    assert_eq!(ids, [first], "the connection was lost");
    first
}

/// A message whose codec does what its text says.
#[derive(Debug, PartialEq)]
struct Coded(&'static str);

impl Encode for Coded {
    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, out: &mut EncodeBuf<'_>) {
        let (half, rest) = self.0.as_bytes().split_at(self.0.len() / 2);
        out.put_slice(half);
        assert_ne!(self.0, "encode panics", "on purpose");
        out.put_slice(rest);
    }
}

impl Decode for Coded {
    fn decode(mut payload: impl Buf) -> Result<Self, Status> {
        let text = payload.copy_to_bytes(payload.remaining());
        assert_ne!(&text[..], b"decode panics", "on purpose");
        Ok(Self(if &text[..] == b"fine" { "fine" } else { "other" }))
    }
}

#[track_caller]
fn panicked(error: &Error, who: &str, processed: Processed) {
    assert_eq!((error.kind(), error.code()), (Kind::Panicked, Code::Internal), "{error}");
    assert_eq!((error.initiator(), error.processed()), (Initiator::Local, processed), "{error}");
    assert!(error.to_string().contains(who), "{error}");
    assert!(!error.is_retry_safe(), "it would panic again");
}

#[tokio::test]
async fn a_codec_that_panics_ends_its_unary_call() {
    let (_server, channel) = connected();
    let connection = goes_on(&channel, None).await;
    let call = |text| channel.unary(&CODED_UNARY, Request::new(Coded(text)));
    let error = within(call("encode panics")).await.unwrap_err();
    panicked(&error, "the codec of a request panicked", Processed::No);
    let error = within(call("decode panics")).await.unwrap_err();
    panicked(&error, "the codec of a response panicked", Processed::Yes);
    assert_eq!(within(call("fine")).await.unwrap().into_inner(), Coded("fine"));
    goes_on(&channel, connection).await;
}

/// A message that panics when it is dropped.
#[derive(Default)]
struct Fragile;

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

impl Encode for Fragile {
    fn encoded_len(&self) -> usize {
        0
    }

    fn encode(&self, _: &mut EncodeBuf<'_>) {}
}

/// The call of a message whose drop panics is not leaked: its connection ends with the channel.
#[tokio::test]
async fn a_message_that_panics_when_it_is_dropped_ends_its_call() {
    const FRAGILE: Method<Fragile, Raw> = Method::new("/test.Echo/Unary");
    const FRAGILE_STREAM: Method<Fragile, Raw> = Method::new("/test.Echo/Stream");
    let (server, channel) = connected();
    goes_on(&channel, None).await;
    let error = within(channel.unary(&FRAGILE, Fragile)).await.unwrap_err();
    panicked(&error, "the codec of a request", Processed::No);
    let error = channel.server_streaming(&FRAGILE, Fragile).map(drop).unwrap_err();
    panicked(&error, "the codec of a request", Processed::No);
    let (mut sender, mut replies) = channel.bidi(&FRAGILE_STREAM, ()).unwrap();
    let error = sender.try_send(Fragile).unwrap_err();
    panicked(&error, "the codec of a request", Processed::No);
    within(replies.message()).await.unwrap_err();
    drop((sender, replies, channel));
    let handle = server.handle();
    within(async {
        while handle.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_codec_that_panics_ends_its_stream() {
    let (_server, channel) = connected();
    let connection = goes_on(&channel, None).await;
    let open = || channel.bidi(&CODED_STREAM, Request::new(())).unwrap();
    // Nothing of the message leaves: the server would read a message that is cut.
    let (mut sender, mut streaming) = open();
    within(sender.send(Coded("fine"))).await.unwrap();
    assert_eq!(within(streaming.message()).await.unwrap(), Some(Coded("fine")));
    let error = within(sender.send(Coded("encode panics"))).await.unwrap_err();
    panicked(&error, "the codec of a request panicked", Processed::Yes);
    let read = within(streaming.message()).await.unwrap_err();
    panicked(&read, "the codec of a request panicked", Processed::Yes);
    assert!(within(sender.send(Coded("fine"))).await.is_err(), "the call is over");
    let (mut sender, mut streaming) = open();
    within(sender.send(Coded("decode panics"))).await.unwrap();
    let error = within(streaming.message()).await.unwrap_err();
    panicked(&error, "the codec of a response panicked", Processed::Yes);
    let again = within(streaming.message()).await.unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
    assert_eq!(within(sender.ready()).await.unwrap_err().kind(), Kind::Panicked);
    goes_on(&channel, connection).await;
}

#[tokio::test]
async fn an_interceptor_that_panics_ends_its_call() {
    let armed = Arc::new(AtomicBool::new(false));
    let inside = Arc::clone(&armed);
    let (_server, channel) = serve(|builder| {
        let interceptor = move |_: &mut Metadata| {
            assert!(!inside.load(Ordering::SeqCst), "on purpose");
            Ok(())
        };
        builder.intercept(interceptor).build().unwrap()
    });
    let connection = goes_on(&channel, None).await;
    armed.store(true, Ordering::SeqCst);
    let error = within(channel.unary(&UNARY, raw("x"))).await.unwrap_err();
    panicked(&error, "an interceptor panicked", Processed::No);
    let error = channel.bidi(&STREAM, Request::new(())).unwrap_err();
    panicked(&error, "an interceptor panicked", Processed::No);
    armed.store(false, Ordering::SeqCst);
    goes_on(&channel, connection).await;
}

/// Panics when it is woken.
struct Bomb(AtomicUsize);

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("on purpose");
    }
}

#[tokio::test]
async fn a_waker_that_panics_ends_nothing() {
    let (_server, channel) = connected();
    let connection = goes_on(&channel, None).await;
    let bomb = Arc::new(Bomb(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&bomb));
    let cx = &mut Context::from_waker(&waker);
    let mut unary = pin!(channel.unary(&UNARY, raw("x")));
    assert!(unary.as_mut().poll(cx).is_pending());
    let (mut sender, mut streaming) = channel.bidi(&STREAM, Request::new(())).unwrap();
    assert!(streaming.poll_message(cx).is_pending());
    sender.try_send(raw("y")).unwrap();
    // A sender that waits until the connection has taken its bytes.
    let (full, _reading) = channel.bidi(&STREAM, Request::new(())).unwrap();
    let mut full = full;
    full.try_send(Raw(vec![1; 100_000].into())).unwrap();
    {
        let mut ready = pin!(full.ready());
        assert!(ready.as_mut().poll(cx).is_pending());
        goes_on(&channel, connection).await;
        within(ready).await.unwrap();
    }
    let woken = async {
        while bomb.0.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
    };
    within(woken).await;
    assert_eq!(within(unary).await.unwrap().into_inner(), raw("x"));
    assert_eq!(within(streaming.message()).await.unwrap(), Some(raw("y")));
    goes_on(&channel, connection).await;
}

/// A message whose codec waits until it is told to go on.
struct Slow(SyncSender<()>, Mutex<Receiver<()>>);

impl Slow {
    /// It says when its codec begins; the codec goes on once it is told so.
    fn new() -> (Self, Receiver<()>, SyncSender<()>) {
        let ((begins, begun), (end, ends)) = (sync_channel(1), sync_channel(1));
        (Self(begins, Mutex::new(ends)), begun, end)
    }
}

impl Encode for Slow {
    fn encoded_len(&self) -> usize {
        4
    }

    fn encode(&self, out: &mut EncodeBuf<'_>) {
        self.0.send(()).unwrap();
        let told = self.1.lock().unwrap().recv_timeout(HANG);
        told.expect("a call beside this one waits for its codec");
        out.put_slice(b"slow");
    }
}

/// While a codec works, calls beside it and the other half of its own stream go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_codec_that_blocks_delays_nobody_else() {
    let (_server, channel) = connected();
    let connection = goes_on(&channel, None).await;
    let (message, begun, end) = Slow::new();
    let slow: Method<Slow, Raw> = Method::new("/test.Echo/Unary");
    let calling = channel.clone();
    let call = tokio::spawn(async move { calling.unary(&slow, Request::new(message)).await });
    tokio::task::spawn_blocking(move || begun.recv_timeout(HANG).unwrap()).await.unwrap();
    goes_on(&channel, connection).await;
    end.send(()).unwrap();
    assert_eq!(within(call).await.unwrap().unwrap().into_inner(), raw("slow"));

    let slow: Method<Slow, Raw> = Method::new("/test.Echo/Stream");
    let (mut sender, mut streaming) = channel.bidi(&slow, Request::new(())).unwrap();
    let (first, first_begun, first_end) = Slow::new();
    first_end.send(()).unwrap();
    within(sender.send(first)).await.unwrap();
    drop(first_begun);
    let (message, begun, end) = Slow::new();
    let sending = tokio::spawn(async move {
        sender.send(message).await.unwrap();
        sender
    });
    tokio::task::spawn_blocking(move || begun.recv_timeout(HANG).unwrap()).await.unwrap();
    assert_eq!(within(streaming.message()).await.unwrap(), Some(raw("slow")));
    goes_on(&channel, connection).await;
    end.send(()).unwrap();
    let _sender = within(sending).await.unwrap();
    assert_eq!(within(streaming.message()).await.unwrap(), Some(raw("slow")));
}

/// A transport that panics when it is read, once it is armed.
struct Faulty(tokio::io::DuplexStream, Arc<AtomicBool>);

impl AsyncRead for Faulty {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        assert!(!self.1.load(Ordering::SeqCst), "on purpose");
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Faulty {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

struct Dialler(Mutex<Option<Faulty>>);

impl Connect for Dialler {
    fn connect(&self, _: Target) -> ConnectFuture {
        let io = self.0.lock().unwrap().take();
        Box::pin(async move {
            match io {
                Some(io) => Ok(framewire::transport::Connected::new(io)),
                None => std::future::pending().await,
            }
        })
    }
}

#[tokio::test]
async fn a_transport_that_panics_is_named() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let armed = Arc::new(AtomicBool::new(false));
    let connector = Dialler(Mutex::new(Some(Faulty(near, Arc::clone(&armed)))));
    let channel = Channel::builder("http://test").connector(connector).build().unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    far.write_all(&settings).await.unwrap();
    let call = tokio::spawn(async move { channel.unary(&UNARY, raw("x")).await });
    // The preface, then frames up to the request's HEADERS.
    far.read_exact(&mut [0; 24]).await.unwrap();
    loop {
        let mut head = [0; 9];
        within(far.read_exact(&mut head)).await.unwrap();
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        far.read_exact(&mut vec![0; len as usize]).await.unwrap();
        if head[3] == 1 {
            break;
        }
    }
    armed.store(true, Ordering::SeqCst);
    far.write_all(&settings).await.unwrap();
    let error = within(call).await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.processed()), (Code::Unavailable, Processed::Maybe), "{error}");
    assert!(error.to_string().contains("the transport panicked in poll_read"), "{error}");
}

/// A transport of a server that misbehaves.
struct Odd {
    inner: BoxedIo,
    says_more: bool,
    drop_panics: bool,
}

impl Drop for Odd {
    fn drop(&mut self) {
        assert!(!self.drop_panics, "on purpose");
    }
}

impl AsyncRead for Odd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Odd {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let more = usize::from(self.says_more);
        Pin::new(&mut self.inner).poll_write(cx, bytes).map_ok(|written| written + more)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

struct OddAcceptor<A>(A);

impl<A: Accept> Accept for OddAcceptor<A> {
    fn accept(&mut self) -> AcceptFuture<'_> {
        Box::pin(async move {
            let accepted = self.0.accept().await?;
            Ok(accepted.map_io(|inner| Odd { inner, says_more: false, drop_panics: true }))
        })
    }
}

/// A server's connection is closed although the drop of its transport panics, after its end and in a drain.
#[tokio::test]
async fn a_transport_that_panics_when_it_is_dropped_is_closed() {
    for drained in [false, true] {
        let (connector, listener) = in_memory(16 * 1024);
        let router = Router::new()
            .unary(&UNARY, |_, message: Raw| async move { Ok(Response::new(message)) });
        let server = Server::builder(router).serve(OddAcceptor(listener)).unwrap();
        let channel = Channel::builder("http://test").connector(connector).build().unwrap();
        within(channel.unary(&UNARY, raw("x"))).await.unwrap();
        let handle = server.handle();
        if drained {
            let report = within(server.shutdown(Duration::from_secs(600))).await;
            assert_eq!((report.drained, report.undelivered), (1, 0));
        } else {
            drop(channel);
            within(async {
                while handle.connections() > 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
        }
        assert_eq!(handle.connections(), 0);
    }
}

#[tokio::test]
async fn a_transport_that_says_it_wrote_too_much_is_named() {
    let (connector, listener) = in_memory(16 * 1024);
    let _server = Server::builder(Router::new()).serve(listener).unwrap();
    let odd = OddConnector(connector);
    let channel = Channel::builder("http://test").connector(odd).build().unwrap();
    let error = within(channel.unary(&UNARY, raw("x"))).await.unwrap_err();
    assert!(error.to_string().contains("the transport says that it wrote"), "{error}");
}

struct OddConnector<C>(C);

impl<C: Connect> Connect for OddConnector<C> {
    fn connect(&self, target: Target) -> ConnectFuture {
        let dial = self.0.connect(target);
        Box::pin(async move {
            let connected = dial.await?;
            Ok(connected.map_io(|inner| Odd { inner, says_more: true, drop_panics: false }))
        })
    }
}

/// A transport that panics when its connection has ended.
struct AtTheEnd {
    io: tokio::io::DuplexStream,
    place: &'static str,
    shut: bool,
}

impl AsyncRead for AtTheEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        assert!(!self.shut || self.place != "poll_read", "on purpose");
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for AtTheEnd {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        assert_ne!(self.place, "poll_shutdown", "on purpose");
        self.shut = true;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        assert!(self.place != "drop" || std::thread::panicking(), "on purpose");
    }
}

/// Accepts one connection.
struct One(Option<AtTheEnd>);

impl Accept for One {
    fn accept(&mut self) -> AcceptFuture<'_> {
        Box::pin(async move {
            match self.0.take() {
                Some(io) => Ok(framewire::transport::Connected::new(io)),
                None => std::future::pending().await,
            }
        })
    }
}

/// A connection that has ended is reported to its server, wherever its transport panics.
#[tokio::test]
async fn a_transport_that_panics_at_the_end_is_no_open_connection() {
    for place in ["poll_shutdown", "poll_read", "drop", "nowhere"] {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let server = Server::builder(Router::new());
        let server = server.serve(One(Some(AtTheEnd { io: near, place, shut: false }))).unwrap();
        let handle = server.handle();
        far.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        far.read_exact(&mut [0; 9]).await.unwrap();
        assert_eq!(handle.connections(), 1, "{place}");
        // GOAWAY: nothing more is to come.
        let mut goaway = [0; 17];
        goaway[2..4].copy_from_slice(&[8, 7]);
        far.write_all(&goaway).await.unwrap();
        within(far.read_to_end(&mut Vec::new())).await.unwrap();
        drop(far);
        within(server.shutdown(Duration::from_secs(3600))).await;
        assert_eq!(handle.connections(), 0, "{place}");
    }
}

/// What a sender reads of a call that has ended is how it ended.
#[tokio::test]
async fn a_sender_reads_the_status_of_a_refusal() {
    let (_server, channel) = connected();
    for read_first in [false, true] {
        let (mut sender, mut streaming) = channel.bidi(&REFUSE, Request::new(())).unwrap();
        if read_first {
            let error = within(streaming.message()).await.unwrap_err();
            assert_eq!(error.code(), Code::PermissionDenied);
        }
        let refused = async {
            loop {
                match sender.send(raw("x")).await {
                    Ok(()) => tokio::task::yield_now().await,
                    Err(error) => return error,
                }
            }
        };
        let error = within(refused).await;
        assert_eq!((error.kind(), error.code()), (Kind::Status, Code::PermissionDenied), "{error}");
        assert!(error.to_string().contains("not yours"), "{error}");
        let again = sender.finish().unwrap_err();
        assert_eq!(again.code(), Code::PermissionDenied, "{again}");
    }
    // A call that has ended well takes nothing more, and that is the caller's mistake.
    let (mut sender, mut streaming) = channel.bidi(&DONE, Request::new(())).unwrap();
    assert_eq!(within(streaming.message()).await.unwrap(), None);
    assert_eq!(within(sender.send(raw("x"))).await.unwrap_err().kind(), Kind::Misuse);
}

/// Any number of tasks wait until a stream takes messages again.
#[tokio::test]
async fn two_tasks_that_wait_to_send_both_go_on() {
    let (_server, channel) = connected();
    let (mut sender, _streaming) = channel.bidi(&STREAM, Request::new(())).unwrap();
    sender.try_send(Raw(vec![1; 100_000].into())).unwrap();
    let sender = Arc::new(sender);
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let sender = Arc::clone(&sender);
            tokio::spawn(async move { sender.ready().await })
        })
        .collect();
    for task in waiting {
        within(task).await.unwrap().unwrap();
    }
}

/// A wait that is polled with another waker each time, and one that is dropped, are forgotten.
#[tokio::test]
async fn a_wait_has_one_waker() {
    let (_server, channel) = connected();
    let (mut sender, _streaming) = channel.bidi(&STREAM, Request::new(())).unwrap();
    sender.try_send(Raw(vec![1; 100_000].into())).unwrap();
    let bombs: Vec<_> = (0..4).map(|_| Arc::new(Bomb(AtomicUsize::new(0)))).collect();
    {
        let mut ready = pin!(sender.ready());
        for bomb in &bombs {
            let waker = Waker::from(Arc::clone(bomb));
            assert!(ready.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let held: Vec<_> = bombs.iter().map(|bomb| Arc::strong_count(bomb) - 1).collect();
        assert_eq!(held, [0, 0, 0, 1], "only the last waker is kept");
    }
    assert!(bombs.iter().all(|bomb| Arc::strong_count(bomb) == 1), "a dropped wait is forgotten");
    within(sender.ready()).await.unwrap();
}

#[tokio::test]
async fn metadata_that_never_came_fails_each_time() {
    let (_server, channel) = connected();
    let (sender, mut streaming) = channel.bidi(&REFUSE, Request::new(())).unwrap();
    drop(sender);
    for _ in 0..2 {
        let error = within(streaming.metadata()).await.unwrap_err();
        assert_eq!(error.code(), Code::Cancelled, "{error}");
    }
    let message = within(poll_fn(|cx| streaming.poll_message(cx))).await.unwrap_err();
    assert_eq!(message.code(), Code::Cancelled, "{message}");
}
