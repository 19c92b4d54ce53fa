//! `fuzz/targets/connection_pair.rs`, fed by libFuzzer.
#![no_main]

#[path = "../targets/connection_pair.rs"]
mod connection_pair;
#[path = "../targets/input.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| connection_pair::run(bytes));
