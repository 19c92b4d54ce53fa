//! `fuzz/targets/call_fields.rs`, fed by libFuzzer.
#![no_main]

#[path = "../targets/call_fields.rs"]
mod call_fields;
#[path = "../targets/input.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| call_fields::run(bytes));
