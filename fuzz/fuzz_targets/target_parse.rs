//! `fuzz/targets/target_parse.rs`, fed by libFuzzer.
#![no_main]

#[path = "../targets/target_parse.rs"]
mod target_parse;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target_parse::run(bytes));
