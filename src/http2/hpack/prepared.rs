//! Field blocks kept ready: the stable fields of a call, encoded once per state of the table.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::http2::hpack::encoder::Encoder;
use crate::http2::hpack::hash;
use crate::http2::hpack::policy;
use crate::http2::hpack::policy::Indexing;
use crate::http2::{FieldRef, Fields};

/// Templates a connection keeps bytes for.
const TEMPLATES_MAX: usize = 64;

/// The longest cached block, in bytes; a longer template is encoded each time.
const BYTES_MAX: usize = 2048;

/// The number of fields that are remembered after their first use.
const SEEN_MAX: usize = 64;

/// The fields at the beginning of many blocks, such as the request head of a method.
#[derive(Debug)]
pub struct Template {
    // Unique in the process, so that a cache never mistakes a template for a dropped one.
    id: u64,
    fields: Fields,
}

impl Template {
    /// Creates a template of `fields`, in the order in which they are sent.
    #[must_use]
    pub fn new(fields: Fields) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), fields }
    }

    /// Returns the number of this template, unique in the process.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Returns the fields, in order.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }
}

/// A cache of the encoded templates of one connection, for one [`Encoder`].
///
/// It caches bytes whose encoding did not change the table, and uses them while the generation of the table
/// stays the same. It has at most 64 templates of at most 2,048 bytes; another one replaces an old one.
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
    /// Creates an empty cache; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new(), seen: Vec::new() }
    }

    /// Appends a whole block: the fields of `template`, then those of `extra`.
    ///
    /// The block decodes to the same fields, with the same never-indexed marks, as one of
    /// [`Encoder::encode`]. Each insertion into the table invalidates all cached bytes, so the extra fields
    /// follow a stricter policy. A field that the default policy would add is added at its first use if its
    /// name usually has a stable value (`authorization`, `user-agent`, `grpc-encoding`, …), else at the
    /// second use of the same name and value.
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
