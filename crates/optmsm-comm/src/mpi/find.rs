//! Places where an MPI library with the standard interface may be.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The variable that names a library, or its folder.
pub(super) const VARIABLE: &str = "OPTMSM_MPI";

#[cfg(target_os = "macos")]
const NAMES: [&str; 3] = ["libmpi_abi.1.dylib", "libmpi_abi.0.dylib", "libmpi_abi.dylib"];
/// The names with a number come first: in wheels the one without is a text for linkers.
#[cfg(not(target_os = "macos"))]
const NAMES: [&str; 3] = ["libmpi_abi.so.1", "libmpi_abi.so.0", "libmpi_abi.so"];

/// Libraries to load, the first that can be; a name without folders is looked for by the system.
pub(super) fn candidates() -> Vec<PathBuf> {
    if let Some(named) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return named_by(Path::new(&named));
    }
    // The launcher's own library comes first: another does not know it.
    let mut found: Vec<PathBuf> = launcher().iter().flat_map(|program| beside(program)).collect();
    found.extend(NAMES.map(PathBuf::from));
    for folder in env::var_os("PATH").iter().flat_map(env::split_paths) {
        found.extend(beside(&folder.join("mpiexec")));
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found
}

/// A path of the user's: a folder with the library, or the library. Of one without a number, which may be a text for linkers, those
/// with a number are taken too.
fn named_by(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        return NAMES.map(|name| path.join(name)).into();
    }
    let mut found = vec![path.to_owned()];
    if path.file_name() == Some(OsStr::new(NAMES[2])) {
        found.extend(NAMES[..2].iter().map(|name| path.with_file_name(name)));
    }
    found
}

/// The program that has started this process: MPI's helper on this machine, unless a script is between them.
fn launcher() -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{}/exe", std::os::unix::process::parent_id())).ok()
}

/// Libraries of the installation that a program belongs to.
fn beside(program: &Path) -> Vec<PathBuf> {
    let program = program.canonicalize().ok();
    let Some(root) = program.as_deref().and_then(Path::parent).and_then(Path::parent) else {
        return Vec::new();
    };
    let paths = ["lib", "lib64"].iter().flat_map(|folder| NAMES.map(|name| root.join(folder).join(name)));
    paths.filter(|path| path.exists()).collect()
}
