//! Where tasks run.

use crate::rt::contain::contain;
use std::fmt;
use std::future::Future;
use tokio::runtime::Handle;

/// The runtime on which tasks are spawned: one that was named, or that of the thread that spawns.
#[derive(Clone, Debug, Default)]
pub struct Executor(Option<Handle>);

/// Why no task can be spawned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoRuntime {
    /// The thread is outside a tokio runtime.
    Missing,
    /// The runtime has no timer.
    NoTimer,
}

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "there is no tokio runtime on this thread",
            Self::NoTimer => {
                "the tokio runtime has no timer; build it with enable_time or enable_all"
            }
        })
    }
}

impl std::error::Error for NoRuntime {}

impl Executor {
    /// Spawns on the runtime of the thread that spawns.
    #[must_use]
    pub const fn current() -> Self {
        Self(None)
    }

    /// Spawns on this runtime, whatever thread asks.
    #[must_use]
    pub const fn of(runtime: Handle) -> Self {
        Self(Some(runtime))
    }

    /// Whether a runtime was named.
    #[must_use]
    pub const fn is_bound(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the runtime on which a task would run now.
    ///
    /// # Errors
    /// There is none, or it has no timer.
    pub fn runtime(&self) -> Result<Handle, NoRuntime> {
        let current = || Handle::try_current().map_err(|_| NoRuntime::Missing);
        let runtime = self.0.clone().map_or_else(current, Ok)?;
        let guard = runtime.enter();
        // tokio tells only by a panic that a runtime has no timer.
        let timer = contain(|| drop(tokio::time::sleep(std::time::Duration::ZERO)));
        drop(guard);
        timer.map(|()| runtime).map_err(|_| NoRuntime::NoTimer)
    }

    /// Starts a task. A runtime that has ended drops `future`.
    ///
    /// # Errors
    /// There is no runtime, or it has no timer: `future` was dropped.
    pub fn spawn<F>(&self, future: F) -> Result<(), NoRuntime>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime()?.spawn(future);
        Ok(())
    }
}

/// Runs a future in the context of `runtime`, whatever executor polls it: its timers are those of
/// `runtime`.
pub async fn within<F: Future>(runtime: Handle, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        let _guard = runtime.enter();
        future.as_mut().poll(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    use crate::rt::executor::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn tasks_run_where_they_are_bound() {
        let free = Executor::default();
        assert_eq!(free.spawn(async {}), Err(NoRuntime::Missing));
        let threads = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
        let bound = Executor::of(threads.handle().clone());
        let (tell, told) = mpsc::channel();
        let task = async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            tell.send(()).unwrap();
        };
        bound.spawn(task).unwrap();
        told.recv().unwrap();
        threads.block_on(async { free.spawn(async {}) }).unwrap();
        drop(threads);
        // A runtime that has ended takes tasks and drops them.
        assert_eq!(bound.spawn(async {}), Ok(()));
        let bare = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let without = Executor::of(bare.handle().clone());
        assert_eq!(without.spawn(async {}), Err(NoRuntime::NoTimer));
        assert_eq!(bare.block_on(async { free.spawn(async {}) }), Err(NoRuntime::NoTimer));
    }
}
