//! The subject under test, chosen in one place by `FRAMEWIRE_SUBJECT`.
//!
//! Each subject offers the same plain HTTP/2 service and the same plain client:
//!
//! | path | answer |
//! | --- | --- |
//! | `/echo` | 200; the body once the request has ended; trailers as they came |
//! | `/ok` | 200, END_STREAM on HEADERS |
//! | `/big/<n>` | 200 and `n` bytes without `content-length`, as flow control allows |
//! | `/hang`, `/drop` | none: the handler stays pending until it is dropped |
//! | any other | 404, END_STREAM on HEADERS |

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::hpack::Fields;
use super::raw::RawPeer;

/// What the kernel would hold of each direction.
const PIPE: usize = 64 * 1024;

/// What the service's handlers did.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    started: AtomicUsize,
    ended: AtomicUsize,
}

impl Counters {
    /// Handlers started so far.
    pub(crate) fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    /// Handlers that live now.
    pub(crate) fn running(&self) -> usize {
        self.started() - self.ended.load(Ordering::SeqCst)
    }
}

/// Lives as long as a handler.
pub(crate) struct Running(Arc<Counters>);

impl Running {
    pub(crate) fn new(counters: &Arc<Counters>) -> Self {
        counters.started.fetch_add(1, Ordering::SeqCst);
        Self(counters.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// A request as a user of the client writes it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) fields: Fields,
    /// Pieces of the body; the end of the channel ends the request. `None`: no body at all.
    pub(crate) body: Option<mpsc::Receiver<Vec<u8>>>,
    /// Hold the response's body and never read it.
    pub(crate) unread: bool,
}

/// A response as the caller got it.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<Fields>,
}

/// A failed call.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) text: String,
    /// The code of the peer's RST_STREAM, if that was the reason.
    pub(crate) reset_code: Option<u32>,
    /// False only if the peer has said, or it is certain, that no one saw the request.
    pub(crate) may_have_been_processed: bool,
}

pub(crate) type Outcome = Result<Response, Failure>;

/// How a call ended; a call that never ends ends the test.
pub(crate) async fn outcome(call: JoinHandle<Outcome>) -> Outcome {
    let ended = tokio::time::timeout(Duration::from_secs(60), call).await;
    ended.expect("the call ends within a minute").expect("the call's task was not aborted")
}

/// A server and a client that can be tested.
pub(crate) trait Subject {
    /// Serves the connection in tasks of its own.
    fn serve(&self, io: DuplexStream, counters: Arc<Counters>);
    /// Starts a connection as client.
    fn connect(&self, io: DuplexStream) -> Box<dyn Caller>;
}

/// The client's side of [`Subject::connect`]; dropping it lets the connection end.
pub(crate) trait Caller {
    /// Makes the call; aborting the task drops and so cancels the call.
    fn call(&self, call: Call) -> JoinHandle<Outcome>;
}

/// The client under test.
pub(crate) struct ClientUnderTest(Box<dyn Caller>);

impl ClientUnderTest {
    /// A call with a whole body; an empty one ends the request with its head.
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> JoinHandle<Outcome> {
        if body.is_empty() {
            return self.0.call(call(method, path, fields, None));
        }
        let (sender, receiver) = mpsc::channel(1);
        sender.try_send(body.to_vec()).expect("room for one piece");
        self.0.call(call(method, path, fields, Some(receiver)))
    }

    pub(crate) fn get(&self, path: &str) -> JoinHandle<Outcome> {
        self.call("GET", path, &[], b"")
    }

    /// A call whose body goes on until the sender is dropped.
    pub(crate) fn open(&self, path: &str) -> (mpsc::Sender<Vec<u8>>, JoinHandle<Outcome>) {
        let (sender, receiver) = mpsc::channel(16);
        (sender, self.0.call(call("POST", path, &[], Some(receiver))))
    }

    /// A call whose response body nobody reads.
    pub(crate) fn get_unread(&self, path: &str) -> JoinHandle<Outcome> {
        let mut call = call("GET", path, &[], None);
        call.unread = true;
        self.0.call(call)
    }
}

fn call(
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: Option<mpsc::Receiver<Vec<u8>>>,
) -> Call {
    Call {
        method: method.into(),
        path: path.into(),
        fields: fields.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
        body,
        unread: false,
    }
}

/// The one place that knows the subjects.
fn subject() -> Box<dyn Subject> {
    match std::env::var("FRAMEWIRE_SUBJECT").as_deref() {
        Ok("h2") => Box::new(super::subject_h2::H2),
        Ok("framewire") | Err(_) => Box::new(super::subject_framewire::Framewire),
        Ok(other) => panic!("FRAMEWIRE_SUBJECT names no subject: {other}"),
    }
}

/// Starts the server under test; nothing has been written yet.
pub(crate) fn serve() -> RawPeer {
    serve_counted().0
}

/// As [`serve`], with the counters of its handlers.
pub(crate) fn serve_counted() -> (RawPeer, Arc<Counters>) {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let counters = Arc::new(Counters::default());
    subject().serve(theirs, counters.clone());
    (RawPeer::new(ours, true), counters)
}

/// A server with both prefaces and both acknowledgements exchanged.
pub(crate) async fn served() -> RawPeer {
    let mut peer = serve();
    peer.handshake().await;
    peer
}

/// Starts the client under test; nothing has been read or written yet.
pub(crate) fn connect() -> (ClientUnderTest, RawPeer) {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    (ClientUnderTest(subject().connect(theirs)), RawPeer::new(ours, false))
}

/// A client with both prefaces and both acknowledgements exchanged.
pub(crate) async fn connected() -> (ClientUnderTest, RawPeer) {
    let (client, mut peer) = connect();
    peer.handshake().await;
    (client, peer)
}
