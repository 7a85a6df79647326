//! Facts about the fields that a pass over the training file gathers, and the schema made from them.

use optmsm_core::error::Error;

use super::counts::{Counter, Shared};
use super::numeric::{Accumulator, NumericStats};
use super::quantile::Quantiles;
use super::vocab::{Listed, Vocabulary};
use super::{Encoding, FieldSchema};
use crate::config::{DEFAULT_SEPARATOR, FieldConfig, Kind, Marks, Missing, Transform};
use crate::error::Result;
use crate::fault::Parsed;
use crate::parse::{self, ListFormat, each_value, is_plain_list};
use crate::source::{Known, Rows, Speller, Sweep, Values as _, look_up, with_values};

/// Facts about one field, gathered by all threads.
pub(crate) struct Gathered {
    config: FieldConfig,
    what: What,
}

enum What {
    Values(Values),
    Lists(Values),
    /// Whether their ranks are wanted, too.
    Numbers(Transform, bool),
}

/// Values of a field with ids.
enum Values {
    /// Counted, to make a list of them. Missing ones are left out where they have an id of their own.
    Counted(Shared, Missing),
    /// Looked up only, so that a value out of range stops the run before anything is set up.
    Checked(Vocabulary),
}

/// State of one thread for one field.
#[derive(Default)]
pub(crate) struct Local {
    counter: Counter,
    checked: Known<()>,
}

/// The numbers of a column in some rows, already as their statistics want them.
#[derive(Default)]
pub(crate) struct Numbers {
    values: Vec<f64>,
    missing: u64,
}

/// Statistics of a column of numbers, which depend on their order.
#[derive(Default)]
pub(crate) struct Statistics {
    acc: Accumulator,
    quantiles: Quantiles,
}

impl Numbers {
    /// Memory that they take.
    pub(crate) fn bytes(&self) -> usize {
        8 * self.values.capacity()
    }
}

impl Values {
    fn new(config: &FieldConfig) -> Self {
        let own = config.missing == Missing::Own;
        let salt = config.table.as_ref().unwrap_or(&config.name);
        match (config.hash_buckets, config.ids) {
            (Some(buckets), _) => Values::Checked(Vocabulary::hashed(buckets, salt, own)),
            (_, Some(below)) => Values::Checked(Vocabulary::of_integers(below, own)),
            _ => Values::Counted(Shared::default(), config.missing),
        }
    }

    #[inline]
    fn add(&self, value: &[u8], counter: &mut Counter) -> Parsed<()> {
        match self {
            Values::Counted(_, Missing::Own) if value.is_empty() => Ok(()),
            Values::Counted(shared, _) => counter.add(value, shared),
            Values::Checked(vocabulary) => vocabulary.find_bytes(value).map(|_| ()),
        }
    }

    fn finish(&self, config: &FieldConfig) -> Vocabulary {
        match self {
            Values::Checked(vocabulary) => vocabulary.clone(),
            Values::Counted(shared, missing) => {
                let list = Listed::from_counts(shared.take(), config.min_frequency, config.max_size);
                Vocabulary::listed(list, *missing == Missing::Own)
            }
        }
    }
}

impl Gathered {
    pub(crate) fn new(config: &FieldConfig) -> Self {
        let ranked = |transform| config.buckets.is_some() || transform == Transform::Quantile;
        let numbers = |transform| What::Numbers(transform, ranked(transform));
        let what = match config.kind {
            Kind::Categorical => What::Values(Values::new(config)),
            Kind::Multi => What::Lists(Values::new(config)),
            Kind::Numeric if config.buckets.is_some() => numbers(Transform::None),
            Kind::Numeric => numbers(config.transform.unwrap_or_default()),
        };
        Self { config: config.clone(), what }
    }

    /// Looks at a column of rows; what is not counted here is added to `numbers`.
    pub(crate) fn look(
        &self,
        local: &mut Local,
        rows: &Rows,
        column: usize,
        speller: &Speller,
        sweep: &mut Sweep,
        scratch: &mut String,
    ) -> Numbers {
        let mut numbers = Numbers::default();
        with_values!(rows, column, |cells| match &self.what {
            What::Values(Values::Checked(vocabulary)) => look_up!(
                sweep,
                column,
                cells,
                local.checked,
                |cell| vocabulary.find_bytes(speller.cell(cell).bytes(scratch)?).map(|_| ()),
                |()| {}
            ),
            What::Values(values @ Values::Counted(shared, _)) => match cells.keys() {
                Some(keys) => {
                    local.counter.turn_to(keys.dictionary, speller, shared);
                    sweep.each(column, |row| match keys.key(row) {
                        Some(key) if local.counter.add_entry(key, keys.dictionary, speller)? => Ok(()),
                        _ => values.add(b"", &mut local.counter),
                    });
                }
                None => sweep.each(column, |row| {
                    values.add(speller.cell(cells.cell(row)).bytes(scratch)?, &mut local.counter)
                }),
            },
            What::Lists(values) => {
                let format = list_format(&self.config, speller);
                let plain = is_plain_list(format.weight_separator, self.config.max_length);
                if let (true, Values::Counted(shared, _), Some(lists)) = (plain, values, cells.lists()) {
                    local.counter.turn_to(lists.keys.dictionary, speller, shared);
                    sweep.each(column, |row| {
                        for key in lists.items(row).filter_map(|item| lists.keys.key(item)) {
                            local.counter.add_entry(key, lists.keys.dictionary, speller)?; // a missing one is no value
                        }
                        Ok(())
                    });
                } else {
                    sweep.each(column, |row| {
                        each_value(cells.cell(row), format, self.config.max_length, scratch, |name, _| {
                            values.add(name, &mut local.counter)
                        })
                    });
                }
            }
            What::Numbers(transform, _) => {
                let marks = marks(&self.config);
                numbers.values.reserve_exact(sweep.good());
                sweep.each(column, |row| {
                    match parse::number(cells.cell(row), speller, *transform, marks)? {
                        None => numbers.missing += 1,
                        Some(v) if *transform == Transform::Log1p => numbers.values.push(libm::log1p(v)),
                        Some(v) => numbers.values.push(v),
                    }
                    Ok(())
                });
            }
        });
        numbers
    }

    /// Adds the numbers of the next rows.
    pub(crate) fn add(&self, numbers: &Numbers, to: &mut Statistics) {
        (0..numbers.missing).for_each(|_| to.acc.add_missing());
        numbers.values.iter().for_each(|&v| to.acc.add(v));
        if let What::Numbers(_, true) = self.what {
            numbers.values.iter().for_each(|&v| to.quantiles.add(v));
        }
    }

    fn counted(&self) -> Option<&Shared> {
        match &self.what {
            What::Values(Values::Counted(shared, _)) | What::Lists(Values::Counted(shared, _)) => {
                Some(shared)
            }
            _ => None,
        }
    }

    /// Hands over what a thread has kept for itself.
    pub(crate) fn collect(&self, local: &mut Local, speller: &Speller) {
        if let Some(shared) = self.counted() {
            local.counter.finish(speller, shared);
        }
    }

    /// Adds what another field of the same table counted, and takes it from there.
    fn merge(&self, other: &Self) {
        if let (Some(to), Some(from)) = (self.counted(), other.counted()) {
            to.merge(from);
        }
    }

    /// The field's schema; `lent` are the ids of a field before it that shares its table.
    ///
    /// # Errors
    /// Its `fill` does not fit 32 bits once it is transformed.
    fn finish(&self, numbers: Statistics, lent: Option<Vocabulary>) -> Result<FieldSchema> {
        let config = &self.config;
        let vocabulary = |values: &Values| lent.unwrap_or_else(|| values.finish(config));
        let encoding = match &self.what {
            What::Values(values) => Encoding::Categorical { vocabulary: vocabulary(values) },
            What::Lists(values) => Encoding::Multi {
                list: config.list,
                separator: separator(config).to_owned(),
                weight_separator: config.weight_separator.clone(),
                pooling: config.pooling.unwrap_or_default(),
                max_length: config.max_length,
                vocabulary: vocabulary(values),
            },
            What::Numbers(transform, _) => {
                let (transform, stats, quantiles) = (*transform, numbers.acc.finish(), numbers.quantiles);
                let marks = marks(config);
                match config.buckets {
                    Some(parts) => Encoding::Buckets { marks, cuts: quantiles.cuts(parts), stats },
                    None => {
                        let ladder = quantiles.ladder();
                        let fill = fill(config, transform, &stats, &ladder)?;
                        Encoding::Numeric { marks, transform, stats, fill, ladder }
                    }
                }
            }
        };
        Ok(FieldSchema {
            name: config.name.clone(),
            column: config.column().to_owned(),
            role: config.role,
            table: config.table.clone(),
            encoding,
        })
    }
}

/// The fields' schemas. Fields of one table have one list, of the values of all their columns.
///
/// # Errors
/// A field's `fill` does not fit 32 bits once it is transformed.
pub(crate) fn finish(fields: &[(usize, Gathered)], numbers: Vec<Statistics>) -> Result<Vec<FieldSchema>> {
    let fields: Vec<&Gathered> = fields.iter().map(|(_, field)| field).collect();
    for (i, field) in fields.iter().enumerate() {
        let Some(table) = &field.config.table else { continue };
        if let Some(first) = fields[..i].iter().find(|f| f.config.table.as_ref() == Some(table)) {
            first.merge(field);
        }
    }
    let mut schemas: Vec<FieldSchema> = Vec::with_capacity(fields.len());
    for (field, numbers) in fields.iter().zip(numbers) {
        let lent = field.config.table.as_ref().and_then(|table| {
            let first = schemas.iter().find(|s| s.table.as_ref() == Some(table))?;
            Some(first.encoding.vocabulary()?.lend(table))
        });
        schemas.push(field.finish(numbers, lent)?);
    }
    Ok(schemas)
}

fn separator(config: &FieldConfig) -> &str {
    config.separator.as_deref().unwrap_or(DEFAULT_SEPARATOR)
}

fn list_format<'a>(config: &'a FieldConfig, speller: &'a Speller) -> ListFormat<'a> {
    let (separator, weight_separator) = (separator(config), config.weight_separator.as_deref());
    ListFormat { text: config.list, separator, weight_separator, speller }
}

fn marks(config: &FieldConfig) -> Marks {
    Marks { decimal: config.decimal.unwrap_or('.'), thousands: config.thousands }
}

fn fill(config: &FieldConfig, transform: Transform, stats: &NumericStats, ladder: &[f64]) -> Result<f32> {
    let Some(given) = config.fill else {
        // Only a spread of nearly zero can carry the mean beyond 32 bits.
        return Ok((transform.mean(stats) as f32).clamp(f32::MIN, f32::MAX));
    };
    let value = transform.apply(given, stats, ladder) as f32;
    if value.is_finite() {
        return Ok(value);
    }
    let problem = format!("{given} is too large for a 32-bit number after the transform of the column");
    let fix = "give a value like those of the column, or set transform = \"none\"";
    Err(Error::config(format!("data.fields.{}.fill", config.name), problem, fix).into())
}
