//! Fields to a field block (RFC 7541 §6).

use crate::http2::hpack::dynamic_table::{DynamicTable, entry_size};
use crate::http2::hpack::index::Index;
use crate::http2::hpack::policy;
use crate::http2::hpack::policy::Indexing;
use crate::http2::hpack::static_table;
use crate::http2::hpack::static_table::{Match, STATIC_LEN};
use crate::http2::hpack::{DEFAULT_TABLE_SIZE, hash, huffman, integer};
use crate::http2::{FieldRef, Fields};

/// The largest table an encoder keeps, in bytes, whatever it is asked for.
const TABLE_SIZE_CAP: usize = 65_536;

/// An encoder for the field blocks of one direction of one connection.
///
/// Encode a block with [`Encoder::begin_block`] and [`Encoder::field`], or with [`Encoder::encode`]. Send the
/// blocks in the order in which they were encoded.
#[derive(Debug)]
pub struct Encoder {
    table: DynamicTable,
    index: Index,
    table_size_cap: usize,
    // The peer's last SETTINGS_HEADER_TABLE_SIZE.
    peer_table_size: usize,
    // Set when a size update is owed: the smallest size since the last block.
    smallest_owed: Option<usize>,
}

/// Where a field was found.
enum Found {
    Field(usize),
    Name(usize),
    Nothing,
}

impl Encoder {
    /// Creates an encoder whose table is at most `table_size_max` and at most 65,536 bytes.
    ///
    /// The peer expects [`DEFAULT_TABLE_SIZE`]. A smaller size is announced in the first block; a larger one
    /// is used only after the peer's SETTINGS allow it.
    #[must_use]
    pub fn new(table_size_max: usize) -> Self {
        let table_size_cap = table_size_max.min(TABLE_SIZE_CAP);
        let first = table_size_cap.min(DEFAULT_TABLE_SIZE);
        Self {
            table: DynamicTable::new(DEFAULT_TABLE_SIZE),
            index: Index::new(table_size_cap),
            table_size_cap,
            peer_table_size: DEFAULT_TABLE_SIZE,
            smallest_owed: (first < DEFAULT_TABLE_SIZE).then_some(first),
        }
    }

    /// Applies the peer's SETTINGS_HEADER_TABLE_SIZE. Call it in the order of the received SETTINGS, before
    /// the acknowledgement is sent. The next block announces the new size.
    pub fn set_peer_table_size(&mut self, size: u32) {
        let size = size as usize;
        let allowed = size.min(self.table_size_cap);
        // RFC 9113 §4.3.1: a peer may insist on a size update after any reduction.
        let reduced = size < self.peer_table_size;
        self.peer_table_size = size;
        if reduced || self.smallest_owed.is_some() || allowed != self.table.size_max() {
            let smallest = self.smallest_owed.unwrap_or(allowed);
            self.smallest_owed = Some(smallest.min(allowed));
        }
    }

    /// Returns the number of changes of the table. While it stays the same, encoded bytes that did not
    /// change the table keep their meaning.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.table.generation()
    }

    /// Whether the next block must begin with a table size update.
    pub(super) const fn owes_size_update(&self) -> bool {
        self.smallest_owed.is_some()
    }

    /// Returns the size of the table from the next block on, in bytes.
    pub(super) fn table_size(&self) -> usize {
        self.peer_table_size.min(self.table_size_cap)
    }

    /// Begins a block: appends the pending table size updates, at most two (RFC 7541 §4.2).
    pub fn begin_block(&mut self, out: &mut Vec<u8>) {
        let Some(smallest) = self.smallest_owed.take() else { return };
        let last = self.table_size();
        // RFC 7541 §4.2: the smallest size since the last block is signalled, then the final one.
        if smallest < last {
            self.table.set_size_max(smallest);
            integer::encode(smallest, 5, 0x20, out);
        }
        self.table.set_size_max(last);
        integer::encode(last, 5, 0x20, out);
    }

    /// Appends one field to the current block. A sensitive field is never indexed, whatever `indexing` is; a
    /// field larger than the table is not added to it.
    pub fn field(&mut self, field: FieldRef<'_>, indexing: Indexing, out: &mut Vec<u8>) {
        let secret = field.sensitive || indexing == Indexing::Never;
        self.put(field, secret, |_, _| indexing, out);
    }

    /// Appends a whole block: pending table size updates, then all fields, indexed as
    /// [`default_indexing`](super::default_indexing) decides for the size of this table.
    pub fn encode(&mut self, fields: &Fields, out: &mut Vec<u8>) {
        self.begin_block(out);
        self.fields(fields, out);
    }

    /// Appends fields to the block begun, by the default policy.
    pub(super) fn fields(&mut self, fields: &Fields, out: &mut Vec<u8>) {
        for field in fields {
            self.put(field, policy::is_secret(field), policy::indexing, out);
        }
    }

    /// Appends a field; asks for its indexing, given the table's size, only when no table holds it.
    #[inline]
    pub(super) fn put(
        &mut self,
        field: FieldRef<'_>,
        secret: bool,
        indexing: impl FnOnce(FieldRef<'_>, usize) -> Indexing,
        out: &mut Vec<u8>,
    ) {
        let FieldRef { name, value, .. } = field;
        let name_hash = hash::name(name);
        if secret {
            // RFC 7541 §7.1.3: a never-indexed field keeps its literal representation on every hop.
            let index = match static_table::find(name_hash, name, value) {
                Match::Field(index) | Match::Name(index) => index,
                Match::None => self.dynamic_name(name_hash, name),
            };
            return literal(0x10, 4, index, name, value, out);
        }
        let field_hash = hash::field(name_hash, value);
        let name_index = match self.find(name_hash, field_hash, name, value) {
            // RFC 7541 §6.1: an indexed field.
            Found::Field(index) => return integer::encode(index, 7, 0x80, out),
            Found::Name(index) => index,
            Found::Nothing => 0,
        };
        let indexing = indexing(field, self.table_size());
        self.add(field, indexing, name_index, [name_hash, field_hash], out);
    }

    fn add(
        &mut self,
        field: FieldRef<'_>,
        indexing: Indexing,
        name_index: usize,
        [name_hash, field_hash]: [u32; 2],
        out: &mut Vec<u8>,
    ) {
        let FieldRef { name, value, .. } = field;
        // Adding an entry larger than the table would empty it for nothing (RFC 7541 §4.4).
        if indexing == Indexing::Incremental && entry_size(name, value) <= self.table.size_max() {
            // RFC 7541 §6.2.1: a literal with incremental indexing.
            literal(0x40, 6, name_index, name, value, out);
            self.table.insert(name, value);
            self.index.insert(self.table.len(), name_hash, field_hash);
        } else {
            // RFC 7541 §6.2.2: a literal without indexing.
            literal(0x00, 4, name_index, name, value, out);
        }
    }

    #[inline]
    fn find(&self, name_hash: u32, field_hash: u32, name: &[u8], value: &[u8]) -> Found {
        let known = static_table::find(name_hash, name, value);
        if let Match::Field(index) = known {
            return Found::Field(index);
        }
        if let Some(position) = self.index.find_field(&self.table, field_hash, name, value) {
            return Found::Field(STATIC_LEN + 1 + position);
        }
        match known {
            Match::Name(index) => Found::Name(index),
            _ => match self.dynamic_name(name_hash, name) {
                0 => Found::Nothing,
                index => Found::Name(index),
            },
        }
    }

    /// The index of the newest entry named `name`, 0 when there is none.
    fn dynamic_name(&self, name_hash: u32, name: &[u8]) -> usize {
        let position = self.index.find_name(&self.table, name_hash, name);
        position.map_or(0, |position| STATIC_LEN + 1 + position)
    }
}

/// Appends a literal field whose name is at `name_index`, or literal too when that is 0.
#[inline]
fn literal(
    first: u8,
    prefix: u32,
    name_index: usize,
    name: &[u8],
    value: &[u8],
    out: &mut Vec<u8>,
) {
    integer::encode(name_index, prefix, first, out);
    if name_index == 0 {
        string(name, out);
    }
    string(value, out);
}

/// Appends a string, Huffman-coded when that is shorter (RFC 7541 §5.2).
fn string(string: &[u8], out: &mut Vec<u8>) {
    let coded_len = huffman::encoded_len(string);
    if coded_len < string.len() {
        out.reserve(coded_len + 6);
        integer::encode(coded_len, 7, 0x80, out);
        huffman::encode(string, out);
    } else {
        integer::encode(string.len(), 7, 0, out);
        out.extend_from_slice(string);
    }
}
