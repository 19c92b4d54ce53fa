//! Identifiers of streams that ended a moment ago: late frames on them are honest.

use crate::http2::stream_id::StreamId;
use std::collections::VecDeque;

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Both sides sent END_STREAM.
    Normally,
    /// We sent RST_STREAM or refused it: frames under way are discarded.
    ResetByUs,
    /// The peer sent RST_STREAM.
    ResetByPeer,
}

/// A bounded memory of ended streams; grows on demand, keeps nothing but identifiers.
#[derive(Debug)]
pub struct Recent {
    ring: VecDeque<(StreamId, Ended)>,
    bound: usize,
    forgot: bool,
}

impl Recent {
    /// Remembers at most `bound` streams.
    #[must_use]
    pub const fn new(bound: usize) -> Self {
        Self { ring: VecDeque::new(), bound, forgot: false }
    }

    /// Remembers one more, forgetting the oldest when full.
    pub fn push(&mut self, id: StreamId, ended: Ended) {
        if self.ring.len() >= self.bound {
            self.ring.pop_front();
            self.forgot = true;
        }
        self.ring.push_back((id, ended));
    }

    /// How the stream ended, if it is remembered. Only late frames ask, so a walk will do.
    #[must_use]
    pub fn find(&self, id: StreamId) -> Option<Ended> {
        self.ring.iter().rev().find(|(i, _)| *i == id).map(|(_, e)| *e)
    }

    /// Whether something was forgotten: an unknown identifier may then be an old one.
    #[must_use]
    pub const fn forgot(&self) -> bool {
        self.forgot
    }

    /// Gives the memory back; what is forgotten is noted.
    pub fn shrink(&mut self) {
        self.forgot |= !self.ring.is_empty();
        self.ring = VecDeque::new();
    }
}
