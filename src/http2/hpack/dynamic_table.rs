//! The dynamic table (RFC 7541 §2.3.2, §4), the same for both directions.
//!
//! Entries queue up over one byte arena: an insertion appends, an eviction only moves the front. The
//! dead bytes in front are dropped once they outweigh the table's own size, so each byte moves a
//! bounded number of times and the arena never holds more than three times that size.

use std::collections::VecDeque;
use std::fmt;

use crate::http2::hpack::ENTRY_OVERHEAD;

/// A dynamic table. Positions count from 0, the newest entry.
pub(super) struct DynamicTable {
    arena: Vec<u8>,
    // Where the arena begins, in bytes ever appended; wraps.
    base: usize,
    // Oldest in front.
    entries: VecDeque<Entry>,
    size: usize,
    size_max: usize,
    generation: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    // In bytes ever appended; wraps.
    start: usize,
    name_len: u32,
    value_len: u32,
}

impl Entry {
    const fn bytes(&self) -> usize {
        self.name_len as usize + self.value_len as usize
    }
}

/// The size of an entry: RFC 7541 §4.1.
pub(super) const fn entry_size(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + ENTRY_OVERHEAD
}

/// Prints the size only: the fields may be secret.
impl fmt::Debug for DynamicTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicTable")
            .field("entries", &self.entries.len())
            .field("size", &self.size)
            .field("size_max", &self.size_max)
            .finish_non_exhaustive()
    }
}

impl DynamicTable {
    /// Creates an empty table; allocates nothing.
    pub(super) const fn new(size_max: usize) -> Self {
        Self {
            arena: Vec::new(),
            base: 0,
            entries: VecDeque::new(),
            size: 0,
            size_max,
            generation: 0,
        }
    }

    /// The largest size the table may have, in bytes.
    pub(super) const fn size_max(&self) -> usize {
        self.size_max
    }

    /// Bytes in the table, as RFC 7541 §4.1 counts them.
    #[cfg(test)]
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Changes with every insertion, eviction and resize.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The name and value at `position`.
    #[inline]
    pub(super) fn get(&self, position: usize) -> Option<(&[u8], &[u8])> {
        let at = self.entries.len().checked_sub(position + 1)?;
        let entry = self.entries.get(at)?;
        let start = entry.start.wrapping_sub(self.base);
        let field = self.arena.get(start..start + entry.bytes())?;
        field.split_at_checked(entry.name_len as usize)
    }

    /// Adds a field as the newest entry. A field larger than the table empties it.
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        if self.refuse(name.len(), value.len()) {
            return;
        }
        self.arena.extend_from_slice(name);
        self.push(name.len(), value);
    }

    /// Adds a field whose name is that of the entry at `position`, which may be evicted for it.
    pub(super) fn insert_with_name_of(&mut self, position: usize, value: &[u8]) {
        let Some((name, _)) = self.get(position) else { return };
        let name_len = name.len();
        if self.refuse(name_len, value.len()) {
            return;
        }
        // RFC 7541 §4.4: a referenced name is taken over before its entry is evicted.
        let start = self.entries[self.entries.len() - 1 - position].start.wrapping_sub(self.base);
        self.arena.extend_from_within(start..start + name_len);
        self.push(name_len, value);
    }

    /// Sets the largest size and evicts what no longer fits.
    pub(super) fn set_size_max(&mut self, size_max: usize) {
        self.size_max = size_max;
        self.generation += 1;
        // RFC 7541 §4.3: entries are evicted from the end until the size fits.
        self.evict();
        self.compact();
    }

    // RFC 7541 §4.4: an entry larger than the table empties it and is not added, which is no error.
    fn refuse(&mut self, name_len: usize, value_len: usize) -> bool {
        if name_len + value_len + ENTRY_OVERHEAD <= self.size_max {
            return false;
        }
        self.generation += 1;
        self.size = 0;
        self.entries.clear();
        self.compact();
        true
    }

    /// Completes an entry whose name is at the end of the arena.
    fn push(&mut self, name_len: usize, value: &[u8]) {
        let start = self.base.wrapping_add(self.arena.len() - name_len);
        self.arena.extend_from_slice(value);
        // Both lengths are below `size_max`; lengths of 2^32 cannot come through an integer of §5.1.
        self.entries.push_back(Entry {
            start,
            name_len: name_len as u32,
            value_len: value.len() as u32,
        });
        self.size += name_len + value.len() + ENTRY_OVERHEAD;
        self.generation += 1;
        self.evict();
        self.compact();
    }

    fn evict(&mut self) {
        while self.size > self.size_max {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.size -= oldest.bytes() + ENTRY_OVERHEAD;
            self.generation += 1;
        }
    }

    fn compact(&mut self) {
        let Some(oldest) = self.entries.front() else {
            self.base = self.base.wrapping_add(self.arena.len());
            self.arena.clear();
            return;
        };
        let dead = oldest.start.wrapping_sub(self.base);
        if dead > self.size_max {
            self.arena.drain(..dead);
            self.base = oldest.start;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::hpack::dynamic_table::*;

    fn names(table: &DynamicTable) -> Vec<&[u8]> {
        (0..table.len()).map(|at| table.get(at).unwrap().0).collect()
    }

    #[test]
    fn newest_first_and_oldest_evicted() {
        let mut table = DynamicTable::new(3 * 34);
        for name in [b"a", b"b", b"c", b"d"] {
            table.insert(name, b"1");
        }
        assert_eq!(names(&table), [b"d", b"c", b"b"]);
        assert_eq!(table.size(), 102);
        assert_eq!(table.get(3), None);
        assert_eq!(table.get(usize::MAX - 1), None);
    }

    #[test]
    fn entries_may_repeat() {
        let mut table = DynamicTable::new(4 * 34);
        for (name, value) in [(b"a", b"1"), (b"b", b"1"), (b"a", b"1")] {
            table.insert(name, value);
        }
        assert_eq!(names(&table), [b"a", b"b", b"a"]);
    }

    #[test]
    fn an_entry_of_exactly_the_size_fits_and_one_more_byte_empties() {
        let mut table = DynamicTable::new(64);
        table.insert(&[b'n'; 16], &[b'v'; 16]);
        assert_eq!((table.len(), table.size()), (1, 64));
        let generation = table.generation();
        table.insert(&[b'n'; 16], &[b'v'; 17]);
        assert_eq!((table.len(), table.size()), (0, 0));
        assert_ne!(table.generation(), generation);
    }

    #[test]
    fn a_name_outlives_the_entry_it_is_taken_from() {
        let mut table = DynamicTable::new(64);
        table.insert(b"a-name", b"1");
        for turn in 0..100u32 {
            let value = turn.to_string();
            table.insert_with_name_of(0, value.as_bytes());
            assert_eq!(table.len(), 1);
            assert_eq!(table.get(0), Some((&b"a-name"[..], value.as_bytes())));
        }
    }

    #[test]
    fn the_arena_stays_within_three_times_the_size() {
        let mut table = DynamicTable::new(4096);
        let mut most = 0;
        for turn in 0..10_000usize {
            let value = vec![b'v'; turn * 7 % 1500];
            table.insert(format!("n{turn}").as_bytes(), &value);
            assert_eq!(table.get(0).unwrap().1, value);
            most = most.max(table.arena.len());
        }
        assert!(most <= 3 * 4096, "{most}");
    }

    #[test]
    fn offsets_wrap() {
        let mut table = DynamicTable::new(200);
        table.base = usize::MAX - 300;
        for turn in 0..1000u32 {
            table.insert(b"name", turn.to_string().as_bytes());
            assert_eq!(table.get(0).unwrap().1, turn.to_string().as_bytes());
            let last = table.len() - 1;
            assert_eq!(table.get(last).unwrap().0, b"name");
        }
    }

    #[test]
    fn generation_changes_with_insert_evict_and_resize() {
        let mut table = DynamicTable::new(100);
        let mut seen = vec![table.generation()];
        table.insert(b"a", b"1");
        seen.push(table.generation());
        table.insert_with_name_of(0, b"2");
        seen.push(table.generation());
        table.set_size_max(40);
        seen.push(table.generation());
        table.set_size_max(0);
        seen.push(table.generation());
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
        assert_eq!((table.len(), table.size(), table.arena.len()), (0, 0, 0));
    }

    #[test]
    fn lookups_leave_the_generation() {
        let mut table = DynamicTable::new(100);
        table.insert(b"a", b"1");
        let generation = table.generation();
        assert!(table.get(0).is_some() && table.get(1).is_none());
        table.insert_with_name_of(1, b"no such entry");
        assert_eq!((table.generation(), table.len()), (generation, 1));
    }
}
