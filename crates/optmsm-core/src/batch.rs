//! Rows on their way to the model, in the order of the input.

mod request;
mod row;

use crate::config::{FieldKind, InputSpec};
use crate::error::{BatchPart, Error, Result};

pub use request::Request;
pub use row::{Row, Value};

/// Encoded rows. Columns are in schema order; every column has one entry per row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// 0 or 1; may be empty when only predicting.
    pub labels: Vec<f32>,
    /// Sample weights; empty means 1 for every row.
    pub weights: Vec<f32>,
    /// Scenario of each row.
    pub scenarios: Vec<u32>,
    /// One column a field.
    pub columns: Vec<Column>,
}

/// The values of one field.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// One id a row.
    Categorical(Vec<u32>),
    /// Row `i` owns `ids[offsets[i]..offsets[i + 1]]`.
    Multi {
        /// One more than rows, from 0.
        offsets: Vec<u32>,
        /// Ids of all rows, one after the other.
        ids: Vec<u32>,
        /// A weight for each id; empty means 1.
        weights: Vec<f32>,
    },
    /// One number per row, already transformed.
    Numeric(Vec<f32>),
}

impl Column {
    /// An empty column for a field of this kind.
    pub fn new(kind: FieldKind) -> Self {
        match kind {
            FieldKind::Categorical { .. } => Column::Categorical(Vec::new()),
            FieldKind::Multi { .. } => {
                Column::Multi { offsets: vec![0], ids: Vec::new(), weights: Vec::new() }
            }
            FieldKind::Numeric => Column::Numeric(Vec::new()),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Column::Categorical(ids) => ids.len(),
            Column::Multi { offsets, .. } => offsets.len().saturating_sub(1),
            Column::Numeric(v) => v.len(),
        }
    }

    /// Drops the rows and keeps the memory.
    pub fn clear(&mut self) {
        match self {
            Column::Categorical(ids) => ids.clear(),
            Column::Multi { offsets, ids, weights } => {
                offsets.clear();
                offsets.push(0);
                ids.clear();
                weights.clear();
            }
            Column::Numeric(v) => v.clear(),
        }
    }
}

impl Batch {
    /// An empty batch with one column for each field of `input`.
    pub fn new(input: &InputSpec) -> Self {
        Self { columns: input.fields.iter().map(|f| Column::new(f.kind)).collect(), ..Self::default() }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.scenarios.len()
    }

    /// Bytes of its values.
    pub fn bytes(&self) -> usize {
        let column = |column: &Column| match column {
            Column::Categorical(ids) => ids.len(),
            Column::Numeric(values) => values.len(),
            Column::Multi { offsets, ids, weights } => offsets.len() + ids.len() + weights.len(),
        };
        let columns: usize = self.columns.iter().map(column).sum();
        4 * (self.labels.len() + self.weights.len() + self.scenarios.len() + columns)
    }

    /// Drops the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.labels.clear();
        self.weights.clear();
        self.scenarios.clear();
        self.columns.iter_mut().for_each(Column::clear);
    }

    /// Appends row `row` of `other`, which must have the same columns.
    pub fn push_row(&mut self, other: &Batch, row: usize) {
        self.push_rows(other, &[row as u32]);
    }

    /// Appends rows of `other`, which must have the same columns. Column by column, so that rows from anywhere in a large data
    /// set are fetched side by side instead of one after the other.
    pub fn push_rows(&mut self, other: &Batch, rows: &[u32]) {
        fn pick<T: Copy>(to: &mut Vec<T>, from: &[T], rows: &[u32]) {
            to.extend(rows.iter().map(|&row| from[row as usize]));
        }
        if !other.labels.is_empty() {
            pick(&mut self.labels, &other.labels, rows);
        }
        if !other.weights.is_empty() {
            pick(&mut self.weights, &other.weights, rows);
        }
        pick(&mut self.scenarios, &other.scenarios, rows);
        for (to, from) in self.columns.iter_mut().zip(&other.columns) {
            match (to, from) {
                (Column::Categorical(to), Column::Categorical(from)) => pick(to, from, rows),
                (Column::Numeric(to), Column::Numeric(from)) => pick(to, from, rows),
                (
                    Column::Multi { offsets, ids, weights },
                    Column::Multi { offsets: o, ids: i, weights: w },
                ) => {
                    for &row in rows {
                        let range = o[row as usize] as usize..o[row as usize + 1] as usize;
                        ids.extend_from_slice(&i[range.clone()]);
                        if !w.is_empty() {
                            weights.extend_from_slice(&w[range]);
                        }
                        offsets.push(ids.len() as u32);
                    }
                }
                _ => unreachable!("columns of both batches come from one InputSpec"),
            }
        }
    }

    /// Checks lengths, ids and numbers against the model's inputs.
    pub fn validate(&self, input: &InputSpec) -> Result<()> {
        let rows = self.rows();
        let fail = |part, row: Option<usize>, problem: String| Err(Error::batch(part, row, problem));
        for (part, len) in [(BatchPart::Label, self.labels.len()), (BatchPart::Weight, self.weights.len())] {
            if len != rows && len != 0 {
                return fail(part, None, format!("{len} values for {rows} rows; give one per row"));
            }
        }
        if self.columns.len() != input.fields.len() {
            let problem = format!("{} columns for {} fields", self.columns.len(), input.fields.len());
            return fail(BatchPart::Batch, None, problem);
        }
        for (row, &y) in self.labels.iter().enumerate() {
            if y != 0.0 && y != 1.0 {
                return fail(BatchPart::Label, Some(row), format!("{y} is not 0 or 1"));
            }
        }
        for (row, &w) in self.weights.iter().enumerate() {
            if !(w.is_finite() && w >= 0.0) {
                let problem = format!("{w} is not a finite number of at least 0");
                return fail(BatchPart::Weight, Some(row), problem);
            }
        }
        for (row, &s) in self.scenarios.iter().enumerate() {
            if s as usize >= input.scenarios {
                let problem = format!("{s} is not below the number of scenarios, {}", input.scenarios);
                return fail(BatchPart::Scenario, Some(row), problem);
            }
        }
        for (field, column) in input.fields.iter().zip(&self.columns) {
            if let Err((row, problem)) = column.validate(rows, field.kind) {
                return fail(BatchPart::Field(field.name.clone()), row, problem);
            }
        }
        Ok(())
    }
}

impl Column {
    /// Checks the values of `rows` rows of a field; an error has the row, where it is one row's, and the problem.
    fn validate(&self, rows: usize, kind: FieldKind) -> std::result::Result<(), (Option<usize>, String)> {
        if self.rows() != rows {
            return Err((None, format!("{} values for {rows} rows; give one per row", self.rows())));
        }
        let (ids, vocab, offsets) = match (self, kind) {
            (Column::Categorical(ids), FieldKind::Categorical { vocab }) => (ids, vocab, None),
            (Column::Multi { offsets, ids, weights }, FieldKind::Multi { vocab, .. }) => {
                let ordered = offsets.windows(2).all(|w| w[0] <= w[1]);
                if offsets.first() != Some(&0) || !ordered || offsets[rows] as usize != ids.len() {
                    return Err((None, "offsets must rise from 0 to the number of ids".into()));
                }
                if !weights.is_empty() && weights.len() != ids.len() {
                    return Err((None, format!("{} weights for {} ids", weights.len(), ids.len())));
                }
                if let Some(i) = weights.iter().position(|w| !w.is_finite()) {
                    return Err((Some(row_of(offsets, i)), format!("weight {i} is {}", weights[i])));
                }
                (ids, vocab, Some(offsets))
            }
            (Column::Numeric(values), FieldKind::Numeric) => {
                let wrong = values.iter().position(|v| !v.is_finite());
                return wrong.map_or(Ok(()), |row| {
                    Err((Some(row), format!("{} is not a finite number", values[row])))
                });
            }
            _ => {
                return Err((None, format!("the column does not hold what the field declares, {kind:?}")));
            }
        };
        let Some(i) = ids.iter().position(|&id| id as usize >= vocab) else { return Ok(()) };
        let row = offsets.map_or(i, |offsets| row_of(offsets, i));
        Err((Some(row), format!("id {} (entry {i}) is not below the vocabulary's size, {vocab}", ids[i])))
    }
}

/// The row of a list's entry, where row `r` has the entries from `offsets[r]` on.
fn row_of(offsets: &[u32], entry: usize) -> usize {
    offsets.partition_point(|&o| o as usize <= entry) - 1
}
