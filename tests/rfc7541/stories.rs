//! Every story of hpack-test-case; `tests/data/hpack-stories` says where they are from.

use std::io::Read as _;

use flate2::read::GzDecoder;
use framewire::unstable::http2::Fields;
use framewire::unstable::http2::hpack::{Decoder, Encoder};

use super::{decode, pairs};

#[derive(Default)]
struct Case {
    fields: Fields,
    // Per encoder that changed its table's size just before this case.
    table_sizes: Vec<(usize, usize)>,
    blocks: Vec<(Vec<usize>, Vec<u8>)>,
}

struct Stories {
    encoders: Vec<String>,
    stories: Vec<(String, Vec<Case>)>,
}

fn block(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut block = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            let digits = std::str::from_utf8(&digits).unwrap();
            block.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            block.push(byte);
        }
    }
    block
}

fn load() -> Stories {
    let packed = include_bytes!("../data/hpack-stories/stories.txt.gz");
    let mut text = String::new();
    GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    let mut all = Stories { encoders: Vec::new(), stories: Vec::new() };
    for line in text.lines() {
        let (kind, rest) = line.split_at(1);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let case = all.stories.last_mut().and_then(|(_, cases)| cases.last_mut());
        match kind {
            "e" => all.encoders.push(rest.to_owned()),
            "s" => all.stories.push((rest.to_owned(), Vec::new())),
            "c" => all.stories.last_mut().unwrap().1.push(Case::default()),
            "f" => {
                let (name, value) = rest.split_once('\t').unwrap();
                case.unwrap().fields.push(name, value);
            }
            "t" => {
                let (encoder, size) = rest.split_once(' ').unwrap();
                let change = (encoder.parse().unwrap(), size.parse().unwrap());
                case.unwrap().table_sizes.push(change);
            }
            "w" => {
                let (encoders, text) = rest.split_once(' ').unwrap();
                let encoders = encoders.split(',').map(|number| number.parse().unwrap()).collect();
                case.unwrap().blocks.push((encoders, block(text)));
            }
            _ => panic!("unknown record {line}"),
        }
    }
    all
}

#[test]
fn every_encoded_story_decodes_to_its_fields() {
    let all = load();
    assert_eq!((all.encoders.len(), all.stories.len()), (14, 32));
    let (mut encoded, mut blocks) = (0, 0);
    for (story, cases) in &all.stories {
        for (number, encoder) in all.encoders.iter().enumerate() {
            let mut decoder = Decoder::new(4096);
            let mut seen = 0;
            for (at, case) in cases.iter().enumerate() {
                for (_, size) in case.table_sizes.iter().filter(|(of, _)| *of == number) {
                    decoder.set_table_size_max(*size);
                }
                let Some((_, block)) = case.blocks.iter().find(|(of, _)| of.contains(&number))
                else {
                    continue;
                };
                let fields = decode(&mut decoder, block)
                    .unwrap_or_else(|error| panic!("{encoder} {story} case {at}: {error}"));
                assert_eq!(pairs(&fields), pairs(&case.fields), "{encoder} {story} case {at}");
                seen += 1;
            }
            assert!(seen == 0 || seen == cases.len(), "{encoder} {story} has a gap");
            encoded += usize::from(seen > 0);
            blocks += seen;
        }
    }
    assert_eq!((encoded, blocks), (446, 47_142));
}

#[test]
fn every_raw_story_survives_our_encoder_and_two_decoders() {
    let all = load();
    let mut cases_seen = 0;
    for table_size in [4096, 512, 0] {
        for (story, cases) in &all.stories {
            let mut encoder = Encoder::new(table_size);
            let mut decoder = Decoder::new(4096);
            let mut other = fluke_hpack::Decoder::new();
            for (at, case) in cases.iter().enumerate() {
                let mut out = Vec::new();
                encoder.encode(&case.fields, &mut out);
                let ours = decode(&mut decoder, &out).unwrap();
                assert_eq!(pairs(&ours), pairs(&case.fields), "{story} case {at}");
                // The foreign decoder is slow unoptimised: it follows each story for 30 cases.
                if at < 30 {
                    let theirs = other.decode(&out).unwrap();
                    assert_eq!(theirs, pairs(&case.fields), "{story} case {at}");
                }
                cases_seen += 1;
            }
        }
    }
    assert_eq!(cases_seen, 3 * 3384);
}
