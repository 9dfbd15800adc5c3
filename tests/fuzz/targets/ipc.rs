//! See `tests_fuzz::ipc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests_fuzz::ipc(data));
