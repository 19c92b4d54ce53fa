//! The memory that one connection holds for what its peer sends, and the flow-control credit for it:
//! counters and named transitions, without I/O.
//!
//! hot: plain arithmetic; the budget's atomic is touched once per 64 KiB.
//!
//! # One byte, from DATA to WINDOW_UPDATE
//!
//! ```text
//!   a byte                      its credit, and the budget
//!
//!   DATA frame                  the windows of its stream and of the connection shrink
//!       │
//!       ▼
//!   unread ───────┐             connection credit returns on arrival; while more than
//!       │         │             `Limits::unread_free_bytes` are unread, the budget is charged;
//!       │         │             if it refuses, connection credit is pending
//!       │         │
//!       │         │   prefetched    a byte that has not arrived: its stream credit
//!       │         │         │       returned ahead, and the budget is charged
//!       │         ▼         ▼
//!       │       assembled       connection credit returns, if it was pending
//!       │         │             the budget is charged, even if it is spent: the byte is here
//!       │         │             stream credit returns, unless the budget refused the byte:
//!       │         │             then it is pending, until it is the stream's turn, the budget
//!       │         │             has capacity, or the byte is released
//!       ▼         ▼
//!   released                    the budget's charge returns, and all credit that has not
//!       │
//!       ▼
//!   WINDOW_UPDATE               once half of a window is unannounced (`http2::flow`)
//! ```
//!
//! | word | bytes | where they are counted | who moves them |
//! | --- | --- | --- | --- |
//! | *unread* | received; in the call's body, or in a reader that has not reported them | `http2`: `Stream::unread`, `Connection::unread` | the engine adds on arrival; `Connection::assemble`, `release` and `take` subtract |
//! | *assembled* | in a message that is incomplete and that a reader waits for | [`Holding`] | [`ConnectionMemory::assemble`] adds, [`ConnectionMemory::release`] subtracts |
//! | *prefetched* | not arrived; the rest of such a message, for which the stream's window was opened ahead | [`Holding`] | [`ConnectionMemory::prefetch`] adds, `assemble` subtracts |
//! | *pending* | credit that is held back | a stream's in [`Holding`], the connection's in `http2`: `Connection::pending_credit` | `assemble` adds; `release` and [`ConnectionMemory::release_first`] subtract; `http2` moves its own |
//! | *released* | with the application, or dropped | nowhere: nothing is held for them any more | the reader; it reports in [`Credit`](crate::call::recv::Credit) |
//!
//! A reader that finds a complete message takes it from unread to released; the budget is not asked.
//! The driver assembles for calls that want the whole body (`driver/receiving.rs`), a `MessageReader`
//! for the others. Both prefetch as soon as the length of a message is known.
//!
//! # Progress with a spent budget
//!
//! One stream of each connection is *privileged*: it gets its credit at once, until its message is
//! released or it ends, or until it has made no progress for a second while others wait. So one message per
//! connection proceeds, whatever the budget is. The others have pending credit, in the order in which
//! they asked for it, unless the connection holds no more than its share of the budget.
//!
//! # A message that nobody reads
//!
//! * *The call is held and never polled.* Its bytes are unread. The stream's credit does not return, so
//!   the peer stops at the stream's window. The connection's credit returned on arrival, except for
//!   what is above `Limits::unread_free_bytes` and what the budget refused: that is pending. So handlers that
//!   stop reading stop the other streams of their connection only when its share of the budget is used up.
//! * *The call is held in the middle of a message.* Its last poll assembled what had arrived, and
//!   prefetched the rest. What arrives later is unread; as it is charged, its connection credit returns.
//! * *The call is dropped, the stream is reset, or the peer ends a response.* The driver takes the
//!   stream out of `http2`. `Connection::take` returns the connection credit that is pending for its
//!   unread bytes, and [`ConnectionMemory::forget`] returns the charge for its assembled and
//!   prefetched bytes. The stream's own credit ends with its window. What a caller still reads of an
//!   ended call is memory of the call: reports of an ended call are ignored.
//! * *A server's handler ignores its request.* The end of the request ends nothing. The stream, and
//!   with it the unread bytes, stay until the handler has answered.

mod holding;
mod short;
#[cfg(test)]
#[cfg(not(framewire_loom))]
mod tests;

use crate::http2::settings::DEFAULT_WINDOW;
use crate::http2::{Limits, StreamKey};
pub(super) use holding::Holding;

use crate::memory::budget::{Budget, Reservation, Waiter};
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes charged for each call that is served: its state, its task, and what is too small to be
/// counted one by one.
const SERVED: u64 = 8 * 1024;

/// Unread bytes are charged in steps of so many.
const UNREAD_STEP: u64 = 256 * 1024;

/// Streams that have ended and stay in the order of pending credit before they are removed.
const PENDING_ENDED: usize = 32;

/// What one connection holds.
#[derive(Debug)]
pub(super) struct ConnectionMemory {
    reservation: Reservation,
    /// Bytes charged for the connection's receive window; `None` while it has no streams.
    window: Option<u64>,
    /// Bytes charged for the receive buffer.
    buffer: u64,
    /// Unread bytes that are charged, because they are above those that are free.
    unread: u64,
    /// The stream whose credit is never pending.
    privileged: Option<StreamKey>,
    /// Streams with pending credit, in the order in which they get it. Some may have ended, or have
    /// none any more.
    pending: VecDeque<StreamKey>,
    /// Wakes this connection when bytes return to the budget; made when it is first needed.
    waiter: Option<Arc<Waiter>>,
}

impl ConnectionMemory {
    /// Creates the memory of a connection without streams.
    pub(super) const fn new(budget: Arc<Budget>) -> Self {
        Self {
            reservation: Reservation::new(budget),
            window: None,
            buffer: 0,
            unread: 0,
            privileged: None,
            pending: VecDeque::new(),
            waiter: None,
        }
    }

    // ---- messages ---------------------------------------------------------------------------

    /// Moves unread bytes of a stream's message to assembled. Returns the stream credit that returns
    /// now: zero if it is pending, or if the bytes were prefetched.
    #[must_use]
    pub(super) fn assemble(&mut self, key: StreamKey, holding: &mut Holding, bytes: u32) -> u32 {
        holding.assembled += u64::from(bytes);
        // Prefetched bytes are charged, and their credit has returned.
        let prefetched = bytes.min(holding.prefetched);
        holding.prefetched -= prefetched;
        let bytes = bytes - prefetched;
        if bytes == 0 {
            return 0;
        }
        let privileged = self.privileged == Some(key);
        if !privileged && !holding.is_pending() && self.reservation.ask(bytes.into()) {
            return bytes;
        }
        // The bytes are in memory, whatever the budget says. Only credit for more can be pending.
        self.reservation.force(bytes.into());
        if !holding.is_pending() {
            if privileged || self.privileged.is_none() {
                self.privileged = Some(key);
                return bytes;
            }
            self.pending.push_back(key);
        }
        holding.pending += bytes;
        0
    }

    /// Charges bytes of a message that have not arrived, so that the stream's window can be opened for
    /// them ahead. Returns `false` if the budget refuses them, or if the stream has pending credit.
    #[must_use]
    pub(super) fn prefetch(&mut self, holding: &mut Holding, bytes: u32) -> bool {
        if holding.is_pending() || !self.reservation.ask(bytes.into()) {
            return false;
        }
        holding.prefetched += bytes;
        true
    }

    /// Moves assembled bytes of a stream to released: their message was taken. Returns the stream
    /// credit that was pending for them.
    #[must_use]
    pub(super) fn release(&mut self, key: StreamKey, holding: &mut Holding, bytes: u32) -> u32 {
        let pending = holding.pending.min(bytes);
        holding.pending -= pending;
        let released = holding.assembled.min(bytes.into());
        holding.assembled -= released;
        self.reservation.give(released);
        if self.privileged == Some(key) {
            self.privileged = None;
        }
        pending
    }

    /// Moves all assembled bytes of a stream to released: a handler has the whole request. Returns the
    /// stream credit that was pending for them, or `None` if the stream held nothing.
    #[inline]
    #[must_use]
    pub(super) fn release_all(&mut self, key: StreamKey, holding: &mut Holding) -> Option<u32> {
        if holding.charged() == 0 && self.privileged != Some(key) {
            return None;
        }
        self.reservation.give(std::mem::take(&mut holding.prefetched).into());
        let assembled = u32::try_from(holding.assembled).unwrap_or(u32::MAX);
        Some(self.release(key, holding, assembled))
    }

    /// Forgets a stream that has ended: returns all that is charged for it.
    #[inline]
    pub(super) fn forget(&mut self, key: StreamKey, holding: &Holding) {
        let charged = holding.charged();
        if charged > 0 {
            self.reservation.give(charged);
        }
        if holding.served {
            self.reservation.give(SERVED);
        }
        if self.privileged == Some(key) {
            self.privileged = None;
        }
    }

    /// Charges a call whose handler begins.
    #[inline]
    pub(super) fn serve(&mut self, holding: &mut Holding) {
        if !std::mem::replace(&mut holding.served, true) {
            self.reservation.force(SERVED);
        }
    }

    // ---- pending credit ---------------------------------------------------------------------

    /// Returns whether streams may have pending credit.
    #[inline]
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Removes streams that have ended from the order of pending credit, once they may be most of it.
    #[inline]
    pub(super) fn sweep(&mut self, streams: usize, is_open: impl Fn(StreamKey) -> bool) {
        if self.pending.len() > 2 * streams + PENDING_ENDED {
            self.pending.retain(|key| is_open(*key));
        }
    }

    /// Takes the privilege from its stream if others wait: its reader has stopped.
    pub(super) fn pass_privilege(&mut self, has_stopped: impl FnOnce(StreamKey) -> bool) {
        if self.has_pending() && self.privileged.is_some_and(has_stopped) {
            self.privileged = None;
        }
    }

    /// Returns whether this connection has to give up a message: more than the budget is held, and it holds
    /// most of all.
    pub(super) fn must_evict(&self) -> bool {
        self.reservation.must_evict()
    }

    /// Returns the stream that gets its pending credit next. It may have ended.
    pub(super) fn first_pending(&self) -> Option<StreamKey> {
        self.pending.front().copied()
    }

    /// Returns the pending credit of that stream: `None` if it stays pending, because the budget is
    /// spent and another stream is never pending; zero if the stream has ended or has none.
    #[must_use]
    pub(super) fn release_first(
        &mut self,
        key: StreamKey,
        holding: Option<&mut Holding>,
    ) -> Option<u32> {
        let Some(holding) = holding.filter(|holding| holding.is_pending()) else {
            self.pending.pop_front();
            return Some(0);
        };
        if self.privileged.is_none() {
            self.privileged = Some(key);
        } else if self.reservation.budget().is_spent() && !self.reservation.is_fair() {
            return None;
        }
        // The bytes are charged already.
        self.pending.pop_front();
        Some(std::mem::take(&mut holding.pending))
    }

    /// Asks the budget to wake this connection when bytes return. Look for capacity again after this
    /// call: they may have returned before it.
    pub(super) fn wait(&mut self, waiter: impl FnOnce() -> Arc<Waiter>) {
        let waiter = self.waiter.get_or_insert_with(waiter);
        self.reservation.budget().wait(waiter);
    }

    // ---- the connection ---------------------------------------------------------------------

    /// Charges the receive buffer of so many bytes above its first size. The memory is there already.
    pub(super) fn charge_buffer(&mut self, bytes: u64) {
        if bytes > self.buffer {
            self.reservation.force(bytes - self.buffer);
        } else {
            self.reservation.give(self.buffer - bytes);
        }
        self.buffer = bytes;
    }

    /// Charges `excess` unread bytes if the budget allows. Returns how many are charged, or `None` if that has
    /// not changed.
    #[must_use]
    pub(super) fn charge_unread(&mut self, excess: u64) -> Option<u64> {
        if excess > self.unread {
            let wanted = excess.next_multiple_of(UNREAD_STEP);
            if !self.reservation.ask(wanted - self.unread) {
                return None;
            }
            self.unread = wanted;
        } else if self.unread > 0 && (excess == 0 || excess + 2 * UNREAD_STEP <= self.unread) {
            let kept = excess.next_multiple_of(UNREAD_STEP);
            self.reservation.give(self.unread - kept);
            self.unread = kept;
        } else {
            return None;
        }
        Some(self.unread)
    }

    /// Returns whether the connection's window is charged.
    #[inline]
    pub(super) const fn is_window_charged(&self) -> bool {
        self.window.is_some()
    }

    /// Charges the connection's window of `bytes`. It was announced, so the budget is not asked.
    pub(super) fn charge_window(&mut self, bytes: u64) {
        self.reservation.force(bytes);
        self.window = Some(bytes);
    }

    /// Charges growth of a charged window by up to `bytes`, within the connection's share. Returns by how many.
    #[must_use]
    pub(super) fn charge_growth(&mut self, bytes: u32) -> u32 {
        let granted = self.window.map(|_| self.reservation.ask_growth(bytes.into()));
        granted.map_or(0, |granted| u32::try_from(granted).unwrap_or(bytes))
    }

    /// Returns how many of `bytes` to prefetch: what is left of the connection's share, or `least`.
    pub(super) fn prefetch_share(&self, bytes: u32, least: u32) -> u32 {
        bytes.min(u32::try_from(self.reservation.share_left()).unwrap_or(u32::MAX).max(least))
    }

    /// Notes the window's size after growth by `bytes`: its maximum may have limited the growth.
    pub(super) fn window_grown(&mut self, bytes: u32, window: u64) {
        let before = self.window.replace(window).unwrap_or_default();
        self.reservation.give((before + u64::from(bytes)).saturating_sub(window));
    }

    /// Returns everything to the budget: the connection has no streams.
    pub(super) fn clear(&mut self) {
        if let Some(window) = self.window.take() {
            self.reservation.give(window);
        }
        self.pending = VecDeque::new();
        self.reservation.return_unused();
    }

    /// Returns what is reserved and not used to the budget if it is tight. Returns whether it is still
    /// tight.
    pub(super) fn relieve(&mut self) -> bool {
        if self.is_tight() {
            self.reservation.return_unused();
        }
        self.is_tight()
    }
}

/// Lowers the windows that a connection begins with to the protocol's default of 65,535 bytes if the
/// budget has no capacity for more.
pub(super) fn initial_windows(limits: &mut Limits, budget: &Budget) {
    let more = limits.connection_window.saturating_sub(DEFAULT_WINDOW);
    if !budget.has_capacity(more.into()) {
        limits.connection_window = limits.connection_window.min(DEFAULT_WINDOW);
        limits.stream_window = limits.stream_window.min(DEFAULT_WINDOW);
    }
}
