//! Stream identifiers (RFC 9113 §5.1.1): parity, order and the reserved bit.

use std::fmt;

/// A 31-bit stream identifier; zero names the connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId(u32);

impl StreamId {
    /// The connection itself (RFC 9113 §4.1).
    pub const CONNECTION: Self = Self(0);
    /// The largest identifier, named by the first GOAWAY of a graceful close (RFC 9113 §6.8).
    pub const MAX: Self = Self(0x7fff_ffff);

    /// Creates an identifier from 31 bits; the reserved bit is dropped.
    // RFC 9113 §4.1: the reserved bit is ignored on receipt
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value & Self::MAX.0)
    }

    /// Returns the number.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// Returns whether this names the connection.
    #[must_use]
    pub const fn is_connection(self) -> bool {
        self.0 == 0
    }

    /// Returns whether a client opens the stream: clients use odd identifiers.
    // RFC 9113 §5.1.1: clients use odd identifiers, servers even ones
    #[must_use]
    pub const fn is_client_initiated(self) -> bool {
        self.0 & 1 == 1
    }

    /// Returns the next identifier of the same side; `None` after the last one.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        if self.0 > Self::MAX.0 - 2 { None } else { Some(Self(self.0 + 2)) }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
