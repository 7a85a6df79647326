//! Shared by the tests of OptMSM: the conformance suite of backends, running error bounds, random numbers, jobs of MPI.
//!
//! Not published.
#![forbid(unsafe_code)]

pub mod bounded;
pub mod conformance;
pub mod mpi;
pub mod rng;

/// Whether a test that needs `name` can run here; when not, says so, and panics if the environment variable
/// `OPTMSM_REQUIRE` (names separated by commas) asks for it.
pub fn require(name: &str, available: bool) -> bool {
    let required = std::env::var("OPTMSM_REQUIRE").unwrap_or_default();
    if !available {
        assert!(!required.split(',').any(|r| r.trim() == name), "OPTMSM_REQUIRE: this machine has no {name}");
        eprintln!("skipped: this machine has no {name}");
    }
    available
}
