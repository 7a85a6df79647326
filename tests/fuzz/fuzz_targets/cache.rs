#![no_main]
//! [`optmsm_fuzz::cache`], driven by libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| optmsm_fuzz::cache::run(bytes));
