//! The end of a socket after its connection has ended: what is left is written, the write side is shut
//! down, and what still arrives is read and discarded until the peer closes too.
//!
//! A socket that is closed at once answers the peer's next frame, such as a WINDOW_UPDATE, with RST, and
//! the RST discards what the peer has not read. The memory of the connection is free by now.

use crate::connection::driver::drain::{Delivered, Drain};
use crate::connection::driver::lingering::{Lingering, Signal};
use crate::connection::driver::remains::{Remains, cut_answers};
use crate::connection::driver::transport::Transport;
use crate::connection::handle::{ConnectionEvent, Handle};
use crate::rt;
use crate::transport::socket::SocketHandle;
use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::ReadBuf;
use tokio::time::Sleep;

/// Time without progress after which the socket is closed all the same.
const STALL: Duration = Duration::from_secs(5);
/// The longest time, whatever progress the peer makes.
const LONGEST: Duration = Duration::from_secs(60);
/// Time for the last bytes when the limit of a drain has passed.
const LAST: Duration = Duration::from_millis(50);
/// Time between two looks at the system's counts.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Bytes that one read discards, on the stack.
const PIECE: usize = 4 * 1024;
/// Bytes discarded before other tasks run.
const TURN_BYTES: usize = 256 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Write,
    ShutDown,
    Read,
    /// The peer has closed its side.
    Await,
}

/// A socket whose connection has ended.
pub(super) struct Linger {
    io: Transport,
    socket: Option<SocketHandle>,
    handle: Arc<Handle>,
    drain: Option<Arc<Drain>>,
    signal: Arc<Signal>,
    remains: Remains,
    /// The longest time, whatever progress the peer makes.
    longest: Duration,
    step: Step,
    began: Instant,
    progress: Instant,
    /// The system's counts at the last look: bytes not acknowledged, and the peer's window.
    seen: Option<(u64, Option<u32>)>,
    look: Instant,
    sleep: Pin<Box<Sleep>>,
    over: bool,
}

/// The list in which a socket waits.
fn lingering(drain: Option<&Arc<Drain>>) -> &Lingering {
    match drain {
        Some(drain) => drain.lingering(),
        None => Lingering::of_clients(),
    }
}

impl Linger {
    pub(super) fn new(
        io: Transport,
        socket: Option<SocketHandle>,
        handle: Arc<Handle>,
        drain: Option<Arc<Drain>>,
        remains: Remains,
    ) -> Self {
        let (now, signal) = (rt::now(), Arc::new(Signal::of(handle.id())));
        lingering(drain.as_ref()).join(&signal);
        Self {
            io,
            socket,
            handle,
            drain,
            signal,
            remains,
            longest: LONGEST,
            step: Step::Write,
            began: now,
            progress: now,
            seen: None,
            look: now,
            sleep: Box::pin(rt::sleep_until(now + LOOK_EVERY)),
            over: false,
        }
    }

    /// The socket of a client whose handshake was rejected: it has nothing to read but an alert.
    pub(super) fn rejected(
        io: Transport,
        socket: Option<SocketHandle>,
        handle: Arc<Handle>,
        drain: Arc<Drain>,
    ) -> Self {
        let mut linger = Self::new(io, socket, handle, Some(drain), Remains::default());
        linger.longest = STALL;
        linger
    }

    /// Writes what the socket takes, and closes it: for a peer that is dead, or that abuses this side.
    pub(super) fn close_now(&mut self, cx: &mut Context<'_>) {
        let now = rt::now();
        while self.step(cx, now) {}
        self.end();
    }

    /// Takes one step of the close as far as it goes. Returns `false` if it must wait, or if there is none.
    fn step(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        match self.step {
            Step::Write if self.remains.out.is_empty() => self.step = Step::ShutDown,
            Step::Write => match self.io.poll_write(cx, &self.remains.out) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.remains.out.advance(n);
                    self.remains.written += n as u64;
                    self.progress = now;
                }
                Poll::Ready(_) => self.end(),
                Poll::Pending => return false,
            },
            // The close_notify of TLS, then FIN.
            Step::ShutDown => match self.io.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => {
                    self.step = Step::Read;
                    self.progress = now;
                }
                Poll::Ready(Err(_)) => self.end(),
                Poll::Pending => return false,
            },
            Step::Read | Step::Await => return false,
        }
        !self.over
    }

    /// Discards what has arrived. Returns `true` if there may be more.
    fn discard(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut bytes = 0;
        while self.step != Step::Await && !self.over {
            if bytes >= TURN_BYTES {
                return true;
            }
            let mut piece = [MaybeUninit::uninit(); PIECE];
            let mut buf = ReadBuf::uninit(&mut piece);
            match self.io.poll_read(cx, &mut buf) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    bytes += buf.filled().len();
                    // A server's peer that sends still reads; a client's need not be waited for.
                    if self.drain.is_some() {
                        self.progress = now;
                    }
                }
                // Half-closed by a peer that may go on reading, if there is more to write.
                Poll::Ready(Ok(())) if self.step == Step::Read => self.step = Step::Await,
                Poll::Ready(_) => self.end(),
            }
        }
        false
    }

    /// Reads the system's counts. An acknowledgement or a wider window is progress.
    fn look(&mut self, now: Instant) {
        self.look = now + LOOK_EVERY;
        let before = self.seen;
        self.read_counts();
        if let (Some((left, window)), Some((more, narrow))) = (self.seen, before)
            && (left < more || window > narrow)
        {
            self.progress = now;
        }
        // The peer has closed, and nothing is left that it might still read.
        if self.step == Step::Await && self.outstanding() == 0 {
            self.end();
        }
    }

    fn read_counts(&mut self) {
        if let Some(info) = self.socket.as_ref().and_then(SocketHandle::tcp_info) {
            self.seen = Some((info.outstanding(), info.send_window));
        }
    }

    /// Bytes that the peer's system has not acknowledged, as far as is known.
    fn outstanding(&self) -> u64 {
        self.remains.out.len() as u64 + self.seen.map_or(0, |(left, _)| left)
    }

    fn limit(&self) -> Instant {
        let longest = self.began + self.longest;
        let drain = self.drain.as_ref().and_then(|drain| drain.wanted());
        let limit = drain.map_or(longest, |(_, hard)| hard.max(self.began + LAST));
        limit.min(self.progress + STALL)
    }

    /// Notes what was delivered.
    fn end(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        // What has come meanwhile: the last acknowledgement, or the peer's RST.
        self.read_counts();
        let Remains { written, ends, .. } = &self.remains;
        let left = self.outstanding();
        // Of an alert, the handshake's failure has been logged.
        if left > 0 && self.longest > STALL {
            crate::rt::log!(
                warn,
                connection = self.handle.id(),
                bytes = left,
                "closed before the peer had acknowledged everything"
            );
        }
        lingering(self.drain.as_ref()).leave(&self.signal);
        self.io.close();
        if let Some(owner) = self.handle.owner() {
            owner.changed(&self.handle, ConnectionEvent::SocketClosed);
        }
        let Some(drain) = &self.drain else { return };
        let arrived = (written + self.remains.out.len() as u64).saturating_sub(left);
        let cut = cut_answers(ends, arrived);
        // Control frames of this side that the peer did not want are no loss.
        let ending = if cut == 0 { Delivered::All } else { Delivered::ButFor(cut) };
        drain.leave(&self.handle, ending);
    }
}

impl Future for Linger {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = &mut *self;
        let now = rt::now();
        me.signal.register(cx.waker());
        while me.step(cx, now) {}
        let more = me.discard(cx, now);
        loop {
            let now = rt::now();
            if now >= me.look || me.step == Step::Await {
                me.look(now);
            }
            let limit = me.limit();
            if now >= limit || me.signal.is_cut() {
                me.end();
            }
            if me.over {
                return Poll::Ready(());
            }
            me.sleep.as_mut().reset(tokio::time::Instant::from_std(limit.min(me.look)));
            if me.sleep.as_mut().poll(cx).is_pending() {
                break;
            }
        }
        if more {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// A runtime that ends drops its tasks.
impl Drop for Linger {
    fn drop(&mut self) {
        self.end();
    }
}
