//! See `tests_fuzz::cib`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests_fuzz::cib(data));
