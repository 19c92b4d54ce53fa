//! A field block to fields (RFC 7541 §3, §6).

use crate::http2::hpack::dynamic_table::DynamicTable;
use crate::http2::hpack::static_table;
use crate::http2::hpack::static_table::STATIC_LEN;
use crate::http2::hpack::{HpackError, huffman, integer};

/// The most table size updates at the start of a block (RFC 7541 §4.2).
const SIZE_UPDATES_MAX: usize = 2;

/// Scratch memory for a Huffman-coded string that is kept for the next block, in bytes.
const SCRATCH_KEPT: usize = 1024;

/// A receiver of the decoded fields of a block.
pub trait FieldSink {
    /// Receives one field, in order. `never_indexed` is its representation (RFC 7541 §6.2.3).
    ///
    /// Decoding always continues to the end of the block, or the table would differ from the peer's. A sink
    /// that needs no more fields ignores the rest.
    fn field(&mut self, name: &[u8], value: &[u8], never_indexed: bool);
}

/// A decoder for the field blocks of one direction of one connection, in the order of their arrival.
///
/// After an error the table may differ from the peer's, so the connection must end (RFC 9113 §4.3).
#[derive(Debug)]
pub struct Decoder {
    table: DynamicTable,
    // Our SETTINGS_HEADER_TABLE_SIZE, acknowledged by the peer.
    table_size_max: usize,
    // Set when the peer must begin its next block with a size update, of at most this size.
    update_due: Option<usize>,
    // Where Huffman-coded strings are decoded to.
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// Creates a decoder with a table of `table_size_max` bytes. On a connection this is
    /// [`DEFAULT_TABLE_SIZE`](super::DEFAULT_TABLE_SIZE) until the peer acknowledges our SETTINGS.
    #[must_use]
    pub const fn new(table_size_max: usize) -> Self {
        Self {
            table: DynamicTable::new(table_size_max),
            table_size_max,
            update_due: None,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Applies our SETTINGS_HEADER_TABLE_SIZE; call it when the peer acknowledges our SETTINGS.
    ///
    /// If the table is larger than `size`, the next block must begin with a size update (RFC 7541 §4.2).
    pub fn set_table_size_max(&mut self, size: usize) {
        self.table_size_max = size;
        // RFC 9113 §4.3.1: a reduction below the table's current size must be answered.
        if size < self.update_due.unwrap_or_else(|| self.table.size_max()) {
            self.update_due = Some(size);
        }
    }

    /// Returns the number of changes of the table. While it stays the same, equal blocks that do not
    /// change the table decode to equal fields.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.table.generation()
    }

    /// Decodes one whole block and passes its fields to `sink`.
    ///
    /// It allocates only to grow the table, or the scratch memory for Huffman-coded strings, which is at
    /// most 8/5 of the block and is freed behind it if it is large.
    ///
    /// # Errors
    ///
    /// The rule that the block breaks. `sink` has received the fields before it.
    pub fn decode(&mut self, block: &[u8], sink: &mut impl FieldSink) -> Result<(), HpackError> {
        let decoded = self.decode_fields(block, sink);
        for scratch in [&mut self.name, &mut self.value] {
            if scratch.capacity() > SCRATCH_KEPT {
                *scratch = Vec::new();
            }
        }
        decoded
    }

    fn decode_fields(
        &mut self,
        mut block: &[u8],
        sink: &mut impl FieldSink,
    ) -> Result<(), HpackError> {
        self.size_updates(&mut block)?;
        while let Some(&first) = block.first() {
            match first {
                // RFC 7541 §6.1: an indexed field.
                0x80.. => {
                    let index = integer::decode(&mut block, 7)?;
                    // RFC 7541 §6.1: the index 0 is a decoding error.
                    if index == 0 {
                        return Err(HpackError::IndexZero);
                    }
                    let (name, value) = lookup(&self.table, index)?;
                    sink.field(name, value, false);
                }
                // RFC 7541 §6.2.1: a literal with incremental indexing.
                0x40.. => self.literal_indexed(&mut block, sink)?,
                // RFC 7541 §4.2: a size update stands at the beginning of a block only.
                0x20.. => return Err(HpackError::SizeUpdateNotAtStart),
                // RFC 7541 §6.2.2: a literal without indexing; §6.2.3: never indexed.
                _ => self.literal(&mut block, first & 0x10 != 0, sink)?,
            }
        }
        Ok(())
    }

    /// Applies the table size updates at the front of `block`.
    fn size_updates(&mut self, block: &mut &[u8]) -> Result<(), HpackError> {
        let mut count = 0;
        while block.first().is_some_and(|first| first & 0xe0 == 0x20) {
            let size = integer::decode(block, 5)?;
            // RFC 7541 §6.3: the new size must not exceed the limit of the protocol.
            if size > self.table_size_max {
                return Err(HpackError::SizeUpdateAboveLimit);
            }
            count += 1;
            // RFC 7541 §4.2: at most the smallest and the final size are signalled.
            if count > SIZE_UPDATES_MAX {
                return Err(HpackError::SizeUpdateRepeated);
            }
            if self.update_due.is_some_and(|due| size <= due) {
                self.update_due = None;
            }
            self.table.set_size_max(size);
        }
        // RFC 7541 §4.2: the first block after a reduction begins with the smallest size.
        if self.update_due.is_some() {
            return Err(HpackError::SizeUpdateMissing);
        }
        Ok(())
    }

    fn literal_indexed(
        &mut self,
        block: &mut &[u8],
        sink: &mut impl FieldSink,
    ) -> Result<(), HpackError> {
        let index = integer::decode(block, 6)?;
        if index == 0 {
            let name = string(block, &mut self.name)?;
            let value = string(block, &mut self.value)?;
            sink.field(name, value, false);
            self.table.insert(name, value);
            return Ok(());
        }
        let (name, _) = lookup(&self.table, index)?;
        let value = string(block, &mut self.value)?;
        sink.field(name, value, false);
        match static_table::get(index) {
            Some((name, _)) => self.table.insert(name, value),
            None => self.table.insert_with_name_of(index - STATIC_LEN - 1, value),
        }
        Ok(())
    }

    fn literal(
        &mut self,
        block: &mut &[u8],
        never_indexed: bool,
        sink: &mut impl FieldSink,
    ) -> Result<(), HpackError> {
        let index = integer::decode(block, 4)?;
        let name = match index {
            0 => string(block, &mut self.name)?,
            _ => lookup(&self.table, index)?.0,
        };
        let value = string(block, &mut self.value)?;
        sink.field(name, value, never_indexed);
        Ok(())
    }
}

/// The entry at `index` of both tables (RFC 7541 §2.3.3); 0 is nowhere.
#[inline]
fn lookup(table: &DynamicTable, index: usize) -> Result<(&[u8], &[u8]), HpackError> {
    let entry = match index.checked_sub(STATIC_LEN + 1) {
        Some(position) => table.get(position),
        None => static_table::get(index),
    };
    // RFC 7541 §2.3.3: an index beyond both tables is a decoding error.
    entry.ok_or(HpackError::IndexOutOfRange)
}

/// Takes a string off the front of `block` (RFC 7541 §5.2); a Huffman-coded one goes to `scratch`.
#[inline]
fn string<'a, 'b: 'a>(
    block: &mut &'b [u8],
    scratch: &'a mut Vec<u8>,
) -> Result<&'a [u8], HpackError> {
    let huffman_coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let len = integer::decode(block, 7)?;
    let (string, rest) = block.split_at_checked(len).ok_or(HpackError::StringTruncated)?;
    *block = rest;
    if !huffman_coded {
        return Ok(string);
    }
    scratch.clear();
    huffman::decode(string, scratch)?;
    Ok(scratch)
}

#[cfg(test)]
mod tests;
