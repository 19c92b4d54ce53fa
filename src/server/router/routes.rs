//! A router at work: the plan of each request.

use super::Router;
use crate::connection::check::Findings;
use crate::connection::cost::Execution;
use crate::connection::dispatch::{Dispatch, Handler, Plan};
use crate::grpc::{Code, request, shown};
use crate::http2::{Fields, Head};
use crate::rt::contain::contain;
use crate::server::grpc::{Shape, refusing};
use std::sync::Arc;

impl Router {
    /// Notes what is wrong with the router.
    pub(in crate::server) fn look_through(&self, found: &mut Findings) {
        for path in &self.twice {
            found.error(
                format!("{path} has more than one handler"),
                "only one of them would be called",
                "one handler for each method and each prefix",
            );
        }
        for path in self.executions.keys() {
            if !self.methods.contains_key(path.as_bytes()) {
                found.warn(
                    format!("Router::execution is set for {path}, which has no handler"),
                    "it has no effect",
                    "the method that the handler was added for",
                );
            }
        }
    }

    // Every handler gets the router's limits and interceptors.
    pub(in crate::server) fn settle(mut self) -> Routes {
        let shape = Shape {
            limits: self.limits,
            interceptors: Arc::from(self.interceptors.clone()),
            execution: self.spawn_always.then_some(Execution::Spawned),
        };
        for (path, entry) in &mut self.methods {
            let declared = str::from_utf8(path).ok().and_then(|path| self.executions.get(path));
            let execution = declared.copied().or(shape.execution);
            entry.handler = Some((entry.make)(Shape { execution, ..shape.clone() }));
        }
        #[cfg(feature = "tower")]
        self.services.settle(self.spawn_always);
        Routes(self)
    }

    fn find_plain(&self, path: &[u8]) -> Option<&(Vec<u8>, Arc<dyn Handler>)> {
        self.plain.iter().find(|(prefix, _)| path.starts_with(prefix))
    }
}

/// A router at work: it serves connections.
pub(in crate::server) struct Routes(Router);

impl Drop for Routes {
    /// Drops the user's closures one by one: what they hold may panic, and two panics at a time would end the
    /// process.
    fn drop(&mut self) {
        let Router { methods, plain, interceptors, .. } = &mut self.0;
        let mut panicked = false;
        methods.drain().for_each(|(_, entry)| {
            panicked |= drop_panics(entry.make);
            panicked |= drop_panics(entry.handler);
        });
        plain.drain(..).for_each(|(_, handler)| panicked |= drop_panics(handler));
        interceptors.drain(..).for_each(|interceptor| panicked |= drop_panics(interceptor));
        #[cfg(feature = "tower")]
        let panicked = panicked | self.0.services.drop_panics();
        if panicked {
            crate::rt::log!(
                error,
                "a handler or interceptor of a server panicked when it was dropped"
            );
        }
    }
}

/// Drops a value; returns whether that panicked.
pub(super) fn drop_panics<T>(value: T) -> bool {
    contain(|| drop(value)).is_err()
}

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
            encoding: None,
            timeout: None,
        };
        let Some((entry, handler)) = entry.and_then(|e| Some((e, e.handler.clone()?))) else {
            // A gRPC client reads no page of a plain handler: it gets a status.
            let grpc = request::is_grpc(head);
            let found = self.find_plain(head.path()).filter(|_| !grpc);
            #[cfg(feature = "tower")]
            if let Some(plan) = self.services.plan(head, found.map(|(prefix, _)| prefix.len())) {
                return plan;
            }
            if let Some((_, handler)) = found {
                let max = self.limits.http_body_max();
                if head.content_length().is_some_and(|bytes| bytes > max as u64) {
                    return plan(refusing(request::http_only("413")), false);
                }
                let plan = plan(Arc::clone(handler), true);
                return Plan { grpc: false, message_max: max, ..plan };
            }
            return plan(refusing(unknown(head, grpc)), false);
        };
        match request::check(head) {
            Ok(received) => {
                let mut plan = plan(handler, entry.whole);
                plan.timeout = received.timeout;
                plan.encoding = Some(received.encoding);
                plan
            }
            Err(answer) => plan(refusing(answer), false),
        }
    }
}

/// Returns the response for a path without a handler.
fn unknown(head: &Head, grpc: bool) -> Fields {
    match request::check(head) {
        Ok(_) => {
            let path = shown::path(head.path());
            let query = head.path().iter().any(|byte| matches!(byte, b'?' | b'#'));
            let with = if query { " with a query, which methods do not have" } else { "" };
            let text = format!("this server has no method {path}{with}");
            request::refuse(Code::Unimplemented, text)
        }
        Err(answer) if grpc || head.method() == b"POST" => answer,
        Err(_) => request::http_only("404"),
    }
}

#[cfg(test)]
mod tests {
    use crate::connection::cost::Execution;
    use crate::grpc::{Method, Raw, Response};
    use crate::server::{BuildError, HttpReply, Router, Server, Severity};

    const ECHO: Method<Raw, Raw> = Method::new("/test.Echo/Echo");

    fn echo(router: Router) -> Router {
        router.unary(&ECHO, |_, request| async move { Ok(Response::new(request)) })
    }

    #[test]
    fn two_handlers_for_one_thing_are_an_error() {
        let http = |router: Router| router.http("/", |_| async { HttpReply::new(204) });
        let once = http(echo(Router::new()));
        assert_eq!(Server::builder(once.clone()).findings(), []);
        for (router, what) in [
            (echo(once.clone()), "/test.Echo/Echo has more than one handler"),
            (http(once), "/ (plain HTTP) has more than one handler"),
        ] {
            let (_, listener) = crate::transport::memory::listener(1024);
            let Err(BuildError::Options(found)) = Server::builder(router).serve(listener) else {
                panic!("{what} is accepted")
            };
            assert_eq!((found.len(), found[0].what.as_str()), (1, what));
        }
    }

    struct Bomb;

    impl Bomb {
        fn tick(&self) {}
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any("on purpose");
        }
    }

    /// Without containment, the second panic ends the process.
    #[test]
    fn handlers_that_panic_when_they_are_dropped_are_contained() {
        let bombs = [(); 6].map(|()| Bomb);
        let [a, b, c, d, e, f] = bombs;
        let router = Router::new()
            .intercept(move |_| {
                a.tick();
                Ok(())
            })
            .intercept(move |_| {
                b.tick();
                Ok(())
            })
            .unary(&ECHO, move |_, request: Raw| {
                c.tick();
                async move { Ok(Response::new(request)) }
            })
            .unary(&Method::new("/test.Echo/Other"), move |_, request: Raw| {
                d.tick();
                async move { Ok(Response::new(request)) }
            })
            .http("/a", move |_| {
                e.tick();
                async { HttpReply::new(204) }
            })
            .http("/b", move |_| {
                f.tick();
                async { HttpReply::new(204) }
            });
        drop(router.settle());
    }

    #[test]
    fn an_execution_without_a_handler_is_a_warning() {
        let router = Router::new().execution(&ECHO, Execution::Inline);
        let found = Server::builder(router.clone()).findings();
        assert_eq!((found.len(), found[0].severity), (1, Severity::Warning));
        assert_eq!(Server::builder(echo(router)).findings(), []);
    }
}
