//! `cargo xtask ptx`: compiles kernels/*.cu to kernels/ptx/. `cargo xtask ptxas`: what assembling it needs and says.

use std::fs;
use std::path::Path;
use std::process::Command;

use optmsm_ptx::ptxas::{assemble, find};
use optmsm_ptx::units::{Unit, ptx_files, units};
use optmsm_ptx::{FLAGS, ISA, Manifest, Module, TARGET, target_dir};

use crate::bench::Result;
use crate::toolkit::{self, Compiler};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Changes nothing; fails unless compiling would give what is there.
    #[arg(long)]
    check: bool,
}

#[derive(clap::Args)]
pub(crate) struct PtxasArgs {
    /// Fetches the last ptxas of CUDA 12, too.
    #[arg(long)]
    all: bool,
    /// Prints the registers, shared memory and local memory of every kernel.
    #[arg(long)]
    report: bool,
}

/// Compiles everything in target/, then moves it to kernels/ptx/ or compares it with what is there.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = root()?;
    let kernels = root.join("kernels");
    let units = units(&kernels)?;
    let compiler = toolkit::compiler(root)?;
    let (fresh, committed) = (target_dir(root).join("ptx"), kernels.join("ptx"));
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    for unit in &units {
        fs::write(fresh.join(&unit.ptx), compile(&compiler, &kernels, unit, &fresh)?)?;
    }
    let manifest = Manifest::new(&kernels, &fresh, &compiler.version, compiler.packages)?;
    if args.check {
        return check(&fresh, &committed, &manifest);
    }
    fs::create_dir_all(&committed)?;
    for name in ptx_files(&committed)?.iter().filter(|name| !manifest.ptx.contains_key(*name)) {
        fs::remove_file(committed.join(name))?;
    }
    for name in manifest.ptx.keys() {
        fs::copy(fresh.join(name), committed.join(name))?;
    }
    fs::write(committed.join("MANIFEST"), manifest.to_string())?;
    println!("{}: {} files, made by {}", committed.display(), manifest.ptx.len(), manifest.compiler);
    Ok(())
}

/// Fetches the oldest ptxas that must take our PTX, and reports what it says.
pub(crate) fn ptxas(args: &PtxasArgs) -> Result<()> {
    let root = root()?;
    let assembler = toolkit::assembler(root, toolkit::OLDEST_PTXAS)?;
    if args.all {
        toolkit::assembler(root, toolkit::LAST_PTXAS_12)?;
    }
    if !args.report {
        println!("{}", assembler.display());
        return Ok(());
    }
    for (ptxas, arch) in find(root)?.iter().flat_map(|ptxas| ["sm_80", "sm_90"].map(|arch| (ptxas, arch))) {
        println!("\n{} {arch}", ptxas.display());
        println!("{:40} {:>9} {:>7} {:>6} {:>6}", "kernel", "registers", "shared", "local", "spills");
        for unit in units(&root.join("kernels"))? {
            let mut usages = assemble(ptxas, &root.join("kernels/ptx").join(&unit.ptx), arch)?;
            usages.sort_by(|a, b| a.entry.cmp(&b.entry));
            for u in usages {
                println!(
                    "{:40} {:9} {:7} {:6} {:6}",
                    u.entry, u.registers, u.shared, u.stack, u.spill_stores
                );
            }
        }
    }
    Ok(())
}

fn root() -> Result<&'static Path> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent folder")?)
}

/// The PTX of a unit, as it is committed.
fn compile(compiler: &Compiler, kernels: &Path, unit: &Unit, fresh: &Path) -> Result<String> {
    let raw = fresh.join(format!("{}.raw", unit.ptx));
    let mut nvcc = Command::new(&compiler.nvcc);
    nvcc.current_dir(kernels).args(FLAGS).arg(&unit.source).arg("-o").arg(&raw);
    if let Some(define) = &unit.define {
        nvcc.arg(format!("-D{define}"));
    }
    let status = nvcc.status().map_err(|e| format!("{} cannot be started: {e}", compiler.nvcc.display()))?;
    if !status.success() {
        return Err(format!("kernels/{} does not compile ({status})", unit.source).into());
    }
    let text = fs::read_to_string(&raw)?;
    fs::remove_file(&raw)?;
    finish(&text).map_err(|e| format!("kernels/{}: {e}", unit.source).into())
}

/// Declares the ISA that drivers of CUDA 12 know, and sees that the text depends on nothing but the source.
fn finish(text: &str) -> Result<String> {
    // nvcc puts a hash of the source's path into the names of what is local to a file.
    if let Some(line) = text.lines().find(|line| line.contains("_INTERNAL_") || line.contains("_GLOBAL__N_"))
    {
        let what = "the PTX holds a name that depends on where the repository lies. Put the function or variable \
                    neither into an unnamed namespace nor behind `static`; `__forceinline__` takes functions away";
        return Err(format!("{what}: {}", line.trim()).into());
    }
    let lower = |line: &str| {
        if line.starts_with(".version ") { format!(".version {ISA}\n") } else { format!("{line}\n") }
    };
    let text: String = text.lines().map(lower).collect();
    let module = Module::parse(&text)?;
    if (module.version.as_str(), module.target.as_str()) != (ISA, TARGET) {
        return Err(format!("PTX {} for {}, not {ISA} for {TARGET}", module.version, module.target).into());
    }
    Ok(text)
}

/// Compares what was compiled with what is committed.
fn check(fresh: &Path, committed: &Path, manifest: &Manifest) -> Result<()> {
    let same = |name: &str| {
        let files = (fs::read(fresh.join(name)), fs::read(committed.join(name)));
        matches!(files, (Ok(a), Ok(b)) if a == b)
    };
    let stale = ptx_files(committed)?.into_iter().filter(|name| !manifest.ptx.contains_key(name));
    let mut different: Vec<String> =
        manifest.ptx.keys().filter(|name| !same(name)).cloned().chain(stale).collect();
    let there = fs::read_to_string(committed.join("MANIFEST")).unwrap_or_default();
    let made_by = there.parse::<Manifest>().map(|m| m.compiler).unwrap_or_default();
    // One compiler comes out of packages or with an installed toolkit.
    let facts = |text: &str| {
        text.lines().filter(|l| !l.starts_with("package ")).map(str::to_owned).collect::<Vec<_>>()
    };
    if facts(&there) != facts(&manifest.to_string()) {
        different.push("MANIFEST".to_owned());
    }
    if different.is_empty() {
        let (folder, count) = (committed.display(), manifest.ptx.len());
        println!("{folder}: {count} files are what {} makes of kernels/", manifest.compiler);
        return Ok(());
    }
    let compilers = match made_by.as_str() {
        "" => String::new(),
        same if same == manifest.compiler => String::new(),
        other => format!(" MANIFEST was made by {other}, this is {} (CUDA_HOME decides).", manifest.compiler),
    };
    let (folder, names) = (committed.display(), different.join(", "));
    Err(format!("{folder}: not what compiling gives: {names}.{compilers} Run `cargo xtask ptx`").into())
}

#[cfg(test)]
mod tests {
    use super::finish;

    #[test]
    fn the_isa_is_lowered() {
        let text = "// Compiler\n.version 9.0\n.target sm_80\n.visible .entry f() { ret; }\n";
        assert_eq!(finish(text).unwrap(), text.replace("9.0", "8.0"));
    }

    #[test]
    fn text_that_cannot_be_committed_is_refused() {
        let start = ".version 9.0\n.target sm_80\n";
        for (text, expected) in [
            (
                format!("{start}.global .u32 _INTERNAL_9e51c796_4_f_cu_aa1c;"),
                "depends on where the repository lies",
            ),
            (".version 9.0\n.target sm_90".to_owned(), "for sm_90, not 8.0 for sm_80"),
            (format!("{start}{{"), "line 3"),
        ] {
            let error = finish(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
