//! Method to handler. It sees a request before any gRPC check, so that plain HTTP/2 handlers stand
//! beside the methods.

use crate::call::messages::MessageLimits;
use crate::connection::dispatch::{Dispatch, Handler, Plan};
use crate::grpc::{Code, Decode, Encode, Method, Response, Status, request};
use crate::http2::{Fields, Head};
use crate::server::context::{Context, Interceptor};
use crate::server::grpc::{Shape, refusing};
use crate::server::plain::{HttpReply, HttpRequest, plain};
use crate::server::streaming::{Replies, Requests};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

/// Which handler serves which path.
#[derive(Default, Clone)]
pub struct Router {
    methods: HashMap<Vec<u8>, Entry>,
    plain: Vec<(Vec<u8>, Arc<dyn Handler>)>,
    interceptors: Vec<Interceptor>,
    limits: MessageLimits,
    spawn_always: bool,
}

#[derive(Clone)]
struct Entry {
    make: Arc<dyn Fn(Shape) -> Arc<dyn Handler> + Send + Sync>,
    handler: Option<Arc<dyn Handler>>,
    whole: bool,
}

impl Router {
    /// Serves nothing: every method is UNIMPLEMENTED, every other path is 404.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One request, one response.
    #[must_use]
    pub fn unary<Req, Res, F, Fut>(self, method: &Method<Req, Res>, f: F) -> Self
    where
        Req: Decode + Send + 'static,
        Res: Encode + Send + 'static,
        F: Fn(Context, Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<Res>, Status>> + Send + 'static,
    {
        let f = Arc::new(f);
        self.add(method.path().as_str(), true, move |shape| {
            super::grpc::unary(Arc::clone(&f), shape)
        })
    }

    /// One request, many responses.
    #[must_use]
    pub fn server_streaming<Req, Res, F, Fut>(self, method: &Method<Req, Res>, f: F) -> Self
    where
        Req: Decode + Send + 'static,
        Res: Encode + Send + 'static,
        F: Fn(Context, Req, Replies<Res>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let f = Arc::new(f);
        self.add(method.path().as_str(), true, move |shape| {
            super::grpc::server_streaming(Arc::clone(&f), shape)
        })
    }

    /// Many requests, one response.
    #[must_use]
    pub fn client_streaming<Req, Res, F, Fut>(self, method: &Method<Req, Res>, f: F) -> Self
    where
        Req: Decode + Send + 'static,
        Res: Encode + Send + 'static,
        F: Fn(Context, Requests<Req>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<Res>, Status>> + Send + 'static,
    {
        let f = Arc::new(f);
        self.add(method.path().as_str(), false, move |shape| {
            super::grpc::client_streaming(Arc::clone(&f), shape)
        })
    }

    /// Many requests, many responses, in any order.
    #[must_use]
    pub fn bidi<Req, Res, F, Fut>(self, method: &Method<Req, Res>, f: F) -> Self
    where
        Req: Decode + Send + 'static,
        Res: Encode + Send + 'static,
        F: Fn(Context, Requests<Req>, Replies<Res>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let f = Arc::new(f);
        self.add(method.path().as_str(), false, move |shape| {
            super::grpc::bidi(Arc::clone(&f), shape)
        })
    }

    /// Plain HTTP/2: requests whose path begins with `prefix` and is no method. The longest
    /// prefix wins. The handler begins when the whole body has arrived; a body larger than
    /// [`Router::max_http_body`] is answered with 413.
    #[must_use]
    pub fn http<F, Fut>(mut self, prefix: &str, f: F) -> Self
    where
        F: Fn(HttpRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = HttpReply> + Send + 'static,
    {
        self.plain.push((prefix.as_bytes().to_vec(), plain(f)));
        self.plain.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        self
    }

    /// Shows every gRPC call to `f` before its handler.
    #[must_use]
    pub fn intercept(
        mut self,
        f: impl Fn(&Context) -> Result<(), Status> + Send + Sync + 'static,
    ) -> Self {
        self.interceptors.push(Arc::new(f));
        self
    }

    /// The largest message received, in bytes, inflated. Default 4 MiB.
    #[must_use]
    pub const fn max_receive_message(mut self, bytes: usize) -> Self {
        self.limits.receive = bytes;
        self
    }

    /// Sets the largest body of a request to a plain handler, in bytes. Default: the limit of
    /// [`Router::max_receive_message`]. A larger one is answered with 413, and no more of it is read.
    #[must_use]
    pub const fn max_http_body(mut self, bytes: usize) -> Self {
        self.limits.http_body = Some(bytes);
        self
    }

    /// The largest message sent, in bytes. Default 2 GiB − 1.
    #[must_use]
    pub const fn max_send_message(mut self, bytes: usize) -> Self {
        self.limits.send = bytes;
        self
    }

    /// Runs every handler in a task of its own, even one that has earned to be polled in place.
    #[must_use]
    pub const fn spawn_always(mut self, always: bool) -> Self {
        self.spawn_always = always;
        self
    }

    fn add(
        mut self,
        path: &str,
        whole: bool,
        make: impl Fn(Shape) -> Arc<dyn Handler> + Send + Sync + 'static,
    ) -> Self {
        let entry = Entry { make: Arc::new(make), handler: None, whole };
        self.methods.insert(path.as_bytes().to_vec(), entry);
        self
    }

    /// Every handler gets the router's limits and interceptors.
    pub(super) fn settle(mut self) -> Routes {
        let shape = Shape {
            limits: self.limits,
            interceptors: Arc::from(self.interceptors.clone()),
            in_place: !self.spawn_always,
        };
        for entry in self.methods.values_mut() {
            entry.handler = Some((entry.make)(shape.clone()));
        }
        Routes(self)
    }

    fn find_plain(&self, path: &[u8]) -> Option<&Arc<dyn Handler>> {
        self.plain.iter().find(|(prefix, _)| path.starts_with(prefix)).map(|(_, h)| h)
    }
}

/// A router at work: it serves connections.
pub(super) struct Routes(Router);

impl Dispatch for Routes {
    fn plan(&self, head: &Head) -> Plan {
        self.0.plan(head)
    }
}

impl Router {
    fn plan(&self, head: &Head) -> Plan {
        let entry = self.methods.get(head.path());
        let plan = |handler: Arc<dyn Handler>, whole| Plan {
            handler,
            whole,
            grpc: true,
            message_max: self.limits.receive,
            timeout: None,
        };
        let Some((entry, handler)) = entry.and_then(|e| Some((e, e.handler.clone()?))) else {
            if let Some(handler) = self.find_plain(head.path()) {
                let max = self.limits.http_body_max();
                if head.content_length().is_some_and(|bytes| bytes > max as u64) {
                    return plan(refusing(alone("413")), false);
                }
                let plan = plan(Arc::clone(handler), true);
                return Plan { grpc: false, message_max: max, ..plan };
            }
            return plan(refusing(unknown(head)), false);
        };
        match request::check(head) {
            Ok(received) => {
                let mut plan = plan(handler, entry.whole);
                plan.timeout = received.timeout;
                plan
            }
            Err(answer) => plan(refusing(answer), false),
        }
    }
}

/// The answer for a path that nobody serves.
fn unknown(head: &Head) -> Fields {
    match request::check(head) {
        Ok(_) => {
            // A query may hold a secret, and the status ends up in logs.
            let path = head.path().split(|byte| *byte == b'?').next().unwrap_or_default();
            let path = path.escape_ascii();
            request::refuse(Code::Unimplemented, format!("no method {path} on this server"))
        }
        Err(answer) if head.method() == b"POST" => answer,
        Err(_) => alone("404"),
    }
}

fn alone(status: &str) -> Fields {
    let mut fields = Fields::new();
    fields.push(":status", status);
    fields
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut methods: Vec<_> =
            self.methods.keys().map(|path| String::from_utf8_lossy(path)).collect();
        methods.sort();
        f.debug_struct("Router").field("methods", &methods).finish_non_exhaustive()
    }
}
