#![no_main]
//! [`optmsm_fuzz::columnar`], driven by libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| optmsm_fuzz::columnar::run(bytes));
