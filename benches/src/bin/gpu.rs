//! Measures on a GPU, beside PyTorch where a Python with torch is given, and writes the report of it.
//!
//!     gpu measure --python python3 --peer optmsm_torch_gpu.py --out results.jsonl
//!     gpu steps --count 20 --out parameters.safetensors
//!     gpu report FOLDER
//!
//! Without a device: one line on stderr, and exit code 2.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use optmsm_benches::case::save;
use optmsm_benches::gpu::measure::{Program, Run};
use optmsm_benches::gpu::{Result, report};
use optmsm_benches::peer::Peer;
use optmsm_benches::standard;
use optmsm_benches::work::{ROWS, Training, rows};
use optmsm_core::learner::LearnerConfig;
use optmsm_cuda::{Cuda, CudaOptions, Precision};

#[derive(Parser)]
#[command(about = "Measures the CUDA backend on a GPU, and PyTorch beside it")]
enum Command {
    /// Times ceilings, training, products, operations and predictions; a JSON object a line.
    Measure {
        /// Where the lines go; stdout when not given.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Python that has torch and safetensors; without one, only ours is timed.
        #[arg(long, requires = "peer")]
        python: Option<PathBuf>,
        /// The peer, `optmsm_torch_gpu.py`.
        #[arg(long)]
        peer: Option<PathBuf>,
        /// Seconds after which PyTorch compiles nothing more.
        #[arg(long, default_value_t = 240.0)]
        budget: f64,
    },
    /// Trains the standard model for some steps and writes its parameters: two runs must give the same file.
    Steps {
        /// Steps.
        #[arg(long, default_value_t = 20)]
        count: usize,
        /// Rows of a batch.
        #[arg(long, default_value_t = ROWS)]
        rows: usize,
        /// What operands of products are rounded to: f32, tf32 or bf16.
        #[arg(long, default_value = "tf32", value_parser = precision)]
        precision: Precision,
        /// Where the parameters go, as safetensors.
        #[arg(long)]
        out: PathBuf,
    },
    /// Writes FOLDER/gpu.md from what run.sh left in FOLDER.
    Report {
        /// The folder.
        folder: PathBuf,
    },
}

fn precision(name: &str) -> std::result::Result<Precision, String> {
    let known = Precision::ALL.into_iter().find(|p| p.name() == name);
    known.ok_or_else(|| format!("{name} is none of f32, tf32, bf16"))
}

fn main() -> ExitCode {
    let command = Command::parse();
    if !matches!(command, Command::Report { .. })
        && let Err(why) = Cuda::probe()
    {
        eprintln!("error: {why}");
        return ExitCode::from(2);
    }
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn open(precision: Precision) -> Result<Cuda> {
    Ok(Cuda::new(CudaOptions { device: 0, precision })?)
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Measure { out, python, peer, budget } => {
            let mut to: Box<dyn Write> = match &out {
                Some(path) => Box::new(File::create(path).map_err(|e| format!("{}: {e}", path.display()))?),
                None => Box::new(std::io::stdout()),
            };
            let mut emit = |line| {
                writeln!(to, "{line}")?;
                // Results that are there when time runs out count.
                Ok(to.flush()?)
            };
            let peer = match (python, peer) {
                (Some(python), Some(script)) => Some(Peer::run(&python, &script, &[])?),
                _ => None,
            };
            Run { open, program: Program::full(budget), peer, emit: &mut emit }.all()
        }
        Command::Steps { count, rows: n, precision, out } => {
            let model = standard(false);
            let mut training = Training::on(open(precision)?, &model, LearnerConfig::default(), n)?;
            (0..count).for_each(|_| training.step());
            let loss = training.learner().loss()?;
            save(&out, &training.learner().export()?, &rows(&model.1, 1, 0))?;
            println!("{count} steps, loss {:.6}", loss.total());
            Ok(())
        }
        Command::Report { folder } => {
            let path = folder.join("gpu.md");
            std::fs::write(&path, report::markdown(&folder)?)?;
            println!("wrote {}", path.display());
            Ok(())
        }
    }
}
