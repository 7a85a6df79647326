//! `optmsm train` under a launcher of MPI jobs: the files, the words and the exit code of one process, whatever becomes of a rank.
//!
//! The launcher is MPICH's, from PyPI. Where that cannot be had, tests are SKIPPED; under `OPTMSM_REQUIRE=mpich` they fail.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod kills;
mod same;
mod signals;
mod words;
mod work;
