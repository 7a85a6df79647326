//! Synthetic multi-scenario click data whose true probabilities are known.
//!
//! A row's log-odds are the sum of what all scenarios share (users and items meet in a latent space; both,
//! segments, categories and tags have effects of their own) and what is the scenario's (another metric of
//! the latent space, which segment likes which category, slopes of price, position and device). A
//! [`SynthWorld`] says how much there is of each and what scenarios have in common. In the demo, a model
//! that treats all scenarios alike cannot reach the ceiling, and small scenarios profit from large ones.
//!
//! Row `i` depends on the seed and `i` alone, and only on sums, products and correctly rounded or
//! [`libm`] functions: the data is the same on every platform, and any range of rows can be made alone.

mod centre;
mod effects;
mod parquet;
mod rng;
mod world;
mod worlds;

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::ops::Range;

use optmsm_core::config::Role;
use optmsm_core::error::{Error, Result as CoreResult};
use serde::{Deserialize, Serialize};

use crate::config::{DataConfig, FieldConfig, Kind, Transform};
use crate::error::{DataError, Result};
pub use parquet::write_parquet;
use world::World;
pub use worlds::SynthWorld;

/// Size and make-up of the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SynthConfig {
    /// How clicks come about; [`SynthWorld::config`] has the scenarios of each.
    pub world: SynthWorld,
    /// Rows in all.
    pub rows: u64,
    /// Seed of everything.
    pub seed: u64,
    /// Distinct users; the first ones are the most active.
    pub users: usize,
    /// Distinct items; the first ones are the most popular.
    pub items: usize,
    /// Scenarios and their shares of the rows.
    pub scenarios: Vec<SynthScenario>,
}

/// One scenario of the synthetic data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynthScenario {
    /// Name.
    pub name: String,
    /// Share of the rows, relative to the sum of all shares.
    pub share: f64,
    /// Log-odds of a click in an average row.
    pub bias: f64,
}

impl Default for SynthConfig {
    /// The demo.
    fn default() -> Self {
        SynthWorld::Demo.config()
    }
}

impl SynthConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// Names the dotted key, what is wrong with it, and the fix.
    pub fn validate(&self) -> CoreResult<()> {
        let fail =
            |key: &str, problem: String, fix: &str| Err(Error::config(format!("synth.{key}"), problem, fix));
        for (key, n) in [("users", self.users), ("items", self.items), ("scenarios", self.scenarios.len())] {
            if n == 0 {
                return fail(key, "must be at least 1, got 0".into(), "raise it");
            }
        }
        let (world, scenarios) = (self.world, self.scenarios.len());
        if world != SynthWorld::Demo && scenarios != world.config().scenarios.len() {
            let has = world.config().scenarios.len();
            let problem = format!("are {scenarios}, but the world '{}' has {has}", world.name());
            return fail("scenarios", problem, "begin with SynthWorld::config");
        }
        for (i, s) in self.scenarios.iter().enumerate() {
            if s.name.is_empty() {
                return fail(&format!("scenarios[{i}].name"), "is empty".into(), "give the scenario a name");
            }
            if self.scenarios[..i].iter().any(|other| other.name == s.name) {
                return fail("scenarios", format!("'{}' is named twice", s.name), "rename or drop one");
            }
            if !(s.share.is_finite() && s.share > 0.0) {
                let problem = format!("must be a finite number above 0, got {}", s.share);
                return fail(&format!("scenarios.{}.share", s.name), problem, "change it");
            }
            if !s.bias.is_finite() {
                let problem = format!("must be a finite number, got {}", s.bias);
                return fail(&format!("scenarios.{}.bias", s.name), problem, "change it");
            }
        }
        Ok(())
    }

    /// The rows of training (80 %), validation (10 %) and test (10 %).
    pub fn splits(&self) -> [Range<u64>; 3] {
        let tenth = self.rows / 10;
        let (valid, test) = (self.rows - 2 * tenth, self.rows - tenth);
        [0..valid, valid..test, test..self.rows]
    }
}

/// The columns of the synthetic data as a `[data]` table; the files are for the caller to name.
pub fn data_config() -> DataConfig {
    let specific = |name| FieldConfig { role: Role::Specific, ..FieldConfig::new(name) };
    DataConfig {
        group: Some("user_id".into()),
        probability: Some("true_probability".into()),
        fields: vec![
            FieldConfig::new("user_id"),
            FieldConfig::new("item_id"),
            FieldConfig::new("user_segment"),
            FieldConfig::new("category"),
            FieldConfig { kind: Kind::Multi, ..FieldConfig::new("tags") },
            FieldConfig {
                kind: Kind::Numeric,
                transform: Some(Transform::Log1p),
                ..FieldConfig::new("price")
            },
            specific("position"),
            specific("device"),
        ],
        ..DataConfig::default()
    }
}

const HEADER: &str =
    "label,scenario,user_id,item_id,user_segment,category,tags,price,position,device,true_probability\n";

/// Writes the header and the rows of `range` as CSV, one at a time; rows beyond `config.rows` exist too.
///
/// # Errors
/// A setting cannot work, or the output cannot be written.
pub fn write_csv(config: &SynthConfig, range: Range<u64>, out: impl Write) -> Result<()> {
    config.validate()?;
    let world = World::new(config);
    let names: Vec<String> = config.scenarios.iter().map(|s| quoted(&s.name)).collect();
    let failed = |source| DataError::io("synthetic data", "write", source);
    let mut out = BufWriter::new(out);
    out.write_all(HEADER.as_bytes()).map_err(failed)?;
    let mut line = String::new();
    for i in range {
        line.clear();
        // Writing to a String cannot fail.
        write_row(&mut line, &world, i, &names).ok();
        out.write_all(line.as_bytes()).map_err(failed)?;
    }
    out.flush().map_err(failed)
}

fn write_row(line: &mut String, world: &World, i: u64, names: &[String]) -> std::fmt::Result {
    let row = world.row(i);
    let (user, item) = (&world.users[row.user], &world.items[row.item]);
    write!(line, "{},{},u{},i{},", u8::from(row.label), names[row.scenario], row.user, row.item)?;
    write!(line, "s{},c{:02},", user.segment, item.category)?;
    for (k, tag) in item.tags.iter().enumerate() {
        write!(line, "{}t{tag:02}", if k == 0 { "" } else { "|" })?;
    }
    match row.price {
        Some(v) => write!(line, ",{}", price(v))?,
        None => line.push(','),
    }
    let device = world::DEVICES[row.device];
    writeln!(line, ",{},{device},{}", row.position + 1, probability(row.probability))
}

/// A price as the files hold it.
fn price(v: f64) -> String {
    format!("{v:.2}")
}

/// A probability as the files hold it.
fn probability(v: f64) -> String {
    format!("{v:.6}")
}

fn quoted(name: &str) -> String {
    if name.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.into()
    }
}

#[cfg(test)]
mod tests;
