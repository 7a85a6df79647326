//! The interface as a C program has it, and C and Go programs themselves.

#[path = "../common/mod.rs"]
mod common;
mod errors;
mod header;
mod programs;
mod same;
mod threads;
