//! Contains panics of user code, so that one call ends and its connection goes on.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// User code panicked. The panic hook has seen the payload; nobody else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

/// Runs user code. `f` must not leave shared state half changed where it may panic.
///
/// # Errors
/// `f` panicked.
pub fn contain<R>(f: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(f)).map_err(discard)
}

/// Runs a future of user code, as [`contain`] runs a function. A future that panicked is not polled
/// again.
///
/// # Errors
/// A poll panicked.
pub fn contain_future<F: Future>(future: F) -> ContainedFuture<F> {
    ContainedFuture { future: Some(future) }
}

pin_project_lite::pin_project! {
    /// The future of [`contain_future`]. The drop of the user's future is contained, too.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are polled"]
    pub struct ContainedFuture<F> {
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for ContainedFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let _ = contain(|| this.project().future.set(None));
        }
    }
}

impl<F: Future> Future for ContainedFuture<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = self.project().future;
        let poll = contain(|| match future.as_mut().as_pin_mut() {
            Some(future) => future.poll(cx).map(Ok),
            None => Poll::Ready(Err(Panicked)),
        });
        poll.unwrap_or_else(|Panicked| {
            let _ = contain(|| future.set(None));
            Poll::Ready(Err(Panicked))
        })
    }
}

#[cold]
fn discard(payload: Box<dyn Any + Send>) -> Panicked {
    // The drop of a payload is user code, too. A payload of that panic is leaked: its drop could
    // panic again.
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(another);
    }
    Panicked
}

#[cfg(test)]
mod tests {
    use crate::rt::contain::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Self);
        }
    }

    #[test]
    fn a_payload_that_panics_in_its_drop_is_contained() {
        assert_eq!(contain(|| std::panic::panic_any(Bomb)), Err::<(), _>(Panicked));
        assert_eq!(contain(|| 7), Ok(7));
    }

    #[tokio::test]
    async fn a_future_that_panics_is_contained() {
        let late = async {
            tokio::task::yield_now().await;
            std::panic::panic_any(Bomb);
        };
        assert_eq!(contain_future(late).await, Err::<(), _>(Panicked));
        assert_eq!(contain_future(async { 7 }).await, Ok(7));
    }

    struct Late;

    impl Drop for Late {
        fn drop(&mut self) {
            std::panic::panic_any("on purpose");
        }
    }

    #[test]
    fn a_future_whose_drop_panics_is_contained() {
        let bomb = Late;
        let waits = contain_future(async move {
            std::future::pending::<()>().await;
            drop(bomb);
        });
        let mut waits = Box::pin(waits);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(waits.as_mut().poll(&mut cx).is_pending());
        drop(waits);
    }
}
