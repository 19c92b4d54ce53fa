//! The identifiers of streams that ended recently: late frames on them are not an error.

use crate::http2::stream_id::StreamId;

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

/// The first number of places.
const PLACES: usize = 16;

/// A bounded table of ended streams. It keeps identifiers only and grows on demand.
///
/// The place of a stream follows from its identifier, and a later stream takes the place of an earlier one:
/// identifiers of one side are consecutive, so the last ones are kept, and each search is one look.
#[derive(Debug)]
pub struct Recent {
    places: Vec<Option<(StreamId, Ended)>>,
    bound: usize,
    /// The highest identifier that was reset by us and forgotten.
    forgotten: StreamId,
}

impl Recent {
    /// Creates a table of at most `bound` streams.
    #[must_use]
    pub const fn new(bound: usize) -> Self {
        Self { places: Vec::new(), bound, forgotten: StreamId::CONNECTION }
    }

    fn place(&self, id: StreamId) -> usize {
        (id.value() / 2) as usize % self.places.len().max(1)
    }

    /// Adds a stream; it may take the place of an earlier one.
    pub fn push(&mut self, id: StreamId, ended: Ended) {
        let is_free = |table: &Self| {
            let at = table.places.get(table.place(id));
            at.is_some_and(|place| place.is_none_or(|(other, _)| other == id))
        };
        while self.places.len() < self.bound && !is_free(self) {
            self.grow();
        }
        self.put(id, ended);
    }

    /// Puts a stream into its place, and forgets the one there.
    fn put(&mut self, id: StreamId, ended: Ended) {
        let at = self.place(id);
        let before = match self.places.get_mut(at) {
            Some(place) => place.replace((id, ended)).filter(|(other, _)| *other != id),
            None => Some((id, ended)),
        };
        self.forget(before);
    }

    // Of streams that the peer has ended or reset itself, no frame is on its way.
    fn forget(&mut self, stream: Option<(StreamId, Ended)>) {
        if let Some((id, Ended::ResetByUs)) = stream {
            self.forgotten = self.forgotten.max(id);
        }
    }

    /// Doubles the places.
    fn grow(&mut self) {
        let len = (self.places.len() * 2).max(PLACES).min(self.bound);
        let before = std::mem::replace(&mut self.places, vec![None; len]);
        for (id, ended) in before.into_iter().flatten() {
            self.put(id, ended);
        }
    }

    /// Returns how the stream ended, if it is remembered.
    #[must_use]
    pub fn find(&self, id: StreamId) -> Option<Ended> {
        let (other, ended) = (*self.places.get(self.place(id))?)?;
        (other == id).then_some(ended)
    }

    /// Returns whether a stream that is not remembered may have been reset by us: frames that the peer sent
    /// before it knew are discarded.
    #[must_use]
    pub fn may_have_reset(&self, id: StreamId) -> bool {
        id <= self.forgotten
    }

    /// Frees the memory and forgets all streams.
    pub fn shrink(&mut self) {
        for stream in std::mem::take(&mut self.places) {
            self.forget(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::stream::recent::*;

    #[test]
    fn the_last_streams_are_remembered_and_no_more() {
        let mut recent = Recent::new(100);
        for n in 0..1000 {
            let id = StreamId::new(2 * n + 1);
            assert_eq!(recent.may_have_reset(StreamId::new(1)), n > 100, "after {n}");
            recent.push(id, Ended::ResetByUs);
            let first = n.saturating_sub(99);
            for old in [n, first, first.saturating_add(n) / 2] {
                assert_eq!(recent.find(StreamId::new(2 * old + 1)), Some(Ended::ResetByUs));
            }
            assert!(first == 0 || recent.find(StreamId::new(2 * first - 1)).is_none());
        }
        recent.shrink();
        let last = StreamId::new(1999);
        assert_eq!((recent.find(last), recent.may_have_reset(last)), (None, true));
        assert!(!recent.may_have_reset(StreamId::new(2001)));
        let mut none = Recent::new(0);
        none.push(StreamId::new(1), Ended::Normally);
        assert!(!none.may_have_reset(StreamId::new(1)) && none.find(StreamId::new(1)).is_none());
        none.push(StreamId::new(3), Ended::ResetByUs);
        assert!(none.may_have_reset(StreamId::new(3)));
    }

    /// Each search is one look: a walk over all streams would take minutes here.
    #[test]
    fn a_search_does_not_walk() {
        let streams = 1 << 18;
        let mut recent = Recent::new(streams);
        (0..streams as u32).for_each(|n| recent.push(StreamId::new(2 * n + 1), Ended::ResetByPeer));
        let begun = std::time::Instant::now();
        for n in 0..100_000 {
            assert_eq!(recent.find(StreamId::new(2 * n + 1)), Some(Ended::ResetByPeer));
            assert_eq!(recent.find(StreamId::new(2 * (n + streams as u32) + 1)), None);
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
