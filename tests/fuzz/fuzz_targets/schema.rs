#![no_main]
//! [`optmsm_fuzz::schema`], driven by libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| optmsm_fuzz::schema::run(bytes));
