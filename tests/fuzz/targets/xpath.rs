//! See `tests_fuzz::xpath`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests_fuzz::xpath(data));
