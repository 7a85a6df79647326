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
    disturb::kills(&stage, &mut plan);
    disturb::failing_calls(&stage, &mut plan);
    damage::files(&stage, &mut plan);
    outputs::unread(&stage, &mut plan);
    plan.end();
}
