//! Several benchmarks side by side.

use std::path::Path;

use optmsm_data::write_atomic;
use serde::Serialize;

use super::Bench;
use crate::error::{Error, Result};
use crate::markdown::{NONE, name, table};

/// Files of a summary.
pub const FILES: [&str; 2] = ["summary.md", "summary.json"];

/// How contestants fare over data sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Names of the data sets.
    pub data: Vec<String>,
    /// By mean difference, the best first; after them those without a result on some data set.
    pub contestants: Vec<Overall>,
}

/// A contestant over data sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overall {
    /// Its name.
    pub name: String,
    /// By data set; none where it has no result.
    pub places: Vec<Option<Place>>,
    /// Mean over the data sets of the difference from each one's best; none unless it has a result on all of them.
    pub difference: Option<f64>,
    /// Mean of its ranks; none as above.
    pub rank: Option<f64>,
}

/// A contestant on one data set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Place {
    /// From 1.
    pub rank: usize,
    /// Its mean AUC less that of the best there, 0 of the best itself.
    pub difference: f64,
    /// Whether seeds alone explain the difference; none of the best, and where that cannot be said.
    pub tied: Option<bool>,
}

impl Summary {
    /// Of benchmarks with test rows of both labels.
    pub fn new(benches: &[Bench]) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for standing in benches.iter().flat_map(|bench| &bench.standings) {
            if !names.contains(&standing.name.as_str()) {
                names.push(&standing.name);
            }
        }
        let overall = |name: &&str| {
            let places: Vec<Option<Place>> = benches.iter().map(|bench| Place::of(bench, name)).collect();
            let all: Option<Vec<Place>> = places.iter().copied().collect();
            let mean = |value: fn(&Place) -> f64| {
                let all = all.as_ref()?;
                Some(all.iter().map(value).sum::<f64>() / all.len() as f64)
            };
            let (difference, rank) = (mean(|p| p.difference), mean(|p| p.rank as f64));
            Overall { name: name.to_string(), places, difference, rank }
        };
        let mut contestants: Vec<Overall> = names.iter().map(overall).collect();
        let order = |c: &Overall| c.difference.unwrap_or(f64::NEG_INFINITY);
        contestants.sort_by(|a, b| order(b).total_cmp(&order(a)));
        Self { data: benches.iter().map(|bench| bench.name.clone()).collect(), contestants }
    }

    /// One table, as `summary.md` has it.
    pub fn markdown(&self) -> String {
        let names: Vec<String> = self.data.iter().map(|data| name(data)).collect();
        let header =
            ["model", "mean difference", "mean rank"].into_iter().chain(names.iter().map(String::as_str));
        let rows = self.contestants.iter().map(|c| {
            let mut cells = vec![name(&c.name)];
            cells.push(c.difference.map_or(NONE.into(), |d| format!("{d:+.4}")));
            cells.push(c.rank.map_or(NONE.into(), |rank| format!("{rank:.1}")));
            cells.extend(c.places.iter().map(|place| place.map_or(NONE.into(), |place| place.shown())));
            cells
        });
        let table = table(&header.collect::<Vec<_>>(), &rows.collect::<Vec<_>>());
        format!(
            "# Benchmarks\n\nMean test AUC less that of the best on each data set; **bold** where it is the best, or seeds alone explain the \
             difference.\n\n{table}"
        )
    }

    /// Writes [`FILES`].
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&self, out: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self).map_err(|e| Error::bug("summary", e))? + "\n";
        for (name, text) in FILES.iter().zip([self.markdown(), json]) {
            write_atomic(&out.join(name), text.as_bytes())?;
        }
        Ok(())
    }
}

impl Place {
    fn of(bench: &Bench, name: &str) -> Option<Self> {
        let rank = bench.standings.iter().position(|standing| standing.name == name)?;
        let auc = |rank: usize| Some(bench.standings[rank].auc?.spread.mean);
        Some(Self { rank: rank + 1, difference: auc(rank)? - auc(0)?, tied: bench.standings[rank].tied })
    }

    fn shown(&self) -> String {
        let difference = format!("{:+.4}", self.difference);
        if self.rank == 1 || self.tied == Some(true) { format!("**{difference}**") } else { difference }
    }
}
