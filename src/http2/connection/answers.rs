//! Answers to the peer's frames that have not left: acknowledgements, and resets that a frame causes.
//!
//! Reading never waits for them: two peers that both did would wait for each other. A peer that asks for more
//! of them than it reads loses its connection.

use crate::http2::buffer::SendBuffer;
use std::collections::VecDeque;

/// The answers that wait in the outgoing buffer.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Where each ends in all bytes of the outgoing buffer.
    ends: VecDeque<u64>,
    /// The bytes that had left when the caller was last asked to write.
    asked: Option<u64>,
}

impl Answers {
    /// Notes that an answer was appended, and forgets those that have left.
    pub(super) fn add(&mut self, out: &SendBuffer) {
        let left = self.ends.partition_point(|end| *end <= out.passed());
        self.ends.drain(..left);
        self.ends.push_back(out.end());
    }

    /// Returns how many wait in `out`.
    pub(super) fn waiting(&self, out: &SendBuffer) -> usize {
        if out.is_empty() {
            return 0;
        }
        let passed = out.passed();
        self.ends.len() - self.ends.partition_point(|end| *end <= passed)
    }

    /// Returns whether the caller is to write now, because `max` wait.
    ///
    /// # Errors
    /// It was to write before, and nothing has left since.
    pub(super) fn check(&mut self, out: &SendBuffer, max: u32) -> Result<bool, ()> {
        if self.ends.len() < max as usize || self.waiting(out) < max as usize {
            self.asked = None;
            return Ok(false);
        }
        let before = self.asked.replace(out.passed());
        if before == self.asked { Err(()) } else { Ok(true) }
    }

    /// Frees memory.
    pub(super) fn shrink(&mut self) {
        self.ends.shrink_to_fit();
    }
}
