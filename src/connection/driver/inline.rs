//! Which task polls the handler of a request: the connection's, or one of its own.
//!
//! A handler is user code. The connection's task polls it only if its method has proved to be fast, or
//! is declared to be, and then once.

use crate::call::served::ServerCall;
use crate::call::state::SharedCall;
use crate::connection::dispatch::{Cost, Handler};
use crate::connection::driver::Core;
use crate::http2::StreamKey;
use crate::rt;
use crate::rt::contain::{Panicked, contain};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// Time that a turn spends in polls that are not fast, after which handlers are spawned.
const INLINE_TIME: Duration = Duration::from_micros(100);

/// What a turn has spent in handlers.
#[derive(Debug)]
pub(super) struct Inline {
    slow: Duration,
    /// When the last handler was over, or the turn began.
    mark: Instant,
}

impl Inline {
    /// A turn begins.
    pub(super) const fn at(now: Instant) -> Self {
        Self { slow: Duration::ZERO, mark: now }
    }

    /// Returns the time since the handler before this one, or since the turn began, and the time now.
    fn lap(&mut self) -> (Duration, Instant) {
        let now = rt::now();
        let time = now.saturating_duration_since(self.mark);
        self.mark = now;
        (time, now)
    }
}

impl Core {
    /// Runs a handler.
    ///
    /// A server's own handlers contain panics themselves; a panic of any other drops its call,
    /// which resets the stream.
    pub(super) fn run(&mut self, key: StreamKey, call: Arc<SharedCall>, handler: Arc<dyn Handler>) {
        // A stream counts until its handler has ended, even if the stream was reset; and memory may be short.
        if !self.may_begin() {
            if let Some(entry) = self.conn.user_mut(key) {
                (entry.handler, entry.held) = (Some(handler), true);
            }
            return self.hold_request(key);
        }
        if let Some(cost) = handler.cost().filter(|cost| cost.is_fast())
            && self.inline.slow < INLINE_TIME
        {
            let mut x = call.lock();
            if cost.is_declared_fast() || x.is_small_request() {
                // So that the handler does not push the call: `poll_once` looks at it.
                x.will_look(self.handle.id());
                drop(x);
                return self.poll_once(key, &call, handler.as_ref(), cost);
            }
        }
        match contain(|| handler.call(ServerCall::new(Arc::clone(&call)))) {
            Ok(future) => self.spawn(key, call, future, Some(handler)),
            Err(Panicked) => self.log_panic(),
        }
    }

    /// Runs a handler that was held.
    pub(super) fn begin_held(&mut self, key: StreamKey) {
        let Some(entry) = self.conn.user_mut(key) else { return };
        entry.held = false;
        let (Some(handler), Some(call)) = (entry.handler.take(), entry.call.clone()) else {
            return;
        };
        self.run(key, call, handler);
    }

    /// Polls a handler once, and spawns it if it is not ready.
    fn poll_once(
        &mut self,
        key: StreamKey,
        call: &Arc<SharedCall>,
        handler: &dyn Handler,
        cost: &Cost,
    ) {
        // A handler that waits is polled again by its own task, with that task's waker.
        let mut cx = Context::from_waker(Waker::noop());
        let polled = contain(|| {
            let mut future = handler.call(ServerCall::new(Arc::clone(call)));
            let ready = future.as_mut().poll(&mut cx).is_ready();
            // Dropped before `pump`, so that an unfinished answer is settled in this turn.
            (!ready).then_some(future)
        });
        let (time, now) = self.inline.lap();
        if cost.note_inline(time, now) {
            self.inline.slow += time;
        }
        match polled {
            Ok(None) => {}
            Ok(Some(future)) => self.spawn(key, Arc::clone(call), future, None),
            Err(Panicked) => self.log_panic(),
        }
        self.pump(key, call);
    }

    #[cold]
    pub(super) fn log_panic(&self) {
        crate::rt::log!(error, connection = self.handle.id(), "the handler of a request panicked");
    }
}
