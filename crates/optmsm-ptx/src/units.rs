//! Units to compile: `kernels/*.cu`, some of them several times.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// One call of the compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// File in `kernels/`, like `gemm.cu`.
    pub source: String,
    /// A macro and its value, like `PRECISION=TF32`.
    pub define: Option<String>,
    /// File in `kernels/ptx/`, like `gemm_tf32.ptx`.
    pub ptx: String,
}

/// All units, by the name of their output. None where the folder does not exist.
///
/// A file that begins with the line `// variants: NAME=A,B` is compiled with `-DNAME=A` to STEM_a.ptx and with
/// `-DNAME=B` to STEM_b.ptx.
///
/// # Errors
/// Files that cannot be read, a malformed list of variants, two units of one output.
pub fn units(kernels: &Path) -> Result<Vec<Unit>> {
    let mut units = BTreeMap::new();
    for (name, path) in sources(kernels)? {
        let Some(stem) = name.strip_suffix(".cu") else { continue };
        if stem.contains('/') {
            return Err(Error::Layout(format!("{}: .cu files belong into kernels/ itself", path.display())));
        }
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let defines = match text.lines().next().and_then(|line| line.strip_prefix("// variants:")) {
            Some(list) => variants(list).ok_or_else(|| {
                let what = "the list of variants should look like '// variants: PRECISION=F32,TF32'";
                Error::Layout(format!("{}, line 1: {what}", path.display()))
            })?,
            None => vec![None],
        };
        for define in defines {
            let value = define.as_deref().and_then(|d| d.split_once('=')).map(|(_, value)| value);
            let suffix = value.map(|v| format!("_{}", v.to_lowercase())).unwrap_or_default();
            let ptx = format!("{stem}{suffix}.ptx");
            let unit = Unit { source: name.clone(), define, ptx: ptx.clone() };
            if let Some(other) = units.insert(ptx, unit) {
                let what =
                    format!("{name} and {} are both compiled to {}: rename one", other.source, other.ptx);
                return Err(Error::Layout(what));
            }
        }
    }
    Ok(units.into_values().collect())
}

/// `PRECISION=F32,TF32` as macros with a value each.
fn variants(list: &str) -> Option<Vec<Option<String>>> {
    let (name, values) = list.trim().split_once('=')?;
    let identifier = |s: &str| !s.is_empty() && s.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    let values: Vec<_> = values.split(',').map(str::trim).collect();
    let valid = identifier(name) && values.iter().all(|v| identifier(v));
    valid.then(|| values.iter().map(|value| Some(format!("{name}={value}"))).collect())
}

/// Sources and headers that PTX is made from, by their paths in `kernels/` (with `/`). `host/` is for tests only,
/// `ptx/` is the output.
///
/// # Errors
/// Files that cannot be listed.
pub fn sources(kernels: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    if kernels.exists() {
        collect(kernels, "", &mut found)?;
    }
    Ok(found)
}

fn collect(dir: &Path, prefix: &str, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(Error::Layout(format!("{}: the name is not UTF-8", path.display())));
        };
        let full = format!("{prefix}{name}");
        let extension = path.extension().and_then(|e| e.to_str());
        if path.is_dir() {
            if !["host", "ptx"].contains(&full.as_str()) {
                collect(&path, &format!("{full}/"), found)?;
            }
        } else if matches!(extension, Some("cu" | "cuh" | "h")) {
            found.insert(full, path);
        }
    }
    Ok(())
}

/// Names of the files in `dir` that end in `.ptx`; none where the folder does not exist.
///
/// # Errors
/// Files that cannot be listed.
pub fn ptx_files(dir: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    if !dir.exists() {
        return Ok(found);
    }
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let name = entry.map_err(Error::io(dir))?.file_name();
        found.extend(name.to_str().filter(|name| name.ends_with(".ptx")).map(str::to_owned));
    }
    Ok(found)
}

/// Bytes of local memory that the source of a unit grants to an entry: `// spills: 64 bytes, why`, directly above the
/// kernel; 0 where nothing or `// spills: none` is said. A variant's entry may have the variant as its suffix, as in
/// `nn_tf32`.
pub fn granted_spills(source: &str, unit: &Unit, entry: &str) -> usize {
    let value = unit.define.as_deref().and_then(|d| d.split_once('=')).map(|(_, value)| value.to_lowercase());
    let base = value.and_then(|v| entry.strip_suffix(&format!("_{v}")).map(str::to_owned));
    let named = |word: &str| word == entry || base.as_deref() == Some(word);
    let (mut granted, mut declaration) = (None, false);
    for line in source.lines() {
        if let Some(comment) = line.trim_start().strip_prefix("//") {
            if declaration {
                (granted, declaration) = (None, false);
            }
            if let Some(spills) = comment.trim_start().strip_prefix("spills:") {
                let spills = spills.trim_start();
                let digits = spills.find(|c: char| !c.is_ascii_digit()).unwrap_or(spills.len());
                let reason = spills[digits..].trim_start().strip_prefix("bytes,").map(str::trim);
                granted = reason.filter(|r| !r.is_empty()).and_then(|_| spills[..digits].parse().ok());
            }
            continue;
        }
        // Declaration after the comment, up to the kernel's body.
        declaration = true;
        let head = line.split('{').next().unwrap_or_default();
        let mut words = head.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if let Some(bytes) = granted
            && words.any(named)
        {
            return bytes;
        }
        if line.trim().is_empty() || line.contains(['{', ';', '}']) {
            granted = None;
        }
    }
    0
}
