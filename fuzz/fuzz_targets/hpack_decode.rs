//! `fuzz/targets/hpack_decode.rs`, fed by libFuzzer.
#![no_main]

#[path = "../targets/hpack_decode.rs"]
mod hpack_decode;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hpack_decode::run(bytes));
