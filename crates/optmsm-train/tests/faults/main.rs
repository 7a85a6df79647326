//! Faults of the system and what the program makes of them: `kill -9` at system calls, calls that fail, damaged files, outputs
//! that nobody reads. Whatever happens, a command does its work, or says what is wrong and the next one does it: to the bit.
//!
//! `cargo test` runs a sample; `cargo xtask faults --long` a thousand kills and more, `cargo xtask faults --seed 7 --case
//! kill/train/31` one case again. Both say what they want in `OPTMSM_FAULTS`: for example `long seed=7 minutes=15`.
#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod disturb;
mod elsewhere;
mod fault;
mod outputs;
mod plan;
mod stage;
mod tally;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod trace;
mod works;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
use elsewhere as trace;

use plan::Plan;

#[test]
fn nothing_is_lost_and_nothing_silent() {
    let mut plan = Plan::from_env();
    let stage = works::stage();
    let references = disturb::references(&stage);
    disturb::kills(&stage, &references, &mut plan);
    disturb::threads(&stage, &references, &mut plan);
    disturb::failing_calls(&stage, &references, &mut plan);
    damage::files(&stage, &mut plan);
    outputs::unread(&stage, &references, &mut plan);
    plan.end();
}

#[test]
fn a_byte_is_a_difference_and_a_time_is_none() {
    let stage = stage::Stage::new();
    let write = |name: &str, text: &str| std::fs::write(stage.path(name), text).unwrap();
    let state = |metrics: &str, table: &str, more: &str| {
        write("metrics.jsonl", metrics);
        write("table.md", table);
        write("more", more);
        stage.snapshot()
    };
    let first = state("{\"auc\":0.5,\"seconds\":1}\n", "| a | seconds |\n|---|--:|\n| 1 | 2.5 |\n", "x");
    let later = state("{\"auc\":0.5,\"seconds\":2}\n", "| a | seconds |\n|---|---:|\n| 1 | 13.0 |\n", "x");
    assert_eq!(stage::differences(&first, &later), [""; 0]);
    let other = state("{\"auc\":0.6,\"seconds\":1}\n", "| a | seconds |\n|---|--:|\n| 2 | 2.5 |\n", "y");
    assert_eq!(stage::differences(&first, &other), ["metrics.jsonl", "more", "table.md"]);
    write("left.tmp", "");
    assert_eq!(stage::differences(&other, &stage.snapshot()), ["left.tmp"]);
}
