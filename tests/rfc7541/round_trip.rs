//! Random fields, indexing and table sizes through our encoder, our decoder and a foreign one.

use framewire::unstable::http2::hpack::{
    Decoder, Encoder, Indexing, Prepared, Template, default_indexing,
};
use framewire::unstable::http2::{FieldRef, Fields};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{decode, pairs};

/// A field of few names and values, so that tables are hit, or of any bytes.
fn field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let names = prop::sample::select(vec![
        ":method",
        ":path",
        ":status",
        ":authority",
        "content-type",
        "te",
        "user-agent",
        "authorization",
        "cookie",
        "grpc-timeout",
        "grpc-status",
        "grpc-trace-bin",
        "x-tenant",
        "x-call",
    ]);
    let values = prop_oneof![
        "(|/|GET|POST|200|0|trailers|application/grpc|[ab]{40}|[ab]{300})",
        "[ -~]{0,80}",
        Just("v".repeat(1100)),
        Just("w".repeat(5000)),
    ];
    prop_oneof![
        8 => (names, values).prop_map(|(name, value)| (name.into(), value.into())),
        1 => (vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..200)),
    ]
}

/// At least one field: the foreign decoder refuses a block of size updates alone.
fn fields() -> impl Strategy<Value = Fields> {
    vec((field(), prop::bool::weighted(0.1)), 1..12).prop_map(|list| {
        let mut fields = Fields::new();
        for ((name, value), sensitive) in &list {
            fields.push_ref(FieldRef { name, value, sensitive: *sensitive });
        }
        fields
    })
}

fn indexing() -> impl Strategy<Value = Indexing> {
    prop::sample::select(vec![Indexing::Incremental, Indexing::Without, Indexing::Never])
}

fn table_size() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(4096), 0..200u32, 0..20_000u32, Just(u32::MAX)]
}

/// What happens before a block: our settings arrive at the encoder and their acknowledgement at the
/// decoder, in order.
fn resizes() -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![4 => Just(Vec::new()), 1 => vec(table_size(), 1..4)]
}

/// What the policy makes of the marks: never-indexed fields arrive as sensitive ones.
fn marked(fields: &Fields, indexing: impl Fn(FieldRef<'_>) -> Indexing) -> Fields {
    let mut marked = Fields::new();
    for field in fields {
        let sensitive = field.sensitive || indexing(field) == Indexing::Never;
        marked.push_ref(FieldRef { sensitive, ..field });
    }
    marked
}

/// Our decoder and, in one case of eight, a foreign one. That one is slow unoptimised, so it is given
/// up after some bytes.
struct Peers {
    ours: Decoder,
    other: Option<fluke_hpack::Decoder<'static>>,
    other_bytes_left: usize,
}

impl Peers {
    fn new(foreign: bool) -> Self {
        let other = foreign.then(fluke_hpack::Decoder::new);
        Self { ours: Decoder::new(4096), other, other_bytes_left: 6_000 }
    }

    fn resize(&mut self, size: u32) {
        self.ours.set_table_size_max(size as usize);
        if let Some(other) = &mut self.other {
            other.set_max_allowed_table_size(size as usize);
        }
    }

    fn assert_decode(&mut self, block: &[u8], wanted: &Fields) {
        assert_eq!(&decode(&mut self.ours, block).unwrap(), wanted);
        self.other_bytes_left = self.other_bytes_left.saturating_sub(block.len());
        if self.other_bytes_left == 0 {
            self.other = None;
        }
        if let Some(other) = &mut self.other {
            assert_eq!(other.decode(block).unwrap(), pairs(wanted));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_fields_with_any_indexing_and_resizes(
        foreign in prop::bool::weighted(0.125),
        cap in prop_oneof![Just(4096usize), 0..10_000usize],
        blocks in vec((resizes(), fields(), vec(indexing(), 12)), 1..20),
    ) {
        let mut encoder = Encoder::new(cap);
        let mut peers = Peers::new(foreign);
        for (sizes, fields, indexings) in blocks {
            for size in sizes {
                encoder.set_peer_table_size(size);
                peers.resize(size);
            }
            let mut out = Vec::new();
            encoder.begin_block(&mut out);
            let mut wanted = Fields::new();
            for (field, indexing) in fields.iter().zip(indexings) {
                encoder.field(field, indexing, &mut out);
                let sensitive = field.sensitive || indexing == Indexing::Never;
                wanted.push_ref(FieldRef { sensitive, ..field });
            }
            peers.assert_decode(&out, &wanted);
        }
    }

    #[test]
    fn prepared_blocks_mean_what_plain_ones_mean(
        foreign in prop::bool::weighted(0.125),
        templates in vec(fields(), 1..5),
        pool in vec(fields(), 1..4),
        calls in vec((resizes(), 0..5usize, 0..4usize, prop::bool::weighted(0.2)), 1..30),
    ) {
        let templates: Vec<Template> = templates.into_iter().map(Template::new).collect();
        let (mut plain, mut quick) = (Encoder::new(4096), Encoder::new(4096));
        let (mut plain_peer, mut quick_peers) = (Decoder::new(4096), Peers::new(foreign));
        let mut prepared = Prepared::new();
        for (sizes, template, extra, between) in calls {
            for size in sizes {
                plain.set_peer_table_size(size);
                quick.set_peer_table_size(size);
                plain_peer.set_table_size_max(size as usize);
                quick_peers.resize(size);
            }
            let template = &templates[template % templates.len()];
            let extra = &pool[extra % pool.len()];
            let mut all = template.fields().clone();
            all.extend_from(extra);
            let mut out = Vec::new();
            plain.encode(&all, &mut out);
            let wanted = decode(&mut plain_peer, &out).unwrap();
            prop_assert_eq!(pairs(&wanted), pairs(&all));
            out.clear();
            prepared.encode(&mut quick, template, extra, &mut out);
            quick_peers.assert_decode(&out, &wanted);
            if between {
                // Somebody else's block moves the table under the prepared bytes.
                out.clear();
                quick.encode(extra, &mut out);
                let wanted = marked(extra, default_indexing);
                quick_peers.assert_decode(&out, &wanted);
            }
        }
    }
}

#[test]
fn the_default_policy_marks_what_it_never_indexes() {
    let mut fields = Fields::new();
    fields.push("cookie", "a=b");
    fields.push("authorization", "short");
    fields.push("authorization", "x".repeat(40));
    fields.push_sensitive("x-key", "k");
    let mut out = Vec::new();
    Encoder::new(4096).encode(&fields, &mut out);
    let wanted = marked(&fields, default_indexing);
    assert_eq!(wanted.iter().map(|f| f.sensitive).collect::<Vec<_>>(), [true, true, false, true]);
    Peers::new(true).assert_decode(&out, &wanted);
}

/// RFC 7541 §4.2: of several changes between two blocks the smallest size and the last are told.
#[test]
fn the_smallest_and_the_last_size_are_told() {
    let mut encoder = Encoder::new(4096);
    for size in [100, 50, 2000] {
        encoder.set_peer_table_size(size);
    }
    let mut out = Vec::new();
    encoder.begin_block(&mut out);
    // 50 is 31 and 19; 2000 is 31 and 1969.
    assert_eq!(out, [0x3f, 19, 0x3f, 0xb1, 0x0f]);
    out.clear();
    encoder.begin_block(&mut out);
    assert!(out.is_empty(), "told once");
}

/// A prepared block is used while its table stands, and made anew once the table has moved.
#[test]
fn a_prepared_block_lives_as_long_as_its_table() {
    let mut fields = Fields::new();
    fields.push("x-name", "value");
    let template = Template::new(fields.clone());
    let mut other = Fields::new();
    other.push("x-other", "value");
    let (mut encoder, mut decoder) = (Encoder::new(4096), Decoder::new(4096));
    let mut prepared = Prepared::new();
    // The third use is of prepared bytes; then an entry comes before the one they name.
    for wanted in [&[0x40][..], &[0xbe], &[0xbe], &[0xbf], &[0xbf]] {
        let mut out = Vec::new();
        if wanted == [0xbf] {
            encoder.encode(&other, &mut out);
            assert_eq!(decode(&mut decoder, &out).unwrap(), other);
            out.clear();
        }
        prepared.encode(&mut encoder, &template, &Fields::new(), &mut out);
        assert_eq!(out[0], wanted[0]);
        assert_eq!(decode(&mut decoder, &out).unwrap(), fields);
    }
}
