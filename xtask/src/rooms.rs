//! `cargo xtask rooms`: a family of operations has one file in every room, and the same name in all of them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::bench::Result;

/// A folder that has a file for every family.
struct Room {
    folder: &'static str,
    extension: &'static str,
    /// Files for what families share.
    shared: &'static [&'static str],
}

const fn room(folder: &'static str, extension: &'static str, shared: &'static [&'static str]) -> Room {
    Room { folder, extension, shared }
}

/// The first declares the families.
const ROOMS: [Room; 7] = [
    room("crates/optmsm-core/src/backend", "rs", &["operands"]),
    room("crates/optmsm-core/src/reference", "rs", &["table"]),
    room("crates/optmsm-core/src/profile", "rs", &[]),
    room("crates/optmsm-cpu/src/ops", "rs", &[]),
    room("crates/optmsm-cuda/src/ops", "rs", &["reduce", "rows"]),
    room("kernels", "cu", &["gemm"]),
    room("crates/optmsm-testkit/src/conformance", "rs", &["matrix", "properties", "table"]),
];

impl Room {
    /// Names of its files, except of shared ones.
    fn families(&self, root: &Path) -> Result<BTreeSet<String>> {
        let folder = root.join(self.folder);
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
            if path.extension() == Some(OsStr::new(self.extension)) && !self.shared.contains(&stem) {
                names.insert(stem.to_owned());
            }
        }
        Ok(names)
    }
}

/// The families under `root`, each with a file in every room.
///
/// # Errors
/// With every file that is missing, and every file that is of no family.
fn families(root: &Path) -> Result<BTreeSet<String>> {
    let declared = ROOMS[0].families(root)?;
    let mut wrong = Vec::new();
    for room in &ROOMS[1..] {
        let found = room.families(root)?;
        let (folder, extension) = (room.folder, room.extension);
        let missing = declared.difference(&found);
        wrong.extend(missing.map(|name| format!("{folder}/{name}.{extension} is missing")));
        let foreign = found.difference(&declared);
        wrong.extend(
            foreign.map(|name| format!("{folder}/{name}.{extension} is of no family of {}", ROOMS[0].folder)),
        );
    }
    if wrong.is_empty() { Ok(declared) } else { Err(wrong.join("\n").into()) }
}

/// Prints the families and the files of one.
pub(crate) fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent folder")?;
    let names: Vec<String> = families(root)?.into_iter().collect();
    println!("{} families: {}", names.len(), names.join(", "));
    println!("{} files each:", ROOMS.len());
    ROOMS.iter().for_each(|room| println!("  {}/FAMILY.{}", room.folder, room.extension));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_one_name_in_every_room() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let names = families(root).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert!(["dense", "gate", "penalty", "update"].iter().all(|name| names.contains(*name)), "{names:?}");
    }

    #[test]
    fn another_name_is_found() {
        let root = tempfile::tempdir().unwrap();
        for (i, room) in ROOMS.iter().enumerate() {
            let folder = root.path().join(room.folder);
            fs::create_dir_all(&folder).unwrap();
            let name = if i == 5 { "orthogonality" } else { "penalty" };
            fs::write(folder.join(format!("{name}.{}", room.extension)), "").unwrap();
            room.shared.iter().for_each(|shared| {
                fs::write(folder.join(format!("{shared}.{}", room.extension)), "").unwrap();
            });
        }
        let wrong = families(root.path()).unwrap_err().to_string();
        let expected = [
            "kernels/penalty.cu is missing",
            "kernels/orthogonality.cu is of no family of crates/optmsm-core/src/backend",
        ];
        assert_eq!(wrong.lines().collect::<Vec<_>>(), expected);
    }
}
