//! Faults of all ranks, or of one.

use std::fs;
use std::process::Command;

use optmsm_testkit::mpi::{Ended, signal};

use super::signals::begun;
use super::work::{LIMIT, Work, differences};

/// Whether a job failed with this text, which one rank says, once.
fn says(out: &Ended, text: &str) {
    let Ended { status, stderr, .. } = out;
    assert_eq!(status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.matches(text).count(), 1, "{text}\nin {stderr}");
    assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
}

#[test]
fn what_no_rank_can_do_one_refuses() {
    let Some(work) = Work::new() else { return };
    let out = work.train(4, 2, "r", &["--set", "train.groups=2"]);
    says(&out, "`train.groups`: is 2, which 4 ranks cannot share out equally; set it to 4 or more");
    let out = work.train(3, 2, "r", &[]);
    says(&out, "`train.groups`: is 4, which 3 ranks cannot share out equally; start 2 or 4 ranks");
    let out = work.run(2, 2, &["train", "--config", "nowhere.toml", "--run", "r"]);
    says(&out, "error: nowhere.toml: cannot be read");
    assert!(!work.place.path("r/config.toml").exists());
    let out = work.run(2, 2, &["evaluate", "r", "--data", "test.csv"]);
    says(&out, "runs in one process, and a launcher has started 2 ranks of it");
    work.train(0, 0, "r", &[]);
    says(&work.train(2, 2, "r", &[]), "r: holds a run already");
    let out = work.resume(8, 2, "r", &[]);
    says(&out, "`train.groups`: is 4, which 8 ranks cannot share out equally");
}

#[test]
fn a_folder_has_one_job() {
    let Some(work) = Work::new() else { return };
    let train = ["train", "--config", "config.toml", "--run", "r", "--set", "train.epochs=9999"];
    let mut job = work.start_named("first", 2, "", &[&train[..], &["--set", "train.patience=9999"]].concat());
    begun(&work, "r", &mut job);
    for ranks in [0, 2] {
        let out = work.resume(ranks, 2, "r", &[]);
        says(&out, "error: r: is being written by process ");
    }
    assert!(signal(job.launcher(), "TERM"));
    assert_eq!(job.wait(LIMIT).status.code(), Some(130));
}

/// The path of the rows leads through the folder that a rank is in, which is another one for rank 1.
#[test]
fn a_rank_that_reads_other_files_ends_all() {
    let Some(work) = Work::new() else { return };
    let train = "data.train=/proc/self/cwd/train.csv";
    let train = ["train", "--config", "config.toml", "--run", "r", "--set", train];
    let elsewhere = "if [ $PMI_RANK = 1 ]; then cd elsewhere; fi";
    fs::create_dir(work.place.path("elsewhere")).unwrap();
    let out = work.start(2, elsewhere, &train).wait(LIMIT);
    says(&out, "error: rank 1: /proc/self/cwd/train.csv: no such file");
    assert!(!work.place.path("r/config.toml").exists(), "a run that could not begin");
    // As many rows, and as long, but others.
    let mut bytes = work.place.bytes("train.csv");
    let label = bytes.iter().position(|&b| b == b'\n').unwrap() + 1;
    bytes[label] ^= 1;
    work.place.write("elsewhere/train.csv", bytes);
    let out = work.start(2, elsewhere, &train).wait(LIMIT);
    says(
        &out,
        "error: rank 1: /proc/self/cwd/train.csv (data.train): has other content than what rank 0 reads",
    );
    work.place.write("elsewhere/train.csv", work.place.bytes("train.csv"));
    let out = work.start(2, elsewhere, &train).wait(LIMIT);
    assert_eq!(out.status.code(), Some(0), "{}", out.stderr);
    work.train(0, 0, "whole", &[]);
    assert_eq!(differences(&work.left("whole"), &work.left("r")), [""; 0]);
}

/// Files that may no longer grow, once the run has begun.
#[test]
fn a_disk_that_is_full_ends_all_and_spoils_nothing() {
    let Some(work) = Work::new() else { return };
    if Command::new("prlimit").arg("--version").output().is_err() {
        println!("SKIPPED: prlimit is not installed (Debian: util-linux)");
        return;
    }
    let long = ["--set", "train.epochs=30", "--set", "train.patience=99"];
    let train = ["train", "--config", "config.toml", "--run", "r"];
    let mut job = work.start(4, "", &[&train, &long[..]].concat());
    begun(&work, "r", &mut job);
    let limit = ["--fsize=1", "--pid", &job.rank(0).unwrap().to_string()];
    assert!(Command::new("prlimit").args(limit).status().unwrap().success());
    let out = job.wait(LIMIT);
    says(&out, "error: rank 0: r/");
    assert!(out.stderr.contains("File too large"), "{}", out.stderr);
    work.resume(2, 0, "r", &[]);
    work.train(0, 0, "whole", &long);
    assert_eq!(differences(&work.left("whole"), &work.left("r")), [""; 0]);
}
