//! Flow-control credit of one connection: what readers report, what the budget allows, and the
//! WINDOW_UPDATEs that follow. `connection/memory/mod.rs` has the model and its words.

use crate::call::state::Credit;
use crate::connection::driver::flush::OUT_FULL;
use crate::connection::driver::{Core, Entry, QUIET_TIME};
use crate::connection::handle::Handle;
use crate::http2::settings::DEFAULT_WINDOW;
use crate::http2::{Connection, RecvBuffer, Role, StreamKey};
use crate::memory::budget::Waiter;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::Wake;
use std::time::Duration;

/// Time for which readers go on to report at once after the last need: all streams are asked once in it at most.
const PRESSED_TIME: Duration = Duration::from_secs(1);

/// Wakes a connection's driver; does not keep its handle alive.
struct DriverWaker(Weak<Handle>);

impl Wake for DriverWaker {
    fn wake(self: Arc<Self>) {
        if let Some(handle) = self.0.upgrade() {
            handle.mailbox().wake();
        }
    }
}

fn waiter(handle: &Arc<Handle>) -> Arc<Waiter> {
    Waiter::new(Arc::new(DriverWaker(Arc::downgrade(handle))).into())
}

/// Returns the bytes of the connection's window that are charged.
fn charged_window(conn: &Connection<Entry>) -> u64 {
    u64::from(conn.recv_window_bytes().saturating_sub(DEFAULT_WINDOW))
}

impl Core {
    /// Does what the peer's frames of this turn allow.
    pub(super) fn after_events(&mut self) {
        if let Some(bytes) = self.conn.take_growth_wanted() {
            self.grow(bytes);
        }
        self.charge_window();
        self.charge_unread();
        if self.conn.role() == Role::Server {
            self.charge_polled();
            self.run_held();
        }
        if self.memory.has_pending() {
            self.release_pending();
        }
        // A pending stream may wait for exactly what its reader has not reported.
        let pressed = self.conn.unread() > self.options.limits.unread_free_bytes / 2
            || self.memory.has_pending();
        // While a stream may be reset for want of progress, every byte of its message is news.
        let watched = self.stalls.has_partial_messages() && self.memory.is_tight();
        let begins = pressed && self.pressed.replace(self.now).is_none();
        if self.pressed.is_some_and(|at| self.now.saturating_duration_since(at) >= PRESSED_TIME) {
            self.pressed = None;
        }
        self.handle.set_report_at_once(self.pressed.is_some() || watched);
        // From here on, readers report all by themselves.
        if begins {
            self.collect_credit();
        }
        self.open_waiting();
    }

    /// Takes the credit that readers have not found worth a report.
    fn collect_credit(&mut self) {
        for key in self.conn.keys() {
            let Some(call) = self.conn.user(key).and_then(|entry| entry.call.clone()) else {
                continue;
            };
            let credit = call.lock().take_credit();
            if credit.bytes() > 0 {
                self.credit(key, credit);
            }
        }
    }

    /// Releases the buffers of a quiet connection.
    pub(super) fn release_buffers(&mut self) {
        self.out.release();
        self.conn.release_memory();
        self.memory.clear();
        self.handlers.release();
        self.spare = Vec::new();
        self.forget_ends();
        self.writing = Vec::new();
        self.touched = Vec::new();
        self.waiting.shrink_to_fit();
        self.deferred = VecDeque::new();
    }

    /// Charges the connection's window while it has streams.
    pub(super) fn charge_window(&mut self) {
        if !self.memory.is_window_charged() && self.conn.streams() > 0 {
            self.memory.charge_window(charged_window(&self.conn));
        }
    }

    /// Lets the windows grow by as much as the path asks for and the budget grants.
    pub(super) fn grow(&mut self, bytes: u32) {
        self.charge_window();
        let bytes = self.memory.charge_growth(bytes);
        if bytes > 0 {
            self.conn.grow(&mut self.out, bytes);
            self.memory.window_grown(bytes, charged_window(&self.conn));
        }
    }

    /// Applies what a reader reports.
    pub(super) fn credit(&mut self, key: StreamKey, credit: Credit) {
        if credit.released_unread > 0 {
            self.conn.release(&mut self.out, key, credit.released_unread, self.now);
        }
        // Bytes of one message are assembled before they are released.
        if credit.assembled > 0 {
            self.assemble(key, credit.assembled);
        }
        if credit.released_assembled > 0 {
            self.release(key, credit.released_assembled);
        }
        if credit.expected > 0 && credit.released_assembled == 0 {
            self.prefetch(key, credit.expected);
        }
    }

    /// Moves unread bytes to assembled.
    pub(super) fn assemble(&mut self, key: StreamKey, bytes: u32) {
        let bytes = self.conn.assemble(&mut self.out, key, bytes);
        let Self { conn, memory, stalls, .. } = self;
        let Some(entry) = conn.user_mut(key) else { return };
        let credit = memory.assemble(key, &mut entry.holding, bytes);
        stalls.note_receiving(&mut entry.stall, entry.holding.charged() > 0, self.now);
        if credit > 0 {
            conn.credit(&mut self.out, key, credit, self.now);
        } else if entry.holding.is_pending() {
            self.release_pending();
        }
    }

    /// Opens the stream's window for the `expected` bytes to come of a message, if the budget grants
    /// them.
    pub(super) fn prefetch(&mut self, key: StreamKey, expected: usize) {
        let bytes = self.conn.prefetch_bytes(key, expected);
        if bytes == 0 {
            return;
        }
        let bytes = self.memory.prefetch_share(bytes, self.options.limits.stream_window);
        let Self { conn, memory, stalls, .. } = self;
        let Some(entry) = conn.user_mut(key) else { return };
        if memory.prefetch(&mut entry.holding, bytes) {
            stalls.note_receiving(&mut entry.stall, true, self.now);
            conn.prefetch(&mut self.out, key, bytes);
        }
    }

    /// Moves assembled bytes to released.
    fn release(&mut self, key: StreamKey, bytes: u32) {
        let Self { conn, memory, stalls, .. } = self;
        let Some(entry) = conn.user_mut(key) else { return };
        let credit = memory.release(key, &mut entry.holding, bytes);
        stalls.note_receiving(&mut entry.stall, entry.holding.charged() > 0, self.now);
        conn.credit(&mut self.out, key, credit, self.now);
        self.release_pending();
    }

    /// Moves all assembled bytes to released: a handler gets the whole request.
    pub(super) fn release_all(&mut self, key: StreamKey) {
        let Self { conn, memory, stalls, .. } = self;
        let Some(entry) = conn.user_mut(key) else { return };
        let Some(credit) = memory.release_all(key, &mut entry.holding) else { return };
        stalls.note_receiving(&mut entry.stall, false, self.now);
        conn.credit(&mut self.out, key, credit, self.now);
        self.release_pending();
    }

    /// Returns pending credit, in order: to one stream always, to more if the budget has capacity.
    pub(super) fn release_pending(&mut self) {
        let mut waits = false;
        while let Some(key) = self.memory.first_pending() {
            let holding = self.conn.user_mut(key).map(|entry| &mut entry.holding);
            match self.memory.release_first(key, holding) {
                Some(credit) if credit > 0 => {
                    self.conn.credit(&mut self.out, key, credit, self.now);
                }
                Some(_) => {}
                None if waits => return,
                None => {
                    waits = true;
                    let handle = &self.handle;
                    self.memory.wait(|| waiter(handle));
                }
            }
        }
    }

    /// Wakes this connection when bytes return to the budget.
    pub(super) fn await_memory(&mut self) {
        let handle = &self.handle;
        self.memory.wait(|| waiter(handle));
    }

    /// Returns what is charged for a stream that has ended.
    pub(super) fn forget(&mut self, key: StreamKey, entry: &Entry) {
        self.memory.forget(key, &entry.holding);
        let conn = &self.conn;
        self.memory.sweep(conn.streams(), |key| conn.user(key).is_some());
        self.stalls.forget(&entry.stall);
        if self.memory.has_pending() {
            self.release_pending();
        }
    }

    /// Charges what the receive buffer holds above its first size, and frees what it has not used for
    /// [`QUIET_TIME`], with part of a frame in it or not.
    pub(super) fn tend_receive_buffer(&mut self, recv: &mut RecvBuffer) {
        match self.recv_check {
            None if recv.extra_capacity() == 0 => return,
            Some(at) if self.now < at => {}
            check => {
                if check.is_some() {
                    recv.shrink();
                }
                let large = recv.extra_capacity() > 0;
                self.recv_check = large.then(|| self.now + QUIET_TIME);
            }
        }
        self.memory.charge_buffer(recv.extra_capacity() as u64);
    }

    /// Charges unread bytes above those that are free, so that streams whose readers stop do not stop the others.
    pub(super) fn charge_unread(&mut self) {
        let excess = self.conn.unread().saturating_sub(self.options.limits.unread_free_bytes);
        if let Some(charged) = self.memory.charge_unread(excess) {
            self.conn.allow_unread(&mut self.out, charged);
        }
    }

    /// Charges a call whose handler begins.
    pub(super) fn charge_served(&mut self, key: StreamKey) {
        if let Some(entry) = self.conn.user_mut(key) {
            self.memory.serve(&mut entry.holding);
        }
    }

    /// Returns whether the budget is spent: buffers do not grow for the sake of speed.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.memory.is_spent()
    }

    /// Returns the bytes in the outgoing buffer above which nothing more is produced.
    pub(super) fn out_full(&self) -> usize {
        if self.memory.is_spent() { OUT_FULL / 8 } else { OUT_FULL }
    }
}
