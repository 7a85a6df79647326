//! The `optmsm` program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(optmsm_train::cli::main(std::env::args_os()))
}
