//! The table from stream identifiers to streams: a slab, one hash lookup per frame. A key
//! names its stream's identifier.
//!
//! hot: no allocation in steady state, one multiplication to hash.

use crate::http2::stream::Stream;
use crate::http2::stream_id::StreamId;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The key of a stream in the table. After the stream was removed, the key finds nothing: a connection never
/// uses an identifier twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    index: u32,
    id: StreamId,
}

/// Identifiers are dense and chosen by the protocol's order, so one multiplication spreads them.
#[derive(Default, Debug, Clone, Copy)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// The streams of one connection.
#[derive(Debug)]
pub struct StreamTable<T> {
    entries: Vec<Option<Stream<T>>>,
    free: Vec<u32>,
    ids: HashMap<u32, u32, BuildHasherDefault<IdHasher>>,
}

impl<T> Default for StreamTable<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), ids: HashMap::default() }
    }
}

impl<T> StreamTable<T> {
    /// Returns the number of streams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns whether there is no stream.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn insert(&mut self, stream: Stream<T>) -> StreamKey {
        let id = stream.id;
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.entries.push(None);
                (self.entries.len() - 1) as u32
            }
        };
        self.ids.insert(id.value(), index);
        self.entries[index as usize] = Some(stream);
        StreamKey { index, id }
    }

    /// Returns the key of a stream identifier.
    #[must_use]
    pub fn key(&self, id: StreamId) -> Option<StreamKey> {
        Some(StreamKey { index: *self.ids.get(&id.value())?, id })
    }

    pub(crate) fn get(&self, key: StreamKey) -> Option<&Stream<T>> {
        self.entries.get(key.index as usize)?.as_ref().filter(|stream| stream.id == key.id)
    }

    pub(crate) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream<T>> {
        self.entries.get_mut(key.index as usize)?.as_mut().filter(|stream| stream.id == key.id)
    }

    pub(crate) fn remove(&mut self, key: StreamKey) -> Option<Stream<T>> {
        let entry = self.entries.get_mut(key.index as usize)?;
        let stream = entry.take_if(|stream| stream.id == key.id)?;
        self.free.push(key.index);
        self.ids.remove(&stream.id.value());
        Some(stream)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamKey, &mut Stream<T>)> {
        self.entries.iter_mut().enumerate().filter_map(|(index, entry)| {
            let stream = entry.as_mut()?;
            Some((StreamKey { index: index as u32, id: stream.id }, stream))
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (StreamKey, &Stream<T>)> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| {
            let stream = entry.as_ref()?;
            Some((StreamKey { index: index as u32, id: stream.id }, stream))
        })
    }

    /// Frees memory if no stream is left.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() && self.entries.capacity() > 4 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::stream::table::*;
    use std::time::Instant;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut table = StreamTable::default();
        let now = Instant::now();
        let one = table.insert(Stream::new(StreamId::new(1), 0, 0, now, 'a'));
        assert_eq!(table.key(StreamId::new(1)), Some(one));
        assert_eq!(table.remove(one).map(|s| s.user), Some('a'));
        let three = table.insert(Stream::new(StreamId::new(3), 0, 0, now, 'b'));
        assert_ne!(one, three);
        assert!(table.get(one).is_none() && table.remove(one).is_none());
        assert_eq!(table.get(three).map(|s| s.user), Some('b'));
        assert_eq!(table.key(StreamId::new(1)), None);
    }

    /// Memory that was freed makes no old key valid again, at whatever index.
    #[test]
    fn a_stale_key_finds_nothing_after_the_table_was_freed() {
        let mut table = StreamTable::default();
        let now = Instant::now();
        let insert = |table: &mut StreamTable<u32>, n: u32| {
            table.insert(Stream::new(StreamId::new(2 * n + 1), 0, 0, now, n))
        };
        let old: Vec<_> = (0..10).map(|n| insert(&mut table, n)).collect();
        for key in &old {
            table.remove(*key);
        }
        table.shrink();
        let new: Vec<_> = (10..20).map(|n| insert(&mut table, n)).collect();
        for key in old {
            assert!(table.get(key).is_none() && table.remove(key).is_none(), "{key:?}");
        }
        assert!(new.iter().all(|key| table.get(*key).is_some()));
    }
}
