//! HPACK against RFC 7541, against recorded encoders and against a second implementation.
#![allow(clippy::unwrap_used, clippy::panic)]

mod appendix_c;
mod round_trip;
#[cfg(feature = "gzip")]
mod stories;

use framewire::unstable::http2::hpack::{Decoder, FieldSink, HpackError};
use framewire::unstable::http2::{FieldRef, Fields};

/// Collects fields; the never-indexed mark becomes the sensitive one.
#[derive(Default)]
struct Collect(Fields);

impl FieldSink for Collect {
    fn field(&mut self, name: &[u8], value: &[u8], never_indexed: bool) {
        self.0.push_ref(FieldRef { name, value, sensitive: never_indexed });
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, HpackError> {
    let mut sink = Collect::default();
    decoder.decode(block, &mut sink)?;
    Ok(sink.0)
}

/// The names and values alone, for decoders that do not tell the marks.
fn pairs(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
}
