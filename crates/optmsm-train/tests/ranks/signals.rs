//! Jobs that are asked to stop.

use std::thread::sleep;
use std::time::Duration;

use optmsm_testkit::mpi::{Job, signal};

use super::work::{LIMIT, Work, differences};

/// Waits until a run has begun.
pub(crate) fn begun(work: &Work, run: &str, job: &mut Job) {
    while !work.place.path(run).join("checkpoints/last.safetensors").exists() {
        assert!(!job.has_ended(), "{run} has ended");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_signal_to_any_of_them_stops_and_saves_all() {
    let Some(work) = Work::new() else { return };
    let endless = ["--set", "train.epochs=9999", "--set", "train.patience=9999"];
    for (ranks, to, then) in [(4, None, 2), (4, Some(3), 1), (2, Some(0), 4)] {
        let run = format!("r{to:?}");
        let train = ["train", "--config", "config.toml", "--run", &run];
        let mut job = work.start(ranks, "", &[&train, &endless[..]].concat());
        begun(&work, &run, &mut job);
        let process = to.map_or(job.launcher(), |rank| job.rank(rank).unwrap());
        assert!(signal(process, "TERM"));
        let out = job.wait(LIMIT);
        assert_eq!(out.status.code(), Some(130), "{run}: {}", out.stderr);
        assert_eq!(out.stderr.matches("error: ").count(), 1, "{run}: {}", out.stderr);
        let (_, step) =
            out.stderr.split_once("error: stopped at step ").unwrap_or_else(|| panic!("{}", out.stderr));
        let (step, rest) = step.split_once(';').unwrap();
        assert!(rest.contains("the run is saved, continue it with: optmsm train --resume --run"), "{rest}");
        // A few steps more, and as one process takes them all.
        let steps = (step.parse::<u64>().unwrap() + 7).to_string();
        work.resume(then, 130, &run, &["--max-steps", &steps]);
        let whole = format!("whole-{run}");
        work.train(0, 130, &whole, &[&endless[..], &["--max-steps", &steps]].concat());
        assert_eq!(differences(&work.left(&whole), &work.left(&run)), [""; 0], "{run}");
    }
}
