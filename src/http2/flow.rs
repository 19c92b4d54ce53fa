//! Flow-control windows (RFC 9113 §5.2, §6.9). A window is credit, not a buffer.
//!
//! hot: plain arithmetic, no allocation.

use crate::http2::settings::MAX_WINDOW;

/// The bytes that the peer allows us to send. Negative after the peer lowered its initial window
/// (RFC 9113 §6.9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendWindow {
    available: i64,
}

impl SendWindow {
    /// Creates a window of `bytes`.
    #[must_use]
    pub const fn new(bytes: u32) -> Self {
        Self { available: bytes as i64 }
    }

    /// Returns the bytes of DATA that may be sent now; zero while the window is negative.
    #[must_use]
    pub const fn available(self) -> usize {
        if self.available > 0 { self.available as usize } else { 0 }
    }

    /// Returns the window, which may be negative.
    #[must_use]
    pub const fn raw(self) -> i64 {
        self.available
    }

    /// Subtracts sent bytes. The caller sends at most [`SendWindow::available`].
    pub const fn take(&mut self, bytes: usize) {
        debug_assert!(self.available() >= bytes);
        self.available -= bytes as i64;
    }

    /// Adds the increment of a WINDOW_UPDATE; `false` if the window would exceed 2^31-1 (RFC 9113 §6.9.1).
    // RFC 9113 §6.9.1: a sender must not let a window exceed 2^31-1
    #[must_use]
    pub const fn grant(&mut self, bytes: u32) -> bool {
        let next = self.available + bytes as i64;
        if next > MAX_WINDOW as i64 {
            return false;
        }
        self.available = next;
        true
    }

    /// Applies a change of SETTINGS_INITIAL_WINDOW_SIZE; `false` if the window would exceed 2^31-1.
    // RFC 9113 §6.9.2: the difference is applied to every stream and may make windows negative
    #[must_use]
    pub const fn shift(&mut self, difference: i64) -> bool {
        let next = self.available + difference;
        if next > MAX_WINDOW as i64 {
            return false;
        }
        self.available = next;
        true
    }
}

/// The bytes that we allow the peer to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvWindow {
    /// The size to which WINDOW_UPDATE restores the window.
    target: u32,
    /// The bytes that the peer may still send. Negative if it sent more before it knew our initial window.
    available: i64,
    /// Credit that no WINDOW_UPDATE has announced yet.
    unannounced: u32,
}

impl RecvWindow {
    /// Creates a window of `bytes`, which the peer knows already.
    #[must_use]
    pub const fn new(bytes: u32) -> Self {
        Self { target: bytes, available: bytes as i64, unannounced: 0 }
    }

    /// Returns the size to which WINDOW_UPDATE restores the window, in bytes.
    #[must_use]
    pub const fn target(self) -> u32 {
        self.target
    }

    /// Returns the bytes that the peer may still send.
    #[must_use]
    pub const fn available(self) -> i64 {
        self.available
    }

    /// Returns the credit that no WINDOW_UPDATE has announced yet.
    #[must_use]
    pub const fn unannounced(self) -> u32 {
        self.unannounced
    }

    /// Subtracts received bytes; `false` if the window did not allow them.
    // RFC 9113 §6.9: padding counts, so `bytes` is the whole payload
    #[must_use]
    pub const fn receive(&mut self, bytes: u32) -> bool {
        self.receive_with(bytes, 0)
    }

    /// Subtracts received bytes as [`RecvWindow::receive`] does, from a peer whose view of the window may be
    /// `slack` bytes larger.
    // RFC 9113 §6.9.2: once it knows better it counts a window below zero, and so is this one
    #[must_use]
    pub const fn receive_with(&mut self, bytes: u32, slack: u32) -> bool {
        if bytes as i64 > self.available + slack as i64 {
            return false;
        }
        self.available -= bytes as i64;
        true
    }

    /// Adds credit, to be announced later.
    pub const fn credit(&mut self, bytes: u32) {
        self.unannounced = self.unannounced.saturating_add(bytes);
    }

    /// Returns the increment to announce now, if at least half of the window is unannounced, or if the peer
    /// may send nothing: more credit may depend on what it sends.
    #[must_use]
    pub const fn update(&mut self) -> Option<u32> {
        let waits = self.available > 0 && self.unannounced < self.target / 2;
        if self.unannounced == 0 || waits {
            return None;
        }
        Some(self.flush())
    }

    /// Returns the increment that announces all credit.
    #[must_use]
    pub const fn flush(&mut self) -> u32 {
        let most = MAX_WINDOW as i64 - self.available;
        let increment = if self.unannounced as i64 > most { most as u32 } else { self.unannounced };
        self.unannounced -= increment;
        self.available += increment as i64;
        increment
    }

    /// Raises the size; the difference is credited at once. Windows never shrink here.
    pub const fn grow(&mut self, target: u32) {
        if target > self.target && target <= MAX_WINDOW {
            self.unannounced = self.unannounced.saturating_add(target - self.target);
            self.target = target;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::flow::*;

    #[test]
    fn a_send_window_goes_negative_and_comes_back() {
        let mut w = SendWindow::new(100);
        w.take(80);
        assert!(w.shift(-50));
        assert_eq!((w.raw(), w.available()), (-30, 0));
        assert!(w.grant(31));
        assert_eq!(w.available(), 1);
    }

    #[test]
    fn a_send_window_refuses_to_pass_the_maximum() {
        let mut w = SendWindow::new(MAX_WINDOW);
        assert!(!w.grant(1));
        assert!(!w.shift(1));
        assert_eq!(w.raw(), i64::from(MAX_WINDOW));
    }

    #[test]
    fn updates_are_due_at_half_and_restore_the_window() {
        let mut w = RecvWindow::new(100);
        assert!(w.receive(60));
        w.credit(49);
        assert_eq!(w.update(), None);
        w.credit(1);
        assert_eq!(w.update(), Some(50));
        assert_eq!(w.available(), 90);
        assert!(!w.receive(91));
    }

    #[test]
    fn a_peer_that_may_send_nothing_gets_all_credit_at_once() {
        let mut w = RecvWindow::new(100);
        assert!(w.receive(99));
        w.credit(1);
        assert_eq!(w.update(), None, "it may send one byte");
        assert!(w.receive(1));
        assert_eq!(w.update(), Some(1));
        assert_eq!(w.update(), None, "nothing is left to announce");
    }

    #[test]
    fn growth_is_announced() {
        let mut w = RecvWindow::new(100);
        w.grow(300);
        assert_eq!(w.update(), Some(200));
        assert_eq!(w.available(), 300);
        w.grow(200);
        assert_eq!(w.target(), 300);
    }
}
