//! What every handler of the user runs in: a panic ends its call and nothing else.
//!
//! All user code of a call runs in [`Serving`] or in [`Contained`]: interceptors, codecs, the
//! handler, its future and the drop of what they made. They contain panics themselves, because an
//! engine that is not ours calls them, too.

use crate::call::served::ServerCall;
use crate::connection::dispatch::{Cost, Handler, HandlerFuture};
use crate::rt::contain::{Panicked, contain};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// How a call that panicked is answered. Nothing is done if its answer is complete.
pub(super) type Apology = fn(&ServerCall);

/// A handler: `begin` makes its future, `then` answers with what the future returns.
pub(super) struct Serving<B, T> {
    begin: B,
    then: T,
    apology: Apology,
    cost: Option<Cost>,
}

impl<B, T> Serving<B, T> {
    /// `begin` returns `None` if it has answered itself.
    pub(super) fn new<F>(begin: B, then: T, apology: Apology) -> Self
    where
        B: Fn(&ServerCall) -> Option<F>,
        F: Future,
        T: Fn(&ServerCall, F::Output),
    {
        Self { begin, then, apology, cost: None }
    }

    /// The handler may be polled on the connection's task.
    pub(super) fn with_cost(mut self, cost: Option<Cost>) -> Self {
        self.cost = cost;
        self
    }
}

impl<B, F, T> Handler for Serving<B, T>
where
    B: Fn(&ServerCall) -> Option<F> + Send + Sync + 'static,
    F: Future + Send + 'static,
    T: Fn(&ServerCall, F::Output) + Clone + Send + Sync + 'static,
{
    fn call(&self, call: ServerCall) -> HandlerFuture {
        match contain(|| (self.begin)(&call)) {
            Ok(Some(future)) => {
                let (then, apology) = (self.then.clone(), self.apology);
                return Box::pin(Contained { call, future: Some(future), then, apology });
            }
            Ok(None) => {}
            Err(Panicked) => apologise(&call, self.apology),
        }
        Box::pin(std::future::ready(()))
    }

    fn cost(&self) -> Option<&Cost> {
        self.cost.as_ref()
    }
}

pin_project_lite::pin_project! {
    /// A handler's future. It holds the call itself, so that a panic that unwinds the handler does
    /// not reset the stream before the answer is written.
    struct Contained<F, T> {
        call: ServerCall,
        #[pin]
        future: Option<F>,
        then: T,
        apology: Apology,
    }

    impl<F, T> PinnedDrop for Contained<F, T> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // It was given up before it was ready.
            if this.future.is_some() && contain(|| this.future.set(None)).is_err() {
                log(this.call);
            }
        }
    }
}

impl<F: Future, T: Fn(&ServerCall, F::Output)> Future for Contained<F, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let poll = contain(|| {
            let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Ready(()) };
            let outcome = ready!(future.poll(cx));
            // Its drop comes ahead of the answer, so that a panic there can still be told.
            this.future.set(None);
            (this.then)(this.call, outcome);
            Poll::Ready(())
        });
        poll.unwrap_or_else(|Panicked| {
            let _ = contain(|| this.future.set(None));
            apologise(this.call, *this.apology);
            Poll::Ready(())
        })
    }
}

#[cold]
fn apologise(call: &ServerCall, apology: Apology) {
    log(call);
    apology(call);
}

fn log(call: &ServerCall) {
    let path = call.with_head(|head| head.path().escape_ascii().to_string());
    tracing::error!(path, "a handler, an interceptor or a codec panicked: its call ends");
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
