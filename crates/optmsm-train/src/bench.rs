//! Many models on one data set: the same rows and fields, as many trials for each, then several seeds of what the trials chose.
//!
//! `OUT/NAME/trial-N.json` is a finished trial of a contestant, `OUT/NAME/trial-N/seed-M/` a run with the settings of the trial that
//! it chose (`scored.rs`). Trials are judged by validation rows. Test rows are scored once by each of these runs, and choose
//! nothing. Runs stand on threads beside each other, so that rows are read and held once for all.

mod contestant;
mod peer;
mod race;
mod report;
mod show;
mod space;
mod summary;
mod workers;

use std::path::Path;

use optmsm_data::{Split, write_atomic};

use crate::attempt::{OPTION, Study, claim, fingerprint_without_model};
use crate::config::Config;
use crate::data_files;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::record::{Hashes, Record};
use crate::sampling::Weighing;

use race::Race;

pub use contestant::{Contestant, LeftOut};
pub use peer::Peer;
pub use report::{Bench, Chosen, Measure, Model, Standing};
pub use summary::{FILES as SUMMARY, Summary};

/// Files of a benchmark, beside the folders of its contestants: tables, all numbers, and a page.
pub const FILES: [&str; 3] = ["bench.md", "bench.json", "bench.html"];

/// A benchmark that is to be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the data.
    pub name: String,
    /// Where the rows are and how a model is trained, except for what each contestant fixes.
    pub config: Config,
    /// At least one.
    pub contestants: Vec<Contestant>,
    /// Predictions of other programs.
    pub peers: Vec<Peer>,
    /// Trials of each contestant, the configuration as it is included.
    pub trials: u64,
    /// Seeds of the runs with the chosen settings.
    pub seeds: Vec<u64>,
    /// Runs that stand beside each other.
    pub jobs: usize,
}

/// All parts of the data.
const PARTS: [Split; 3] = [Split::Train, Split::Valid, Split::Test];

/// Trains what is not done, and writes [`FILES`].
///
/// # Errors
/// A part of the data is missing; peers of other rows; the folder holds other work; whatever stops all runs. What stops one contestant
/// alone is noted. After an interrupt, the same call goes on.
pub fn bench(plan: &Plan, out: &Path, study: &Study) -> Result<Bench> {
    let mut base = Config { tune: None, ..plan.config.clone() };
    if let Some(part) = PARTS.into_iter().find(|&part| !data_files::has(&base, part)) {
        return Err(data_files::missing(part));
    }
    let _held = Folder::take(out, OPTION)?;
    let schema = data_files::schema(&base)?;
    let mut hashes = Hashes::default();
    // Without the model: each trial notes its own, so that a change of one leaves the work of the others.
    claim(out, &fingerprint_without_model(&base, &PARTS, &mut hashes)?)?;
    // Runs beside each other leave no core to share.
    base.train.threads = Some(1);
    let (mut ready, mut left_out) = (Vec::new(), Vec::new());
    for contestant in &plan.contestants {
        match contestant.ready(&base, &schema)? {
            Ok(fits) => ready.push(fits),
            Err(unfit) => {
                study.say(&format!("{} is left out: {}", unfit.name, unfit.reason));
                left_out.push(unfit);
            }
        }
    }
    let record = Record::of(&base, true, &mut hashes)?;
    let data = data_files::load(&base, &schema, true, record)?;
    let weighing = Weighing::of(&base.data, &schema, base.data.unsampled.contains(&Split::Test))?;
    let mut field = Vec::new();
    // Before anything is trained, so that one of other rows is found now.
    for peer in &plan.peers {
        field.push(peer.read(&plan.name, &plan.seeds, &data, &schema, &weighing)?);
    }
    let race = Race { plan, out, study, schema: &schema, weighing: &weighing, ready: &ready };
    let (data, trials) = race.search(data)?;
    let chosen = race.choose(&trials, &mut left_out)?;
    let runs = race.runs(&data, &chosen, &mut hashes)?;
    for (chosen, runs) in chosen.into_iter().zip(runs) {
        match runs {
            Ok(runs) => field.push(race.ended(chosen, runs)?),
            Err(reason) => left_out.push(LeftOut { name: chosen.ready.name.clone(), reason }),
        }
    }
    if field.is_empty() {
        let problem = left_out
            .first()
            .map_or("there is none".into(), |l| format!("none came to a result: {}", l.reason));
        return Err(Error::argument(
            "contestants",
            problem,
            "see why each is left out, and change the configuration",
        ));
    }
    let files = data_files::files(&base, &mut hashes)?;
    let bench = Bench::new(plan, files, field, left_out)?;
    let json = serde_json::to_string_pretty(&bench).map_err(|e| Error::bug("result", e))? + "\n";
    let texts = [bench.markdown(), json, crate::report::bench_page(&bench)?];
    for (name, text) in FILES.iter().zip(texts) {
        write_atomic(&out.join(name), text.as_bytes())?;
    }
    Ok(bench)
}
