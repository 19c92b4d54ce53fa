//! A channel's connection.

use super::fields;
use super::stream::{Read, Sending, read};
use super::{Clock, Sniffed, code, deadline, fail, lost, reason, stream_error};
use bytes::Bytes;
use framewire::error::{Error, Initiator, Kind, Phase, Processed};
use framewire::transport::BoxedIo;
use framewire::unstable::call::state::ending::{Wakers, wake};
use framewire::unstable::call::state::{HeadArrival, HeadState, SharedCall};
use framewire::unstable::connection::driver::ConnectionOptions;
use framewire::unstable::connection::engine::Intake;
use framewire::unstable::grpc::{Code, Status, timeout};
use framewire::unstable::http2::ErrorCode;
use framewire::unstable::rt as env;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

type Made = Result<(SendRequest<Bytes>, Connection<Sniffed, Bytes>), h2::Error>;

enum Link {
    Preface(Pin<Box<dyn Future<Output = Made> + Send>>),
    Open(Box<Connection<Sniffed, Bytes>>),
}

enum Answer {
    Awaited(ResponseFuture),
    Begun(RecvStream),
}

struct Stream {
    slot: Arc<SharedCall>,
    id: u32,
    sending: Sending,
    answer: Answer,
    deadline: Option<Instant>,
}

/// What became of a stream.
enum Fate {
    Lives,
    /// The slot was let go, and whom that concerns was told.
    Over,
    /// The peer has not acted on it.
    Unprocessed,
}

pub(super) struct Client {
    intake: Option<Intake>,
    link: Link,
    sender: Option<SendRequest<Bytes>>,
    streams: Vec<Stream>,
    /// Calls without a stream: no connection yet, or the peer's limit is reached.
    waiting: VecDeque<Arc<SharedCall>>,
    clock: Clock,
    settings: Arc<AtomicBool>,
    settings_by: Instant,
    ready: bool,
    /// The peer's GOAWAY: its code and what it said.
    goaway: Option<(Option<ErrorCode>, Vec<u8>)>,
}

impl Client {
    pub(super) fn new(io: BoxedIo, intake: Intake, options: &ConnectionOptions) -> Self {
        let (io, settings) = Sniffed::new(io, 0);
        let limits = &options.limits;
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(limits.stream_window)
            .initial_connection_window_size(limits.connection_window)
            .max_header_list_size(limits.header_list_bytes as u32)
            .initial_max_send_streams(limits.streams_before_settings as usize)
            // A caller may give up as many calls as it likes.
            .max_concurrent_reset_streams(4096)
            .max_local_error_reset_streams(None);
        intake.set_report_at_once(true);
        Self {
            intake: Some(intake),
            link: Link::Preface(Box::pin(async move { builder.handshake(io).await })),
            sender: None,
            streams: Vec::new(),
            waiting: VecDeque::new(),
            clock: Clock::default(),
            settings,
            settings_by: env::now() + options.settings_time,
            ready: false,
            goaway: None,
        }
    }

    fn take_slots(&mut self, cx: &mut Context<'_>) {
        let Some(intake) = &mut self.intake else { return };
        while let Poll::Ready(slot) = intake.poll_call(cx) {
            let known = self.streams.iter().any(|stream| Arc::ptr_eq(&stream.slot, &slot))
                || self.waiting.iter().any(|other| Arc::ptr_eq(other, &slot));
            if !known {
                self.waiting.push_back(slot);
            }
        }
    }

    /// Moves the connection on; ready when it is over.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<Option<h2::Error>> {
        if let Link::Preface(made) = &mut self.link {
            match std::task::ready!(made.as_mut().poll(cx)) {
                Err(error) => return Poll::Ready(Some(error)),
                Ok((sender, connection)) => {
                    self.sender = Some(sender);
                    self.link = Link::Open(Box::new(connection));
                }
            }
        }
        let Link::Open(connection) = &mut self.link else { return Poll::Pending };
        Pin::new(connection).poll(cx).map(Result::err)
    }

    /// SETTINGS and GOAWAY of the peer, and the channel's goodbye.
    fn notice(&mut self, cx: &mut Context<'_>) {
        let Some(intake) = &self.intake else { return };
        if !self.ready && self.settings.load(Ordering::Relaxed) {
            self.ready = true;
            intake.ready();
        }
        if let Some(sender) = &mut self.sender
            && let Poll::Ready(Err(error)) = sender.poll_ready(cx)
            && error.is_go_away()
        {
            self.goaway = Some((code(&error), said(&error)));
            self.sender = None;
            intake.draining();
        }
        if intake.is_goodbye() && self.waiting.is_empty() {
            self.sender = None;
        }
    }

    /// Calls without a stream: given up, too late, or to be begun.
    fn begin_waiting(&mut self, cx: &mut Context<'_>) {
        for _ in 0..self.waiting.len() {
            let Some(slot) = self.waiting.pop_front() else { return };
            let mut x = slot.lock();
            if x.cancel_code().is_some() {
                let wakers = x.end_cancelled();
                drop(x);
                wake(wakers);
            } else if x.deadline().is_some_and(|at| at <= env::now()) {
                let phase = x.timeline().phase();
                drop(x);
                fail(&slot, deadline(Processed::No).with_phase(phase));
            } else if self.goaway.is_some() {
                drop(x);
                self.send_back(slot);
            } else if self.may_open(cx) {
                drop(x);
                self.begin(slot);
            } else {
                let quota = if self.ready { Phase::StreamQuota } else { Phase::Settings };
                if x.timeline().phase() != quota {
                    x.enter(quota, env::now());
                }
                drop(x);
                self.waiting.push_back(slot);
            }
        }
    }

    fn may_open(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(sender) = &mut self.sender else { return false };
        self.streams.len() < sender.current_max_send_streams()
            && matches!(sender.poll_ready(cx), Poll::Ready(Ok(())))
    }

    fn begin(&mut self, slot: Arc<SharedCall>) {
        let Some(sender) = &mut self.sender else { return };
        let now = env::now();
        let mut x = slot.lock();
        if x.send().head() != HeadState::Ready {
            // Its caller will say when it is.
            return;
        }
        let left = x.deadline().filter(|_| x.spec().grpc).map(|at| timeout::encode(at - now));
        let end = x.send().ends_with_head();
        let request = match fields::request(x.send(), left.as_ref().map(|left| left.as_bytes())) {
            Ok(request) => request,
            Err(fields::Unsendable(text)) => {
                drop(x);
                let text = format!("the request cannot be sent: {text}");
                return fail(&slot, Error::local(Kind::Misuse, Code::InvalidArgument, text));
            }
        };
        x.enter(Phase::WriteQueue, now);
        match sender.send_request(request, end) {
            Ok((response, stream)) => {
                x.opened(None, Some(stream.stream_id().as_u32()), end);
                let deadline = x.deadline();
                drop(x);
                self.streams.push(Stream {
                    slot,
                    id: stream.stream_id().as_u32(),
                    sending: Sending::new(stream, end),
                    answer: Answer::Awaited(response),
                    deadline,
                });
            }
            Err(_) => {
                drop(x);
                self.send_back(slot);
            }
        }
    }

    fn poll_streams(&mut self, cx: &mut Context<'_>) {
        let before = self.streams.len();
        let Some(intake) = &self.intake else { return };
        let mut unprocessed = Vec::new();
        self.streams.retain_mut(|stream| match stream.poll(intake, cx) {
            Fate::Lives => true,
            Fate::Over => false,
            Fate::Unprocessed => {
                unprocessed.push(Arc::clone(&stream.slot));
                false
            }
        });
        intake.set_streams(self.streams.len() as u32);
        for slot in unprocessed {
            self.send_back(slot);
        }
        if self.streams.len() < before {
            // Whoever waits for a stream may have one, and a goodbye may be said.
            cx.waker().wake_by_ref();
        }
    }

    fn send_back(&self, slot: Arc<SharedCall>) {
        let Some(intake) = &self.intake else { return };
        let text = "the peer went away before it acted on the call, and what was streamed is not \
                    kept";
        let status = Status::new(Code::Unavailable, text);
        let mut error = Error::new(Kind::GoAway, status, Initiator::Remote, Processed::No)
            .with_connection(intake.handle().facts(env::now()));
        if let Some((code, said)) = &self.goaway {
            error = error.with_debug(said);
            if let Some(code) = code {
                error = error.with_h2_code(*code);
            }
        }
        intake.send_back(slot, error);
    }

    fn next_time(&self) -> Option<Instant> {
        let waiting = self.waiting.iter().filter_map(|slot| slot.lock().deadline());
        let streams = self.streams.iter().filter_map(|stream| stream.deadline);
        waiting.chain(streams).chain((!self.ready).then_some(self.settings_by)).min()
    }

    /// Every call that is left gets its end.
    fn finish(&mut self, error: Option<h2::Error>, cx: &mut Context<'_>) {
        // What came before the end is whole for some.
        self.poll_streams(cx);
        while let Some(slot) = self.waiting.pop_front() {
            self.send_back(slot);
        }
        let Some(intake) = self.intake.take() else { return };
        let lost = lost(intake.handle(), error.as_ref());
        for stream in self.streams.drain(..) {
            let mut facts = intake.handle().facts(env::now());
            facts.stream_id = Some(stream.id);
            fail(&stream.slot, lost.clone().with_connection(facts));
        }
        intake.close(error.is_some().then_some(lost));
    }
}

impl Future for Client {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.take_slots(cx);
        let mut end = this.drive(cx);
        if !this.ready && env::now() >= this.settings_by && end.is_pending() {
            end = Poll::Ready(None);
        }
        this.notice(cx);
        if let Poll::Ready(error) = end {
            this.finish(error, cx);
            return Poll::Ready(());
        }
        this.begin_waiting(cx);
        this.poll_streams(cx);
        this.clock.arm(this.next_time(), cx);
        Poll::Pending
    }
}

impl Drop for Client {
    /// A runtime that shuts down drops its tasks: no call is left without an end.
    fn drop(&mut self) {
        let Some(intake) = self.intake.take() else { return };
        let lost = lost(intake.handle(), None);
        let taken = self.streams.drain(..).map(|stream| stream.slot);
        for slot in taken.chain(self.waiting.drain(..)) {
            fail(&slot, lost.clone());
        }
    }
}

impl Stream {
    fn poll(&mut self, intake: &Intake, cx: &mut Context<'_>) -> Fate {
        let now = env::now();
        let mut x = self.slot.lock();
        if let Some(code) = x.cancel_code() {
            let wakers = x.end_cancelled();
            drop(x);
            wake(wakers);
            self.send_stream().send_reset(reason(code));
            return Fate::Over;
        }
        if intake.is_cut() {
            drop(x);
            let status = Status::new(Code::Cancelled, "the channel was closed");
            let error = Error::new(Kind::Shutdown, status, Initiator::Local, Processed::Maybe);
            fail(&self.slot, error);
            self.send_stream().send_reset(h2::Reason::CANCEL);
            return Fate::Over;
        }
        if self.deadline.is_some_and(|at| at <= now) {
            let mut facts = intake.handle().facts(now);
            facts.stream_id = Some(self.id);
            let phase = x.timeline().phase();
            drop(x);
            let error = deadline(Processed::Maybe).with_phase(phase).with_connection(facts);
            fail(&self.slot, error);
            self.send_stream().send_reset(h2::Reason::CANCEL);
            return Fate::Over;
        }
        // A request's fields were checked with its head; it has no trailers.
        let writer = self.sending.poll(&mut x, cx).unwrap_or_default();
        if !x.recv().is_head_ready() {
            let waits = self.sending.bytes() > 0;
            let phase = if waits { Phase::StreamWindow } else { Phase::Server };
            x.enter(phase, now);
        }
        drop(x);
        writer.wake();
        self.poll_answer(intake, cx)
    }

    fn poll_answer(&mut self, intake: &Intake, cx: &mut Context<'_>) -> Fate {
        if let Answer::Awaited(response) = &mut self.answer {
            match Pin::new(response).poll(cx) {
                Poll::Pending => return Fate::Lives,
                Poll::Ready(Err(error)) => return self.failed(intake, &error),
                Poll::Ready(Ok(response)) => {
                    let (parts, body) = response.into_parts();
                    let mut x = self.slot.lock();
                    x.enter(Phase::Read, env::now());
                    let mut head = fields::response_head(&parts).unwrap_or_default();
                    let ended = body.is_end_stream();
                    match x.response_head(&mut head, ended) {
                        HeadArrival::Declined(error) => {
                            drop(x);
                            fail(&self.slot, error);
                            self.send_stream().send_reset(h2::Reason::CANCEL);
                            return Fate::Over;
                        }
                        HeadArrival::Ended => {
                            let wakers = x.complete();
                            drop(x);
                            return self.ended(wakers);
                        }
                        HeadArrival::Begun(reader) => {
                            drop(x);
                            self.answer = Answer::Begun(body);
                            if let Some(reader) = reader {
                                reader.wake();
                            }
                        }
                    }
                }
            }
        }
        let Answer::Begun(body) = &mut self.answer else { return Fate::Lives };
        let mut x = self.slot.lock();
        let before = x.recv().body().len();
        let read = read(body, &mut x, cx);
        let reader =
            if x.spec().whole || x.recv().body().len() == before { None } else { x.take_reader() };
        let ended = matches!(read, Read::Ended).then(|| x.complete());
        drop(x);
        if let Some(reader) = reader {
            reader.wake();
        }
        match read {
            Read::Open => Fate::Lives,
            Read::Ended => self.ended(ended.unwrap_or_default()),
            Read::Failed(error) => self.failed(intake, &error),
            Read::Over(error) => {
                fail(&self.slot, error);
                self.send_stream().send_reset(h2::Reason::CANCEL);
                Fate::Over
            }
        }
    }

    /// The caller has everything: after a complete response the rest of the request is not needed.
    fn ended(&mut self, wakers: Wakers) -> Fate {
        if !self.sending.ended {
            self.send_stream().send_reset(h2::Reason::CANCEL);
        }
        wake(wakers);
        Fate::Over
    }

    fn failed(&mut self, intake: &Intake, error: &h2::Error) -> Fate {
        let x = self.slot.lock();
        if error.is_go_away() && error.is_remote() && !x.recv().is_head_ready() {
            return Fate::Unprocessed;
        }
        let refused = error.is_reset()
            && error.is_remote()
            && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        if refused && x.send().is_replayable() && !x.recv().is_head_ready() {
            return Fate::Unprocessed;
        }
        let told = stream_error(intake.handle(), error, self.id, &x);
        drop(x);
        fail(&self.slot, told);
        Fate::Over
    }

    const fn send_stream(&mut self) -> &mut SendStream<Bytes> {
        self.sending.stream()
    }
}

/// The debug data of a GOAWAY, which `h2` only shows, escaped, in the error's text.
fn said(error: &h2::Error) -> Vec<u8> {
    let text = error.to_string();
    let Some(text) = text.split_once("(b\"").and_then(|(_, rest)| rest.strip_suffix("\")")) else {
        return Vec::new();
    };
    let mut bytes = text.bytes();
    let mut said = Vec::new();
    while let Some(byte) = bytes.next() {
        let plain = if byte == b'\\' { bytes.next() } else { None };
        said.push(match plain {
            None => byte,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'x') => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let digits = std::str::from_utf8(&digits).unwrap_or_default();
                u8::from_str_radix(digits, 16).unwrap_or(b'?')
            }
            Some(other) => other,
        });
    }
    said
}
