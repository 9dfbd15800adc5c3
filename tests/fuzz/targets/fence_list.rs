//! See `tests_fuzz::fence_list`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests_fuzz::fence_list(data));
