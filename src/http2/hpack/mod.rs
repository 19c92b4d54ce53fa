//! HPACK (RFC 7541): encodes and decodes field blocks.
//!
//! An [`Encoder`] and a [`Decoder`] each have one dynamic table and serve one direction of one connection.
//! In steady state neither allocates per field. [`Prepared`] caches the encoded bytes of fields that are
//! sent repeatedly, while the encoder's table does not change.
//!
//! This module does not know frames: the caller joins the fragments of a block and limits their sum, which
//! also limits the decoder's scratch memory.

mod decoder;
mod dynamic_table;
mod encoder;
mod error;
mod hash;
pub mod huffman;
mod huffman_table;
mod index;
mod integer;
mod policy;
mod prepared;
mod static_table;

pub use decoder::{Decoder, FieldSink};
pub use encoder::Encoder;
pub use error::HpackError;
pub use policy::{Indexing, default_indexing};
pub use prepared::{Prepared, Template};

/// The initial table size of both ends, in bytes (RFC 9113 §6.5.2).
pub const DEFAULT_TABLE_SIZE: usize = 4096;

/// The bytes that each entry counts in addition to its name and value (RFC 7541 §4.1).
pub const ENTRY_OVERHEAD: usize = 32;
