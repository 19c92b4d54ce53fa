//! `fuzz/targets/frame_decode.rs`, fed by libFuzzer.
#![no_main]

#[path = "../targets/frame_decode.rs"]
mod frame_decode;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| frame_decode::run(bytes));
