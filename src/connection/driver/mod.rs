//! The driver: one task owns one connection. It moves bytes between a socket and the engine,
//! calls between a mailbox and streams, and tells the engine the time.
//!
//! One turn: mailbox → read → events → deadlines → scheduled DATA → flush → park.
//!
//! hot: nothing here locks anything but a call, and nothing waits.

mod age;
mod closing;
mod drain;
mod flush;
mod leaks;
mod memory;
mod probe;
mod receiving;
mod sending;
mod serving;
#[cfg(test)]
mod tests;
mod timers;

use crate::call::state::SharedCall;
use crate::connection::dispatch::{Dispatch, Handler};
use crate::connection::handle::{ConnectionEvent, Handle};
use crate::http2::{Connection, RecvBuffer, Role, SendBuffer, StreamKey};
use crate::rt;
use crate::transport::io::BoxedIo;
use flush::Flush;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use timers::Timers;
use tokio::io::ReadBuf;
use tokio::task::AbortHandle;

pub use crate::connection::options::ConnectionOptions;
pub use drain::{Drain, DrainReport};
pub(crate) use timers::deadline_error;

/// Bytes read in one turn before other tasks get their chance.
const TURN_BYTES: usize = 1024 * 1024;

/// Time without streams and bytes after which a connection gives its buffers back.
const QUIET_TIME: Duration = Duration::from_millis(500);

/// What the driver keeps with each stream.
#[derive(Default)]
pub(crate) struct Entry {
    call: Option<Arc<SharedCall>>,
    /// When the request had left for the socket.
    written: Option<Instant>,
    /// A server's handler: not begun, or spawned.
    handler: Option<Arc<dyn Handler>>,
    abort: Option<AbortHandle>,
    holding: memory::Holding,
    watch: leaks::Watch,
}

/// The task of one connection.
pub struct Driver {
    io: BoxedIo,
    handle: Arc<Handle>,
    core: Core,
    recv: RecvBuffer,
    inbox: VecDeque<Arc<SharedCall>>,
    yielding: Yield,
    read_done: bool,
    /// Reading stopped for a reason of ours, not for want of bytes.
    held: bool,
    finished: bool,
}

/// Everything but the socket and its receive buffer, so that an event may borrow from that.
pub(crate) struct Core {
    conn: Connection<Entry>,
    out: SendBuffer,
    flush: Flush,
    timers: Timers,
    age: age::Age,
    handle: Arc<Handle>,
    options: Arc<ConnectionOptions>,
    now: Instant,
    /// Calls that wait for the peer's stream limit.
    waiting: VecDeque<Arc<SharedCall>>,
    /// Streams whose request is in `out`.
    writing: Vec<StreamKey>,
    touched: Vec<StreamKey>,
    dispatch: Option<Arc<dyn Dispatch>>,
    drain: Option<Arc<Drain>>,
    closing: closing::Closing,
    spare: Vec<Arc<SharedCall>>,
    in_place: Duration,
    /// How long the slowest call of this turn had waited for it.
    lag: Duration,
    memory: memory::Memory,
    /// When streams are looked at for some that nobody waits for.
    leak_look: Option<Instant>,
}

/// Whether giving the run queue one round before a write gathers more calls (one wake-up runs
/// before its siblings on a work-stealing runtime, so a write would carry one call).
#[derive(Default)]
struct Yield {
    /// The last one gathered something.
    pays: bool,
    /// Slots taken before the yield under way.
    taken: Option<usize>,
    turns: u32,
}

impl Driver {
    /// A client's driver. Connections may share their options.
    #[must_use]
    pub fn client(
        io: BoxedIo,
        handle: Arc<Handle>,
        options: impl Into<Arc<ConnectionOptions>>,
    ) -> Self {
        Self::new(Role::Client, io, handle, options.into(), None, None)
    }

    /// A server's driver. Connections may share their options.
    #[must_use]
    pub fn server(
        io: BoxedIo,
        handle: Arc<Handle>,
        options: impl Into<Arc<ConnectionOptions>>,
        dispatch: Arc<dyn Dispatch>,
        drain: Arc<Drain>,
    ) -> Self {
        Self::new(Role::Server, io, handle, options.into(), Some(dispatch), Some(drain))
    }

    fn new(
        role: Role,
        io: BoxedIo,
        handle: Arc<Handle>,
        options: Arc<ConnectionOptions>,
        dispatch: Option<Arc<dyn Dispatch>>,
        drain: Option<Arc<Drain>>,
    ) -> Self {
        let now = rt::now();
        let budget = options.shared_budget();
        let mut limits = options.limits.clone();
        memory::initial_windows(&mut limits, &budget);
        let mut conn = Connection::new(role, limits, now);
        let mut out = SendBuffer::new();
        conn.start(&mut out);
        if let Some(drain) = &drain {
            drain.join(&handle);
        }
        let core = Core {
            conn,
            out,
            flush: Flush::new(),
            timers: Timers::new(now),
            age: match role {
                Role::Server => age::Age::new(&options, handle.id(), now),
                Role::Client => age::Age::default(),
            },
            handle: Arc::clone(&handle),
            options,
            now,
            waiting: VecDeque::new(),
            writing: Vec::new(),
            touched: Vec::new(),
            dispatch,
            drain,
            closing: closing::Closing::default(),
            spare: Vec::new(),
            in_place: Duration::ZERO,
            lag: Duration::ZERO,
            memory: memory::Memory::new(budget),
            leak_look: None,
        };
        Self {
            io,
            handle,
            core,
            recv: RecvBuffer::new(),
            inbox: VecDeque::new(),
            yielding: Yield::default(),
            read_done: false,
            held: false,
            finished: false,
        }
    }

    /// Takes the mailbox; `false` asks to be polled again after the other tasks.
    fn gather(&mut self, cx: &mut Context<'_>) -> bool {
        self.handle.mailbox().drain(&mut self.inbox);
        let taken = self.inbox.len();
        if let Some(before) = self.yielding.taken.take() {
            self.yielding.pays = taken > before;
            return true;
        }
        self.yielding.turns = self.yielding.turns.wrapping_add(1);
        let probe = self.yielding.turns.is_multiple_of(32);
        if taken > 0 && self.core.conn.streams() + taken > 1 && (self.yielding.pays || probe) {
            self.yielding.taken = Some(taken);
            // To the back of the run queue; `yield_now` would cost an extra look at the sockets.
            cx.waker().wake_by_ref();
            return false;
        }
        true
    }

    /// Reads and handles what has come; `true` when more may be had at once.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut bytes = 0;
        while !self.read_done && self.core.may_read() {
            if bytes >= TURN_BYTES {
                return true;
            }
            let spare = self.recv.spare(self.core.conn.wanted());
            let mut buf = ReadBuf::new(spare);
            match Pin::new(&mut *self.io).poll_read(cx, &mut buf) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    self.read_done = true;
                    self.core.lost(None);
                }
                Poll::Ready(Ok(())) => {
                    let n = buf.filled().len();
                    bytes += n;
                    self.recv.filled(n);
                    self.core.heard();
                    self.events(cx);
                }
                Poll::Ready(Err(error)) => {
                    self.read_done = true;
                    self.core.lost(Some(error));
                }
            }
        }
        self.held = !self.read_done && !self.core.may_read();
        false
    }

    /// Handles every event in the receive buffer, writing early when much is to be written.
    fn events(&mut self, cx: &mut Context<'_>) {
        loop {
            let core = &mut self.core;
            match core.next(&mut self.recv) {
                Some(true) => {}
                Some(false) => break,
                None => {
                    self.read_done = true;
                    break;
                }
            }
            if core.flush.is_due(core.out.len()) {
                core.flush(&mut self.io, cx);
                if !core.may_read() {
                    break;
                }
            }
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.core.now = rt::now();
        self.core.in_place = Duration::ZERO;
        self.handle.mailbox().unpark();
        if !self.gather(cx) {
            return Poll::Pending;
        }
        // What a paused reader left behind is handled first.
        if !self.recv.is_empty() && self.core.may_read() && !self.read_done {
            self.events(cx);
        }
        loop {
            while let Some(call) = self.inbox.pop_front() {
                self.core.intake(call);
                if self.core.flush.is_due(self.core.out.len()) {
                    self.core.flush(&mut self.io, cx);
                }
            }
            let again = self.read(cx);
            self.core.after_events();
            self.core.timers();
            self.core.send_pending(&mut self.io, cx);
            if self.core.is_over() {
                self.finish(cx);
                return Poll::Ready(());
            }
            self.publish();
            // A reader that paused asked nobody to wake it: what this turn wrote may be its end.
            let released = self.held && self.core.may_read();
            if again || released {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let quiet = self.core.conn.streams() == 0
                && self.core.waiting.is_empty()
                && self.recv.is_empty()
                && self.core.out.is_empty();
            if self.core.timers.rest(quiet, QUIET_TIME, self.core.now) {
                self.recv.release();
                self.inbox = VecDeque::new();
                self.core.give_back();
            }
            self.core.arm(cx);
            if self.handle.mailbox().park(cx.waker()) {
                return Poll::Pending;
            }
            self.handle.mailbox().drain(&mut self.inbox);
        }
    }

    /// What others may know of this connection.
    fn publish(&mut self) {
        let core = &mut self.core;
        self.handle.set_streams(core.conn.streams() as u32);
        self.handle.set_stalled(core.conn.connection_stalled(core.now));
        if core.conn.role() == Role::Client {
            let queued = core.out.len() + core.conn.waiting_bytes();
            self.handle.publish(queued, std::mem::take(&mut core.lag));
            let stats = core.conn.stats();
            let (sent, received) = (stats.data_sent, stats.data_received);
            let rtt = core.timers.rtt().max(core.conn.rtt().unwrap_or_default());
            self.handle.tally().publish(sent, received, stats.stream_stalls, rtt);
        }
    }

    /// Settles every call and closes the socket.
    fn finish(&mut self, cx: &mut Context<'_>) {
        self.core.settle();
        let left = self.handle.mailbox().close();
        self.core.settle_mailbox(left);
        self.core.flush(&mut self.io, cx);
        let _ = Pin::new(&mut *self.io).poll_shutdown(cx);
        self.finished = true;
        self.leave();
    }

    /// Those who know of this connection hear that it is over.
    fn leave(&self) {
        if let Some(drain) = &self.core.drain {
            drain.leave(&self.handle);
        }
        if let Some(home) = self.handle.owner() {
            let error = self.core.closing.error(&self.handle, self.core.now);
            home.changed(&self.handle, ConnectionEvent::Closed(error, self.core.closing.ending()));
        }
        tracing::debug!(connection = self.handle.id(), "connection closed");
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.turn(cx)
    }
}

impl Drop for Driver {
    /// A runtime that shuts down drops its tasks: no call is left without an end.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // There may be no runtime left to dial with, so nothing moves to another connection.
        self.core.closing.abandon();
        self.core.lost(None);
        self.core.settle();
        for call in self.handle.mailbox().close() {
            call.leave_queue();
            self.core.redispatch(call);
        }
        self.leave();
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("handle", &self.handle).finish_non_exhaustive()
    }
}
