//! The four kinds of gRPC handlers. A panic is contained: the caller is told INTERNAL.

use super::context::Context;
use super::router::Interceptor;
use super::streaming::{Replies, Requests};
use crate::grpc::codec::{self, Decode, Encode};
use crate::grpc::{Code, Encoding, Response, Status, message, request, response};
use crate::http2::{Fields, Head, Template};
use crate::net::dispatch::{Cost, Handler, HandlerFuture};
use crate::net::exchange::{ServerCall, Writer};
use crate::net::messages::MessageLimits;
use crate::net::slot::{OutEnd, Outgoing};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context as Task, Poll};

/// What every handler of a router shares.
#[derive(Clone)]
pub(super) struct Shape {
    pub(super) limits: MessageLimits,
    pub(super) interceptors: Arc<[Interceptor]>,
    pub(super) in_place: bool,
}

static HEAD: LazyLock<Arc<Template>> =
    LazyLock::new(|| Arc::new(Template::new(response::head(Encoding::Identity))));
static GZIP_HEAD: LazyLock<Arc<Template>> =
    LazyLock::new(|| Arc::new(Template::new(response::head(Encoding::Gzip))));
static OK: LazyLock<Arc<Template>> =
    LazyLock::new(|| Arc::new(Template::new(response::ok_trailers())));

pub(super) fn head_template(encoding: Encoding) -> Arc<Template> {
    match encoding {
        Encoding::Identity => Arc::clone(&HEAD),
        Encoding::Gzip => Arc::clone(&GZIP_HEAD),
    }
}

/// A handler as a function from its call to its future.
struct FnHandler<F> {
    f: F,
    cost: Option<Cost>,
}

impl<F> Handler for FnHandler<F>
where
    F: Fn(ServerCall) -> HandlerFuture + Send + Sync + 'static,
{
    fn call(&self, call: ServerCall) -> HandlerFuture {
        (self.f)(call)
    }

    fn cost(&self) -> Option<&Cost> {
        self.cost.as_ref()
    }
}

/// Answers a request that no handler sees.
pub(super) fn refusing(answer: Fields) -> Arc<dyn Handler> {
    let f = move |call: ServerCall| -> HandlerFuture {
        let _ = call.writer().head_alone(&answer);
        Box::pin(std::future::ready(()))
    };
    Arc::new(FnHandler { f, cost: None })
}

pub(super) fn unary<Req, Res, F, Fut>(f: Arc<F>, shape: Shape) -> Arc<dyn Handler>
where
    Req: Decode + Send + 'static,
    Res: Encode + Send + 'static,
    F: Fn(Context, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Res>, Status>> + Send + 'static,
{
    let cost = shape.in_place.then(Cost::new);
    let run = move |call: ServerCall| -> HandlerFuture {
        let mut context = Context::new(Arc::clone(call.writer().slot()));
        let request = whole::<Req>(&call, &mut context, &shape);
        let limits = shape.limits;
        match request {
            Ok(request) => {
                // A handler may panic before its future exists.
                let future = catch_unwind(AssertUnwindSafe(|| f(context, request)));
                let Ok(future) = future else {
                    fail(&call.writer(), &panicked());
                    return Box::pin(std::future::ready(()));
                };
                Contained::pinned(call, future, move |call, outcome| answer(call, outcome, limits))
            }
            Err(status) => {
                fail(&call.writer(), &status);
                Box::pin(std::future::ready(()))
            }
        }
    };
    Arc::new(FnHandler { f: run, cost })
}

pub(super) fn server_streaming<Req, Res, F, Fut>(f: Arc<F>, shape: Shape) -> Arc<dyn Handler>
where
    Req: Decode + Send + 'static,
    Res: Encode + Send + 'static,
    F: Fn(Context, Req, Replies<Res>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Status>> + Send + 'static,
{
    let run = move |call: ServerCall| -> HandlerFuture {
        let mut context = Context::new(Arc::clone(call.writer().slot()));
        let request = whole::<Req>(&call, &mut context, &shape);
        let replies = Replies::new(call.writer(), encoding(&call), shape.limits.send);
        let f = Arc::clone(&f);
        let handler = async move { f(context, request?, replies).await };
        Contained::pinned(call, handler, |call, outcome| finish(&call.writer(), outcome))
    };
    Arc::new(FnHandler { f: run, cost: None })
}

pub(super) fn client_streaming<Req, Res, F, Fut>(f: Arc<F>, shape: Shape) -> Arc<dyn Handler>
where
    Req: Decode + Send + 'static,
    Res: Encode + Send + 'static,
    F: Fn(Context, Requests<Req>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Res>, Status>> + Send + 'static,
{
    let run = move |call: ServerCall| -> HandlerFuture {
        let context = Context::new(Arc::clone(call.writer().slot()));
        let (f, shape) = (Arc::clone(&f), shape.clone());
        let limits = shape.limits;
        let requests = requests(&call, limits.receive);
        let handler = async move {
            intercept(&context, &shape)?;
            f(context, requests).await
        };
        Contained::pinned(call, handler, move |call, outcome| answer(call, outcome, limits))
    };
    Arc::new(FnHandler { f: run, cost: None })
}

pub(super) fn bidi<Req, Res, F, Fut>(f: Arc<F>, shape: Shape) -> Arc<dyn Handler>
where
    Req: Decode + Send + 'static,
    Res: Encode + Send + 'static,
    F: Fn(Context, Requests<Req>, Replies<Res>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Status>> + Send + 'static,
{
    let run = move |call: ServerCall| -> HandlerFuture {
        let context = Context::new(Arc::clone(call.writer().slot()));
        let (f, shape) = (Arc::clone(&f), shape.clone());
        let requests = requests(&call, shape.limits.receive);
        let replies = Replies::new(call.writer(), encoding(&call), shape.limits.send);
        let handler = async move {
            intercept(&context, &shape)?;
            f(context, requests, replies).await
        };
        Contained::pinned(call, handler, |call, outcome| finish(&call.writer(), outcome))
    };
    Arc::new(FnHandler { f: run, cost: None })
}

fn intercept(context: &Context, shape: &Shape) -> Result<(), Status> {
    shape.interceptors.iter().try_for_each(|interceptor| interceptor(context))
}

fn requests<Req: Decode>(call: &ServerCall, max: usize) -> Requests<Req> {
    let incoming = call.with_head(|head| request::check(head).map(|r| r.encoding));
    Requests::new(call.reader(), incoming.unwrap_or_default(), max)
}

/// Answers are compressed as the request was, if the caller understands that.
fn encoding(call: &ServerCall) -> Encoding {
    call.with_head(|head| {
        let asked = head.fields().get("grpc-encoding").and_then(Encoding::parse);
        let accepted = head.fields().get("grpc-accept-encoding").unwrap_or_default();
        asked.filter(|encoding| encoding.is_in(accepted)).unwrap_or_default()
    })
}

/// Whether the caller understands an encoding.
pub(super) fn accepts(head: &Head, encoding: Encoding) -> bool {
    let accepted = head.fields().get("grpc-accept-encoding").unwrap_or_default();
    encoding == Encoding::Identity || encoding.is_in(accepted)
}

/// The one message of a request that has come as a whole.
fn whole<M: Decode>(call: &ServerCall, context: &mut Context, shape: &Shape) -> Result<M, Status> {
    intercept(context, shape)?;
    let max = shape.limits.receive;
    call.with_whole(|inc| {
        let encoding = inc.head.fields().get("grpc-encoding").and_then(Encoding::parse);
        let Some((compressed, range)) = message::parse_one(&inc.body, max) else {
            return Err(not_one(&inc.body, max));
        };
        let encoding = encoding.unwrap_or_default();
        if compressed {
            context.encoding = encoding;
        }
        codec::decode_whole(&mut inc.body, range, compressed, encoding, max)
    })
}

fn not_one(body: &[u8], max: usize) -> Status {
    let (none, many) =
        ("the request carries no message", "the request carries more than one message");
    message::not_one(body, max, none, many)
}

/// A response in one piece: head, message, trailers.
fn answer<Res: Encode>(
    call: &ServerCall,
    outcome: Result<Response<Res>, Status>,
    limits: MessageLimits,
) {
    let response = match outcome {
        Ok(response) => response,
        Err(status) => return fail(&call.writer(), &status),
    };
    let encoding = match response.encoding() {
        None => encoding(call),
        Some(wanted) if call.with_head(|head| accepts(head, wanted)) => wanted,
        Some(_) => Encoding::Identity,
    };
    let (message, metadata, trailers) = response.into_parts();
    let end =
        if trailers.is_empty() { OutEnd::Template(Arc::clone(&OK)) } else { OutEnd::Trailers };
    let write = |out: &mut Outgoing| -> Result<(), Status> {
        let large = codec::encode_message(&message, encoding, limits.send, out.tail())?;
        out.settle();
        if let Some(large) = large {
            out.chain(large);
        }
        metadata.append_to(&mut out.extra);
        if !trailers.is_empty() {
            out.trailers.push("grpc-status", "0");
            trailers.append_to(&mut out.trailers);
        }
        Ok(())
    };
    if let Ok(Err(status)) = call.answer(head_template(encoding), end, write) {
        fail(&call.writer(), &status);
    }
}

/// The end of a response whose messages were sent before.
fn finish(writer: &Writer, outcome: Result<(), Status>) {
    match outcome {
        Ok(()) => {
            if !writer.has_head() {
                let _ = writer.head(Some(head_template(Encoding::Identity)), &Fields::new());
            }
            if writer.slot().lock().out.trailers.is_empty() {
                let _ = writer.finish(OutEnd::Template(Arc::clone(&OK)), None);
            } else {
                let _ = writer.finish(OutEnd::Trailers, Some(&response::ok_trailers()));
            }
        }
        Err(status) => fail(writer, &status),
    }
}

/// A status as the answer: Trailers-Only when nothing was sent, else trailers.
fn fail(writer: &Writer, status: &Status) {
    // A peer that announces no limit gets what grpc-go and C-core accept at the least.
    const LIMIT: usize = 8 * 1024;
    let mut trailers = std::mem::take(&mut writer.slot().lock().out.trailers);
    if writer.has_head() {
        status.to_trailers(&mut trailers, LIMIT);
        let _ = writer.finish(OutEnd::Trailers, Some(&trailers));
    } else {
        let mut fields = response::trailers_only(status, LIMIT);
        fields.extend_from(&trailers);
        let _ = writer.head_alone(&fields);
    }
}

fn panicked() -> Status {
    Status::new(Code::Internal, "the handler panicked")
}

pin_project_lite::pin_project! {
    /// Runs a handler, then answers with its outcome; a panic ends its call and nothing else.
    ///
    /// It holds the call itself, so that a panic that unwinds the handler does not reset the
    /// stream before the answer is written.
    struct Contained<F, T> {
        call: ServerCall,
        #[pin]
        future: Option<F>,
        then: T,
    }
}

impl<F, T> Contained<F, T>
where
    F: Future + Send + 'static,
    T: Fn(&ServerCall, F::Output) + Send + 'static,
{
    fn pinned(call: ServerCall, future: F, then: T) -> HandlerFuture {
        Box::pin(Self { call, future: Some(future), then })
    }
}

impl<F: Future, T: Fn(&ServerCall, F::Output)> Future for Contained<F, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        let poll = catch_unwind(AssertUnwindSafe(|| {
            future.poll(cx).map(|outcome| (this.then)(this.call, outcome))
        }));
        if matches!(poll, Ok(Poll::Pending)) {
            return Poll::Pending;
        }
        if poll.is_err() {
            fail(&this.call.writer(), &panicked());
        }
        this.future.set(None);
        Poll::Ready(())
    }
}
