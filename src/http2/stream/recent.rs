//! The identifiers of streams that ended recently: late frames on them are not an error.

use crate::http2::stream_id::StreamId;
use std::collections::VecDeque;

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Both sides sent END_STREAM.
    Normally,
    /// We sent RST_STREAM or refused it: frames in flight are discarded.
    ResetByUs,
    /// The peer sent RST_STREAM.
    ResetByPeer,
}

/// A bounded list of ended streams. It keeps identifiers only and grows on demand.
#[derive(Debug)]
pub struct Recent {
    ring: VecDeque<(StreamId, Ended)>,
    bound: usize,
    forgot: bool,
}

impl Recent {
    /// Creates a list of at most `bound` streams.
    #[must_use]
    pub const fn new(bound: usize) -> Self {
        Self { ring: VecDeque::new(), bound, forgot: false }
    }

    /// Adds a stream, and removes the oldest one if the list is full.
    pub fn push(&mut self, id: StreamId, ended: Ended) {
        if self.ring.len() >= self.bound {
            self.ring.pop_front();
            self.forgot = true;
        }
        self.ring.push_back((id, ended));
    }

    /// Returns how the stream ended, if it is in the list. The search is linear: only late frames need it.
    #[must_use]
    pub fn find(&self, id: StreamId) -> Option<Ended> {
        self.ring.iter().rev().find(|(i, _)| *i == id).map(|(_, e)| *e)
    }

    /// Returns whether a stream was removed from the list: an unknown identifier may then be an old one.
    #[must_use]
    pub const fn forgot(&self) -> bool {
        self.forgot
    }

    /// Frees the memory and removes all streams.
    pub fn shrink(&mut self) {
        self.forgot |= !self.ring.is_empty();
        self.ring = VecDeque::new();
    }
}
