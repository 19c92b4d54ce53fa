//! What one stream holds.

/// What one stream holds. See the [`connection::memory`](super) for the words.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    pub(super) assembled: u64,
    pub(super) prefetched: u32,
    /// Stream credit for some of the assembled bytes.
    pub(super) pending: u32,
    /// A handler works on it, which is charged.
    pub(super) served: bool,
}

impl Holding {
    /// Returns the bytes that are charged for an incomplete message.
    #[inline]
    pub(crate) fn charged(&self) -> u64 {
        self.assembled + u64::from(self.prefetched)
    }

    /// Returns whether stream credit is pending.
    #[inline]
    pub(crate) const fn is_pending(&self) -> bool {
        self.pending > 0
    }
}
