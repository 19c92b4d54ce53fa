//! Another engine behind the seam: the `h2` crate in the place of this crate's driver, in both
//! roles. It shows that slots are all that crosses, and that the tests fit more than one engine.
//!
//! One task a connection, polled as a whole: nothing here is made to be fast.

#[path = "h2_driver/client.rs"]
mod client;
#[path = "h2_driver/fields.rs"]
mod fields;
#[path = "h2_driver/server.rs"]
mod server;
#[path = "h2_driver/stream.rs"]
mod stream;

use framewire::error::{Error, Initiator, Kind, Processed};
use framewire::transport::BoxedIo;
use framewire::unstable::call::state::ending::wake;
use framewire::unstable::call::state::{CallState, SharedCall};
use framewire::unstable::connection::dispatch::Dispatch;
use framewire::unstable::connection::driver::ConnectionOptions;
use framewire::unstable::connection::engine::{ConnectionEngine, EngineTask, Intake};
use framewire::unstable::connection::handle::Handle;
use framewire::unstable::grpc::{Code, Status, status_map};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::rt as env;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The engine.
#[derive(Debug)]
pub struct H2Engine;

impl ConnectionEngine for H2Engine {
    fn client(&self, io: BoxedIo, intake: Intake, options: ConnectionOptions) -> EngineTask {
        Box::pin(client::Client::new(io, intake, &options))
    }

    fn server(
        &self,
        io: BoxedIo,
        intake: Intake,
        options: ConnectionOptions,
        dispatch: Arc<dyn Dispatch>,
    ) -> EngineTask {
        Box::pin(server::Server::new(io, intake, &options, dispatch))
    }
}

/// Bytes of a client's preface ahead of its SETTINGS.
const PREFACE: usize = 24;

/// A connection's bytes; notes when the peer's first frame, its SETTINGS, has come whole. `h2`
/// does not tell.
struct Sniffed {
    io: BoxedIo,
    /// What is left to come: of the preface, of the header, then of the payload.
    preface: usize,
    header: Vec<u8>,
    payload: usize,
    come: Arc<AtomicBool>,
}

impl Sniffed {
    fn new(io: BoxedIo, preface: usize) -> (Self, Arc<AtomicBool>) {
        let come = Arc::new(AtomicBool::new(false));
        (Self { io, preface, header: Vec::new(), payload: 0, come: Arc::clone(&come) }, come)
    }

    fn note(&mut self, mut bytes: &[u8]) {
        if self.come.load(Ordering::Relaxed) {
            return;
        }
        let passed = self.preface.min(bytes.len());
        self.preface -= passed;
        bytes = &bytes[passed..];
        while self.header.len() < 9 {
            let Some((first, rest)) = bytes.split_first() else { return };
            self.header.push(*first);
            bytes = rest;
            if self.header.len() == 9 {
                let length = [0, self.header[0], self.header[1], self.header[2]];
                self.payload = u32::from_be_bytes(length) as usize;
            }
        }
        self.payload = self.payload.saturating_sub(bytes.len());
        self.come.store(self.payload == 0, Ordering::Relaxed);
    }
}

impl AsyncRead for Sniffed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut *self.io).poll_read(cx, buf);
        self.note(&buf.filled()[before..]);
        poll
    }
}

impl AsyncWrite for Sniffed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}

/// The one timer of a connection.
#[derive(Default)]
struct Clock(Option<Pin<Box<Sleep>>>);

impl Clock {
    /// Has the task polled again at `at`.
    fn arm(&mut self, at: Option<Instant>, cx: &mut Context<'_>) {
        self.0 = at.map(|at| Box::pin(env::sleep_until(at)));
        if let Some(sleep) = &mut self.0
            && sleep.as_mut().poll(cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }
}

fn reason(code: ErrorCode) -> h2::Reason {
    h2::Reason::from(code.0)
}

fn code(error: &h2::Error) -> Option<ErrorCode> {
    error.reason().map(|reason| ErrorCode(u32::from(reason)))
}

/// The error that a stream of this number ends with.
fn stream_error(handle: &Handle, error: &h2::Error, id: u32, x: &CallState) -> Error {
    if error.is_reset() {
        let code = code(error).unwrap_or(ErrorCode::INTERNAL_ERROR);
        let broken = (!error.is_remote()).then_some(error);
        return reset(handle, code, broken, id, x);
    }
    let mut facts = handle.facts(env::now());
    facts.stream_id = Some(id);
    lost(handle, Some(error)).with_phase(x.timeline().phase()).with_connection(facts)
}

/// Ends a call with an error.
fn fail(slot: &Arc<SharedCall>, error: Error) {
    let wakers = slot.lock().fail(error);
    wake(wakers);
}

/// The error of a call that the connection's end took down; `None` stands for a clean end.
fn lost(handle: &Handle, error: Option<&h2::Error>) -> Error {
    let (text, initiator) = match error {
        None => ("the peer closed the connection".to_owned(), Initiator::Remote),
        Some(error) if error.is_io() => {
            (format!("the connection was lost: {error}"), Initiator::Io)
        }
        Some(error) => (error.to_string(), Initiator::Remote),
    };
    let status = Status::new(Code::Unavailable, text);
    let lost = Error::new(Kind::ConnectionLost, status, initiator, Processed::Maybe)
        .with_connection(handle.facts(env::now()));
    match error.and_then(code) {
        Some(code) => lost.with_h2_code(code),
        None => lost,
    }
}

/// The error of a stream alone: reset by the peer, or by `h2` which found `broken`. A peer that
/// refused a stream has not seen it.
fn reset(
    handle: &Handle,
    code: ErrorCode,
    broken: Option<&h2::Error>,
    id: u32,
    x: &CallState,
) -> Error {
    let mut facts = handle.facts(env::now());
    facts.stream_id = Some(id);
    let error = if let Some(error) = broken {
        let text = format!("the peer broke HTTP/2 on this stream: {error}");
        let status = Status::new(Code::Internal, text);
        Error::new(Kind::Protocol, status, Initiator::Remote, Processed::Maybe)
    } else {
        let unseen = status_map::is_unprocessed(code) && !x.recv().is_head_ready();
        let processed = if unseen { Processed::No } else { Processed::Maybe };
        let text = format!("the peer reset the stream with {code}");
        let status = Status::new(status_map::from_h2(code), text);
        Error::new(Kind::Reset, status, Initiator::Remote, processed)
    };
    error.with_h2_code(code).with_phase(x.timeline().phase()).with_connection(facts)
}

fn deadline(processed: Processed) -> Error {
    let status = Status::new(Code::DeadlineExceeded, "the deadline passed");
    Error::new(Kind::Deadline, status, Initiator::Local, processed)
}
