//! Rows encoded through a schema, many at a time.

use std::sync::Arc;

use optmsm_core::batch::{Batch, Column};
use optmsm_core::config::InputSpec;

use super::extra::{Extra, Need};
use super::value::{encode_value, id, is_missing, offset};
use crate::error::{DataError, Result, list, quote};
use crate::fault::{Parsed, fault};
use crate::parse::{self, is_plain_list, scenario_name};
use crate::schema::{Encoding, Schema};
use crate::source::{
    Cell, Done, Known, Records, Rows, Selector, Span, Speller, Sweep, Values, Work, look_up, with_values,
};
use crate::util::hash_bytes;

/// Where in a record each thing lies.
#[derive(Clone)]
pub(crate) struct Layout {
    label: Option<usize>,
    weight: Option<usize>,
    group: Option<usize>,
    probability: Option<usize>,
    scenario: usize,
    fields: Vec<usize>,
}

impl Layout {
    pub(crate) fn new(file: &mut Records, schema: &Schema, need: Need) -> Result<Self> {
        let mut optional = |column: Option<&String>, key| match (need, column) {
            (Need::Labelled, Some(column)) => file.find(column, key).map(Some),
            _ => Ok(None),
        };
        let label = optional(Some(&schema.label), "data.label")?;
        let weight = optional(schema.weight.as_ref(), "data.weight")?;
        let group = optional(schema.group.as_ref(), "data.group")?;
        let probability = optional(schema.probability.as_ref(), "data.probability")?;
        Ok(Self {
            label,
            weight,
            group,
            probability,
            scenario: file.find(&schema.scenario, "data.scenario")?,
            fields: schema
                .fields
                .iter()
                .map(|f| file.find(&f.column, &format!("data.fields.{}", f.name)))
                .collect::<Result<_>>()?,
        })
    }
}

/// Encoded rows that lie together in a file.
pub(crate) struct Encoded {
    pub(crate) batch: Batch,
    pub(crate) extra: Extra,
    /// The rows of the file, of which `picked` were encoded, or else the first ones.
    rows: Rows,
    picked: Option<Vec<u32>>,
    /// Encoded rows without a value, one list a field, where they are counted.
    pub(crate) missing: Vec<Vec<u32>>,
}

impl Encoded {
    /// Number of encoded rows.
    pub(crate) fn len(&self) -> usize {
        self.batch.rows()
    }

    /// Where its rows lie.
    pub(crate) fn span(&self) -> Span {
        self.rows.span()
    }

    /// Writes encoded row `i` as the file has it.
    pub(crate) fn copy(&self, i: usize, record: &mut csv::ByteRecord) {
        self.rows.copy(self.picked.as_ref().map_or(i, |picked| picked[i] as usize), record);
    }

    fn bytes(&self) -> usize {
        let column = |column: &Column| match column {
            Column::Categorical(ids) => 4 * ids.capacity(),
            Column::Numeric(values) => 4 * values.capacity(),
            Column::Multi { offsets, ids, weights } => {
                4 * (offsets.capacity() + ids.capacity() + weights.capacity())
            }
        };
        let Batch { labels, weights, scenarios, columns } = &self.batch;
        let Extra { groups, probabilities } = &self.extra;
        4 * (labels.capacity() + weights.capacity() + scenarios.capacity() + probabilities.capacity())
            + 8 * groups.capacity()
            + columns.iter().map(column).sum::<usize>()
            + self.rows.bytes()
            + self.picked.as_ref().map_or(0, |picked| 4 * picked.capacity())
            + self.missing.iter().map(|rows| 4 * rows.capacity()).sum::<usize>()
    }
}

/// State of one thread that encodes.
pub(crate) struct Encoder {
    schema: Arc<Schema>,
    input: InputSpec,
    layout: Layout,
    selector: Option<Selector>,
    speller: Speller,
    ids: Vec<Known<u32>>, // one per field
    scenarios: Known<u32>,
    groups: Known<u64>,
    counting: bool,  // rows without a value
    scratch: String, // text of a value that is none
}

impl Encoder {
    pub(crate) fn new(
        schema: Arc<Schema>,
        layout: Layout,
        selector: Option<Selector>,
        counting: bool,
    ) -> Self {
        let ids = schema.fields.iter().map(|_| Known::default()).collect();
        let (scenarios, groups) = (Known::default(), Known::default());
        let input = schema.input_spec();
        let (speller, scratch) = (Speller::new(&schema.reading), String::new());
        Self { schema, input, layout, selector, speller, ids, scenarios, groups, counting, scratch }
    }

    /// The rows up to the first that cannot be used, and what is wrong with that.
    fn encode(&mut self, mut rows: Rows) -> (Encoded, Option<DataError>) {
        let Self { schema, input, layout, selector, speller, ids, scenarios, groups, counting, scratch } =
            self;
        let (mut batch, mut extra) = (Batch::new(input), Extra::default());
        let mut sweep = Sweep::new(rows.len());
        if let Some(selector) = selector {
            selector.pick(&rows, speller, &mut sweep, scratch);
        }
        let good = sweep.good();
        let columns = layout.fields.iter().zip(ids).zip(&mut batch.columns);
        for (field, ((&c, known), column)) in schema.fields.iter().zip(columns) {
            with_values!(rows, c, |values| match (&field.encoding, column) {
                (Encoding::Categorical { vocabulary }, Column::Categorical(ids)) => {
                    ids.reserve_exact(good);
                    look_up!(
                        sweep,
                        c,
                        values,
                        known,
                        |cell| id(vocabulary, speller.cell(cell), scratch),
                        |id| ids.push(id)
                    );
                }
                (
                    Encoding::Multi { vocabulary, weight_separator, max_length, .. },
                    Column::Multi { offsets, ids, .. },
                ) if is_plain_list(weight_separator.as_deref(), *max_length)
                    && vocabulary.is_listed()
                    && let Some(lists) = values.lists() =>
                {
                    offsets.reserve_exact(good);
                    known.turn_to(lists.keys.dictionary);
                    sweep.each(c, |row| {
                        let before = ids.len();
                        for key in lists.items(row).filter_map(|item| lists.keys.key(item)) {
                            let id = known.get(key, || {
                                let name = speller.cell(lists.keys.dictionary.cell(key)).bytes(scratch)?;
                                if name.is_empty() { Ok(NO_ID) } else { vocabulary.find_bytes(name) }
                            })?;
                            if id != NO_ID {
                                ids.push(id);
                            }
                        }
                        if ids.len() == before
                            && let Some(missing) = vocabulary.missing_id()
                        {
                            ids.push(missing);
                        }
                        offsets.push(offset(ids.len())?);
                        Ok(())
                    });
                }
                (encoding, column) => {
                    reserve(column, good);
                    sweep.each(c, |row| encode_value(encoding, speller, values.cell(row), scratch, column));
                }
            });
        }
        if let Some(c) = layout.label {
            batch.labels.reserve_exact(good);
            with_values!(rows, c, |values| sweep.each(c, |row| {
                batch.labels.push(parse::label(values.cell(row), speller)?);
                Ok(())
            }));
        }
        if let Some(c) = layout.weight {
            with_values!(rows, c, |values| sweep.each(c, |row| {
                batch.weights.push(parse::weight(values.cell(row), scratch)?);
                Ok(())
            }));
        }
        if let Some(c) = layout.group {
            extra.groups.reserve_exact(good);
            with_values!(rows, c, |values| look_up!(
                sweep,
                c,
                values,
                groups,
                |cell| speller.cell(cell).bytes(scratch).map(hash_bytes),
                |group| extra.groups.push(group)
            ));
        }
        if let Some(c) = layout.probability {
            extra.probabilities.reserve_exact(good);
            with_values!(rows, c, |values| sweep.each(c, |row| {
                extra.probabilities.push(parse::probability(values.cell(row), scratch)?);
                Ok(())
            }));
        }
        let c = layout.scenario;
        batch.scenarios.reserve_exact(good);
        with_values!(rows, c, |values| look_up!(
            sweep,
            c,
            values,
            scenarios,
            |cell| scenario(schema, speller.cell(cell), scratch),
            |id| batch.scenarios.push(id)
        ));
        if sweep.good() < good {
            truncate(&mut batch, sweep.good());
            extra.groups.truncate(sweep.good());
            extra.probabilities.truncate(sweep.good());
        }
        let mut missing = Vec::new();
        if *counting {
            for (field, &c) in schema.fields.iter().zip(&layout.fields) {
                let (mut row, mut of_field) = (0, Vec::new());
                with_values!(rows, c, |values| sweep.each(c, |at| {
                    if is_missing(&field.encoding, speller, values.cell(at), scratch) {
                        of_field.push(row);
                    }
                    row += 1;
                    Ok(())
                }));
                missing.push(of_field);
            }
        }
        let (picked, error) = sweep.finish(&rows);
        let error = error.or_else(|| rows.take_error());
        rows.shed();
        (Encoded { batch, extra, rows, picked, missing }, error)
    }
}

impl Work for Encoder {
    type Made = Encoded;

    fn work(&mut self, rows: Rows) -> Done<Encoded> {
        let (made, error) = self.encode(rows);
        Done { bytes: made.bytes(), made, error }
    }
}

/// Id of an empty item of a list. A vocabulary has fewer ids.
const NO_ID: u32 = u32::MAX;

fn reserve(column: &mut Column, rows: usize) {
    match column {
        Column::Categorical(ids) => ids.reserve_exact(rows),
        Column::Numeric(values) => values.reserve_exact(rows),
        Column::Multi { offsets, ids, .. } => {
            offsets.reserve_exact(rows);
            ids.reserve(rows);
        }
    }
}

/// Id of the scenario that a cell names.
pub(super) fn scenario(schema: &Schema, cell: Cell, scratch: &mut String) -> Parsed<u32> {
    let name = scenario_name(cell, scratch)?;
    match schema.scenario_id(name).or(schema.fallback_scenario()) {
        Some(id) => Ok(id),
        None => {
            let known = list(schema.scenarios.iter().map(|s| s.name.as_str()));
            fault(
                format!("scenario {} is not one that training saw ({known})", quote(name)),
                "fix the value, or train with data.unseen_scenario = \"oov\"",
            )
        }
    }
}

/// Keeps the first `rows` rows; columns that were looked at before a fault hold more.
fn truncate(batch: &mut Batch, rows: usize) {
    let Batch { labels, weights, scenarios, columns } = batch;
    scenarios.truncate(rows);
    labels.truncate(rows);
    weights.truncate(rows);
    for column in columns {
        match column {
            Column::Categorical(ids) => ids.truncate(rows),
            Column::Numeric(values) => values.truncate(rows),
            Column::Multi { offsets, ids, weights } => {
                offsets.truncate(rows + 1);
                let end = offsets.last().map_or(0, |&o| o as usize);
                ids.truncate(end);
                weights.truncate(end);
            }
        }
    }
}
