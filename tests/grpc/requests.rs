//! What a handler reads of a request whose call has ended before it: all that has arrived, then the end if the
//! caller had finished, and else an error, again and again. A part is never taken for the whole.

use crate::memory_pair::{BIDI, Pair, Setup, UNARY, UP, raw};
use crate::peer::{Peer, framed, request};
use framewire::server::{Context, Replies, Requests, Router};
use framewire::unstable::grpc::{Code, Metadata, Raw, Response};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::http2::frame::FrameType;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

/// Messages that are sent, of so many bytes: together more than the connection keeps in a spare buffer.
const SENT: usize = 20;
const BYTES: usize = 2_000;
/// The deadline of a call that has one, and the limit of a drain.
const LIMIT: Duration = Duration::from_millis(500);

/// How many messages a reader got, and what came then: three times, as it tries again.
type Read = (usize, [Option<Code>; 3]);

/// Who reads the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    /// A handler that runs on.
    Detached,
    /// A task that the handler has spawned; the handler never answers.
    Task,
    /// A task that the handler has spawned; the handler answers when everything has arrived.
    Answered,
}

/// Reads one message, waits for `gate`, and reads the others.
async fn read(mut requests: Requests<Raw>, gate: Arc<Semaphore>, to: UnboundedSender<Read>) {
    let mut messages = 0;
    let mut next = requests.message().await;
    gate.acquire().await.unwrap().forget();
    while let Ok(Some(Raw(bytes))) = next {
        assert_eq!(bytes.len(), BYTES);
        messages += 1;
        next = requests.message().await;
    }
    let ends = [next, requests.message().await, requests.message().await];
    to.send((messages, ends.map(|end| end.err().map(|status| status.code())))).unwrap();
}

async fn handle(
    how: Reading,
    context: Context,
    requests: Requests<Raw>,
    gate: Arc<Semaphore>,
    to: UnboundedSender<Read>,
) {
    match how {
        Reading::Detached => {
            context.detach();
            read(requests, gate, to).await;
        }
        Reading::Task => {
            tokio::spawn(read(requests, gate, to));
            pending::<()>().await;
        }
        Reading::Answered => {
            tokio::spawn(read(requests, gate, to));
            sleep(LIMIT).await;
        }
    }
}

/// A server whose handlers for streams tell what they have read; `head` sends the response head first.
struct Scene {
    pair: Pair,
    gate: Arc<Semaphore>,
    told: UnboundedReceiver<Read>,
}

fn scene(how: Reading, head: Option<usize>) -> Scene {
    let (to, told) = unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let (to_up, gate_up) = (to.clone(), gate.clone());
    let (to_bidi, gate_bidi) = (to, gate.clone());
    let router = Router::new()
        .unary(&UNARY, |_, request: Raw| async move { Ok(Response::new(request)) })
        .client_streaming(&UP, move |context, requests| {
            let (gate, to) = (gate_up.clone(), to_up.clone());
            async move {
                handle(how, context, requests, gate, to).await;
                Ok(Response::new(raw("")))
            }
        })
        .bidi(&BIDI, move |context, requests, mut replies: Replies<Raw>| {
            let (gate, to) = (gate_bidi.clone(), to_bidi.clone());
            async move {
                if let Some(bytes) = head {
                    let mut metadata = Metadata::new();
                    metadata.insert("x-long", &"v".repeat(bytes)).unwrap();
                    replies.metadata(&metadata)?;
                }
                handle(how, context, requests, gate, to).await;
                Ok(())
            }
        });
    Scene { pair: Setup::new(router).start(), gate, told }
}

impl Scene {
    /// What the reader has read, once it may go on.
    async fn read(&mut self) -> Read {
        self.gate.add_permits(1);
        let minute = Duration::from_secs(60);
        timeout(minute, self.told.recv()).await.expect("the reader hangs").unwrap()
    }
}

/// A client that sends its messages, and the end if `finished`. It ends nothing by itself.
async fn send(scene: &Scene, path: &str, more: &[(&str, &str)], finished: bool) -> Peer {
    let mut peer = Peer::dial(&scene.pair.connector).await;
    peer.headers(1, false, &request(path, more)).await;
    for n in 1..=SENT {
        peer.data(1, &framed(&[7; BYTES]), finished && n == SENT).await;
        if n == 1 {
            // The reader takes this one alone.
            sleep(Duration::from_millis(10)).await;
        }
    }
    sleep(Duration::from_millis(10)).await;
    peer
}

/// What ends a call before its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cause {
    Deadline,
    Drain,
    Reset,
    Lost,
}

const CAUSES: [Cause; 4] = [Cause::Deadline, Cause::Drain, Cause::Reset, Cause::Lost];

impl Cause {
    fn code(self) -> Code {
        match self {
            Self::Deadline => Code::DeadlineExceeded,
            Self::Reset => Code::Cancelled,
            Self::Drain | Self::Lost => Code::Unavailable,
        }
    }
}

/// A call of `path` that `cause` ends while its reader is busy: what the reader reads then.
async fn cut(mut scene: Scene, path: &str, cause: Cause, finished: bool) -> Read {
    let timeout = format!("{}m", LIMIT.as_millis());
    let deadline = [("grpc-timeout", timeout.as_str())];
    let more = if cause == Cause::Deadline { &deadline[..] } else { &[] };
    let mut peer = send(&scene, path, more, finished).await;
    match cause {
        Cause::Deadline => {}
        Cause::Drain => drop(tokio::spawn({
            let server = scene.pair.server.handle();
            async move { server.drain(LIMIT).await }
        })),
        Cause::Reset => peer.reset(1, ErrorCode::CANCEL).await,
        Cause::Lost => drop(std::mem::replace(&mut peer, Peer::dial(&scene.pair.connector).await)),
    }
    sleep(2 * LIMIT).await;
    if matches!(cause, Cause::Deadline | Cause::Reset) {
        // The connection reuses nothing that the reader still needs.
        peer.headers(3, false, &request("/test.Echo/Unary", &[])).await;
        peer.data(3, &framed(&[9; 40_000]), true).await;
        while peer.next(FrameType::Headers).await.id != 3 {}
    }
    scene.read().await
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_cut_ends_with_an_error() {
    for cause in CAUSES {
        for how in [Reading::Detached, Reading::Task] {
            for (path, head) in [("Up", None), ("Bidi", None), ("Bidi", Some(1))] {
                let path = format!("/test.Echo/{path}");
                let read = cut(scene(how, head), &path, cause, false).await;
                let wanted = (SENT, [Some(cause.code()); 3]);
                assert_eq!(read, wanted, "{cause:?}, {how:?}, {path}, head {head:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_has_arrived_is_read_to_its_end_whatever_ends_the_call() {
    for cause in CAUSES {
        for how in [Reading::Detached, Reading::Task] {
            for path in ["Up", "Bidi"] {
                let path = format!("/test.Echo/{path}");
                let read = cut(scene(how, None), &path, cause, true).await;
                assert_eq!(read, (SENT, [None; 3]), "{cause:?}, {how:?}, {path}");
            }
        }
    }
}

/// The handler has answered, and a task of it reads on.
#[tokio::test(start_paused = true)]
async fn a_reader_ends_with_the_answer() {
    for finished in [false, true] {
        for path in ["Up", "Bidi"] {
            let mut scene = scene(Reading::Answered, None);
            let mut peer = send(&scene, &format!("/test.Echo/{path}"), &[], finished).await;
            while !peer.next(FrameType::Headers).await.ends() {}
            let end = if finished { None } else { Some(Code::Cancelled) };
            assert_eq!(scene.read().await, (SENT, [end; 3]), "{path}, finished {finished}");
        }
    }
    // One that waits already.
    let (to, told) = oneshot::channel();
    let to = std::sync::Mutex::new(Some(to));
    let router =
        Router::new().bidi(&BIDI, move |_, mut requests: Requests<Raw>, _: Replies<Raw>| {
            let to = to.lock().unwrap().take().unwrap();
            async move {
                requests.message().await?;
                tokio::spawn(async move { to.send(requests.message().await) });
                sleep(LIMIT).await;
                Ok(())
            }
        });
    let pair = Setup::new(router).start();
    let (mut sender, mut replies) = pair.channel.bidi(&BIDI, ()).unwrap();
    sender.send(raw("one")).await.unwrap();
    assert_eq!(replies.message().await.unwrap(), None);
    let read = timeout(Duration::from_secs(60), told).await.expect("the reader hangs").unwrap();
    assert_eq!(read.unwrap_err().code(), Code::Cancelled);
}

/// The answer is replaced because its head is too large for the caller: the request has not ended by that.
#[tokio::test(start_paused = true)]
async fn a_head_that_cannot_be_sent_is_no_end_of_the_request() {
    let mut scene = scene(Reading::Task, Some(1_000));
    let mut peer = Peer::dial(&scene.pair.connector).await;
    // SETTINGS_MAX_HEADER_LIST_SIZE.
    peer.settings(&[(6, 500)]).await;
    peer.headers(1, false, &request("/test.Echo/Bidi", &[])).await;
    peer.data(1, &framed(&[7; BYTES]), false).await;
    let answer = peer.next(FrameType::Headers).await;
    assert_eq!(answer.field("grpc-status"), Some("8"));
    let (_, ends) = scene.read().await;
    assert_eq!(ends, [Some(Code::ResourceExhausted); 3]);
}
