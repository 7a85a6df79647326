//! The conformance suite: every operation of a backend against `Reference<f64>`, on ragged shapes, strided
//! views, and memory full of NaN that must be neither read nor overwritten.

pub mod bench;
pub mod dense;
pub mod rows;
