//! What a pass over the training file gathers of the fields, and the schema that they become.

use crate::config::{DEFAULT_SEPARATOR, FieldConfig, Kind, Missing};
use crate::encode::each_value;
use crate::numeric::{Accumulator, NumericStats, Transform};
use crate::parse::{self, ListFormat, Parsed};
use crate::quantile::Quantiles;
use crate::schema::{Encoding, FieldSchema};
use crate::source::Cell;
use crate::vocab::{Counts, Listed, Vocabulary, count};

/// What is gathered of one field.
pub(crate) struct Gathered<'a> {
    config: &'a FieldConfig,
    what: What<'a>,
}

enum What<'a> {
    Values(Values),
    Lists(ListFormat<'a>, Values),
    Numbers(Transform, Accumulator, Option<Quantiles>),
}

/// Values of a field with ids.
enum Values {
    /// Counted, to make a list of them. Missing ones are left out where they have an id of their own.
    Counted(Counts, Missing),
    /// Looked up only, so that a value out of range stops the run before anything is set up.
    Checked(Vocabulary),
}

impl Values {
    fn new(config: &FieldConfig) -> Self {
        let own = config.missing == Missing::Own;
        let salt = config.table.as_ref().unwrap_or(&config.name);
        match (config.hash_buckets, config.ids) {
            (Some(buckets), _) => Values::Checked(Vocabulary::hashed(buckets, salt, own)),
            (_, Some(below)) => Values::Checked(Vocabulary::of_integers(below, own)),
            _ => Values::Counted(Counts::new(), config.missing),
        }
    }

    fn add(&mut self, value: &str) -> Parsed<()> {
        match self {
            Values::Counted(_, Missing::Own) if value.is_empty() => {}
            Values::Counted(counts, _) => count(counts, value),
            Values::Checked(vocabulary) => _ = vocabulary.find(value)?,
        }
        Ok(())
    }

    /// Adds what another field of the same table counted.
    fn merge(&mut self, other: Counts) {
        if let Values::Counted(counts, _) = self {
            for (value, n) in other {
                *counts.entry(value).or_default() += n;
            }
        }
    }

    fn finish(self, config: &FieldConfig) -> Vocabulary {
        match self {
            Values::Checked(vocabulary) => vocabulary,
            Values::Counted(counts, missing) => {
                let list = Listed::from_counts(counts, config.min_frequency, config.max_size);
                Vocabulary::listed(list, missing == Missing::Own)
            }
        }
    }
}

impl<'a> Gathered<'a> {
    pub(crate) fn new(config: &'a FieldConfig) -> Self {
        let numbers = |transform| {
            let ranked = config.buckets.is_some() || transform == Transform::Quantile;
            What::Numbers(transform, Accumulator::default(), ranked.then(Quantiles::default))
        };
        let what = match config.kind {
            Kind::Categorical => What::Values(Values::new(config)),
            Kind::Multi => What::Lists(list_format(config), Values::new(config)),
            Kind::Numeric if config.buckets.is_some() => numbers(Transform::None),
            Kind::Numeric => numbers(config.transform.unwrap_or_default()),
        };
        Self { config, what }
    }

    pub(crate) fn add(&mut self, cell: Cell, scratch: &mut String) -> Parsed<()> {
        match &mut self.what {
            What::Values(values) => values.add(cell.text(scratch)?),
            What::Lists(format, values) => {
                each_value(cell, *format, self.config.max_length, scratch, |name, _| values.add(name))
            }
            What::Numbers(transform, acc, quantiles) => {
                let Some(v) = parse::number(cell, *transform)? else {
                    acc.add_missing();
                    return Ok(());
                };
                acc.add(if *transform == Transform::Log1p { libm::log1p(v) } else { v });
                if let Some(quantiles) = quantiles {
                    quantiles.add(v);
                }
                Ok(())
            }
        }
    }

    /// What it counted, leaving nothing.
    fn take_counts(&mut self) -> Counts {
        match &mut self.what {
            What::Values(Values::Counted(counts, _)) | What::Lists(_, Values::Counted(counts, _)) => {
                std::mem::take(counts)
            }
            _ => Counts::new(),
        }
    }

    fn merge(&mut self, counts: Counts) {
        if let What::Values(values) | What::Lists(_, values) = &mut self.what {
            values.merge(counts);
        }
    }

    /// The field's schema; `lent` are the ids of a field before it that shares its table.
    fn finish(self, lent: Option<Vocabulary>) -> FieldSchema {
        let config = self.config;
        let vocabulary = |values: Values| lent.unwrap_or_else(|| values.finish(config));
        let encoding = match self.what {
            What::Values(values) => Encoding::Categorical { vocabulary: vocabulary(values) },
            What::Lists(format, values) => Encoding::Multi {
                separator: format.separator.to_owned(),
                weight_separator: format.weight_separator.map(str::to_owned),
                pooling: config.pooling.unwrap_or_default(),
                max_length: config.max_length,
                vocabulary: vocabulary(values),
            },
            What::Numbers(transform, acc, quantiles) => {
                let (stats, quantiles) = (acc.finish(), quantiles.unwrap_or_default());
                match config.buckets {
                    Some(parts) => Encoding::Buckets { cuts: quantiles.cuts(parts), stats },
                    None => {
                        let ladder = quantiles.ladder();
                        let fill = fill(config.fill, transform, &stats, &ladder);
                        Encoding::Numeric { transform, stats, fill, ladder }
                    }
                }
            }
        };
        FieldSchema {
            name: config.name.clone(),
            column: config.column().to_owned(),
            role: config.role,
            table: config.table.clone(),
            encoding,
        }
    }
}

/// The fields' schemas. Fields of one table have one list, of the values of all their columns.
pub(crate) fn finish(mut fields: Vec<Gathered>) -> Vec<FieldSchema> {
    for i in 1..fields.len() {
        let (before, [field, ..]) = fields.split_at_mut(i) else { continue };
        let Some(table) = &field.config.table else { continue };
        if let Some(first) = before.iter_mut().find(|f| f.config.table.as_ref() == Some(table)) {
            first.merge(field.take_counts());
        }
    }
    let mut schemas: Vec<FieldSchema> = Vec::with_capacity(fields.len());
    for field in fields {
        let table = field.config.table.as_ref();
        let first = schemas.iter().find(|s| table.is_some() && s.table.as_ref() == table);
        let lent = first.and_then(|s| Some(s.encoding.vocabulary()?.lend(table?)));
        schemas.push(field.finish(lent));
    }
    schemas
}

fn list_format(config: &FieldConfig) -> ListFormat<'_> {
    ListFormat {
        separator: config.separator.as_deref().unwrap_or(DEFAULT_SEPARATOR),
        weight_separator: config.weight_separator.as_deref(),
    }
}

fn fill(given: Option<f64>, transform: Transform, stats: &NumericStats, ladder: &[f64]) -> f32 {
    let value = given.map_or_else(|| transform.mean(stats), |v| transform.apply(v, stats, ladder));
    // Only a spread of nearly zero can carry a fill value beyond f32.
    (value as f32).clamp(f32::MIN, f32::MAX)
}
