//! What a server's driver asks of the floor above: who serves a request, before any gRPC check.
//!
//! A gRPC router is one implementation, a plain HTTP/2 handler another.

use crate::call::served::ServerCall;
use crate::http2::Head;
use crate::rt::sync::{AtomicU32, Ordering};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A handler at work. It answers through its [`ServerCall`].
pub type HandlerFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves one kind of request.
pub trait Handler: Send + Sync + 'static {
    /// Begins to serve a request.
    fn call(&self, call: ServerCall) -> HandlerFuture;

    /// Where it is noted whether this handler may be polled in place; `None` always spawns.
    fn cost(&self) -> Option<&Cost> {
        None
    }
}

/// What is to be done with a request.
#[derive(Clone)]
pub struct Plan {
    /// Who serves it.
    pub handler: Arc<dyn Handler>,
    /// The handler begins when the whole body has come; with `grpc`, that is one message.
    pub whole: bool,
    /// The body is gRPC messages; else it is bytes of plain HTTP.
    pub grpc: bool,
    /// Bytes of one message, or of a plain body, that are accepted when `whole`.
    pub message_max: usize,
    /// Time until the handler is dropped and DEADLINE_EXCEEDED is answered.
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

/// Decides who serves a request. It sees method, path and fields as they came.
pub trait Dispatch: Send + Sync + 'static {
    /// The plan for a request. Called on the connection's task: must not block.
    fn plan(&self, head: &Head) -> Plan;
}

/// Polls in a row that a handler must finish fast and at once before it is polled in place.
const EARNED: u32 = 16;
/// A poll in place must not take longer.
const FAST: Duration = Duration::from_micros(10);
/// One poll in place of so many is timed.
const SAMPLE: u32 = 16;

/// Whether a handler has earned being polled in place, on the connection's task.
#[derive(Debug, Default)]
pub struct Cost {
    fast: AtomicU32,
    polls: AtomicU32,
}

impl Cost {
    /// A handler that starts spawned.
    #[must_use]
    pub fn new() -> Self {
        Self { fast: AtomicU32::new(0), polls: AtomicU32::new(0) }
    }

    /// Whether it may be polled in place.
    #[must_use]
    pub fn is_earned(&self) -> bool {
        self.fast.load(Ordering::Relaxed) >= EARNED
    }

    /// Whether the next poll in place is one to be timed.
    #[must_use]
    pub fn is_sample(&self) -> bool {
        self.polls.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLE)
    }

    /// Notes a poll that took `time` and was `ready` at once, or not.
    pub fn note(&self, ready: bool, time: Duration) {
        if !ready || time > FAST {
            self.fast.store(0, Ordering::Relaxed);
        } else if !self.is_earned() {
            self.fast.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::connection::dispatch::*;

    #[test]
    fn a_place_is_earned_and_lost() {
        let cost = Cost::new();
        for _ in 0..EARNED {
            assert!(!cost.is_earned());
            cost.note(true, Duration::from_micros(2));
        }
        assert!(cost.is_earned());
        cost.note(true, Duration::from_micros(11));
        assert!(!cost.is_earned());
        for _ in 0..EARNED {
            cost.note(true, Duration::ZERO);
        }
        cost.note(false, Duration::ZERO);
        assert!(!cost.is_earned());
    }
}
