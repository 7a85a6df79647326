//! Fitting a schema: one pass over the training file.

use std::collections::BTreeMap;

use crate::config::{DataConfig, UnseenScenario};
use crate::error::{DataError, Result, quote};
use crate::gather::{self, Gathered};
use crate::parse::{self, Fault, Parsed, fault};
use crate::schema::{FALLBACK, ScenarioSchema, Schema};
use crate::source::{AnyRow, Cell, PROGRESS_ROWS, Progress, Records, Row, Source};
use crate::split::{self, Part, Selector};

#[derive(Default)]
struct ScenarioCount {
    rows: u64,
    positives: u64,
}

/// What a pass over the rows gathers.
struct Pass<'a> {
    label: usize,
    scenario: usize,
    weight: Option<usize>,
    probability: Option<usize>,
    fields: Vec<(usize, Gathered<'a>)>,
    scenarios: BTreeMap<String, ScenarioCount>,
    scratch: String, // text of a value that is none
}

impl Pass<'_> {
    #[inline]
    fn add(&mut self, row: impl Row) -> std::result::Result<(), (usize, Fault)> {
        let Self { scenarios, scratch, .. } = self;
        let positive = parse::label(row.cell(self.label)).map_err(|f| (self.label, f))? == 1.0;
        let name = scenario_name(row.cell(self.scenario), scratch).map_err(|f| (self.scenario, f))?;
        if !scenarios.contains_key(name) {
            scenarios.insert(name.to_owned(), ScenarioCount::default());
        }
        if let Some(counts) = scenarios.get_mut(name) {
            counts.rows += 1;
            counts.positives += u64::from(positive);
        }
        // Not part of the schema, but a bad value should stop the run now, not after it was set up.
        if let Some(column) = self.weight {
            parse::weight(row.cell(column), scratch).map_err(|f| (column, f))?;
        }
        if let Some(column) = self.probability {
            parse::probability(row.cell(column), scratch).map_err(|f| (column, f))?;
        }
        for (column, gathered) in &mut self.fields {
            gathered.add(row.cell(*column), scratch).map_err(|f| (*column, f))?;
        }
        Ok(())
    }
}

impl Schema {
    /// Reads the training file once, as a stream, and fixes vocabularies, scenarios and statistics.
    ///
    /// Scenarios are sorted by name (byte order). Ids of a field are ordered by falling count, then by value,
    /// so the order of the rows does not matter to them. Memory grows with the distinct values only. Of a file
    /// that `config.split` splits, only the training part is looked at.
    ///
    /// # Errors
    /// A setting, the file or a row of it cannot be used; the message says where, and the fix.
    pub fn fit(config: &DataConfig, source: impl Into<Source>) -> Result<Self> {
        Self::fit_with(config, source, |_| {})
    }

    /// [`Schema::fit`], with a callback every few thousand rows and at the end.
    pub fn fit_with(
        config: &DataConfig,
        source: impl Into<Source>,
        progress: impl FnMut(Progress),
    ) -> Result<Self> {
        Self::fit_rows(config, source, u64::MAX, progress)
    }

    /// [`Schema::fit_with`] of the first `rows` rows: what a look at a large file shows.
    ///
    /// # Errors
    /// As [`Schema::fit`].
    pub fn fit_rows(
        config: &DataConfig,
        source: impl Into<Source>,
        rows: u64,
        mut progress: impl FnMut(Progress),
    ) -> Result<Self> {
        config.validate()?;
        let source = source.into();
        if source.is_stdin() {
            let fix = "give a file: training reads it more than once";
            return Err(DataError::file("standard input", "cannot be trained on", fix));
        }
        let mut file = Records::open(&source, config.delimiter)?;
        let label = file.find(&config.label, "data.label")?;
        let scenario = file.find(&config.scenario, "data.scenario")?;
        let mut optional =
            |column: &Option<String>, key| column.as_ref().map(|c| file.find(c, key)).transpose();
        let weight = optional(&config.weight, "data.weight")?;
        let probability = optional(&config.probability, "data.probability")?;
        optional(&config.group, "data.group")?;
        let mut gathered = Vec::with_capacity(config.fields.len());
        for field in &config.fields {
            let column = file.find(field.column(), &format!("data.fields.{}", field.name))?;
            gathered.push((column, Gathered::new(field)));
        }
        let (scenarios, scratch) = (BTreeMap::new(), String::new());
        let mut pass = Pass { label, scenario, weight, probability, fields: gathered, scenarios, scratch };

        let mut selector = match &config.split {
            Some(split) => {
                let column = split.column().map(|c| file.find(c, "data.split.by")).transpose()?;
                Some(Selector::new(split, Part::Train, column))
            }
            None => None,
        };

        while file.progress().rows < rows && file.next()? {
            if let Some(selector) = &mut selector
                && !selector.takes(&file)?
            {
                continue;
            }
            let added = match file.row() {
                AnyRow::Csv(row) => pass.add(row),
                AnyRow::Columns(row) => pass.add(row),
            };
            added.map_err(|(column, fault)| file.value_error(column, fault))?;
            let now = file.progress();
            if now.rows % PROGRESS_ROWS == 0 {
                progress(now);
            }
        }
        progress(file.progress());
        let Pass { scenarios, fields, .. } = pass;
        if scenarios.is_empty() {
            return Err(split::empty(file.name(), Part::Train)); // a file without any row was an error above
        }
        let mut scenarios: Vec<_> = scenarios
            .into_iter()
            .map(|(name, c)| ScenarioSchema { name, rows: c.rows, positives: c.positives })
            .collect();
        if config.unseen_scenario == UnseenScenario::Oov {
            if scenarios.iter().any(|s| s.name == FALLBACK) {
                let problem = format!("a scenario is named {}, as the fallback", quote(FALLBACK));
                let fix = "rename it, or set data.unseen_scenario = \"error\"";
                return Err(DataError::file(file.name(), problem, fix));
            }
            scenarios.push(ScenarioSchema { name: FALLBACK.to_owned(), rows: 0, positives: 0 });
        }
        Ok(Schema {
            delimiter: config.delimiter,
            label: config.label.clone(),
            scenario: config.scenario.clone(),
            weight: config.weight.clone(),
            group: config.group.clone(),
            probability: config.probability.clone(),
            unseen_scenario: config.unseen_scenario,
            rows: scenarios.iter().map(|s| s.rows).sum(),
            scenarios,
            fields: gather::finish(fields.into_iter().map(|(_, gathered)| gathered).collect()),
        })
    }
}

/// Name of a row's scenario, which must not be empty.
pub(crate) fn scenario_name<'s>(cell: Cell<'s>, scratch: &'s mut String) -> Parsed<&'s str> {
    let name = cell.text(scratch)?;
    if name.is_empty() {
        return fault("the scenario is empty", "name one, or drop the row");
    }
    Ok(name)
}
