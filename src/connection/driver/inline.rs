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
use crate::rt::thread::Usage;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// Time that a turn spends in polls that are not fast, after which handlers are spawned.
const INLINE_TIME: Duration = Duration::from_micros(100);

/// What a turn has spent in handlers.
#[derive(Debug, Default)]
pub(super) struct Inline {
    slow: Duration,
    /// When the last handler was over. `None` if the turn has begun, or used the socket, since then.
    mark: Option<Instant>,
    /// What the thread had used before the handlers of a method that is watched.
    usage: Option<Usage>,
}

impl Inline {
    /// The turn uses the socket, which is no time of a handler.
    pub(super) const fn interrupt(&mut self) {
        (self.mark, self.usage) = (None, None);
    }

    /// A handler is polled.
    fn begin(&mut self, cost: &Cost) {
        let now = *self.mark.get_or_insert_with(rt::now);
        if self.usage.is_none() && cost.is_watched(now) {
            self.usage = Some(Usage::read(now));
        }
    }

    /// A handler was polled.
    fn end(&mut self, cost: &Cost) {
        let now = rt::now();
        let time = self.mark.map_or(Duration::ZERO, |mark| now.saturating_duration_since(mark));
        self.mark = Some(now);
        let usage = &mut self.usage;
        self.slow += cost.note_inline(time, now, || {
            let before = usage.take()?;
            Some(before.own_time(usage.insert(Usage::read(now)), time))
        });
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
        self.inline.begin(cost);
        // A handler that waits is polled again by its own task, with that task's waker.
        let mut cx = Context::from_waker(Waker::noop());
        let polled = contain(|| {
            let mut future = handler.call(ServerCall::new(Arc::clone(call)));
            let ready = future.as_mut().poll(&mut cx).is_ready();
            // Dropped before `pump`, so that an unfinished answer is settled in this turn.
            (!ready).then_some(future)
        });
        self.inline.end(cost);
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
