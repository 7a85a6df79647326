//! The `optmsm` program.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

mod cli;

use std::process::ExitCode;

use optmsm_train::say;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            say::line(&format!("error: {e}"));
            ExitCode::from(e.exit_code())
        }
    }
}
