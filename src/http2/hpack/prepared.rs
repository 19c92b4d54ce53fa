//! Field blocks kept ready: the stable fields of a call, encoded once per state of the table.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::http2::hpack::encoder::Encoder;
use crate::http2::hpack::hash;
use crate::http2::hpack::policy;
use crate::http2::hpack::policy::Indexing;
use crate::http2::{FieldRef, Fields};

/// Templates a connection keeps bytes for.
const TEMPLATES_MAX: usize = 64;

/// The longest bytes kept, in bytes; a template beyond it is encoded anew each time.
const BYTES_MAX: usize = 2048;

/// Fields remembered as seen once.
const SEEN_MAX: usize = 64;

/// Fields that begin many blocks alike, such as a method's request head.
#[derive(Debug)]
pub struct Template {
    // Unique in the process, so that a cache never mistakes a template for a dropped one.
    id: u64,
    fields: Fields,
}

impl Template {
    /// A template of `fields`, in the order they will be sent.
    #[must_use]
    pub fn new(fields: Fields) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), fields }
    }

    /// The number of this template, unique in the process.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The fields, in order.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }
}

/// The encoded templates of one connection; goes with one [`Encoder`].
///
/// Bytes are kept once encoding them left the table as it was, and used while its generation
/// stands. It holds at most 64 templates of at most 2,048 bytes; a template beyond that takes the
/// place of another.
#[derive(Debug, Default)]
pub struct Prepared {
    // By template id modulo their count; ids are consecutive, so few templates never collide.
    slots: Vec<Slot>,
    // By hash modulo their count: the fields that were sent once without indexing.
    seen: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    // 0 is no template.
    id: u64,
    generation: u64,
    bytes: Vec<u8>,
}

impl Prepared {
    /// An empty cache; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new(), seen: Vec::new() }
    }

    /// Appends a whole block: the fields of `template`, then those of `extra`.
    ///
    /// A block decodes to the same fields, with the same never-indexed marks, as one of
    /// [`Encoder::encode`]. The extra fields follow a stricter policy, since each insertion makes
    /// all prepared bytes stale: what the default policy would add is added at first sight if its
    /// name is known for stable values (`authorization`, `user-agent`, `grpc-encoding`, …), and at
    /// second sight of the whole field otherwise.
    pub fn encode(
        &mut self,
        encoder: &mut Encoder,
        template: &Template,
        extra: &Fields,
        out: &mut Vec<u8>,
    ) {
        self.template(encoder, template, out);
        for field in extra {
            let indexing =
                |field: FieldRef<'_>, table_size| match policy::indexing(field, table_size) {
                    Indexing::Incremental if !self.is_worth_adding(field) => Indexing::Without,
                    indexing => indexing,
                };
            encoder.put(field, policy::is_secret(field), indexing, out);
        }
    }

    fn template(&mut self, encoder: &mut Encoder, template: &Template, out: &mut Vec<u8>) {
        let at = (template.id % TEMPLATES_MAX as u64) as usize;
        if !encoder.owes_size_update()
            && let Some(slot) = self.slots.get(at)
            && slot.id == template.id
            && slot.generation == encoder.generation()
        {
            out.extend_from_slice(&slot.bytes);
            return;
        }
        encoder.begin_block(out);
        let start = out.len();
        let generation = encoder.generation();
        encoder.fields(&template.fields, out);
        let bytes = &out[start..];
        if encoder.generation() == generation && bytes.len() <= BYTES_MAX {
            if self.slots.len() <= at {
                self.slots.resize(at + 1, Slot::default());
            }
            let slot = &mut self.slots[at];
            slot.id = template.id;
            slot.generation = generation;
            slot.bytes.clear();
            slot.bytes.extend_from_slice(bytes);
        }
    }

    /// Whether to index an extra field that the default policy would index.
    fn is_worth_adding(&mut self, field: FieldRef<'_>) -> bool {
        if policy::is_stable(field.name) {
            return true;
        }
        if self.seen.is_empty() {
            self.seen.resize(SEEN_MAX, 0);
        }
        let hash = hash::field(hash::name(field.name), field.value);
        let seen = &mut self.seen[hash as usize % SEEN_MAX];
        *seen == std::mem::replace(seen, hash)
    }
}
