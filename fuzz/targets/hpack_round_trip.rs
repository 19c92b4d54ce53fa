//! Any fields, with any indexing, template and table sizes, through our encoder and decoder.

use arbitrary::Arbitrary;
use framewire::unstable::http2::hpack::{
    Decoder, Encoder, FieldSink, Indexing, Prepared, Template, default_indexing,
};
use framewire::unstable::http2::{FieldRef, Fields};

#[derive(Debug, Arbitrary)]
enum Name<'a> {
    Known(u8),
    Any(&'a [u8]),
}

#[derive(Debug, Arbitrary)]
enum Value<'a> {
    Known(u8),
    Repeated(u8, u16),
    Any(&'a [u8]),
}

#[derive(Debug, Arbitrary)]
struct Field<'a> {
    name: Name<'a>,
    value: Value<'a>,
    sensitive: bool,
    indexing: u8,
}

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    /// Our settings reach the encoder, their acknowledgement the decoder.
    Resize(u16),
    Fields(Vec<Field<'a>>),
    Encode(Vec<Field<'a>>),
    Prepared(u8, Vec<Field<'a>>),
}

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    cap: u16,
    templates: Vec<Vec<Field<'a>>>,
    steps: Vec<Step<'a>>,
}

const NAMES: [&str; 10] = [
    ":method",
    ":path",
    ":status",
    "te",
    "cookie",
    "authorization",
    "grpc-timeout",
    "grpc-status",
    "x-a",
    "x-b-bin",
];

impl Field<'_> {
    fn push(&self, fields: &mut Fields) {
        let name = match self.name {
            Name::Known(at) => NAMES[usize::from(at) % NAMES.len()].as_bytes(),
            Name::Any(name) => name,
        };
        let made;
        let value = match self.value {
            Value::Known(value) => {
                made = value.to_string().into_bytes();
                &made[..]
            }
            Value::Repeated(byte, count) => {
                made = vec![byte; usize::from(count) % 5000];
                &made[..]
            }
            Value::Any(value) => value,
        };
        fields.push_ref(FieldRef { name, value, sensitive: self.sensitive });
    }

    fn indexing(&self) -> Indexing {
        [Indexing::Incremental, Indexing::Without, Indexing::Never][usize::from(self.indexing) % 3]
    }
}

fn fields(list: &[Field<'_>]) -> Fields {
    let mut fields = Fields::new();
    for field in list {
        field.push(&mut fields);
    }
    fields
}

#[derive(Default)]
struct Collect(Fields);

impl FieldSink for Collect {
    fn field(&mut self, name: &[u8], value: &[u8], never_indexed: bool) {
        self.0.push_ref(FieldRef { name, value, sensitive: never_indexed });
    }
}

fn assert_names_and_values(ours: &Fields, wanted: &Fields) {
    assert!(ours.iter().map(|f| (f.name, f.value)).eq(wanted.iter().map(|f| (f.name, f.value))));
}

/// Judges one input of the fuzzer.
pub(crate) fn run(bytes: &[u8]) {
    let Some(input) = crate::input::read::<Input<'_>>(bytes) else { return };
    let mut encoder = Encoder::new(usize::from(input.cap));
    let mut decoder = Decoder::new(4096);
    let mut prepared = Prepared::new();
    let templates: Vec<Template> =
        input.templates.iter().map(|list| Template::new(fields(list))).collect();
    for step in &input.steps {
        let mut out = Vec::new();
        let wanted = match step {
            Step::Resize(size) => {
                encoder.set_peer_table_size(u32::from(*size));
                decoder.set_table_size_max(usize::from(*size));
                continue;
            }
            Step::Fields(list) => {
                encoder.begin_block(&mut out);
                let mut wanted = Fields::new();
                for (field, one) in fields(list).iter().zip(list) {
                    encoder.field(field, one.indexing(), &mut out);
                    let sensitive = field.sensitive || one.indexing() == Indexing::Never;
                    wanted.push_ref(FieldRef { sensitive, ..field });
                }
                let mut sink = Collect::default();
                decoder.decode(&out, &mut sink).unwrap();
                assert_eq!(sink.0, wanted);
                continue;
            }
            Step::Encode(list) => {
                let fields = fields(list);
                encoder.encode(&fields, &mut out);
                fields
            }
            Step::Prepared(at, list) => {
                let Some(template) = templates.get(usize::from(*at) % templates.len().max(1))
                else {
                    continue;
                };
                let extra = fields(list);
                prepared.encode(&mut encoder, template, &extra, &mut out);
                let mut all = template.fields().clone();
                all.extend_from(&extra);
                all
            }
        };
        let mut sink = Collect::default();
        decoder.decode(&out, &mut sink).unwrap();
        assert_names_and_values(&sink.0, &wanted);
        for (ours, wanted) in sink.0.iter().zip(&wanted) {
            assert_eq!(ours.sensitive, default_indexing(wanted) == Indexing::Never);
        }
    }
}
