//! Compiles the .cu files into shared libraries, once for each state of the sources.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::scan;

/// `gemm.cu` is compiled once for each.
const PRECISIONS: [&str; 3] = ["F32", "TF32", "BF16"];
const FLAGS: [&str; 11] = [
    "-std=c++17",
    "-O2",
    "-g",
    "-fPIC",
    "-fvisibility=hidden",
    // A fused multiply-add stands where a kernel asks for one, on every machine.
    "-ffp-contract=off",
    // Kernels read floats as bits and structs as words; nvcc does not reason from types either.
    "-fno-strict-aliasing",
    // A load of 16 bytes at another address than a multiple of 16 fails on a GPU: it traps here, too.
    "-fsanitize=alignment",
    "-fsanitize-undefined-trap-on-error",
    "-Werror=return-type",
    "-Werror=uninitialized",
];

/// One library.
struct Unit {
    name: String,
    source: PathBuf,
    precision: Option<&'static str>,
}

/// The libraries of the .cu files in `folder`, compiled with the headers of `kernels` (the workspace's kernels/ folder) unless `cache` holds
/// them already.
///
/// # Errors
/// No C++ compiler; a file that cannot be read or written; what the compiler says.
pub(crate) fn libraries(folder: &Path, kernels: &Path, cache: &Path) -> Result<Vec<PathBuf>, String> {
    if !cfg!(target_os = "linux") {
        return Err("the CUDA kernels run on the CPU on Linux only".into());
    }
    let (compiler, version) = compiler()?;
    let units = units(folder)?;
    let flags = flags();

    let mut hasher = DefaultHasher::new();
    (&compiler, &version, &flags).hash(&mut hasher);
    for file in sources(&[folder, &kernels.join("include"), &kernels.join("host")])? {
        file.hash(&mut hasher);
        read(&file)?.hash(&mut hasher);
    }
    let done = cache.join(format!("{:016x}", hasher.finish()));
    let library = |unit: &Unit| done.join(format!("{}.so", unit.name));

    // Of several processes that start together one compiles, the others wait for its lock.
    fs::create_dir_all(cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    let lock_path = done.with_extension("lock");
    let lock = File::create(&lock_path).map_err(|e| format!("{}: {e}", lock_path.display()))?;
    lock.lock().map_err(|e| format!("{}: {e}", lock_path.display()))?;
    if !done.is_dir() {
        let work = done.with_extension("work");
        if work.exists() {
            fs::remove_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))?;
        }
        fs::create_dir(&work).map_err(|e| format!("{}: {e}", work.display()))?;
        compile(&compiler, &flags, &units, kernels, &work)?;
        fs::rename(&work, &done).map_err(|e| format!("{}: {e}", done.display()))?;
    }
    Ok(units.iter().map(library).collect())
}

/// The stand-in for the driver, compiled into a folder of this process: a few seconds, and no state to go stale.
///
/// # Errors
/// As [`libraries`].
pub(crate) fn driver(source: &Path) -> Result<PathBuf, String> {
    let (compiler, _) = compiler()?;
    let path = std::env::temp_dir().join(format!("optmsm-libcuda-{}.so", std::process::id()));
    let mut job = Command::new(compiler);
    job.args(["-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-Wl,-soname,libcuda.so"]);
    job.arg(source).arg("-o").arg(&path).stderr(Stdio::piped());
    run(vec![(source.display().to_string(), job)])?;
    Ok(path)
}

/// `$CXX`, g++ or c++, the first that answers; and its version. Asked once in a process.
fn compiler() -> Result<(String, String), String> {
    static FOUND: OnceLock<Result<(String, String), String>> = OnceLock::new();
    FOUND.get_or_init(find_compiler).clone()
}

fn find_compiler() -> Result<(String, String), String> {
    let chosen = std::env::var("CXX").ok().filter(|c| !c.is_empty());
    let names: Vec<String> = chosen.map_or_else(|| vec!["g++".into(), "c++".into()], |c| vec![c]);
    for name in &names {
        if let Ok(output) = Command::new(name).arg("--version").output()
            && output.status.success()
        {
            return Ok((name.clone(), String::from_utf8_lossy(&output.stdout).into_owned()));
        }
    }
    Err(format!("no C++ compiler ({} does not run): install g++ or set CXX to one", names.join(", ")))
}

/// Whether there is a C++ compiler, which [`HostKernels::load`](crate::HostKernels::load) needs.
pub fn has_compiler() -> bool {
    compiler().is_ok()
}

fn flags() -> Vec<String> {
    let mut flags: Vec<String> = FLAGS.iter().map(|f| f.to_string()).collect();
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // `fmaf` as one instruction instead of a call.
        flags.extend(["-mavx2".to_string(), "-mfma".to_string()]);
    }
    flags
}

fn units(folder: &Path) -> Result<Vec<Unit>, String> {
    let mut units = Vec::new();
    for source in sources(&[folder])?.into_iter().filter(|p| p.extension().is_some_and(|e| e == "cu")) {
        let stem = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if stem == "gemm" {
            for precision in PRECISIONS {
                let name = format!("{stem}_{}", precision.to_lowercase());
                units.push(Unit { name, source: source.clone(), precision: Some(precision) });
            }
        } else {
            units.push(Unit { name: stem, source, precision: None });
        }
    }
    if units.is_empty() {
        return Err(format!("{}: no .cu file", folder.display()));
    }
    Ok(units)
}

/// The .cu, .cuh, .h and .cpp files of the folders, sorted.
fn sources(folders: &[&Path]) -> Result<BTreeSet<PathBuf>, String> {
    let mut files = BTreeSet::new();
    for folder in folders {
        let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
            if path.extension().is_some_and(|e| ["cu", "cuh", "h", "cpp"].iter().any(|&known| e == known)) {
                files.insert(path);
            }
        }
    }
    Ok(files)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn compile(
    compiler: &str,
    flags: &[String],
    units: &[Unit],
    kernels: &Path,
    work: &Path,
) -> Result<(), String> {
    let command = || {
        let mut command = Command::new(compiler);
        command
            .args(flags)
            .arg("-I")
            .arg(kernels.join("include"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    };
    let mut jobs = Vec::new();
    let mut objects = Vec::new();
    for source in
        sources(&[&kernels.join("host")])?.into_iter().filter(|p| p.extension().is_some_and(|e| e == "cpp"))
    {
        let object = work.join(source.file_name().unwrap_or_default()).with_extension("o");
        let mut job = command();
        job.arg("-c").arg(&source).arg("-o").arg(&object);
        jobs.push((source.display().to_string(), job));
        objects.push(object);
    }
    for unit in units {
        let text = trampolines(unit, kernels)?;
        let source = work.join(format!("{}.cpp", unit.name));
        fs::write(&source, text).map_err(|e| format!("{}: {e}", source.display()))?;
        let mut job = command();
        job.arg("-c").arg(&source).arg("-o").arg(source.with_extension("o"));
        if let Some(precision) = unit.precision {
            job.arg(format!("-DPRECISION={precision}"));
        }
        jobs.push((unit.source.display().to_string(), job));
    }
    run(jobs)?;
    let link = |unit: &Unit| {
        let mut job = command();
        job.arg("-shared").arg(work.join(format!("{}.o", unit.name))).args(&objects);
        job.arg("-o").arg(work.join(format!("{}.so", unit.name)));
        (unit.source.display().to_string(), job)
    };
    run(units.iter().map(link).collect())
}

/// Runs the commands, as many at a time as there are processors.
fn run(jobs: Vec<(String, Command)>) -> Result<(), String> {
    let most = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut jobs = jobs.into_iter();
    let mut errors = Vec::new();
    loop {
        let mut started: Vec<(String, Child)> = Vec::new();
        for (what, mut job) in jobs.by_ref().take(most) {
            match job.spawn() {
                Ok(child) => started.push((what, child)),
                Err(e) => errors.push(format!("{what}: {e}")),
            }
        }
        if started.is_empty() {
            break;
        }
        for (what, child) in started {
            match child.wait_with_output() {
                Ok(output) if output.status.success() => {}
                Ok(output) => errors.push(format!("{what}: {}", String::from_utf8_lossy(&output.stderr))),
                Err(e) => errors.push(format!("{what}: {e}")),
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.join("\n")) }
}

/// The file that is compiled for `unit`: the .cu and a table of its kernels.
fn trampolines(unit: &Unit, kernels: &Path) -> Result<String, String> {
    let declarations =
        scan::kernels(&read(&unit.source)?).map_err(|e| format!("{}: {e}", unit.source.display()))?;
    if declarations.is_empty() {
        return Err(format!("{}: no kernel in it", unit.source.display()));
    }
    let table: String =
        declarations.iter().map(|d| format!("    OPTMSM_KERNEL({}, ({})),\n", d.name, d.bound)).collect();
    Ok(format!(
        "#include \"{}\"\n\
         // An unnamed namespace: shared variables of inline functions and templates then lie in the same section as all others.\n\
         namespace {{\n\
         #include \"{}\"\n\
         const optmsm_host::Kernel table[] = {{\n{table}}};\n\
         }}\n\
         extern \"C\" __attribute__((visibility(\"default\"))) const optmsm_host::Kernel* optmsm_host_kernels(unsigned* count) {{\n\
             *count = sizeof table / sizeof table[0];\n\
             return table;\n\
         }}\n",
        kernels.join("host/cuda_host.h").display(),
        unit.source.display()
    ))
}
