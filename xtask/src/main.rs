//! Chores of the repository: `cargo xtask check | fixtures`.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut command = match std::env::args().nth(1).as_deref() {
        Some("check") => Command::new("./.ci/run"),
        Some("fixtures") => {
            let mut python = Command::new("python3");
            python.arg("tests/fixtures/make.py");
            python
        }
        _ => {
            eprintln!(
                "usage: cargo xtask check      everything that CI checks\n       cargo xtask fixtures   remake the PyTorch fixtures"
            );
            return ExitCode::from(2);
        }
    };
    match command.status() {
        Ok(status) => ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)),
        Err(e) => {
            eprintln!("error: {command:?} cannot be started: {e}");
            ExitCode::from(2)
        }
    }
}
