#![no_main]
//! [`optmsm_fuzz::csv`], driven by libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| optmsm_fuzz::csv::run(bytes));
