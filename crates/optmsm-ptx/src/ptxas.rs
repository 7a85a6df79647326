//! `ptxas`, NVIDIA's assembler: it stands in for the driver, which holds the same compiler.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Error, Result, target_dir};

/// Where `cargo xtask ptx` and `cargo xtask ptxas` keep NVIDIA's tools.
pub fn toolkit(root: &Path) -> PathBuf {
    target_dir(root).join("cuda-toolkit")
}

/// The assemblers to use: the one that `OPTMSM_PTXAS` names; else all that are in [`toolkit`]; else the one on `PATH`.
///
/// # Errors
/// `OPTMSM_PTXAS` is set but names no file.
pub fn find(root: &Path) -> Result<Vec<PathBuf>> {
    if let Some(path) = env::var_os("OPTMSM_PTXAS") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            return Err(Error::Ptxas(format!("OPTMSM_PTXAS: {} is no file", path.display())));
        }
        return Ok(vec![path]);
    }
    let mut found = Vec::new();
    if let Ok(sets) = fs::read_dir(toolkit(root)) {
        // cu13 is where CUDA 13's packages put it, cuda_nvcc where CUDA 12's do.
        let places = ["nvidia/cu13/bin/ptxas", "nvidia/cuda_nvcc/bin/ptxas"];
        // A folder that is still being filled has another name.
        let sets =
            sets.flatten().map(|set| set.path()).filter(|set| set.extension().is_none_or(|e| e != "partial"));
        found.extend(sets.flat_map(|set| places.map(|place| set.join(place))).filter(|path| path.is_file()));
        found.sort();
    }
    if found.is_empty() {
        let path = env::var_os("PATH").unwrap_or_default();
        found.extend(env::split_paths(&path).map(|dir| dir.join("ptxas")).find(|path| path.is_file()));
    }
    Ok(found)
}

/// Resources of a multiprocessor that an entry takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The entry.
    pub entry: String,
    /// Registers of each thread.
    pub registers: usize,
    /// Static shared memory of a block, in bytes.
    pub shared: usize,
    /// Local memory of each thread, in bytes: spilled registers, and arrays whose index is not known.
    pub stack: usize,
    /// Bytes that are stored to local memory for want of registers.
    pub spill_stores: usize,
}

/// Assembles a PTX file for an architecture like `sm_90`, and drops the result.
///
/// # Errors
/// The message of `ptxas` about the file, or that it cannot be run.
pub fn assemble(ptxas: &Path, ptx: &Path, arch: &str) -> Result<Vec<Usage>> {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    // Not /dev/null: ptxas removes its output when it fails.
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let cubin = env::temp_dir().join(format!("optmsm-{}-{call}.cubin", std::process::id()));
    let mut command = Command::new(ptxas);
    command.arg("-v").arg(format!("-arch={arch}")).arg("-o").arg(&cubin).arg(ptx);
    let output = command.output().map_err(Error::io(ptxas))?;
    // Left out when assembling failed; a file that stays behind harms nobody.
    let _ = fs::remove_file(&cubin);
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let (tool, file) = (ptxas.display(), ptx.display());
        return Err(Error::Ptxas(format!("{tool} refuses {file} for {arch}:\n{text}")));
    }
    report(&text)
        .ok_or_else(|| Error::Ptxas(format!("{}: its report is not understood:\n{text}", ptxas.display())))
}

/// Reads what `ptxas -v` says of entries. The memory of functions that stay functions counts for the entry that they
/// follow.
fn report(text: &str) -> Option<Vec<Usage>> {
    let mut found: Vec<Usage> = Vec::new();
    for line in text.lines() {
        if line.contains("Compiling entry function") {
            let entry = line.split('\'').nth(1)?.to_owned();
            found.push(Usage { entry, ..Usage::default() });
        } else if line.contains("bytes spill stores") {
            let usage = found.last_mut()?;
            usage.stack += before(line, "bytes stack frame")?;
            usage.spill_stores += before(line, "bytes spill stores")?;
        } else if line.contains("Used ") && line.contains(" registers") {
            let usage = found.last_mut()?;
            usage.registers = before(line, "registers")?;
            usage.shared = before(line, "bytes smem").unwrap_or(0);
        }
    }
    Some(found)
}

/// The number in front of a text.
fn before(line: &str, text: &str) -> Option<usize> {
    line[..line.find(text)?].trim_end().rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ptxas of CUDA 12.0 and 13.0 word it.
    #[test]
    fn reports_are_read() {
        let text = "
ptxas info    : 0 bytes gmem, 24 bytes cmem[3]
ptxas info    : Compiling entry function 'second' for 'sm_80'
ptxas info    : Function properties for second
    48 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 48 bytes cumulative stack size, 1024 bytes smem, 436 bytes cmem[0]
ptxas info    : Function properties for helper
    16 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Compiling entry function 'first' for 'sm_80'
ptxas info    : Function properties for first
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 18 registers
";
        let second =
            Usage { entry: "second".into(), registers: 255, shared: 1024, stack: 64, spill_stores: 16 };
        let first = Usage { entry: "first".into(), registers: 18, ..Usage::default() };
        assert_eq!(report(text), Some(vec![second, first]));
        assert_eq!(report("    many bytes stack frame, 0 bytes spill stores"), None);
    }
}
