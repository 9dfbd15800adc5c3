//! See `tests_fuzz::on_disk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests_fuzz::on_disk(data));
