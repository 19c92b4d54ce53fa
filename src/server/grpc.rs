//! The four kinds of gRPC handlers. If user code panics, its call ends with INTERNAL.

use crate::call::messages::MessageLimits;
use crate::call::served::ServerCall;
use crate::call::state::{SendEnd, SendState};
use crate::call::writer::Writer;
use crate::connection::cost::Execution;
use crate::connection::dispatch::{Cost, Handler, HandlerFuture};
use crate::grpc::codec;
use crate::grpc::codec::{Decode, Encode, Inflate};
use crate::grpc::{Code, Encoding, Response, Status, message, response};
use crate::http2::{Fields, Template};
use crate::server::contained::Serving;
use crate::server::context::{Context, Interceptor};
use crate::server::head::{accepts, announced_encoding, head_template, usual_encoding};
use crate::server::streaming::{Replies, Requests};
use std::future::Future;
use std::sync::{Arc, LazyLock};

/// What all handlers of a router share.
#[derive(Clone)]
pub(super) struct Shape {
    pub(super) limits: MessageLimits,
    pub(super) interceptors: Arc<[Interceptor]>,
    /// Which task polls the handlers; `None` is the default of their kind.
    pub(super) execution: Option<Execution>,
}

impl Shape {
    fn cost(&self, default: Execution) -> Option<Cost> {
        match self.execution.unwrap_or(default) {
            Execution::Measured => Some(Cost::new()),
            Execution::Inline => Some(Cost::declared_fast()),
            Execution::Spawned => None,
        }
    }
}

static OK: LazyLock<Arc<Template>> =
    LazyLock::new(|| Arc::new(Template::new(response::ok_trailers())));

/// Sends the same response to every request.
struct Refusing(Fields);

impl Handler for Refusing {
    fn call(&self, call: ServerCall) -> HandlerFuture {
        let _ = call.writer().head_alone(&self.0);
        Box::pin(std::future::ready(()))
    }
}

/// Returns the handler of requests that the router refuses.
pub(super) fn refusing(answer: Fields) -> Arc<dyn Handler> {
    Arc::new(Refusing(answer))
}

pub(super) fn unary<Req, Res, F, Fut>(f: Arc<F>, shape: Shape) -> Arc<dyn Handler>
where
    Req: Decode + Send + 'static,
    Res: Encode + Send + 'static,
    F: Fn(Context, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Res>, Status>> + Send + 'static,
{
    let cost = shape.cost(Execution::Measured);
    let limits = shape.limits;
    let begin = move |call: &ServerCall| {
        let mut context = Context::new(Arc::clone(call.call()));
        match whole::<Req>(call, &mut context, &shape) {
            Ok(request) => Some(f(context, request)),
            Err(status) => {
                fail(&call.writer(), &status);
                None
            }
        }
    };
    let then = move |call: &ServerCall, outcome| answer(call, outcome, limits);
    Arc::new(Serving::new(begin, then, panicked).with_cost(cost))
}

pub(super) fn server_streaming<Req, Res, F, Fut>(f: Arc<F>, shape: Shape) -> Arc<dyn Handler>
where
    Req: Decode + Send + 'static,
    Res: Encode + Send + 'static,
    F: Fn(Context, Req, Replies<Res>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Status>> + Send + 'static,
{
    let cost = shape.cost(Execution::Spawned);
    let begin = move |call: &ServerCall| {
        let mut context = Context::new(Arc::clone(call.call()));
        let request = whole::<Req>(call, &mut context, &shape);
        let replies = Replies::new(call.writer(), encoding(call), shape.limits.send);
        let f = Arc::clone(&f);
        Some(async move { f(context, request?, replies).await })
    };
    Arc::new(Serving::new(begin, finish, panicked).with_cost(cost))
}

pub(super) fn client_streaming<Req, Res, F, Fut>(f: Arc<F>, shape: Shape) -> Arc<dyn Handler>
where
    Req: Decode + Send + 'static,
    Res: Encode + Send + 'static,
    F: Fn(Context, Requests<Req>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Res>, Status>> + Send + 'static,
{
    let cost = shape.cost(Execution::Spawned);
    let limits = shape.limits;
    let begin = move |call: &ServerCall| {
        let context = Context::new(Arc::clone(call.call()));
        let (f, shape) = (Arc::clone(&f), shape.clone());
        let requests = requests(call, limits.receive);
        Some(async move {
            intercept(&context, &shape)?;
            f(context, requests).await
        })
    };
    let then = move |call: &ServerCall, outcome| answer(call, outcome, limits);
    Arc::new(Serving::new(begin, then, panicked).with_cost(cost))
}

pub(super) fn bidi<Req, Res, F, Fut>(f: Arc<F>, shape: Shape) -> Arc<dyn Handler>
where
    Req: Decode + Send + 'static,
    Res: Encode + Send + 'static,
    F: Fn(Context, Requests<Req>, Replies<Res>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Status>> + Send + 'static,
{
    let cost = shape.cost(Execution::Spawned);
    let begin = move |call: &ServerCall| {
        let context = Context::new(Arc::clone(call.call()));
        let (f, shape) = (Arc::clone(&f), shape.clone());
        let requests = requests(call, shape.limits.receive);
        let replies = Replies::new(call.writer(), encoding(call), shape.limits.send);
        Some(async move {
            intercept(&context, &shape)?;
            f(context, requests, replies).await
        })
    };
    Arc::new(Serving::new(begin, finish, panicked).with_cost(cost))
}

fn intercept(context: &Context, shape: &Shape) -> Result<(), Status> {
    shape.interceptors.iter().try_for_each(|interceptor| interceptor(context))
}

fn requests<Req: Decode>(call: &ServerCall, max: usize) -> Requests<Req> {
    Requests::new(call.reader(), call.with_whole(|request| announced_encoding(request)), max)
}

fn encoding(call: &ServerCall) -> Encoding {
    call.with_whole(|request| usual_encoding(request))
}

/// Decodes the only message of a request that has arrived as a whole. No user code runs under the lock.
fn whole<M: Decode>(call: &ServerCall, context: &mut Context, shape: &Shape) -> Result<M, Status> {
    intercept(context, shape)?;
    let max = shape.limits.receive;
    let mut body = call.with_whole(|inc| std::mem::take(inc.body_mut()));
    let Some((compressed, range)) = message::parse_one(&body, max) else {
        return Err(not_one(&body, max));
    };
    let decoded = if compressed {
        let encoding = call.with_whole(|request| announced_encoding(request));
        context.encoding = encoding;
        call.inflate(|grant| {
            let inflate = Inflate { encoding, max, grant };
            codec::decode_whole_within(&mut body, range, true, inflate)
        })
    } else {
        codec::decode_whole(&mut body, range, false, Encoding::Identity, max)
    };
    // The call state keeps the buffer for the next call. Its bytes were read.
    body.clear();
    call.with_whole(|inc| *inc.body_mut() = body);
    decoded
}

fn not_one(body: &[u8], max: usize) -> Status {
    let (none, many) =
        ("the request carries no message", "the request carries more than one message");
    message::not_one(body, max, none, many)
}

/// Sends a whole response: head, message, trailers.
fn answer<Res: Encode>(
    call: &ServerCall,
    outcome: Result<Response<Res>, Status>,
    limits: MessageLimits,
) {
    let response = match outcome {
        Ok(response) => response,
        Err(status) => return fail(&call.writer(), &status),
    };
    let wanted = response.encoding();
    let (encoding, mut body) = call.lend_body(|request| match wanted {
        None => usual_encoding(request),
        Some(wanted) if accepts(request.head(), wanted) => wanted,
        Some(_) => Encoding::Identity,
    });
    let (message, metadata, trailers) = response.into_parts();
    let large = match codec::encode_message(&message, encoding, limits.send, &mut body) {
        Ok(large) => large,
        Err(status) => return fail(&call.writer(), &status),
    };
    // The drop is user code. If it panics, nothing was sent yet, and the call ends with INTERNAL.
    drop(message);
    let end =
        if trailers.is_empty() { SendEnd::Template(Arc::clone(&OK)) } else { SendEnd::Trailers };
    let write = |out: &mut SendState| {
        *out.tail() = body;
        out.settle();
        if let Some(large) = large {
            out.chain(large);
        }
        metadata.append_to(out.extra_mut());
        if !trailers.is_empty() {
            let out = out.trailers_mut();
            out.push("grpc-status", "0");
            trailers.append_to(out);
        }
    };
    // An error means that the call has ended: nobody waits for the response.
    let _ = call.answer(head_template(encoding), end, write);
}

/// Ends a response whose messages were sent before.
fn finish(call: &ServerCall, outcome: Result<(), Status>) {
    let writer = &call.writer();
    match outcome {
        Ok(()) => {
            if !writer.has_head() {
                let _ = writer.head(Some(head_template(Encoding::Identity)), &Fields::new());
            }
            if writer.call().lock().send().trailers().is_empty() {
                let _ = writer.finish(SendEnd::Template(Arc::clone(&OK)), None);
            } else {
                let _ = writer.finish(SendEnd::Trailers, Some(&response::ok_trailers()));
            }
        }
        Err(status) => fail(writer, &status),
    }
}

/// Sends a status: Trailers-Only if nothing was sent yet, else trailers.
pub(super) fn fail(writer: &Writer, status: &Status) {
    let status = match status.is_ok() {
        false => status,
        // OK promises a whole answer, which there is not.
        true => &{
            crate::rt::log!(error, "a handler or codec returned an error whose code is OK");
            Status::new(Code::Internal, "the handler returned an error whose code is OK")
        },
    };
    // The connection knows the peer's limit, and shortens what is over it.
    let mut trailers = writer.call().lock().send_mut().take_trailers();
    if writer.has_head() {
        status.to_trailers(&mut trailers, usize::MAX);
        let _ = writer.finish(SendEnd::Trailers, Some(&trailers));
    } else {
        let mut fields = response::trailers_only(status, usize::MAX);
        fields.extend_from(&trailers);
        let _ = writer.head_alone(&fields);
    }
}

fn panicked(call: &ServerCall) {
    fail(&call.writer(), &Status::new(Code::Internal, "the handler panicked"));
}
