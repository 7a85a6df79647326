//! Chores of the repository: `cargo xtask check | rooms | faults | fixtures | bench | ptx | ptxas | gpu-bundle`.

use std::process::{Command, ExitCode};

use clap::Parser;

mod bench;
mod bundle;
mod faults;
mod picture;
mod ptx;
mod report;
mod rooms;
mod toolkit;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the repository")]
enum Chore {
    /// Everything that CI checks.
    Check,
    /// Count the files of each family of operations; fail where a room gives one another name.
    Rooms,
    /// Kill the program, fail its system calls, damage its files; count what becomes of them.
    Faults(faults::Args),
    /// Remake the PyTorch fixtures.
    Fixtures,
    /// Measure ours and PyTorch in turn, and write docs/benchmarks/.
    Bench(bench::Args),
    /// Compile kernels/ to kernels/ptx/.
    Ptx(ptx::Args),
    /// Fetch NVIDIA's assembler for the tests.
    Ptxas(ptx::PtxasArgs),
    /// Build what tests and measures the CUDA backend on a machine without Rust.
    GpuBundle(bundle::Args),
}

fn main() -> ExitCode {
    let command = match Chore::parse() {
        Chore::Check => Command::new("./.ci/run"),
        Chore::Faults(args) => faults::command(&args),
        Chore::Fixtures => {
            let mut python = Command::new("python3");
            python.arg("tests/fixtures/make.py");
            python
        }
        Chore::Rooms => return end(rooms::run()),
        Chore::Bench(args) => return end(bench::run(&args)),
        Chore::Ptx(args) => return end(ptx::run(&args)),
        Chore::Ptxas(args) => return end(ptx::ptxas(&args)),
        Chore::GpuBundle(args) => return end(bundle::run(&args)),
    };
    forward(command)
}

fn end(result: bench::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command and passes on how it ended.
fn forward(mut command: Command) -> ExitCode {
    match command.status() {
        Ok(status) => ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)),
        Err(e) => {
            eprintln!("error: {command:?} cannot be started: {e}");
            ExitCode::from(2)
        }
    }
}
