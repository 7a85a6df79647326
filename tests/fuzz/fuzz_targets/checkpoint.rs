#![no_main]
//! [`optmsm_fuzz::checkpoint`], driven by libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| optmsm_fuzz::checkpoint::run(bytes));
