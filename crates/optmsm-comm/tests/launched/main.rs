//! Jobs of real launchers: the ranks are `examples/ranks.rs`, which is built here with the feature that the MPI takes. MPICH comes from
//! PyPI into a virtual environment under target/; Open MPI is that of the machine, with its mpicc. What cannot be had is said to be
//! SKIPPED, and fails under `OPTMSM_REQUIRE=mpich,openmpi`.
#![cfg(target_os = "linux")]

mod job;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use job::{Job, Mpi};
use optmsm_testkit::mpi::Launcher;

fn tmp() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// MPICH by the standard interface, if it can be had; tests run at the same time, and one makes it.
fn mpich() -> Option<&'static Mpi> {
    static MPI: OnceLock<Option<Mpi>> = OnceLock::new();
    let make = || Some(Mpi { launcher: Launcher::mpich(tmp())?, ranks: built("abi").unwrap() });
    MPI.get_or_init(make).as_ref()
}

/// Open MPI by the header of the machine, if both are there.
fn open_mpi() -> Option<&'static Mpi> {
    static MPI: OnceLock<Option<Mpi>> = OnceLock::new();
    let make = || {
        let launcher = Launcher::open_mpi()?;
        let ranks = built("mpi").inspect_err(|missing| println!("SKIPPED: {missing}"));
        optmsm_testkit::require("openmpi", ranks.is_ok()).then_some(())?;
        Some(Mpi { launcher, ranks: ranks.ok()? })
    };
    MPI.get_or_init(make).as_ref()
}

/// Builds `ranks` in a folder of its own, where other builds do not wait for it; what it depends on is built once for all features.
/// The bindings to mpi.h may be missing.
fn built(feature: &str) -> Result<PathBuf, String> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tmp().join("ranks");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--example", "ranks", "--features", feature, "--target-dir"]);
    let out = cargo.arg(&folder).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    if said.contains("failed to run custom build command for `mpi-sys") {
        return Err(format!("the bindings to mpi.h cannot be built: {said}"));
    }
    assert!(out.status.success(), "{said}");
    let ranks = folder.join(format!("ranks-{feature}"));
    std::fs::copy(folder.join("debug/examples/ranks"), &ranks).unwrap();
    Ok(ranks)
}

/// Operations that are asked of every MPI.
fn operations(mpi: Option<&Mpi>) {
    let Some(mpi) = mpi else { return };
    for size in [1, 2, 4] {
        Job::start(mpi, size, "operations", &[]).fine();
    }
}

fn ends(mpi: Option<&Mpi>) {
    let Some(mpi) = mpi else { return };
    // While others wait for it, and while a call of its own does not end.
    Job::start(mpi, 3, "abort", &[]).ends(Some(7));
    Job::start(mpi, 3, "abort-within", &[]).ends(None);
    // Without a word.
    Job::start(mpi, 3, "leave", &[]).ends(None);
    Job::start(mpi, 3, "panic", &[]).ends(None);
    let job = Job::start(mpi, 3, "wait", &[]);
    job.kill(1);
    job.ends(None);
}

#[test]
fn mpich_brings_what_was_sent() {
    operations(mpich());
}

#[test]
fn mpich_ends_all_ranks() {
    ends(mpich());
}

#[test]
fn open_mpi_brings_what_was_sent() {
    operations(open_mpi());
    // The same, cut: parts longer than a share of this go alone, in pieces.
    let Some(mpi) = open_mpi() else { return };
    for size in [2, 3, 4] {
        Job::start(mpi, size, "operations", &[("OPTMSM_MPI_MOST", "20000")]).fine();
    }
}

#[test]
fn open_mpi_ends_all_ranks() {
    ends(open_mpi());
}

#[test]
fn mpi_names_what_failed() {
    // Open MPI 4 does not return from this.
    let Some(mpi) = mpich() else { return };
    let said = Job::start(mpi, 2, "mismatch", &[]).ends(None);
    assert!(said.contains("error: rank 1 of 2, ") && said.contains(": MPI_Alltoallv failed: "), "{said}");
}

#[test]
fn a_library_that_is_named_is_taken() {
    let Some(mpi) = mpich() else { return };
    let library = mpi.launcher.libraries();
    // The folder; the library; its name for linkers, which is a text in the wheel.
    for path in [library.clone(), library.join("libmpi_abi.so.1"), library.join("libmpi_abi.so")] {
        let said = Job::start(mpi, 2, "operations", &[("OPTMSM_MPI", path.to_str().unwrap())]).fine();
        assert!(
            said.contains(&format!("{}/libmpi_abi.so.1 (MPICH Version: 5.0.2)", library.display())),
            "{said}"
        );
    }
    let refused = |path: &Path, text: &str| {
        let said = Job::start(mpi, 2, "operations", &[("OPTMSM_MPI", path.to_str().unwrap())]).ends(None);
        assert!(said.contains("(PMI_SIZE=2, PMI_RANK=") && said.contains(text), "{said}");
        assert!(
            said.contains(&format!("(tried: {}", path.display())) && said.contains("pip install mpich"),
            "{said}"
        );
    };
    refused(Path::new("/nowhere/libmpi.so"), "cannot open shared object file");
    refused(&library.join("libmpi.so.12"), "it has not the standard interface, but its own");
    // Its own libraries have nothing of MPI.
    refused(&library.join("mpich/libucs.so.0"), "it has not the standard interface: ");
}

#[test]
fn an_mpi_that_does_not_know_the_launcher_is_refused() {
    if let Some(mpich) = mpich() {
        // MPICH starts alone where nothing of its launcher is but these.
        let rank = [("PMI_RANK", "0"), ("PMI_SIZE", "2")];
        let library = mpich.launcher.libraries().display().to_string();
        let named = [&rank[..], &[("OPTMSM_MPI", &library)]].concat();
        let out = Command::new(&mpich.ranks).args(["operations", "."]).envs(named).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains("(PMI_SIZE=2, PMI_RANK=0), but MPI sees one of 1: rank 0 of 1, "), "{said}");
        if let Some(open) = open_mpi() {
            let other = Mpi { launcher: open.launcher.clone(), ranks: mpich.ranks.clone() };
            let said = Job::start(&other, 2, "operations", &[("OPTMSM_MPI", &library)]).ends(Some(2));
            assert!(
                said.contains("Open MPI's mpirun has started this process (OMPI_COMM_WORLD_SIZE=2, "),
                "{said}"
            );
            assert!(said.contains("(MPICH Version: 5.0.2) does not know that launcher"), "{said}");
            let said = Job::start(open, 2, "operations", &[("OPTMSM_MPI", &library)]).ends(Some(2));
            assert!(
                said.contains(&format!(
                    "OPTMSM_MPI={library}: this program is built with the cargo feature `mpi`"
                )),
                "{said}"
            );
            let other = Mpi { launcher: mpich.launcher.clone(), ranks: open.ranks.clone() };
            let said = Job::start(&other, 2, "operations", &[]).ends(None);
            assert!(
                said.contains("(PMI_SIZE=2, PMI_RANK=0), but MPI sees one of 1: rank 0 of 1, "),
                "{said}"
            );
        }
    }
}

#[test]
fn a_program_without_mpi_says_so() {
    let Some(mpi) = mpich() else { return };
    // A job of one needs none.
    let plain = Mpi { launcher: mpi.launcher.clone(), ranks: built("").unwrap() };
    Job::start(&plain, 1, "operations", &[]).fine();
    let said = Job::start(&plain, 2, "operations", &[]).ends(None);
    assert!(said.contains("but the program is built without MPI; build it with the feature `abi`"), "{said}");
}

#[test]
fn a_launcher_that_binds_ranks_is_warned_of() {
    let Some(mpi) = open_mpi() else { return };
    let cores = std::thread::available_parallelism().unwrap().get();
    if cores == 1 {
        println!("SKIPPED: a machine of one core has none to leave idle");
        return;
    }
    let binds = Mpi { launcher: Launcher::mpirun(&["--bind-to", "core"]), ranks: mpi.ranks.clone() };
    let said = Job::start(&binds, 1, "cores", &[]).ends(Some(0));
    assert!(said.contains("the ranks of this machine may use 1 of its "), "{said}");
    assert!(Job::start(mpi, 1, "cores", &[]).ends(Some(0)).contains("no warning"));
}
