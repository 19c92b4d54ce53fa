//! The handlers of one connection that run as tasks: how many there are, and the time of their polls.
//!
//! A handler counts until its future is dropped. Its stream may end before: an aborted task is dropped when
//! the runtime gets to it, a detached one runs on. So handlers have a limit of their own, which is that
//! of the streams. A request above it is held, or refused if handlers that run on take all of it.

use crate::call::state::SharedCall;
use crate::connection::dispatch::{Handler, HandlerFuture};
use crate::connection::driver::Core;
use crate::connection::handle::Handle;
use crate::http2::{ErrorCode, StreamKey};
use crate::rt;
use crate::rt::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::rt::thread::Usage;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// The most poll time of one handler that counts for or against its peer.
const POLLED_MAX: Duration = Duration::from_millis(250);

/// What the tasks of handlers share with their connection.
#[derive(Debug)]
pub(super) struct Running {
    count: AtomicU32,
    /// The driver holds requests until a handler ends.
    awaited: AtomicBool,
    /// Poll time in nanoseconds, of handlers that finished and of those that were dropped before.
    finished: AtomicU64,
    dropped: AtomicU64,
    handle: Arc<Handle>,
}

impl Running {
    fn new(handle: Arc<Handle>) -> Self {
        Self {
            count: AtomicU32::new(0),
            awaited: AtomicBool::new(false),
            finished: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            handle,
        }
    }

    /// A handler has ended. Wakes the driver if it waits for that.
    fn end_one(&self) {
        self.count.fetch_sub(1, Ordering::Release);
        // Either this thread sees that the driver waits, or the driver sees the lower count.
        if self.awaited.swap(false, Ordering::AcqRel) {
            self.handle.mailbox().wake();
        }
    }

    /// Returns whether another handler may begin now. If not, the driver is woken when one has ended.
    fn has_capacity_or_wakes(&self, limit: u32) -> bool {
        // Set before the count is read: a task that lowers it afterwards wakes this connection.
        self.awaited.swap(true, Ordering::AcqRel);
        self.count.load(Ordering::Acquire) < limit
    }
}

/// The handlers of one connection.
#[derive(Debug)]
pub(super) struct Handlers {
    running: Arc<Running>,
    /// Tasks that may outlive their streams: detached ones, and those that had answered.
    outliving: Vec<AbortHandle>,
    /// Streams whose handlers are held, in order. Some may have ended.
    held: VecDeque<StreamKey>,
}

impl Handlers {
    pub(super) fn new(handle: Arc<Handle>) -> Self {
        let running = Arc::new(Running::new(handle));
        Self { running, outliving: Vec::new(), held: VecDeque::new() }
    }

    /// Returns whether another handler may begin.
    pub(super) fn has_capacity(&self, limit: u32) -> bool {
        self.running.count.load(Ordering::Acquire) < limit
    }

    /// Returns whether handlers may be held.
    pub(super) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Notes the task of a handler whose stream is gone and that was not aborted.
    pub(super) fn outlives(&mut self, task: AbortHandle) {
        if task.is_finished() {
            return;
        }
        if self.outliving.len() == self.outliving.capacity() {
            self.outliving.retain(|task| !task.is_finished());
        }
        self.outliving.push(task);
    }

    /// Returns how many handlers run on without their streams.
    fn count_outliving(&mut self) -> usize {
        self.outliving.retain(|task| !task.is_finished());
        self.outliving.len()
    }

    /// Frees memory.
    pub(super) fn release(&mut self) {
        self.outliving.retain(|task| !task.is_finished());
        self.outliving.shrink_to_fit();
        self.held = VecDeque::new();
    }

    /// Takes the poll time since the last call: of handlers that finished, and of those that were dropped.
    fn take_polled(&self) -> (u64, u64) {
        let take = |time: &AtomicU64| match time.load(Ordering::Relaxed) {
            0 => 0,
            _ => time.swap(0, Ordering::Relaxed),
        };
        (take(&self.running.finished), take(&self.running.dropped))
    }
}

/// A handler as a task.
pub(super) struct Task {
    future: HandlerFuture,
    /// Whose cost the first poll tells.
    unmeasured: Option<Arc<dyn Handler>>,
    /// Dropped after the future.
    guard: Guard,
}

struct Guard {
    running: Arc<Running>,
    call: Arc<SharedCall>,
    began: Instant,
    premature: Duration,
    polled: Duration,
    finished: bool,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { future, unmeasured, guard } = &mut *self;
        let handler = unmeasured.take();
        let cost = handler.as_ref().and_then(|handler| handler.cost());
        // Waking the connection's task is not part of the handler: it comes after the measurement.
        let muted = cost.map(|_| Muted::new(&guard.call));
        let started = rt::now();
        let usage = cost.filter(|cost| cost.is_watched(started)).map(|_| Usage::read(started));
        let poll = future.as_mut().poll(cx);
        let now = rt::now();
        drop(muted);
        let time = now.saturating_duration_since(started);
        if let Some(cost) = cost {
            cost.note_spawned(poll.is_ready(), time, now, || {
                usage.map(|before| before.own_time(&Usage::read(now), time))
            });
        }
        guard.polled += time;
        guard.finished |= poll.is_ready();
        poll
    }
}

/// While it exists, the call tells its connection nothing; then it tells everything at once.
struct Muted<'a> {
    call: &'a Arc<SharedCall>,
    connection: Option<u64>,
}

impl<'a> Muted<'a> {
    fn new(call: &'a Arc<SharedCall>) -> Self {
        Self { call, connection: call.lock().mute() }
    }
}

impl Drop for Muted<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection {
            let news = self.call.lock().unmute(connection);
            news.deliver(self.call);
        }
    }
}

impl Guard {
    /// Returns whether the handler was dropped because its caller had waited long enough.
    fn was_awaited(&self, now: Instant) -> bool {
        let deadline = self.call.lock().deadline();
        // The caller's clock began earlier.
        let late = |at: Instant| now + at.saturating_duration_since(self.began) / 4 >= at;
        now.saturating_duration_since(self.began) >= self.premature || deadline.is_some_and(late)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let running = &self.running;
        let polled = self.polled.min(POLLED_MAX).as_nanos() as u64;
        if polled > 0 {
            let (to, time) = match self.finished {
                true => (&running.finished, polled),
                false if self.was_awaited(rt::now()) => (&running.dropped, polled / 10),
                false => (&running.dropped, polled),
            };
            to.fetch_add(time, Ordering::Relaxed);
        }
        running.end_one();
    }
}

impl Core {
    /// Runs a handler as a task of its own. If `unmeasured` is given, its first poll is measured.
    pub(super) fn spawn(
        &mut self,
        key: StreamKey,
        call: Arc<SharedCall>,
        future: HandlerFuture,
        unmeasured: Option<Arc<dyn Handler>>,
    ) {
        let running = Arc::clone(&self.handlers.running);
        running.count.fetch_add(1, Ordering::Relaxed);
        let guard = Guard {
            running,
            call,
            began: self.now,
            premature: self.conn.limits().premature_age,
            polled: Duration::ZERO,
            finished: false,
        };
        let task = rt::spawn(Task { future, unmeasured, guard });
        if let Some(entry) = self.conn.user_mut(key) {
            entry.abort = Some(task.abort_handle());
        }
    }

    /// Holds a request whose handler may not begin yet, or refuses it if handlers that run on without their
    /// streams take the whole limit.
    pub(super) fn hold_request(&mut self, key: StreamKey) {
        let limit = self.conn.limits().concurrent_streams as usize;
        if self.handlers.count_outliving() >= limit {
            // It was not processed, and the peer may send it again.
            self.conn.reset(&mut self.out, key, ErrorCode::REFUSED_STREAM);
            return self.drop_stream(key);
        }
        let held = &mut self.handlers.held;
        if held.len() > 2 * limit {
            held.retain(|key| self.conn.user(*key).is_some());
        }
        held.push_back(key);
    }

    /// Begins the handlers that were held, as far as the limit allows.
    pub(super) fn run_held(&mut self) {
        let limit = self.conn.limits().concurrent_streams;
        while !self.handlers.held.is_empty() {
            if !self.handlers.running.has_capacity_or_wakes(limit) {
                return;
            }
            if self.must_hold() {
                return self.await_memory();
            }
            let Some(key) = self.handlers.held.pop_front() else { return };
            self.begin_held(key);
        }
    }

    /// Charges the peer with the time that handlers have spent.
    pub(super) fn charge_polled(&mut self) {
        let (useful, wasted) = self.handlers.take_polled();
        if useful + wasted > 0 {
            self.conn.spent(useful, wasted, self.now);
        }
    }
}

#[cfg(all(test, framewire_loom))]
mod models {
    use crate::connection::driver::handlers::*;
    use crate::connection::loom_tests::{counting_waker, model};
    use loom::thread;

    /// end/hold: a driver that holds a request while the last handler ends sees the end, or is woken.
    #[test]
    fn loom_handler_end_hold() {
        model(|| {
            let handle = Arc::new(Handle::new(Default::default(), None, 0, rt::now()));
            let running = Arc::new(Running::new(Arc::clone(&handle)));
            running.count.fetch_add(1, Ordering::SeqCst);
            let (wakes, waker) = counting_waker();
            let task = {
                let running = Arc::clone(&running);
                thread::spawn(move || running.end_one())
            };
            let begins = running.has_capacity_or_wakes(1);
            let slept = handle.mailbox().park(&waker);
            task.join().unwrap();
            let woken = wakes.0.load(Ordering::SeqCst) > 0;
            assert!(begins || !slept || woken, "the driver sleeps while a request is held");
        });
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::connection::driver::handlers::*;
    use std::task::Waker;

    /// Polls a handler once that takes this long, then drops it. Returns what counts as wasted, and as
    /// useful, in nanoseconds.
    fn polled(time: Duration, finishes: bool, premature: Duration) -> (u64, u64) {
        let handle = Arc::new(Handle::new(Default::default(), None, 0, rt::now()));
        let mut handlers = Handlers::new(handle);
        let running = Arc::clone(&handlers.running);
        running.count.fetch_add(1, Ordering::Relaxed);
        let guard = Guard {
            running,
            call: SharedCall::new(rt::now()),
            began: rt::now(),
            premature,
            polled: Duration::ZERO,
            finished: false,
        };
        let future = Box::pin(std::future::poll_fn(move |_| {
            std::thread::sleep(time);
            if finishes { Poll::Ready(()) } else { Poll::Pending }
        }));
        let mut task = Task { future, unmeasured: None, guard };
        let _ = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
        assert!(!handlers.has_capacity(1));
        drop(task);
        assert!(handlers.has_capacity(1));
        assert_eq!(handlers.count_outliving(), 0);
        let (useful, wasted) = handlers.take_polled();
        assert_eq!(handlers.take_polled(), (0, 0));
        (wasted, useful)
    }

    #[test]
    fn the_time_of_a_dropped_handler_is_wasted() {
        let (time, hour) = (Duration::from_millis(20), Duration::from_secs(3600));
        let nanos = time.as_nanos() as u64;
        let (wasted, useful) = polled(time, false, hour);
        assert!(wasted >= nanos && useful == 0, "{wasted}");
        let (tenth, useful) = polled(time, false, Duration::ZERO);
        assert!(
            tenth >= nanos / 10 && tenth < POLLED_MAX.as_nanos() as u64 / 10 + 1 && useful == 0
        );
        let (wasted, useful) = polled(time, true, hour);
        assert!(wasted == 0 && useful >= nanos, "{useful}");
    }
}
