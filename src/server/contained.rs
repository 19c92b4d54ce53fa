//! Contains the panics of user code: a panic ends its call and nothing else.
//!
//! All user code of a call runs in [`Serving`] or in [`Contained`]: interceptors, codecs, the
//! handler, its future, and the drops of their values. Panics are caught here and not by the driver,
//! because other engines call handlers as well.

use crate::call::served::ServerCall;
use crate::connection::dispatch::{Cost, Handler, HandlerFuture};
use crate::grpc::shown;
use crate::rt::contain::{Panicked, contain};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Ends a call whose handler panicked. Does nothing if the response is complete.
pub(super) type OnPanic = fn(&ServerCall);

/// A handler: `begin` creates its future, and `then` sends a response from the future's output. Both, and
/// the drops of what they return, are user code: they run in [`Contained`].
pub(super) struct Serving<B, T> {
    parts: Arc<Parts<B, T>>,
    cost: Option<Cost>,
}

struct Parts<B, T> {
    begin: B,
    then: T,
    on_panic: OnPanic,
}

impl<B, T> Serving<B, T> {
    /// Creates a handler. `begin` returns `None` if it has sent the response itself.
    pub(super) fn new<F>(begin: B, then: T, on_panic: OnPanic) -> Self
    where
        B: Fn(&ServerCall) -> Option<F>,
        F: Future,
        T: Fn(&ServerCall, F::Output),
    {
        Self { parts: Arc::new(Parts { begin, then, on_panic }), cost: None }
    }

    /// Lets the connection's task poll the handler while its cost is low.
    pub(super) fn with_cost(mut self, cost: Option<Cost>) -> Self {
        self.cost = cost;
        self
    }
}

impl<B, F, T> Handler for Serving<B, T>
where
    B: Fn(&ServerCall) -> Option<F> + Send + Sync + 'static,
    F: Future + Send + 'static,
    T: Fn(&ServerCall, F::Output) + Send + Sync + 'static,
{
    fn call(&self, call: ServerCall) -> HandlerFuture {
        Box::pin(Contained { call, future: None, begun: false, parts: Arc::clone(&self.parts) })
    }

    fn cost(&self) -> Option<&Cost> {
        self.cost.as_ref()
    }
}

pin_project_lite::pin_project! {
    /// The future of a handler. It owns the call: if the handler panics, unwinding does not drop the call
    /// and reset the stream before the response is written.
    struct Contained<B, F, T> {
        call: ServerCall,
        #[pin]
        future: Option<F>,
        begun: bool,
        parts: Arc<Parts<B, T>>,
    }

    impl<B, F, T> PinnedDrop for Contained<B, F, T> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // The future is dropped before it was ready.
            if this.future.is_some() && contain(|| this.future.set(None)).is_err() {
                log(this.call);
            }
        }
    }
}

impl<B, F, T> Future for Contained<B, F, T>
where
    B: Fn(&ServerCall) -> Option<F>,
    F: Future,
    T: Fn(&ServerCall, F::Output),
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let poll = contain(|| {
            if !*this.begun {
                *this.begun = true;
                this.future.set((this.parts.begin)(this.call));
            }
            let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Ready(()) };
            let outcome = ready!(future.poll(cx));
            // Drop the future before the response: a panic in its drop still ends the call with INTERNAL.
            this.future.set(None);
            (this.parts.then)(this.call, outcome);
            Poll::Ready(())
        });
        poll.unwrap_or_else(|Panicked| {
            let _ = contain(|| this.future.set(None));
            end_after_panic(this.call, this.parts.on_panic);
            Poll::Ready(())
        })
    }
}

#[cold]
fn end_after_panic(call: &ServerCall, on_panic: OnPanic) {
    log(call);
    on_panic(call);
}

fn log(call: &ServerCall) {
    let path = call.with_head(|head| shown::path(head.path()));
    crate::rt::log!(
        error,
        path,
        "a handler, an interceptor or a codec panicked; its call ends with INTERNAL (500 for plain HTTP)"
    );
}

#[cfg(test)]
mod tests {
    use crate::call::state::SharedCall;
    use crate::rt;
    use crate::server::contained::*;
    use std::task::Waker;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any("on purpose");
        }
    }

    /// An engine may drop a handler on the connection's task.
    #[test]
    fn a_drop_before_the_end_is_contained() {
        let begin = |_: &ServerCall| {
            let bomb = Bomb;
            Some(async move {
                std::future::pending::<()>().await;
                drop(bomb);
            })
        };
        let serving = Serving::new(begin, |_, ()| {}, |_| {});
        let mut future = serving.call(ServerCall::new(SharedCall::new(rt::now())));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(future.as_mut().poll(&mut cx).is_pending());
        drop(future);
    }
}
