#![no_main]
//! [`optmsm_fuzz::config`], driven by libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| optmsm_fuzz::config::run(bytes));
