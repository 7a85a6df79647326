//! The committed PTX: made from these sources, loaded by the drivers that it should load on, with no surprises inside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use optmsm_ptx::ptxas::{self, Usage};
use optmsm_ptx::units::{Unit, granted_spills, units};
use optmsm_ptx::{ISA, Module, TARGET, verify};
use optmsm_testkit::require;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/ lies in the repository")
}

fn kernels() -> PathBuf {
    root().join("kernels")
}

/// Each unit with its PTX file.
fn compiled() -> Vec<(Unit, PathBuf)> {
    let units = units(&kernels()).unwrap_or_else(|e| panic!("{e}"));
    units.into_iter().map(|unit| (unit.clone(), kernels().join("ptx").join(unit.ptx))).collect()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn module(path: &Path) -> Module {
    Module::parse(&text(path)).unwrap_or_else(|e| panic!("{}, {e}", path.display()))
}

#[test]
fn ptx_was_made_from_these_sources() {
    if let Err(stale) = verify(&kernels()) {
        panic!("{}", stale.join("\n"));
    }
}

#[test]
fn drivers_of_cuda_12_load_it() {
    for (_, path) in compiled() {
        let module = module(&path);
        assert_eq!((module.version.as_str(), module.target.as_str()), (ISA, TARGET), "{}", path.display());
        assert!(!module.entries.is_empty(), "{} has no kernel", path.display());
    }
}

/// A kernel is looked up by its name alone.
#[test]
fn names_are_unique() {
    let mut owners = BTreeMap::new();
    for (unit, path) in compiled() {
        for entry in module(&path).entries {
            if let Some(other) = owners.insert(entry.name.clone(), unit.ptx.clone()) {
                panic!("{} is in {other} and in {}", entry.name, unit.ptx);
            }
        }
    }
}

/// Two runs are bit-equal: no sum may depend on the order in which blocks happen to finish.
#[test]
fn no_float_is_summed_by_atomics() {
    for (_, path) in compiled() {
        if let Some((line, instruction)) = module(&path).float_atomics.first() {
            panic!("{}, line {line}: {instruction}", path.display());
        }
    }
}

/// ptxas holds the driver's compiler: what it takes, drivers of its version and later take.
#[test]
fn ptxas_assembles_it_without_spills() {
    let assemblers = ptxas::find(root()).unwrap_or_else(|e| panic!("{e}"));
    if !require("ptxas", !assemblers.is_empty()) {
        return;
    }
    let files = compiled();
    let wrong: Vec<String> = thread::scope(|scope| {
        let mut jobs = Vec::new();
        for (ptxas, arch) in assemblers.iter().flat_map(|ptxas| ["sm_80", "sm_90"].map(|arch| (ptxas, arch)))
        {
            let files = &files;
            jobs.push(scope.spawn(move || check(ptxas, arch, files)));
        }
        jobs.into_iter().flat_map(|job| job.join().expect("a check panicked")).collect()
    });
    let remedy = "Local memory: use fewer registers; index arrays by constants; take structs as `const __grid_constant__`; or say \
                  `// spills: N bytes, reason` directly above the kernel";
    assert!(wrong.is_empty(), "{}\n{remedy}", wrong.join("\n"));
}

/// Faults of the files for one assembler and one architecture.
fn check(ptxas: &Path, arch: &str, files: &[(Unit, PathBuf)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (unit, path) in files {
        let usages = match ptxas::assemble(ptxas, path, arch) {
            Ok(usages) => usages,
            Err(e) => {
                wrong.push(e.to_string());
                continue;
            }
        };
        let mut names: Vec<_> = usages.iter().map(|u| u.entry.clone()).collect();
        let mut entries: Vec<_> = module(path).entries.into_iter().map(|e| e.name).collect();
        names.sort();
        entries.sort();
        if names != entries {
            wrong.push(format!("{}: ptxas finds {names:?}, we find {entries:?}", unit.ptx));
        }
        let source = text(&kernels().join(&unit.source));
        wrong.extend(usages.iter().filter_map(|usage| excess(usage, unit, &source, arch)));
    }
    wrong
}

/// Local memory beyond what the source grants.
fn excess(usage: &Usage, unit: &Unit, source: &str, arch: &str) -> Option<String> {
    let granted = granted_spills(source, unit, &usage.entry);
    let used = usage.stack.max(usage.spill_stores);
    (used > granted).then(|| {
        let (stack, spilled) = (usage.stack, usage.spill_stores);
        format!(
            "{}, {} for {arch}: {stack} bytes of local memory ({spilled} for want of registers), {granted} granted",
            unit.source, usage.entry,
        )
    })
}
