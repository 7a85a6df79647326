//! NVIDIA's compiler and assembler from PyPI, under target/cuda-toolkit. Neither needs a GPU or a driver.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use optmsm_ptx::ptxas;

use crate::bench::Result;

/// The compiler. All are pinned: a newer nvvm or crt would be installed otherwise, whose ISA this version's ptxas
/// refuses.
pub(crate) const NVCC: &[&str] = &[
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
];
/// Version of the oldest assembler that must take our PTX.
pub(crate) const OLDEST_PTXAS: &str = "12.0.140";
/// Version of CUDA 12's last assembler.
pub(crate) const LAST_PTXAS_12: &str = "12.9.86";

/// nvcc, and what MANIFEST says about it.
pub(crate) struct Compiler {
    pub(crate) nvcc: PathBuf,
    /// Like `nvcc 13.0.88`.
    pub(crate) version: String,
    /// Packages that it was installed from; empty for an installed CUDA toolkit.
    pub(crate) packages: &'static [&'static str],
}

/// nvcc of `CUDA_HOME` when that is new enough, else from PyPI.
pub(crate) fn compiler(root: &Path) -> Result<Compiler> {
    find_host_compiler()?;
    if let Some(home) = env::var_os("CUDA_HOME").filter(|home| !home.is_empty()) {
        let nvcc = Path::new(&home).join("bin/nvcc");
        let version = version(&nvcc)?;
        if new_enough(&version) {
            return Ok(Compiler { nvcc, version, packages: &[] });
        }
        eprintln!("{} is {version}, older than 12.0: nvcc from PyPI is used", nvcc.display());
    }
    let nvcc = install(root, "nvcc-13.0.88", NVCC)?.join("nvidia/cu13/bin/nvcc");
    let version = version(&nvcc)?;
    Ok(Compiler { nvcc, version, packages: NVCC })
}

/// The assembler of a version like `12.0.140`, from PyPI.
pub(crate) fn assembler(root: &Path, version: &str) -> Result<PathBuf> {
    let package = format!("nvidia-cuda-nvcc-cu12=={version}");
    Ok(install(root, &format!("ptxas-{version}"), &[&package])?.join("nvidia/cuda_nvcc/bin/ptxas"))
}

/// Checks for the compiler whose preprocessor nvcc uses.
fn find_host_compiler() -> Result<()> {
    match Command::new("g++").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("nvcc needs g++ on PATH: install it (on Debian and Ubuntu: apt install g++)".into()),
    }
}

/// `nvcc 13.0.88` out of what nvcc says, "Cuda compilation tools, release 13.0, V13.0.88".
fn version(nvcc: &Path) -> Result<String> {
    let cannot =
        |e: io::Error| format!("{} cannot be started: {e}; correct or unset CUDA_HOME", nvcc.display());
    let output = Command::new(nvcc).arg("--version").output().map_err(cannot)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().find_map(|word| word.strip_prefix('V'));
    version
        .map(|v| format!("nvcc {v}"))
        .ok_or_else(|| format!("{} does not say its version", nvcc.display()).into())
}

/// Whether nvcc knows the ISA that we declare.
fn new_enough(version: &str) -> bool {
    let major = version.trim_start_matches("nvcc ").split('.').next();
    major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 12)
}

/// Installs packages into a folder of their own, unless they are there already: sets of different versions lie side by
/// side.
fn install(root: &Path, set: &str, packages: &[&str]) -> Result<PathBuf> {
    let toolkit = ptxas::toolkit(root);
    let (dir, partial) = (toolkit.join(set), toolkit.join(format!("{set}.partial")));
    if dir.is_dir() {
        return Ok(dir);
    }
    eprintln!("installing {} into {}", packages.join(", "), dir.display());
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    let mut pip = Command::new(environment(&toolkit)?);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries",
        "1",
        "--timeout",
        "15",
    ]);
    // All are listed, so dependencies are not looked for; nothing of them is run while they are installed.
    pip.args(["--no-deps", "--only-binary=:all:", "--target"]).arg(&partial).args(packages);
    finish(
        &mut pip,
        "pip could not install NVIDIA's packages: is PyPI, or the index that pip is set up for, reachable?",
    )?;
    fs::rename(&partial, &dir)?;
    Ok(dir)
}

/// Python of a virtual environment, which brings a pip of its own.
fn environment(toolkit: &Path) -> Result<PathBuf> {
    let dir = toolkit.join("venv");
    let python = dir.join("bin/python");
    // pip is the last thing that comes into a new environment.
    if !dir.join("bin/pip").is_file() {
        let missing = "python3 could not make a virtual environment: install Python 3 with venv (on Debian and Ubuntu: apt \
                       install python3-venv)";
        finish(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir), missing)?;
    }
    Ok(python)
}

/// Runs a command to its end.
fn finish(command: &mut Command, failed: &str) -> Result<()> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{failed} ({status})").into()),
        Err(e) => Err(format!("{failed} ({e})").into()),
    }
}
