//! Fitting a schema: one pass over the training file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use csv::ByteRecord;

use crate::config::{DEFAULT_SEPARATOR, DataConfig, FieldConfig, Kind, UnseenScenario};
use crate::error::{DataError, Result, quote};
use crate::numeric::{Accumulator, NumericStats, Transform};
use crate::parse::{self, ListFormat, Parsed, fault};
use crate::schema::{Encoding, FALLBACK, FieldSchema, ScenarioSchema, Schema};
use crate::source::{CsvFile, PROGRESS_ROWS, Progress};
use crate::split::{self, Part, Selector};
use crate::vocab::Vocabulary;

/// What is gathered of one field.
enum Gathered<'a> {
    Values(HashMap<Box<str>, u64>),
    Lists(ListFormat<'a>, HashMap<Box<str>, u64>),
    Numbers(Transform, Accumulator),
}

fn count(counts: &mut HashMap<Box<str>, u64>, value: &str) {
    match counts.get_mut(value) {
        Some(n) => *n += 1,
        None => _ = counts.insert(value.into(), 1),
    }
}

impl<'a> Gathered<'a> {
    fn new(config: &'a FieldConfig) -> Self {
        match config.kind {
            Kind::Categorical => Gathered::Values(HashMap::new()),
            Kind::Multi => Gathered::Lists(list_format(config), HashMap::new()),
            Kind::Numeric => Gathered::Numbers(config.transform.unwrap_or_default(), Accumulator::default()),
        }
    }

    fn add(&mut self, value: &[u8]) -> Parsed<()> {
        match self {
            Gathered::Values(counts) => count(counts, parse::text(value)?),
            Gathered::Lists(format, counts) => parse::list(value, *format, |name, _| count(counts, name))?,
            Gathered::Numbers(transform, acc) => match parse::number(value, *transform)? {
                Some(v) if *transform == Transform::Log1p => acc.add(libm::log1p(v)),
                Some(v) => acc.add(v),
                None => acc.add_missing(),
            },
        }
        Ok(())
    }

    fn finish(self, config: &FieldConfig) -> FieldSchema {
        let encoding = match self {
            Gathered::Values(counts) => {
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

impl Schema {
    /// Reads the training file once, as a stream, and fixes vocabularies, scenarios and statistics.
    ///
    /// Scenarios are sorted by name (byte order). Ids of a field are ordered by falling count, then by value,
    /// so the order of the rows does not matter to them. Memory grows with the distinct values only. Of a file
    /// that `config.split` splits, only the training part is looked at.
    ///
    /// # Errors
    /// A setting, the file or a row of it cannot be used; the message says where, and the fix.
    pub fn fit(config: &DataConfig, path: impl AsRef<Path>) -> Result<Self> {
        Self::fit_with(config, path, |_| {})
    }

    /// [`Schema::fit`], with a callback every few thousand rows and at the end.
    pub fn fit_with(
        config: &DataConfig,
        path: impl AsRef<Path>,
        mut progress: impl FnMut(Progress),
    ) -> Result<Self> {
        config.validate()?;
        let path = path.as_ref();
        if path == Path::new("-") {
            let fix = "give a file: training reads it more than once";
            return Err(DataError::file("standard input", "cannot be trained on", fix));
        }
        let mut file = CsvFile::open(path, config.delimiter)?;
        let label = file.find(&config.label, "data.label")?;
        let scenario = file.find(&config.scenario, "data.scenario")?;
        let optional = |column: &Option<String>, key| column.as_ref().map(|c| file.find(c, key)).transpose();
        let weight = optional(&config.weight, "data.weight")?;
        let probability = optional(&config.probability, "data.probability")?;
        optional(&config.group, "data.group")?;
        let mut fields = Vec::with_capacity(config.fields.len());
        for field in &config.fields {
            let column = file.find(field.column(), &format!("data.fields.{}", field.name))?;
            fields.push((column, Gathered::new(field)));
        }

        let mut selector = match &config.split {
            Some(split) => {
                let column = split.column().map(|c| file.find(c, "data.split.by")).transpose()?;
                Some(Selector::new(split, Part::Train, column))
            }
            None => None,
        };

        let mut scenarios: BTreeMap<String, ScenarioCount> = BTreeMap::new();
        let mut record = ByteRecord::new();
        while file.read(&mut record)? {
            if selector.as_mut().is_some_and(|s| !s.takes(|c| &record[c])) {
                continue;
            }
            let at = |column: usize, fault| file.value_error(&record, column, fault);
            let positive = parse::label(&record[label]).map_err(|f| at(label, f))? == 1.0;
            let name = scenario_name(&record[scenario]).map_err(|f| at(scenario, f))?;
            if !scenarios.contains_key(name) {
                scenarios.insert(name.to_owned(), ScenarioCount::default());
            }
            if let Some(counts) = scenarios.get_mut(name) {
                counts.rows += 1;
                counts.positives += u64::from(positive);
            }
            // Not part of the schema, but a bad value should stop the run now, not after it was set up.
            if let Some(column) = weight {
                parse::weight(&record[column]).map_err(|f| at(column, f))?;
            }
            if let Some(column) = probability {
                parse::probability(&record[column]).map_err(|f| at(column, f))?;
            }
            for (column, gathered) in &mut fields {
                gathered.add(&record[*column]).map_err(|f| at(*column, f))?;
            }
            let now = file.progress();
            if now.rows % PROGRESS_ROWS == 0 {
                progress(now);
            }
        }
        progress(file.progress());
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
            fields: fields.into_iter().zip(&config.fields).map(|((_, g), c)| g.finish(c)).collect(),
        })
    }
}

/// Name of a row's scenario, which must not be empty.
pub(crate) fn scenario_name(bytes: &[u8]) -> Parsed<&str> {
    let name = parse::text(bytes)?;
    if name.is_empty() {
        return fault("the scenario is empty", "name one, or drop the row");
    }
    Ok(name)
}
