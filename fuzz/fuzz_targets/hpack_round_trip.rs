//! `fuzz/targets/hpack_round_trip.rs`, fed by libFuzzer.
#![no_main]

#[path = "../targets/hpack_round_trip.rs"]
mod hpack_round_trip;
#[path = "../targets/input.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hpack_round_trip::run(bytes));
