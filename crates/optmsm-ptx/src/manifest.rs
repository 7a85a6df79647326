//! `kernels/ptx/MANIFEST`: what the PTX was made from, so that PTX older than its sources is noticed without a
//! compiler.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::units::{ptx_files, sources, units};
use crate::{Error, FLAGS, ISA, Result, TARGET};

/// Advice about PTX that is not up to date.
const REMEDY: &str = "run `cargo xtask ptx`";

/// Compiler and files that PTX was made with. Hashes are SHA-256 in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Version of the compiler, like `nvcc 13.0.88`.
    pub compiler: String,
    /// Packages that the compiler came in, each with its version; none for an installed CUDA toolkit.
    pub packages: Vec<String>,
    /// Flags that the compiler was called with.
    pub flags: String,
    /// PTX ISA that the files declare.
    pub isa: String,
    /// Architecture that the files are for.
    pub target: String,
    /// Hashes of `kernels/ptx/*.ptx`.
    pub ptx: BTreeMap<String, String>,
    /// Hashes of sources and headers, by their paths in `kernels/`.
    pub sources: BTreeMap<String, String>,
}

impl Manifest {
    /// Describes the PTX in `ptx`, made just now from `kernels` by this compiler.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn new(kernels: &Path, ptx: &Path, compiler: &str, packages: &[&str]) -> Result<Self> {
        Ok(Self {
            compiler: compiler.to_owned(),
            packages: packages.iter().map(|&p| p.to_owned()).collect(),
            flags: FLAGS.join(" "),
            isa: ISA.to_owned(),
            target: TARGET.to_owned(),
            ptx: hashes(ptx_files(ptx)?.into_iter().map(|name| (name.clone(), ptx.join(name))))?,
            sources: hashes(sources(kernels)?)?,
        })
    }
}

fn hashes(files: impl IntoIterator<Item = (String, impl AsRef<Path>)>) -> Result<BTreeMap<String, String>> {
    let hash = |(name, path): (String, _)| Ok((name, hash(AsRef::<Path>::as_ref(&path))?));
    files.into_iter().map(hash).collect()
}

fn hash(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# What this folder was made from. Written by `cargo xtask ptx`; do not edit.")?;
        writeln!(f, "compiler {}", self.compiler)?;
        for package in &self.packages {
            writeln!(f, "package {package}")?;
        }
        writeln!(f, "flags {}\nisa {}\ntarget {}", self.flags, self.isa, self.target)?;
        for (name, hash) in &self.ptx {
            writeln!(f, "ptx {hash} {name}")?;
        }
        for (name, hash) in &self.sources {
            writeln!(f, "source {hash} {name}")?;
        }
        Ok(())
    }
}

impl FromStr for Manifest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut fields = BTreeMap::new();
        let mut packages = Vec::new();
        let (mut ptx, mut sources) = (BTreeMap::new(), BTreeMap::new());
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            let wrong = || Error::syntax(i + 1, format!("'{line}' is no line of a MANIFEST"));
            let (key, value) = line.split_once(' ').ok_or_else(wrong)?;
            let hashed =
                || value.split_once(' ').map(|(h, n)| (n.to_owned(), h.to_owned())).ok_or_else(wrong);
            match key {
                "compiler" | "flags" | "isa" | "target" => drop(fields.insert(key, value.to_owned())),
                "package" => packages.push(value.to_owned()),
                "ptx" => ptx.extend([hashed()?]),
                "source" => sources.extend([hashed()?]),
                _ => return Err(wrong()),
            }
        }
        let lines = text.lines().count();
        let mut take = |key: &str| {
            fields.remove(key).ok_or_else(|| Error::syntax(lines, format!("there is no line '{key} …'")))
        };
        Ok(Self {
            compiler: take("compiler")?,
            packages,
            flags: take("flags")?,
            isa: take("isa")?,
            target: take("target")?,
            ptx,
            sources,
        })
    }
}

/// Whether the PTX in `kernels/ptx` was made from what is in `kernels`, as MANIFEST says.
///
/// # Errors
/// Everything that is not up to date, file by file, each with what to do.
pub fn verify(kernels: &Path) -> std::result::Result<(), Vec<String>> {
    let mut stale = Vec::new();
    if let Err(e) = compare(kernels, &mut stale) {
        stale.push(format!("{e}: {REMEDY}"));
    }
    if stale.is_empty() { Ok(()) } else { Err(stale) }
}

fn compare(kernels: &Path, stale: &mut Vec<String>) -> Result<()> {
    let (ptx, units) = (kernels.join("ptx"), units(kernels)?);
    let path = ptx.join("MANIFEST");
    if !path.exists() && units.is_empty() && ptx_files(&ptx)?.is_empty() {
        return Ok(());
    }
    let manifest: Manifest = fs::read_to_string(&path).map_err(Error::io(&path))?.parse()?;
    let now = Manifest::new(kernels, &ptx, &manifest.compiler, &[])?;
    let fields = [
        ("flags", &manifest.flags, &now.flags),
        ("isa", &manifest.isa, &now.isa),
        ("target", &manifest.target, &now.target),
    ];
    for (field, was, is) in fields {
        if was != is {
            stale.push(format!("MANIFEST says {field} '{was}', crates/optmsm-ptx says '{is}': {REMEDY}"));
        }
    }
    differences("", &manifest.sources, &now.sources, stale);
    differences("ptx/", &manifest.ptx, &now.ptx, stale);
    for unit in units.iter().filter(|unit| !manifest.ptx.contains_key(&unit.ptx)) {
        stale.push(format!("kernels/{} has no {} in MANIFEST: {REMEDY}", unit.source, unit.ptx));
    }
    for name in manifest.ptx.keys().filter(|name| units.iter().all(|unit| unit.ptx != **name)) {
        stale.push(format!("kernels/ptx/{name} is in MANIFEST but comes from no .cu file: {REMEDY}"));
    }
    Ok(())
}

fn differences(
    folder: &str,
    was: &BTreeMap<String, String>,
    is: &BTreeMap<String, String>,
    stale: &mut Vec<String>,
) {
    for (name, hash) in is {
        match was.get(name) {
            None => stale.push(format!("kernels/{folder}{name} is not in MANIFEST: {REMEDY}")),
            Some(then) if then != hash => {
                stale.push(format!(
                    "kernels/{folder}{name} is not the file that MANIFEST describes: {REMEDY}"
                ));
            }
            Some(_) => {}
        }
    }
    for name in was.keys().filter(|name| !is.contains_key(*name)) {
        stale.push(format!("kernels/{folder}{name} is in MANIFEST but does not exist: {REMEDY}"));
    }
}
