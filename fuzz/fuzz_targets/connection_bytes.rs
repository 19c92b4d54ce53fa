//! `fuzz/targets/connection_bytes.rs`, fed by libFuzzer.
#![no_main]

#[path = "../targets/connection_bytes.rs"]
mod connection_bytes;
#[path = "../targets/input.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| connection_bytes::run(bytes));
