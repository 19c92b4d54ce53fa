//! Panics of the user's code on a server: each ends its own call, and a stream that was there before
//! goes on over the same connection.

use crate::link::Faults;
use crate::memory_pair::{BIDI, On, RawMethod, raw, router};
use bytes::Buf;
use framewire::client::{Channel, HttpRequest, Sender, Streaming};
use framewire::codec::EncodeBuf;
use framewire::error::Error;
use framewire::server::{HttpReply, Replies, Router};
use framewire::transport::Accept;
use framewire::transport::Connected;
use framewire::unstable::call::served::ServerCall;
use framewire::unstable::connection::dispatch::{Cost, Dispatch, Handler, HandlerFuture, Plan};
use framewire::unstable::connection::driver::{Drain, Driver};
use framewire::unstable::connection::handle::Handle;
use framewire::unstable::connection::options::ConnectionOptions;
use framewire::unstable::grpc::{
    Code, Decode, Encode, Metadata, Method, Raw, Request, Response, Status,
};
use framewire::unstable::http2::{Fields, Head, Role};
use framewire::unstable::pool::PoolOptions;
use std::future::{Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

const PATHS: [&str; 4] =
    ["/test.Panics/Unary", "/test.Panics/Down", "/test.Panics/Up", "/test.Panics/Bidi"];
/// The four kinds of calls, as the client sees them.
const CALLS: [RawMethod; 4] =
    [Method::new(PATHS[0]), Method::new(PATHS[1]), Method::new(PATHS[2]), Method::new(PATHS[3])];
/// Where a call panics. The request says it.
const PLACES: [&str; 8] =
    ["interceptor", "decode", "call", "poll", "drop", "encode", "payload", "drop of the answer"];
const FINE: &str = "fine";

/// A request, which names a place.
struct Ask(&'static str);

impl Decode for Ask {
    fn decode(mut payload: impl Buf) -> Result<Self, Status> {
        let payload = payload.copy_to_bytes(payload.remaining());
        assert_ne!(&payload[..], b"decode", "a secret");
        let place = PLACES.into_iter().find(|place| place.as_bytes() == payload);
        Ok(Self(place.unwrap_or(FINE)))
    }
}

/// An answer, whose codec or drop is the place.
struct Answer(&'static str);

impl Encode for Answer {
    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, out: &mut EncodeBuf<'_>) {
        let (half, rest) = self.0.as_bytes().split_at(2);
        out.put_slice(half);
        assert_ne!(self.0, "encode", "a secret");
        out.put_slice(rest);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        assert_ne!(self.0, "drop of the answer", "a secret");
    }
}

/// A future that panics when it is dropped.
struct Bomb<T>(Ready<T>);

impl<T> Future for Bomb<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Bomb<T> {
    fn drop(&mut self) {
        panic!("a secret");
    }
}

/// What a panic carries, and panics when that is dropped.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("a secret");
    }
}

type Handling<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The handler's part that panics, if the place is there.
fn handle<T: Send + 'static>(place: &'static str, outcome: T) -> Handling<T> {
    match place {
        "call" => panic!("a secret"),
        "poll" => Box::pin(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            panic!("a secret")
        }),
        "payload" => Box::pin(async { panic_any(Payload) }),
        "drop" => Box::pin(Bomb(ready(outcome))),
        _ => Box::pin(ready(outcome)),
    }
}

async fn reply(place: &'static str, mut replies: Replies<Answer>) -> Result<(), Status> {
    for place in [FINE, FINE, place] {
        replies.send(Answer(place)).await?;
    }
    Ok(())
}

/// The four kinds, and the echoes beside them.
fn panics() -> Router {
    let [unary, down, up, bidi] = PATHS;
    router()
        .intercept(|ctx| {
            assert!(ctx.metadata().get("x-panic").is_none(), "a secret");
            Ok(())
        })
        .unary(&Method::new(unary), |_, Ask(place)| handle(place, Ok(Response::new(Answer(place)))))
        .server_streaming(&Method::new(down), |_, Ask(place), replies| {
            let end = handle(place, Ok(()));
            async move {
                reply(place, replies).await?;
                end.await
            }
        })
        .client_streaming(&Method::new(up), |_, mut requests| async move {
            let Ask(place) = requests.message().await?.unwrap();
            handle(place, Ok(Response::new(Answer(place)))).await
        })
        .bidi(&Method::new(bidi), |_, mut requests, replies| async move {
            let Ask(place) = requests.message().await?.unwrap();
            reply(place, replies).await?;
            handle(place, Ok(())).await
        })
}

/// What a stream says until it ends, and how it ends.
async fn drain(mut down: Streaming<Raw>) -> (Vec<Raw>, Result<(), Error>) {
    let mut messages = Vec::new();
    loop {
        match down.message().await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, Ok(())),
            Err(error) => return (messages, Err(error)),
        }
    }
}

/// Calls the method of a kind; what it said, and how it ended.
async fn call(channel: &Channel, kind: usize, place: &str) -> (Vec<Raw>, Result<(), Error>) {
    let method = &CALLS[kind];
    let mut metadata = Metadata::new();
    if place == "interceptor" {
        metadata.append("x-panic", "yes").unwrap();
    }
    let request = Request::new(raw(place)).with_metadata(metadata.clone());
    let head = Request::new(()).with_metadata(metadata);
    let one = |outcome: Result<Response<Raw>, Error>| match outcome {
        Ok(response) => (vec![response.into_inner()], Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    };
    match kind {
        0 => one(channel.unary(method, request).await),
        1 => drain(channel.server_streaming(method, request).unwrap()).await,
        2 => {
            let (mut up, response) = channel.client_streaming(method, head).unwrap();
            // How the call ended is read from the other half.
            let _ = up.send(raw(place)).await;
            let _ = up.finish();
            one(response.one().await)
        }
        _ => {
            let (mut up, down) = channel.bidi(method, head).unwrap();
            let _ = up.send(raw(place)).await;
            drain(down).await
        }
    }
}

/// A stream that outlives what happens to others on its connection.
struct Witness {
    up: Sender<Raw>,
    down: Streaming<Raw>,
    channel: Channel,
    connection: u64,
}

impl Witness {
    async fn new(channel: &Channel) -> Self {
        let (mut up, mut down) = channel.bidi(&BIDI, ()).unwrap();
        up.send(raw("first")).await.unwrap();
        assert_eq!(down.message().await.unwrap(), Some(raw("first")));
        let connection = channel.unstable_handles()[0].id();
        Self { up, down, channel: channel.clone(), connection }
    }

    /// The stream goes on after `what`.
    async fn echoes(&mut self, what: &str) {
        self.up.send(raw(what)).await.unwrap();
        assert_eq!(self.down.message().await.unwrap(), Some(raw(what)), "{what}");
        assert_eq!(self.channel.unstable_handles()[0].id(), self.connection, "{what}");
    }
}

pub async fn of_every_kind_end_their_call_alone(on: On) {
    let pair = on.setup(panics()).start();
    let mut witness = Witness::new(&pair.channel).await;
    for (kind, path) in PATHS.iter().enumerate() {
        let (said, end) = call(&pair.channel, kind, FINE).await;
        let times = if kind % 2 == 0 { 1 } else { 3 };
        assert_eq!((said, end.is_ok()), (vec![raw(FINE); times], true), "{kind}");
        for place in PLACES {
            // A handler that has earned it is polled on the connection's task.
            for _ in 0..20 {
                pair.channel.unary(&CALLS[0], raw(FINE)).await.unwrap();
            }
            let what = format!("{place} of {}", path);
            let (said, end) = call(&pair.channel, kind, place).await;
            let error = end.expect_err(&what);
            assert_eq!(error.code(), Code::Internal, "{what}: {error}");
            assert_eq!(error.status().message(), "the handler panicked", "{what}");
            let whole = said.iter().all(|m| [raw(FINE), raw(place)].contains(m));
            assert!(whole, "{what}: {said:?}");
            if place == "encode" {
                assert_eq!(said.len(), if kind % 2 == 0 { 0 } else { 2 }, "{what}");
            }
            witness.echoes(&what).await;
        }
    }
}

pub async fn of_a_codec_leave_no_part_of_a_message(on: On) {
    let router = router().server_streaming(&Method::new(PATHS[1]), |_, Ask(_), mut replies| {
        let send = move || {
            for place in [FINE, "encode", FINE] {
                // The handler goes on after the panic.
                let sent = catch_unwind(AssertUnwindSafe(|| replies.try_send(Answer(place))));
                assert_eq!(sent.is_err(), place == "encode");
            }
        };
        async move {
            let mut send = send;
            send();
            Ok(())
        }
    });
    let pair = on.setup(router).start();
    let (said, end) = call(&pair.channel, 1, FINE).await;
    end.unwrap();
    assert_eq!(said, [raw(FINE), raw(FINE)]);
}

pub async fn of_a_plain_handler_are_500(on: On) {
    let router = router().http("/panics/", |request| {
        let path = String::from_utf8_lossy(request.head.path()).into_owned();
        let place = PLACES.into_iter().find(|place| path.ends_with(place));
        handle(place.unwrap_or(FINE), HttpReply::new(204))
    });
    let pair = on.setup(router).start();
    let mut witness = Witness::new(&pair.channel).await;
    let places = [(FINE, 204), ("call", 500), ("poll", 500), ("drop", 500), ("payload", 500)];
    for (place, status) in places {
        let request = HttpRequest::new("POST", &format!("/panics/{place}")).with_body("body");
        let response = pair.channel.http(request).await.unwrap();
        assert_eq!((response.status, response.body.len()), (status, 0), "{place}");
        witness.echoes(place).await;
    }
}

/// A handler that is not a server's own. It panics where its path says, else it answers late.
struct Foreign {
    place: &'static str,
    cost: Option<Cost>,
}

impl Handler for Foreign {
    fn call(&self, call: ServerCall) -> HandlerFuture {
        let place = self.place;
        assert_ne!(place, "call", "a secret");
        if place == "drop" {
            return Box::pin(Bomb(ready(())));
        }
        Box::pin(async move {
            assert_ne!(place, "poll", "a secret");
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut head = Fields::new();
            head.push(":status", "204");
            call.writer().head_alone(&head).unwrap();
        })
    }

    fn cost(&self) -> Option<&Cost> {
        self.cost.as_ref()
    }
}

struct Plans;

impl Dispatch for Plans {
    fn plan(&self, head: &Head) -> Plan {
        assert_ne!(head.path(), b"/plan", "a secret");
        let is = |place: &&str| head.path().ends_with(place.as_bytes());
        let cost = head.path().starts_with(b"/here/").then(Cost::new);
        let place = PLACES.into_iter().find(is).unwrap_or(FINE);
        let handler = Arc::new(Foreign { place, cost });
        Plan {
            handler,
            grpc: true,
            whole: true,
            message_max: usize::MAX,
            encoding: None,
            timeout: None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_handler_that_contains_none() {
    let (channel, mut listener) = On::FRAMEWIRE.lone_channel(PoolOptions::new(), Faults::default());
    tokio::spawn(async move {
        let Connected { io, info, .. } = listener.accept().await.unwrap();
        let handle = Handle::new(info, None, 256 * 1024, framewire::unstable::rt::now());
        let options = ConnectionOptions::new(Role::Server);
        let drain = Arc::new(Drain::new());
        Driver::server(io, Arc::new(handle), options, Arc::new(Plans), drain).await;
    });
    let get = |path: &str| {
        let (channel, request) = (channel.clone(), HttpRequest::new("GET", path));
        async move { channel.http(request).await }
    };
    let late = tokio::spawn(get("/late"));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(get("/plan").await.unwrap().status, 500);
    for path in ["/here/call", "/here/poll", "/here/drop", "/apart/call", "/apart/poll"] {
        let error = get(path).await.expect_err(path);
        assert_eq!(error.code(), Code::Internal, "{path}: {error}");
    }
    assert_eq!(late.await.unwrap().unwrap().status, 204);
}
