//! Where tasks run.

use crate::rt::contain::{Panicked, contain_future};
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
    /// The runtime that was named has ended.
    Ended,
}

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "there is no tokio runtime on this thread",
            Self::NoTimer => {
                "the tokio runtime has no timer; build it with enable_time or enable_all"
            }
            Self::Ended => "the tokio runtime has ended",
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
    /// There is none, it has no timer, or it has ended.
    pub fn runtime(&self) -> Result<Handle, NoRuntime> {
        let current = || Handle::try_current().map_err(|_| NoRuntime::Missing);
        let runtime = self.0.clone().map_or_else(current, Ok)?;
        if self.is_bound() {
            // A runtime that has ended takes tasks, and ends them at once.
            let probe = runtime.spawn(std::future::pending::<()>());
            let ended = probe.is_finished();
            probe.abort();
            if ended {
                return Err(NoRuntime::Ended);
            }
        }
        let guard = runtime.enter();
        let timer = crate::rt::timer(crate::rt::now());
        drop(guard);
        timer.map(|_| runtime).ok_or(NoRuntime::NoTimer)
    }

    /// Starts a task.
    ///
    /// # Errors
    /// There is no runtime, it has no timer, or it has ended: `future` was dropped.
    pub fn spawn<F>(&self, future: F) -> Result<(), NoRuntime>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime()?.spawn(future);
        Ok(())
    }
}

/// Runs a future with timers: those of the thread that polls it, or else those of `runtime`.
///
/// # Errors
/// The thread has no timer, and `runtime` ended meanwhile.
pub async fn with_timers<F: Future>(runtime: Handle, future: F) -> Result<F::Output, NoRuntime> {
    if Executor::current().runtime().is_ok() {
        return Ok(future.await);
    }
    let mut future = std::pin::pin!(future);
    let within = std::future::poll_fn(|cx| {
        let _guard = runtime.enter();
        future.as_mut().poll(cx)
    });
    contain_future(within).await.map_err(|Panicked| NoRuntime::Ended)
}

#[cfg(test)]
mod tests {
    use crate::rt::executor::*;
    use std::sync::mpsc;

    #[test]
    fn tasks_run_where_they_are_bound() {
        let free = Executor::default();
        assert_eq!(free.spawn(async {}), Err(NoRuntime::Missing));
        let threads = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
        let bound = Executor::of(threads.handle().clone());
        let (tell, told) = mpsc::channel();
        let task = async move {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            tell.send(()).unwrap();
        };
        bound.spawn(task).unwrap();
        told.recv().unwrap();
        threads.block_on(async { free.spawn(async {}) }).unwrap();
        drop(threads);
        assert_eq!(bound.spawn(async {}), Err(NoRuntime::Ended));
        let bare = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let without = Executor::of(bare.handle().clone());
        assert_eq!(without.spawn(async {}), Err(NoRuntime::NoTimer));
        assert_eq!(bare.block_on(async { free.spawn(async {}) }), Err(NoRuntime::NoTimer));
    }
}
