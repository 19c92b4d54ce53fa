//! Contains panics of user code, so that one call ends and its connection goes on.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

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
pub async fn contain_future<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|cx| match contain(|| future.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
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
}
