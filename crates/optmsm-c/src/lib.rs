//! The C interface of OptMSM: a trained run answers a service of another language (docs/c.md).
//!
//! `include/optmsm.h` is made from this crate by cbindgen; a test compares the two. What callers read stands in the comments of the
//! exported items, so these say nothing of Rust. No panic leaves a function, and no argument is believed but for what only its
//! caller can know: that a pointer that is not null points to as much as is said of it.
#![allow(
    clippy::missing_safety_doc,
    reason = "the head of the header and each comment say what pointers have to be"
)]

// In the order of the header, which blank lines keep.
mod failure;

mod model;

mod column;

mod score;

mod json;

use std::ffi::c_char;

pub use column::{Column, Type};
pub use failure::{Error, Status, optmsm_error_free, optmsm_error_message, optmsm_error_status};
pub use json::optmsm_score_json;
pub use model::{
    Backend, Kind, Model, Options, optmsm_column_count, optmsm_column_kind, optmsm_column_name,
    optmsm_device, optmsm_fingerprint, optmsm_free, optmsm_load, optmsm_scenario_count, optmsm_scenario_name,
};
pub use score::{optmsm_candidates, optmsm_score};

/// Version of this interface. It grows when a program that was built with an older header would not work.
pub const OPTMSM_ABI_VERSION: u32 = 1;

/// OPTMSM_ABI_VERSION of the library, which a program that loads it compares with that of its header.
#[unsafe(no_mangle)]
pub extern "C" fn optmsm_abi_version() -> u32 {
    OPTMSM_ABI_VERSION
}

/// Version of the library, as "0.1.0". It is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn optmsm_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
