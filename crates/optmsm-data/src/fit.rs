//! Fitting a schema: one pass over the training file.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::config::{DEFAULT_SEPARATOR, DataConfig, FieldConfig, Kind, UnseenScenario};
use crate::error::{DataError, Result, quote};
use crate::numeric::{Accumulator, NumericStats, Transform};
use crate::parse::{self, Fault, ListFormat, Parsed, fault};
use crate::schema::{Encoding, FALLBACK, FieldSchema, ScenarioSchema, Schema};
use crate::source::{AnyRow, Cell, Dictionary, PROGRESS_ROWS, Progress, Records, Row, Source};
use crate::vocab::Vocabulary;

/// What is gathered of one field.
enum Gathered<'a> {
    Values(HashMap<Box<str>, u64>, Entries),
    Lists(ListFormat<'a>, HashMap<Box<str>, u64>),
    Numbers(Transform, Accumulator),
}

/// Rows of each entry of the dictionary at hand, which are added to the values when another one comes.
#[derive(Default)]
struct Entries(Option<(Arc<Dictionary>, Vec<u64>)>);

impl Entries {
    fn flush(&mut self, counts: &mut HashMap<Box<str>, u64>, scratch: &mut String) -> Parsed<()> {
        let Some((dictionary, rows)) = self.0.take() else { return Ok(()) };
        for (i, &n) in rows.iter().enumerate().filter(|(_, n)| **n > 0) {
            count(counts, dictionary.cell(i).text(scratch)?, n);
        }
        Ok(())
    }
}

fn count(counts: &mut HashMap<Box<str>, u64>, value: &str, rows: u64) {
    match counts.get_mut(value) {
        Some(n) => *n += rows,
        None => _ = counts.insert(value.into(), rows),
    }
}

impl<'a> Gathered<'a> {
    fn new(config: &'a FieldConfig) -> Self {
        match config.kind {
            Kind::Categorical => Gathered::Values(HashMap::new(), Entries::default()),
            Kind::Multi => Gathered::Lists(list_format(config), HashMap::new()),
            Kind::Numeric => Gathered::Numbers(config.transform.unwrap_or_default(), Accumulator::default()),
        }
    }

    #[inline]
    fn add(&mut self, row: impl Row, column: usize, scratch: &mut String) -> Parsed<()> {
        match self {
            Gathered::Values(counts, entries) => {
                let Some(entry) = row.entry(column) else {
                    count(counts, row.cell(column).text(scratch)?, 1);
                    return Ok(());
                };
                if entries.0.as_ref().is_none_or(|(d, _)| d.stamp != entry.dictionary.stamp) {
                    entries.flush(counts, scratch)?;
                    entries.0 = Some((entry.dictionary.clone(), vec![0; entry.dictionary.len()]));
                }
                if let Some((dictionary, rows)) = &mut entries.0 {
                    if rows[entry.index] == 0 {
                        dictionary.cell(entry.index).text(scratch)?; // a fault of its text belongs to this row
                    }
                    rows[entry.index] += 1;
                }
            }
            Gathered::Lists(format, counts) => {
                parse::list(row.cell(column), *format, scratch, |name, _| count(counts, name, 1))?;
            }
            Gathered::Numbers(transform, acc) => match parse::number(row.cell(column), *transform)? {
                Some(v) if *transform == Transform::Log1p => acc.add(libm::log1p(v)),
                Some(v) => acc.add(v),
                None => acc.add_missing(),
            },
        }
        Ok(())
    }

    fn finish(self, config: &FieldConfig) -> FieldSchema {
        let encoding = match self {
            Gathered::Values(mut counts, mut entries) => {
                // Every text was looked at when it was counted first.
                entries.flush(&mut counts, &mut String::new()).ok();
                Encoding::Categorical { vocabulary: Vocabulary::from_counts(counts, config.min_frequency) }
            }
            Gathered::Lists(format, counts) => Encoding::Multi {
                separator: format.separator.to_owned(),
                weight_separator: format.weight_separator.map(str::to_owned),
                pooling: config.pooling.unwrap_or_default(),
                vocabulary: Vocabulary::from_counts(counts, config.min_frequency),
            },
            Gathered::Numbers(transform, acc) => {
                let stats = acc.finish();
                Encoding::Numeric { transform, stats, fill: fill(config.fill, transform, &stats) }
            }
        };
        FieldSchema {
            name: config.name.clone(),
            column: config.column().to_owned(),
            role: config.role,
            encoding,
        }
    }
}

fn list_format(config: &FieldConfig) -> ListFormat<'_> {
    ListFormat {
        separator: config.separator.as_deref().unwrap_or(DEFAULT_SEPARATOR),
        weight_separator: config.weight_separator.as_deref(),
    }
}

fn fill(given: Option<f64>, transform: Transform, stats: &NumericStats) -> f32 {
    let value = given.map_or_else(|| transform.mean(stats), |v| transform.apply(v, stats));
    // Only a spread of nearly zero can carry a fill value beyond f32.
    (value as f32).clamp(f32::MIN, f32::MAX)
}

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
            gathered.add(row, *column, scratch).map_err(|f| (*column, f))?;
        }
        Ok(())
    }
}

impl Schema {
    /// Reads the training file once, as a stream, and fixes vocabularies, scenarios and statistics.
    ///
    /// Scenarios are sorted by name (byte order). Ids of a field are ordered by falling count, then by value,
    /// so the order of the rows does not matter to them. Memory grows with the distinct values only.
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

        while file.next()? {
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
            rows: file.progress().rows,
            scenarios,
            fields: fields.into_iter().zip(&config.fields).map(|((_, g), c)| g.finish(c)).collect(),
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
