//! Fitting a schema: one pass over the training file.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::gather::{self, Gathered, Local, Numbers, Statistics};
use super::{FALLBACK, ScenarioSchema, Schema};
use crate::config::{DataConfig, UnseenScenario};
use crate::error::{DataError, Result, quote};
use crate::parse::{self, scenario_name};
use crate::source::{
    Done, Known, Progress, Records, Rows, Selector, Source, Speller, Split, Stream, Sweep, Values, Work,
    empty_split, look_up, with_values,
};

#[derive(Clone, Default)]
struct ScenarioCount {
    name: String,
    rows: u64,
    positives: u64,
}

/// State that the threads of a pass share.
struct Pass {
    label: usize,
    scenario: usize,
    weight: Option<usize>,
    probability: Option<usize>,
    fields: Vec<(usize, Gathered)>,
    speller: Speller,
    scenarios: Mutex<BTreeMap<String, ScenarioCount>>,
    most: u64, // rows
}

/// One thread of a pass.
struct Worker {
    pass: Arc<Pass>,
    selector: Option<Selector>,
    fields: Vec<Local>,
    scenarios: Vec<ScenarioCount>,
    known: Known<usize>, // place of a scenario
    scratch: String,     // text of a value that is none
}

/// Results from some rows that are gathered in the order of the rows.
struct Found {
    numbers: Vec<Numbers>,
    end: Progress,
}

impl Worker {
    fn look(&mut self, rows: &mut Rows) -> (Found, Option<DataError>) {
        let Self { pass, selector, fields, scenarios, known, scratch } = self;
        let (all, span) = (rows.len(), rows.span());
        let most = pass.most.saturating_sub(span.start.rows);
        let looked = all.min(usize::try_from(most).unwrap_or(usize::MAX));
        let mut sweep = Sweep::new(looked);
        if let Some(selector) = selector {
            selector.pick(rows, &pass.speller, &mut sweep, scratch);
        }
        let (c, mut labels) = (pass.label, Vec::with_capacity(sweep.good()));
        with_values!(rows, c, |values| sweep.each(c, |row| {
            labels.push(parse::label(values.cell(row), &pass.speller)? == 1.0);
            Ok(())
        }));
        let (c, mut labels) = (pass.scenario, labels.into_iter());
        with_values!(rows, c, |values| look_up!(
            sweep,
            c,
            values,
            known,
            |cell| {
                let name = scenario_name(pass.speller.cell(cell), scratch)?;
                Ok(scenarios.iter().position(|s| s.name == name).unwrap_or_else(|| {
                    scenarios.push(ScenarioCount { name: name.to_owned(), ..ScenarioCount::default() });
                    scenarios.len() - 1
                }))
            },
            |at| {
                scenarios[at].rows += 1;
                scenarios[at].positives += u64::from(labels.next() == Some(true));
            }
        ));
        // Not part of the schema, but a bad value should stop the run now, not after it was set up.
        if let Some(c) = pass.weight {
            with_values!(rows, c, |values| sweep
                .each(c, |row| { parse::weight(values.cell(row), scratch).map(|_| ()) }));
        }
        if let Some(c) = pass.probability {
            with_values!(rows, c, |values| sweep
                .each(c, |row| { parse::probability(values.cell(row), scratch).map(|_| ()) }));
        }
        let mut numbers = Vec::with_capacity(fields.len());
        for ((column, gathered), local) in pass.fields.iter().zip(fields) {
            numbers.push(gathered.look(local, rows, *column, &pass.speller, &mut sweep, scratch));
        }
        let (_, error) = sweep.finish(rows);
        let behind = rows.take_error().filter(|_| looked == all && most > all as u64);
        (Found { numbers, end: span.at(looked, all) }, error.or(behind))
    }
}

impl Work for Worker {
    type Made = Found;

    fn work(&mut self, mut rows: Rows) -> Done<Found> {
        let (made, error) = self.look(&mut rows);
        Done { bytes: made.numbers.iter().map(Numbers::bytes).sum(), made, error }
    }
}

impl Drop for Worker {
    /// Hands over what the thread has counted.
    fn drop(&mut self) {
        for ((_, gathered), local) in self.pass.fields.iter().zip(&mut self.fields) {
            gathered.collect(local, &self.pass.speller);
        }
        let mut all = self.pass.scenarios.lock().unwrap_or_else(PoisonError::into_inner);
        for found in self.scenarios.drain(..) {
            let sum = all.entry(found.name.clone()).or_default();
            sum.name = found.name;
            sum.rows += found.rows;
            sum.positives += found.positives;
        }
    }
}

impl Schema {
    /// Reads the training file once, as a stream, and fixes vocabularies, scenarios and statistics.
    ///
    /// Scenarios are sorted by name (byte order). Ids of a field are ordered by falling count, then by value, so the
    /// order of the rows does not matter to them. Statistics of numbers are gathered in the order of the rows. Nothing
    /// depends on the number of threads. Memory grows with the distinct values only. Of a file that `config.split`
    /// splits, only the training part is looked at.
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
            return Err(DataError::unfit("standard input", "cannot be trained on", fix));
        }
        let reading = config.reading();
        let mut file = Records::open(&source, &reading)?;
        let label = file.find(&config.label, "data.label")?;
        let scenario = file.find(&config.scenario, "data.scenario")?;
        let mut optional =
            |column: &Option<String>, key| column.as_ref().map(|c| file.find(c, key)).transpose();
        let weight = optional(&config.weight, "data.weight")?;
        let probability = optional(&config.probability, "data.probability")?;
        optional(&config.group, "data.group")?;
        let mut fields = Vec::with_capacity(config.fields.len());
        for field in &config.fields {
            let column = file.find(field.column(), &format!("data.fields.{}", field.name))?;
            fields.push((column, Gathered::new(field)));
        }
        let selector = match &config.split {
            Some(split) => {
                let column = split.column().map(|c| file.find(c, "data.split.by")).transpose()?;
                Some(Selector::new(split, Split::Train, column))
            }
            None => None,
        };
        let name = file.name().to_owned();
        let mut numbers: Vec<_> = fields.iter().map(|_| Statistics::default()).collect();
        let (scenarios, speller) = (Mutex::default(), Speller::new(&reading));
        let pass =
            Arc::new(Pass { label, scenario, weight, probability, fields, speller, scenarios, most: rows });
        let mut stream = Stream::new(file, || Worker {
            pass: pass.clone(),
            selector: selector.clone(),
            fields: pass.fields.iter().map(|_| Local::default()).collect(),
            scenarios: Vec::new(),
            known: Known::default(),
            scratch: String::new(),
        })?;
        let mut read = 0;
        while read < rows {
            let Some(Done { made: found, error, .. }) = stream.next()? else { break };
            for (((_, gathered), found), to) in pass.fields.iter().zip(&found.numbers).zip(&mut numbers) {
                gathered.add(found, to);
            }
            if let Some(error) = error {
                return Err(error);
            }
            read = found.end.rows;
            progress(found.end);
        }
        drop(stream); // ends the threads, which hand over what they counted
        let scenarios = std::mem::take(&mut *pass.scenarios.lock().unwrap_or_else(PoisonError::into_inner));
        if scenarios.is_empty() {
            return Err(empty_split(&name, Split::Train)); // a file without any row was an error above
        }
        let mut scenarios: Vec<_> = scenarios
            .into_values()
            .map(|ScenarioCount { name, rows, positives }| ScenarioSchema { name, rows, positives })
            .collect();
        if config.unseen_scenario == UnseenScenario::Oov {
            if scenarios.iter().any(|s| s.name == FALLBACK) {
                let problem = format!("a scenario is named {}, as the fallback", quote(FALLBACK));
                let fix = "rename it, or set data.unseen_scenario = \"error\"";
                return Err(DataError::unfit(&name, problem, fix));
            }
            scenarios.push(ScenarioSchema { name: FALLBACK.to_owned(), rows: 0, positives: 0 });
        }
        Ok(Schema {
            reading,
            label: config.label.clone(),
            scenario: config.scenario.clone(),
            weight: config.weight.clone(),
            group: config.group.clone(),
            probability: config.probability.clone(),
            unseen_scenario: config.unseen_scenario,
            rows: scenarios.iter().map(|s| s.rows).sum(),
            scenarios,
            fields: gather::finish(&pass.fields, numbers)?,
        })
    }
}
