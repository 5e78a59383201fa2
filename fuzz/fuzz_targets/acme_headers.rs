//! See `faythe::fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| faythe::fuzzing::run("acme_headers", bytes));
