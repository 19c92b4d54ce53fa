//! `fuzz/targets/message_split.rs`, fed by libFuzzer.
#![no_main]

#[path = "../targets/input.rs"]
mod input;
#[path = "../targets/message_split.rs"]
mod message_split;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| message_split::run(bytes));
