//! How a server's driver finds the handler of a request, before any gRPC check.
//!
//! A gRPC router is one implementation, a plain HTTP/2 handler another.

use crate::call::served::ServerCall;
use crate::http2::Head;
use crate::rt::sync::{AtomicU32, Ordering};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The future of a handler. It answers through its [`ServerCall`].
pub type HandlerFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves one kind of request.
pub trait Handler: Send + Sync + 'static {
    /// Starts to serve a request.
    fn call(&self, call: ServerCall) -> HandlerFuture;

    /// Returns the measured cost of this handler's polls, which decides whether it is polled inline. `None`
    /// always spawns.
    fn cost(&self) -> Option<&Cost> {
        None
    }
}

/// How a request is served.
#[derive(Clone)]
pub struct Plan {
    /// The handler.
    pub handler: Arc<dyn Handler>,
    /// The handler starts when the whole body has arrived; with `grpc`, that is one message.
    pub whole: bool,
    /// The body consists of gRPC messages; otherwise of bytes of plain HTTP.
    pub grpc: bool,
    /// The largest message, or plain body, in bytes that is accepted if `whole`.
    pub message_max: usize,
    /// Time after which the handler is dropped and the call ends with DEADLINE_EXCEEDED.
    pub timeout: Option<Duration>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("whole", &self.whole)
            .field("grpc", &self.grpc)
            .field("message_max", &self.message_max)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Finds the handler of a request. It sees method, path and fields as they arrived.
pub trait Dispatch: Send + Sync + 'static {
    /// Returns the plan for a request. Runs on the connection's task: must not block.
    fn plan(&self, head: &Head) -> Plan;
}

/// A handler is polled inline after so many polls in a row that were fast and ready at once.
const FAST_POLLS: u32 = 16;
/// The longest time of a fast poll.
const FAST: Duration = Duration::from_micros(10);
/// One of so many inline polls is timed.
const SAMPLE: u32 = 16;

/// The measured cost of a handler's polls. A handler whose polls are fast is polled inline, on the
/// connection's task; others are spawned.
#[derive(Debug, Default)]
pub struct Cost {
    fast: AtomicU32,
    polls: AtomicU32,
}

impl Cost {
    /// Creates the cost of a handler that was not measured yet: it is spawned.
    #[must_use]
    pub fn new() -> Self {
        Self { fast: AtomicU32::new(0), polls: AtomicU32::new(0) }
    }

    /// Returns whether the handler is polled inline.
    #[must_use]
    pub fn is_fast(&self) -> bool {
        self.fast.load(Ordering::Relaxed) >= FAST_POLLS
    }

    /// Returns whether the next inline poll is timed.
    #[must_use]
    pub fn is_sample(&self) -> bool {
        self.polls.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLE)
    }

    /// Notes the time of a poll, and whether it was ready at once.
    pub fn note(&self, ready: bool, time: Duration) {
        if !ready || time > FAST {
            self.fast.store(0, Ordering::Relaxed);
        } else if !self.is_fast() {
            self.fast.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::connection::dispatch::*;

    #[test]
    fn fast_polls_are_inline_until_one_is_slow() {
        let cost = Cost::new();
        for _ in 0..FAST_POLLS {
            assert!(!cost.is_fast());
            cost.note(true, Duration::from_micros(2));
        }
        assert!(cost.is_fast());
        cost.note(true, Duration::from_micros(11));
        assert!(!cost.is_fast());
        for _ in 0..FAST_POLLS {
            cost.note(true, Duration::ZERO);
        }
        cost.note(false, Duration::ZERO);
        assert!(!cost.is_fast());
    }
}
