//! Ranks that are killed at any time: other ranks go on, to the same bytes.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use optmsm_testkit::mpi::signal;
use optmsm_testkit::rng::Rng;

use super::work::{LIMIT, Work, differences};

/// Steps enough to be killed in.
const LONG: [&str; 2] = ["--set", "train.epochs=4"];
/// How often; `OPTMSM_RANK_KILLS=50` is more.
const KILLS: usize = 8;

#[test]
fn killed_ranks_cost_nothing_but_time() {
    let Some(work) = Work::new() else { return };
    let kills = std::env::var("OPTMSM_RANK_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    let mut rng = Rng::new(seed.into());
    work.train(0, 0, "whole", &LONG);
    let whole = work.left("whole");
    let start = Instant::now();
    // As long as jobs take here, so that kills come at any time of them.
    let jobs = [1, 2, 4].map(|ranks| {
        let start = Instant::now();
        work.train(ranks, 0, &format!("whole-{ranks}"), &LONG);
        (ranks, start.elapsed())
    });
    let (mut struck, mut saved, mut ended, mut story) = (0, 0, 0, String::new());
    while struck < kills || ended == 0 {
        let run = format!("r{ended}");
        let begun = work.place.path(&run).join("config.toml").exists();
        let new = [&["train", "--config", "config.toml"], &LONG[..]].concat();
        let way = if begun { &["train", "--resume"] } else { &new[..] };
        let (ranks, takes) = jobs[rng.below(jobs.len())];
        let mut job = work.start(ranks, "", &[way, &["--run", &run]].concat());
        let wait = Duration::from_secs_f64(takes.as_secs_f64() * rng.uniform());
        let started = Instant::now();
        while started.elapsed() < wait && !job.has_ended() {
            sleep(Duration::from_millis(1));
        }
        let rank = rng.below(ranks);
        let done = job.has_ended();
        let kill = struck < kills && !done && job.rank(rank).is_some_and(|process| signal(process, "KILL"));
        let out = job.wait(LIMIT);
        let code = out.status.code();
        story += &format!(
            "{run}: {ranks} ranks, rank {rank} killed after {wait:?}: {kill}: {code:?}\n{}",
            out.stderr
        );
        if kill && code != Some(0) {
            struck += 1;
            saved += usize::from(work.place.path(&run).join("checkpoints/last.safetensors").exists());
            continue;
        }
        assert_eq!(code, Some(0), "seed {seed}\n{story}");
        assert_eq!(differences(&whole, &work.left(&run)), [""; 0], "seed {seed}\n{story}");
        ended += 1;
        story.clear();
    }
    println!(
        "{struck} kills, {saved} of them after a checkpoint, {ended} runs to their end, in {:?}",
        start.elapsed()
    );
}
