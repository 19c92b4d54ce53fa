//! A server's connection.

use super::fields;
use super::stream::{Read, Sending, read};
use super::{Clock, PREFACE, Sniffed, deadline, fail, lost, reason, reset, stream_error};
use bytes::Bytes;
use framewire::error::{Error, Kind, Processed};
use framewire::transport::BoxedIo;
use framewire::unstable::call::Permit;
use framewire::unstable::call::served::ServerCall;
use framewire::unstable::call::state::ending::wake;
use framewire::unstable::call::state::{HeadState, SharedCall};
use framewire::unstable::connection::dispatch::{Dispatch, Handler};
use framewire::unstable::connection::driver::ConnectionOptions;
use framewire::unstable::connection::engine::Intake;
use framewire::unstable::grpc::{Code, Status, response};
use framewire::unstable::http2::{ErrorCode, Fields};
use framewire::unstable::rt as env;
use h2::RecvStream;
use h2::server::{Connection, Handshake, SendResponse};
use http::Request;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::task::AbortHandle;

enum Link {
    Preface(Box<Handshake<Sniffed, Bytes>>),
    Open(Box<Connection<Sniffed, Bytes>>),
}

struct Stream {
    slot: Arc<SharedCall>,
    id: u32,
    respond: SendResponse<Bytes>,
    /// Once the head was sent.
    sending: Option<Sending>,
    body: RecvStream,
    /// The request is complete.
    complete: bool,
    /// Begins when the request is complete.
    handler: Option<Arc<dyn Handler>>,
    task: Option<AbortHandle>,
    deadline: Option<Instant>,
}

pub(super) struct Server {
    intake: Option<Intake>,
    link: Link,
    streams: Vec<Stream>,
    dispatch: Arc<dyn Dispatch>,
    clock: Clock,
    settings: Arc<AtomicBool>,
    settings_by: Instant,
    ready: bool,
    draining: bool,
}

impl Server {
    pub(super) fn new(
        io: BoxedIo,
        intake: Intake,
        options: &ConnectionOptions,
        dispatch: Arc<dyn Dispatch>,
    ) -> Self {
        let (io, settings) = Sniffed::new(io, PREFACE);
        let limits = &options.limits;
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(limits.stream_window)
            .initial_connection_window_size(limits.connection_window)
            .max_concurrent_streams(limits.concurrent_streams)
            .max_header_list_size(limits.header_list_bytes as u32);
        intake.set_report_at_once(true);
        Self {
            intake: Some(intake),
            link: Link::Preface(Box::new(builder.handshake(io))),
            streams: Vec::new(),
            dispatch,
            clock: Clock::default(),
            settings,
            settings_by: env::now() + options.settings_time,
            ready: false,
            draining: false,
        }
    }

    /// Moves the connection on and takes requests; ready when it is over.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<Option<h2::Error>> {
        if let Link::Preface(made) = &mut self.link {
            match std::task::ready!(Pin::new(made).poll(cx)) {
                Err(error) => return Poll::Ready(Some(error)),
                Ok(connection) => self.link = Link::Open(Box::new(connection)),
            }
        }
        loop {
            let Link::Open(connection) = &mut self.link else { return Poll::Pending };
            match connection.poll_accept(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(error)),
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
            }
        }
    }

    /// A request's head has come.
    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let Some(intake) = &self.intake else { return };
        let (parts, body) = request.into_parts();
        let Some(mut head) = fields::request_head(&parts) else {
            return respond.send_reset(h2::Reason::PROTOCOL_ERROR);
        };
        let now = env::now();
        let complete = body.is_end_stream();
        let slot = SharedCall::new(now);
        let id = respond.stream_id().as_u32();
        let (sending, task) = (None, None);
        let mut stream = Stream {
            slot,
            id,
            respond,
            sending,
            body,
            complete,
            handler: None,
            task,
            deadline: None,
        };
        let mut x = stream.slot.lock();
        let permit = Permit::uncounted(intake.handle().clone());
        x.request_received(None, Some(id), permit, &mut head, complete);
        if x.recv().head().host_differs() {
            drop(x);
            let mut answer = Fields::new();
            answer.push(":status", "400");
            stream.answer(&answer);
        } else {
            let plan = self.dispatch.plan(x.recv().head());
            stream.deadline = plan.timeout.and_then(|timeout| now.checked_add(timeout));
            x.planned(plan.grpc, plan.whole, plan.message_max, stream.deadline);
            drop(x);
            if plan.whole && !complete {
                stream.handler = Some(plan.handler);
            } else {
                stream.run(plan.handler.as_ref());
            }
        }
        self.streams.push(stream);
    }

    fn poll_streams(&mut self, cx: &mut Context<'_>) {
        let before = self.streams.len();
        let Some(intake) = &self.intake else { return };
        self.streams.retain_mut(|stream| stream.poll(intake, cx));
        intake.set_streams(self.streams.len() as u32);
        if self.streams.len() < before {
            cx.waker().wake_by_ref();
        }
    }

    /// A drain: `h2` sends both GOAWAYs and the PING between. `true` when the grace has ended.
    fn drain(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(intake) = &self.intake else { return false };
        let Some(hard) = intake.grace() else { return false };
        let Link::Open(connection) = &mut self.link else { return true };
        if !self.draining {
            self.draining = true;
            intake.handle().stop_accepting();
            connection.graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        if env::now() < hard {
            return false;
        }
        intake.cut(self.streams.len());
        connection.abrupt_shutdown(h2::Reason::NO_ERROR);
        // What can be written now is.
        let _ = connection.poll_accept(cx);
        true
    }

    fn next_time(&self) -> Option<Instant> {
        let streams = self.streams.iter().filter_map(|stream| stream.deadline);
        let grace = self.intake.as_ref().and_then(Intake::grace);
        streams.chain(grace).chain((!self.ready).then_some(self.settings_by)).min()
    }

    fn end_streams(&mut self, error: &Error) {
        for mut stream in self.streams.drain(..) {
            stream.abort();
            let mut facts = error.connection().cloned().unwrap_or_default();
            facts.stream_id = Some(stream.id);
            fail(&stream.slot, error.clone().with_connection(facts));
        }
    }

    fn finish(&mut self, error: Option<h2::Error>) {
        let Some(intake) = self.intake.take() else { return };
        let lost = lost(intake.handle(), error.as_ref());
        self.end_streams(&lost);
        intake.close(error.is_some().then_some(lost));
    }
}

impl Future for Server {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Every stream is looked at below, whichever slot has news.
        while this.intake.as_mut().is_some_and(|intake| intake.poll_call(cx).is_ready()) {}
        let mut end = this.drive(cx);
        if !this.ready && this.settings.load(Ordering::Relaxed) {
            this.ready = true;
            if let Some(intake) = &this.intake {
                intake.ready();
            }
        }
        if !this.ready && env::now() >= this.settings_by && end.is_pending() {
            end = Poll::Ready(None);
        }
        this.poll_streams(cx);
        if this.drain(cx) && end.is_pending() {
            end = Poll::Ready(None);
        }
        if let Poll::Ready(error) = end {
            this.finish(error);
            return Poll::Ready(());
        }
        this.clock.arm(this.next_time(), cx);
        Poll::Pending
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(intake) = self.intake.take() else { return };
        let lost = lost(intake.handle(), None);
        self.end_streams(&lost);
    }
}

impl Stream {
    /// Begins the handler in a task of its own.
    fn run(&mut self, handler: &dyn Handler) {
        let call = ServerCall::new(Arc::clone(&self.slot));
        self.task = Some(tokio::spawn(handler.call(call)).abort_handle());
    }

    /// Drops a handler that is at work, unless it was detached.
    fn abort(&mut self) {
        self.handler = None;
        let detached = self.slot.lock().is_detached();
        if let Some(task) = self.task.take().filter(|_| !detached) {
            task.abort();
        }
    }

    /// Writes an answer of one head to the slot.
    fn answer(&self, fields: &Fields) {
        self.slot.lock().answer_with_head(fields);
    }

    fn send_reset(&mut self, reason: h2::Reason) {
        match &mut self.sending {
            Some(sending) => sending.stream().send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Ends the call on both sides; returns that it is over.
    fn end(&mut self, error: Error, code: Option<h2::Reason>) -> bool {
        self.abort();
        fail(&self.slot, error);
        if let Some(code) = code {
            self.send_reset(code);
        }
        false
    }

    /// Moves the stream on; `false` when it is over.
    fn poll(&mut self, intake: &Intake, cx: &mut Context<'_>) -> bool {
        let mut x = self.slot.lock();
        if let Some(code) = x.cancel_code() {
            let wakers = x.end_cancelled();
            drop(x);
            wake(wakers);
            self.abort();
            self.send_reset(reason(code));
            return false;
        }
        drop(x);
        if let Some(error) = self.read(cx) {
            let error = stream_error(intake.handle(), &error, self.id, &self.slot.lock());
            return self.end(error, None);
        }
        let reset_by_peer = match &mut self.sending {
            Some(sending) => sending.stream().poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        if let Poll::Ready(Ok(code)) = reset_by_peer {
            let code = ErrorCode(u32::from(code));
            let error = reset(intake.handle(), code, None, self.id, &self.slot.lock());
            return self.end(error, None);
        }
        if self.deadline.is_some_and(|at| at <= env::now()) {
            self.expire();
        }
        self.write(cx)
    }

    /// Moves what has come into the slot, and begins a handler that waited for it.
    fn read(&mut self, cx: &mut Context<'_>) -> Option<h2::Error> {
        let mut x = self.slot.lock();
        if self.complete {
            super::stream::release(&mut self.body, x.take_credit().read());
            return None;
        }
        let before = x.recv().body().len();
        let read = read(&mut self.body, &mut x, cx);
        let silent =
            x.spec().whole || (x.recv().body().len() == before && matches!(read, Read::Open));
        let reader = if silent { None } else { x.take_reader() };
        drop(x);
        if let Some(reader) = reader {
            reader.wake();
        }
        match read {
            Read::Open => {}
            Read::Failed(error) => return Some(error),
            Read::Ended => {
                self.complete = true;
                if let Some(handler) = self.handler.take() {
                    self.run(handler.as_ref());
                }
            }
            // Its handler has not begun: such a request is `whole`.
            Read::Over(error) => {
                self.complete = true;
                self.handler = None;
                let answer = self.slot.lock().rejection(&error, usize::MAX);
                self.answer(&answer);
            }
        }
        None
    }

    /// Sends what the handler wrote; `false` when the answer is complete.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut x = self.slot.lock();
        if x.is_over() {
            return false;
        }
        if x.send().head() == HeadState::Ready {
            let end = x.send().ends_with_head();
            let Ok(head) = fields::response(x.send()) else {
                drop(x);
                return self.unsendable();
            };
            let Ok(stream) = self.respond.send_response(head, end) else { return true };
            x.send_mut().head_sent(end);
            self.sending = Some(Sending::new(stream, end));
        }
        let Some(sending) = &mut self.sending else { return true };
        let Ok(writer) = sending.poll(&mut x, cx) else {
            drop(x);
            return self.unsendable();
        };
        let over = sending.ended;
        drop(x);
        writer.wake();
        if over {
            // `h2` resets what is left of the request with NO_ERROR when the stream is dropped.
            let wakers = self.slot.lock().complete();
            wake(wakers);
        }
        !over
    }

    fn unsendable(&mut self) -> bool {
        let text = "the response has a field that cannot be sent";
        let error = Error::local(Kind::Limit, Code::ResourceExhausted, text);
        self.end(error, Some(h2::Reason::INTERNAL_ERROR))
    }

    /// The deadline has passed: the handler is dropped and the caller is told.
    fn expire(&mut self) {
        self.deadline = None;
        self.abort();
        let status = Status::new(Code::DeadlineExceeded, "the deadline passed on the server");
        let error = deadline(Processed::Maybe);
        match &mut self.sending {
            None => {
                self.answer(&response::trailers_only(&status, usize::MAX));
                let head = fields::response(self.slot.lock().send());
                if let Ok(head) = head {
                    drop(self.respond.send_response(head, true));
                }
                self.end(error, None);
            }
            Some(sending) if sending.bytes() == 0 => {
                let mut fields = Fields::new();
                status.to_trailers(&mut fields, usize::MAX);
                if let Ok(fields) = fields::map(&fields) {
                    drop(sending.stream().send_trailers(fields));
                }
                self.end(error, None);
            }
            // What waits for a window never leaves, and the trailers behind it.
            Some(_) => {
                self.end(error, Some(h2::Reason::CANCEL));
            }
        }
    }
}
