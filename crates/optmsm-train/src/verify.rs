//! Faults that a look at the encoded rows shows: found before the first pass, not after it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use optmsm_core::batch::Batch;
use optmsm_core::error::Error as CoreError;
use optmsm_data::{Dataset, ScenarioWeights, Schema, Split, printable};

use crate::config::Config;
use crate::coverage::Counter;
use crate::data_files;
use crate::error::{Error, Result};
use crate::evaluate::evaluate;
use crate::rows::Rows;
use crate::sampling::{self, Weighing};
use crate::say;
use crate::trainer::Data;

/// Training rows on disk whose values are counted: what is known of this many is known of all.
const COUNTED: usize = 1 << 19;

/// Rows of each label, and those of them that count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Labels {
    rows: [u64; 2],
    weighed: [u64; 2],
}

impl Labels {
    /// Adds rows.
    pub(crate) fn add(&mut self, batch: &Batch) {
        for (row, label) in batch.labels.iter().enumerate() {
            let label = usize::from(*label == 1.0);
            self.rows[label] += 1;
            self.weighed[label] += u64::from(batch.weights.get(row).is_none_or(|weight| *weight > 0.0));
        }
    }

    /// Property of all rows that leaves an AUC undefined, in words; rows of the weight 0 are none where metrics are weighted.
    fn one_class(&self, weighted: bool) -> Option<String> {
        let all = self.rows.iter().sum::<u64>();
        let (label, rows) = match if weighted { self.weighed } else { self.rows } {
            [0, 0] if all > 0 => return Some(format!("all {all} rows have the weight 0")),
            [rows, 0] => (0, rows),
            [0, rows] => (1, rows),
            _ => return None,
        };
        let those = if rows < all { " that have a weight" } else { "" };
        Some(format!("all {rows} rows{those} have the label {label}"))
    }

    /// Whether nothing can be learned of the rows.
    ///
    /// # Errors
    /// They are of one label, or those that have a weight are.
    pub(crate) fn teach(&self) -> Result<()> {
        let fail = |key: &str, problem: String, fix: &str| Err(CoreError::config(key, problem, fix).into());
        let only = match self.rows {
            [rows, 0] => Some((0, rows)),
            [0, rows] => Some((1, rows)),
            _ => None,
        };
        if let Some((label, rows)) = only {
            let problem =
                format!("is {label} in all {rows} training rows, so that there is nothing to learn");
            return fail("data.label", problem, "give rows of both labels, or name another column");
        }
        let fix = "give rows of both labels a weight above 0, or leave data.weight out";
        match self.weighed {
            [0, 0] => fail("data.weight", "is 0 in all training rows".into(), fix),
            [0, _] => fail("data.weight", "is 0 in all training rows of label 0".into(), fix),
            [_, 0] => fail("data.weight", "is 0 in all training rows of label 1".into(), fix),
            _ => Ok(()),
        }
    }

    /// Whether early stopping can judge by the rows of `place`, as far as labels and weights tell.
    ///
    /// # Errors
    /// It watches what rows of one label do not define, and they are of one label; or no row has a weight.
    pub(crate) fn judge(&self, place: &str, config: &Config) -> Result<()> {
        let monitor = &config.train.monitor;
        let weighted = config.data.metrics_weight().is_some();
        match self.one_class(weighted) {
            Some(why) if monitor.needs_both_labels() || weighted && self.weighed == [0, 0] => {
                let watched = printable(&monitor.title()).into_owned();
                let problem =
                    format!("{why}, so that their {watched}, which early stopping watches, is undefined");
                let fix = match self.rows.contains(&0) {
                    true => "give rows of both labels, or set train.monitor = \"log_loss\"",
                    false => "give rows of both labels a weight, or set data.weighted_metrics = false",
                };
                Err(Error::rows(place, problem, fix))
            }
            _ => Ok(()),
        }
    }
}

/// Looks at all parts; warns of what stops nothing. Notes the training rows' shares of out-of-vocabulary values.
///
/// # Errors
/// The rows cannot be trained on, or not be judged by; a setting names a scenario that there is not.
pub(crate) fn verify(config: &Config, schema: &Schema, data: &mut Data) -> Result<()> {
    if let Some(ScenarioWeights::Each(named)) = &config.data.scenario_weights {
        schema.by_scenario("scenario_weights", named)?;
    }
    sampling::rates(&config.data, schema)?;
    let (mut labels, mut counter) = (Labels::default(), Counter::new(schema));
    data.train.each(|batch| {
        labels.add(batch);
        if counter.rows() < COUNTED as u64 {
            counter.add(batch);
        }
        let known = matches!(data.train, Rows::Disk(_)) && labels.teach().is_ok();
        Ok(!known || counter.rows() < COUNTED as u64)
    })?;
    labels.teach()?;
    data.record.unknown = counter.unknown_shares();
    for part in [Split::Valid, Split::Test] {
        let rows = if part == Split::Valid { &data.valid } else { &data.test };
        let (Some(rows), Some(source)) = (rows, data_files::source(config, part)) else { continue };
        let (mut labels, mut counter) = (Labels::default(), Counter::new(schema));
        rows.each(|batch| {
            labels.add(batch);
            counter.add(batch);
            Ok(true)
        })?;
        let place = match data_files::selection(config, part) {
            Some(_) => format!("{source} ({} part of data.split)", part.name()),
            None => source.to_string(),
        };
        match part {
            Split::Valid => {
                labels.judge(&place, config)?;
                watch(config, schema, &place, || rows.scored(|_| Ok(())))?;
            }
            _ => {
                if let Some(why) = labels.one_class(config.data.metrics_weight().is_some()) {
                    say::warning(&format!("{place}: {why}, so that their AUC is undefined"));
                }
            }
        }
        counter
            .warnings(schema, &expected(config, &data.record.unknown), &source)
            .iter()
            .for_each(|text| say::warning(text));
    }
    Ok(())
}

/// Whether `rows` define what early stopping watches, where labels and weights of all of them do not tell; labels, weights, scenarios and
/// groups are looked at.
///
/// # Errors
/// They do not, or cannot be read.
pub(crate) fn watch<'a>(
    config: &Config,
    schema: &Schema,
    place: &str,
    rows: impl FnOnce() -> Result<Cow<'a, Dataset>>,
) -> Result<()> {
    let monitor = &config.train.monitor;
    if monitor.is_plain() {
        return Ok(());
    }
    // Whether a metric is defined does not depend on the predictions.
    let (rows, weighing) = (rows()?, Weighing::of(&config.data, schema, true)?);
    let evaluation = evaluate(&rows, schema, &weighing, &vec![0.5; rows.batch.labels.len()]);
    monitor.value(&evaluation).map(|_| ()).ok_or_else(|| monitor.undefined(place))
}

/// Shares of a part's values that are out of vocabulary when all is well, by field: those of the training rows, and all values of the column
/// whose equal values `data.split` keeps in one part.
pub(crate) fn expected(config: &Config, trained: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let mut shares = trained.clone();
    if let Some(split) = &config.data.split {
        let apart = config.data.fields.iter().filter(|f| f.column() == split.by);
        shares.extend(apart.map(|f| (f.name.clone(), 1.0)));
    }
    shares
}
