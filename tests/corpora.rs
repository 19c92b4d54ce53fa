//! What the fuzzer has found worth keeping, through the fuzz targets' own functions, on stable Rust and
//! without a fuzzer.
#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../fuzz/targets/call_fields.rs"]
mod call_fields;
#[path = "../fuzz/targets/connection_bytes.rs"]
mod connection_bytes;
#[path = "../fuzz/targets/connection_pair.rs"]
mod connection_pair;
#[path = "../fuzz/targets/frame_decode.rs"]
mod frame_decode;
#[path = "../fuzz/targets/hpack_decode.rs"]
mod hpack_decode;
#[path = "../fuzz/targets/hpack_round_trip.rs"]
mod hpack_round_trip;
#[path = "../fuzz/targets/input.rs"]
mod input;
#[path = "../fuzz/targets/message_split.rs"]
mod message_split;
#[path = "../fuzz/targets/target_parse.rs"]
mod target_parse;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 8] = [
    ("call_fields", call_fields::run),
    ("connection_bytes", connection_bytes::run),
    ("connection_pair", connection_pair::run),
    ("frame_decode", frame_decode::run),
    ("hpack_decode", hpack_decode::run),
    ("hpack_round_trip", hpack_round_trip::run),
    ("message_split", message_split::run),
    ("target_parse", target_parse::run),
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

#[test]
fn every_input_of_every_corpus_is_judged_right() {
    let mut wrong = Vec::new();
    for (name, run) in TARGETS {
        let inputs = files(&fuzz().join("seeds").join(name));
        assert!(inputs.len() >= 10, "{name} has {} inputs", inputs.len());
        for path in inputs {
            let bytes = fs::read(&path).unwrap();
            // A panic has said by itself what was wrong.
            if catch_unwind(AssertUnwindSafe(|| run(&bytes))).is_err() {
                wrong.push(path);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_target_is_here() {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let here: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let there: BTreeSet<_> = files(&fuzz().join("fuzz_targets")).into_iter().map(stem).collect();
    assert_eq!(here, there);
}
