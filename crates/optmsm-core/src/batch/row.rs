//! Rows given one by one, with a typed value per field.

use super::{Batch, Column};
use crate::config::{FieldKind, FieldSpec, InputSpec};
use crate::error::{BatchPart, Error, Result};

/// The value of one field in one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// The id of a categorical field.
    Id(u32),
    /// The ids of a multi-hot field, each with weight 1; may be empty.
    Ids(&'a [u32]),
    /// Pairs (id, weight) of a multi-hot field; may be empty.
    WeightedIds(&'a [(u32, f32)]),
    /// The number of a numeric field, already transformed.
    Number(f32),
}

impl Value<'_> {
    /// Says what it is, for messages.
    fn title(self) -> &'static str {
        match self {
            Value::Id(_) => "an id",
            Value::Ids(_) => "a list of ids",
            Value::WeightedIds(_) => "a list of ids with weights",
            Value::Number(_) => "a number",
        }
    }
}

/// One row on its way into a [`Batch`]: what [`Batch::push`] takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    scenario: u32,
    values: &'a [Value<'a>],
    label: Option<f32>,
    weight: Option<f32>,
}

impl<'a> Row<'a> {
    /// A row of a scenario, with a value per field in schema order; no label, weight 1.
    pub fn new(scenario: u32, values: &'a [Value<'a>]) -> Self {
        Self { scenario, values, label: None, weight: None }
    }

    /// The same with a label, 0 or 1. All rows of a batch have one, or none has.
    pub fn label(self, label: f32) -> Self {
        Self { label: Some(label), ..self }
    }

    /// The same with a sample weight, at least 0.
    pub fn weight(self, weight: f32) -> Self {
        Self { weight: Some(weight), ..self }
    }
}

impl Batch {
    /// Appends a row. The batch was made by [`Batch::new`] for the same `input`.
    ///
    /// # Errors
    /// When the row does not fit `input` or the rows before it; the message says which field and row. The batch is then as before.
    pub fn push(&mut self, input: &InputSpec, row: Row) -> Result<()> {
        self.check(input, row)?;
        let rows = self.rows();
        self.labels.extend(row.label);
        if row.weight.is_some() || !self.weights.is_empty() {
            // No weights mean 1 for the rows so far.
            self.weights.resize(rows, 1.0);
            self.weights.push(row.weight.unwrap_or(1.0));
        }
        self.scenarios.push(row.scenario);
        for (column, &value) in self.columns.iter_mut().zip(row.values) {
            column.push(value);
        }
        Ok(())
    }

    /// Checks a row before any of it is stored.
    fn check(&self, input: &InputSpec, row: Row) -> Result<()> {
        let number = self.rows();
        let fail = |part, problem: String| Err(Error::batch(part, number, problem));
        let of_field = |field: &FieldSpec| BatchPart::Field(field.name.clone());
        if self.columns.len() != input.fields.len() {
            let problem =
                format!("the batch has {} columns for {} fields", self.columns.len(), input.fields.len());
            return fail(BatchPart::Batch, format!("{problem}; make it with Batch::new for these inputs"));
        }
        if row.values.len() != input.fields.len() {
            let problem = format!("{} values for {} fields", row.values.len(), input.fields.len());
            return match input.fields.get(row.values.len()) {
                Some(missing) => fail(of_field(missing), format!("{problem}; this one has none")),
                None => fail(BatchPart::Batch, format!("{problem}; give one per field, in schema order")),
            };
        }
        if row.scenario as usize >= input.scenarios {
            let problem =
                format!("{} is not below the number of scenarios, {}", row.scenario, input.scenarios);
            return fail(BatchPart::Scenario, problem);
        }
        match row.label {
            Some(y) if y != 0.0 && y != 1.0 => return fail(BatchPart::Label, format!("{y} is not 0 or 1")),
            Some(_) if self.labels.len() != number => {
                let problem = "rows before it have none; give one to every row or to none";
                return fail(BatchPart::Label, problem.into());
            }
            None if !self.labels.is_empty() => {
                let problem = "missing, but rows before it have one; give it one too";
                return fail(BatchPart::Label, problem.into());
            }
            _ => {}
        }
        if let Some(w) = row.weight.filter(|w| !(w.is_finite() && *w >= 0.0)) {
            return fail(BatchPart::Weight, format!("{w} is not a finite number of at least 0"));
        }
        for ((field, column), &value) in input.fields.iter().zip(&self.columns).zip(row.values) {
            if let Err(problem) = check_value(field, column, value) {
                return fail(of_field(field), problem);
            }
        }
        Ok(())
    }
}

/// Checks a value against its field, and its field against the column; an error is what is wrong and what to do.
fn check_value(field: &FieldSpec, column: &Column, value: Value) -> std::result::Result<(), String> {
    let below = |id: u32, vocab: usize| match (id as usize) < vocab {
        true => Ok(()),
        false => Err(format!("id {id} is not below the vocabulary's size, {vocab}")),
    };
    let weighted = |&(id, weight): &(u32, f32)| match weight.is_finite() {
        true => Ok(()),
        false => Err(format!("the weight of id {id} is {weight}; give a finite number")),
    };
    let (kind, wanted) = match (field.kind, column) {
        (FieldKind::Categorical { .. }, Column::Categorical(_)) => ("categorical", "Value::Id"),
        (FieldKind::Multi { .. }, Column::Multi { .. }) => ("multi-hot", "Value::Ids or Value::WeightedIds"),
        (FieldKind::Numeric, Column::Numeric(_)) => ("numeric", "Value::Number"),
        _ => {
            let problem = format!("the column does not hold what the field declares, {:?}", field.kind);
            return Err(format!("{problem}; make the batch with Batch::new for these inputs"));
        }
    };
    let added = match value {
        Value::Ids(ids) => ids.len(),
        Value::WeightedIds(pairs) => pairs.len(),
        _ => 0,
    };
    if let Column::Multi { ids, .. } = column
        && u32::try_from(ids.len() + added).is_err()
    {
        return Err("its lists hold more than 2^32 ids together; give fewer rows per batch".into());
    }
    match (field.kind, value) {
        (FieldKind::Categorical { vocab }, Value::Id(id)) => below(id, vocab),
        (FieldKind::Multi { vocab, .. }, Value::Ids(ids)) => ids.iter().try_for_each(|&id| below(id, vocab)),
        (FieldKind::Multi { vocab, .. }, Value::WeightedIds(pairs)) => {
            pairs.iter().try_for_each(|pair| below(pair.0, vocab).and_then(|()| weighted(pair)))
        }
        (FieldKind::Numeric, Value::Number(v)) if !v.is_finite() => {
            Err(format!("{v} is not a finite number"))
        }
        (FieldKind::Numeric, Value::Number(_)) => Ok(()),
        _ => Err(format!("{} for a {kind} field; give {wanted}", value.title())),
    }
}

impl Column {
    /// Appends a value of the column's kind, which [`Batch::push`] has checked.
    fn push(&mut self, value: Value) {
        match (self, value) {
            (Column::Categorical(ids), Value::Id(id)) => ids.push(id),
            (Column::Numeric(values), Value::Number(v)) => values.push(v),
            (Column::Multi { offsets, ids, weights }, Value::Ids(list)) => {
                ids.extend_from_slice(list);
                if !weights.is_empty() {
                    weights.resize(ids.len(), 1.0);
                }
                offsets.push(ids.len() as u32);
            }
            (Column::Multi { offsets, ids, weights }, Value::WeightedIds(list)) => {
                if !list.is_empty() {
                    // No weights mean 1 for the ids so far.
                    weights.resize(ids.len(), 1.0);
                    weights.extend(list.iter().map(|&(_, weight)| weight));
                    ids.extend(list.iter().map(|&(id, _)| id));
                }
                offsets.push(ids.len() as u32);
            }
            _ => unreachable!("the value was checked against the column"),
        }
    }
}

#[cfg(test)]
mod tests;
