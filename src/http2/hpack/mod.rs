//! HPACK (RFC 7541): field blocks to fields and back.
//!
//! An [`Encoder`] and a [`Decoder`] each hold one dynamic table and live as long as one direction of
//! one connection. Neither allocates per field once warm. [`Prepared`] keeps the encoded bytes of
//! fields that are sent again and again, for as long as the encoder's table stands.
//!
//! The room knows nothing of frames: the caller joins the fragments of a block and bounds their sum,
//! which also bounds the decoder's scratch memory.

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

/// The table size both ends start with, in bytes (RFC 9113 §6.5.2).
pub const DEFAULT_TABLE_SIZE: usize = 4096;

/// Bytes each entry costs beside its name and value (RFC 7541 §4.1).
pub const ENTRY_OVERHEAD: usize = 32;
