//! Finds fields in the encoder's dynamic table.
//!
//! Each entry is in two chains, by field and by name, and refers to the next older entry of each. Entries
//! are numbered in the order of insertion. A number that is no longer in the table ends a chain, so an
//! eviction costs nothing here. A stale number can lead into another chain at worst; its entries are
//! compared in full as well.

use crate::http2::hpack::ENTRY_OVERHEAD;
use crate::http2::hpack::dynamic_table::DynamicTable;

/// Look-up by field and by name into one dynamic table.
#[derive(Debug)]
pub(super) struct Index {
    // By number modulo their count, a power of two above the entries the table can hold.
    links: Vec<Link>,
    // The newest number of each bucket.
    fields: Vec<u32>,
    names: Vec<u32>,
    capacity: usize,
    // The number of the next entry; wraps.
    next: u32,
}

/// The initial capacity of an index, in entries: more than the heads of one service need.
const FIRST: usize = 16;

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    field_hash: u32,
    name_hash: u32,
    older_field: u32,
    older_name: u32,
}

impl Index {
    /// Creates an index for a table of at most `size_max` bytes. It allocates at the first insertion, and
    /// when the table has more entries than its capacity.
    pub(super) const fn new(size_max: usize) -> Self {
        let most = (size_max / ENTRY_OVERHEAD + 1).next_power_of_two();
        let capacity = if most < FIRST { most } else { FIRST };
        Self { links: Vec::new(), fields: Vec::new(), names: Vec::new(), capacity, next: 0 }
    }

    /// Adds the entry that was just inserted into the table, one of `live`.
    pub(super) fn insert(&mut self, live: usize, name_hash: u32, field_hash: u32) {
        if self.links.is_empty() {
            self.resize();
        } else if live > self.capacity {
            self.grow();
        }
        self.link(self.next, name_hash, field_hash);
        self.next = self.next.wrapping_add(1);
    }

    fn resize(&mut self) {
        self.links = vec![Link::default(); self.capacity];
        self.fields = vec![0; self.capacity];
        self.names = vec![0; self.capacity];
    }

    fn link(&mut self, number: u32, name_hash: u32, field_hash: u32) {
        let mask = self.capacity - 1;
        let field = &mut self.fields[field_hash as usize & mask];
        let name = &mut self.names[name_hash as usize & mask];
        self.links[number as usize & mask] =
            Link { field_hash, name_hash, older_field: *field, older_name: *name };
        *field = number;
        *name = number;
    }

    /// Doubles the capacity and inserts all live entries again.
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.links);
        let first = self.next.wrapping_sub(old.len() as u32);
        self.capacity *= 2;
        self.resize();
        for number in (0..old.len() as u32).map(|n| first.wrapping_add(n)) {
            let link = old[number as usize & (old.len() - 1)];
            self.link(number, link.name_hash, link.field_hash);
        }
    }

    /// Returns the position in `table` of the newest entry with this name and value.
    #[inline]
    pub(super) fn find_field(
        &self,
        table: &DynamicTable,
        field_hash: u32,
        name: &[u8],
        value: &[u8],
    ) -> Option<usize> {
        self.walk(
            table,
            &self.fields,
            field_hash,
            |link| link.older_field,
            |link, position| {
                link.field_hash == field_hash && table.get(position) == Some((name, value))
            },
        )
    }

    /// Returns the position in `table` of the newest entry with this name.
    #[inline]
    pub(super) fn find_name(
        &self,
        table: &DynamicTable,
        name_hash: u32,
        name: &[u8],
    ) -> Option<usize> {
        self.walk(
            table,
            &self.names,
            name_hash,
            |link| link.older_name,
            |link, position| {
                link.name_hash == name_hash
                    && table.get(position).is_some_and(|(known, _)| known == name)
            },
        )
    }

    #[inline]
    fn walk(
        &self,
        table: &DynamicTable,
        heads: &[u32],
        hash: u32,
        older: impl Fn(&Link) -> u32,
        found: impl Fn(&Link, usize) -> bool,
    ) -> Option<usize> {
        let mask = self.capacity - 1;
        let mut number = *heads.get(hash as usize & mask)?;
        let mut least = 0;
        loop {
            let position = self.next.wrapping_sub(number).wrapping_sub(1) as usize;
            // Positions only grow along a chain; anything else is a number from before the wrap.
            if position < least || position >= table.len() {
                return None;
            }
            let link = &self.links[number as usize & mask];
            if found(link, position) {
                return Some(position);
            }
            least = position + 1;
            number = older(link);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::hpack::hash;
    use crate::http2::hpack::index::*;

    fn insert(index: &mut Index, table: &mut DynamicTable, name: &[u8], value: &[u8]) {
        table.insert(name, value);
        let name_hash = hash::name(name);
        index.insert(table.len(), name_hash, hash::field(name_hash, value));
    }

    fn find(index: &Index, table: &DynamicTable, name: &[u8], value: &[u8]) -> Option<usize> {
        index.find_field(table, hash::field(hash::name(name), value), name, value)
    }

    /// The same answers as a walk over the table, whatever number the entries start from.
    #[test]
    fn agrees_with_a_linear_search_across_the_wrap() {
        for start in [0u32, 1, u32::MAX - 150] {
            let mut index = Index::new(512);
            index.next = start;
            let mut table = DynamicTable::new(512);
            for turn in 0..600u32 {
                let name = format!("n{}", turn % 7);
                let value = format!("{}", turn * 31 % 23);
                if find(&index, &table, name.as_bytes(), value.as_bytes()).is_none() {
                    insert(&mut index, &mut table, name.as_bytes(), value.as_bytes());
                }
                if turn % 97 == 0 {
                    table.set_size_max(64);
                    table.set_size_max(512);
                }
                for n in 0..8 {
                    let name = format!("n{n}");
                    let by_name =
                        (0..table.len()).find(|&at| table.get(at).unwrap().0 == name.as_bytes());
                    let hash = hash::name(name.as_bytes());
                    assert_eq!(index.find_name(&table, hash, name.as_bytes()), by_name);
                    for v in 0..23 {
                        let value = format!("{v}");
                        let wanted = Some((name.as_bytes(), value.as_bytes()));
                        let by_field = (0..table.len()).find(|&at| table.get(at) == wanted);
                        let found = find(&index, &table, name.as_bytes(), value.as_bytes());
                        assert_eq!(found, by_field, "{name}: {value} in turn {turn}");
                    }
                }
            }
        }
    }

    #[test]
    fn colliding_fields_are_told_apart() {
        let mut index = Index::new(4096);
        let mut table = DynamicTable::new(4096);
        let values: Vec<String> =
            (0..20).map(|n| format!("aaaaaaaa{n:02}aa{}", "b".repeat(40))).collect();
        let hashes: std::collections::HashSet<u32> =
            values.iter().map(|v| hash::field(1, v.as_bytes())).collect();
        assert_eq!(hashes.len(), 1, "the values are meant to collide");
        for value in &values {
            insert(&mut index, &mut table, b"n", value.as_bytes());
        }
        for (at, value) in values.iter().rev().enumerate() {
            assert_eq!(find(&index, &table, b"n", value.as_bytes()), Some(at));
        }
    }
}
