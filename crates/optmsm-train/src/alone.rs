//! How well each field alone tells the labels apart: one that knows the outcome shows.

use std::collections::HashMap;

use optmsm_core::batch::{Batch, Column};
use optmsm_core::metrics;
use optmsm_data::{Schema, printable};

use crate::error::Result;
use crate::rows::Rows;

/// An AUC that honest data rarely gives.
pub const SUSPICIOUS: f64 = 0.99;

/// Rows of each part that are looked at.
const ROWS: usize = 100_000;
/// Runs of numbers that are one value.
const BINS: usize = 256;
/// Id that stands for an empty list.
const EMPTY: u32 = u32::MAX;

/// AUC of each field on the judged rows, of which a value scores as the mean label of the training rows that have it. None of all where the
/// judged rows are of one label.
pub fn alone(train: &Batch, judged: &Batch) -> Vec<Option<f64>> {
    let of_field = |(train_column, column)| {
        let scores = scores(train_column, &train.labels, column);
        metrics::auc(&scores, &judged.labels)
    };
    train.columns.iter().zip(&judged.columns).map(of_field).collect()
}

/// Words for the user about a suspicious validation AUC, with the field that explains it if one does.
///
/// # Errors
/// The disk fails.
pub(crate) fn suspicion(auc: f64, schema: &Schema, train: &Rows, valid: &Rows) -> Result<String> {
    let input = schema.input_spec();
    let found = alone(&train.sample(ROWS, &input)?, &valid.sample(ROWS, &input)?);
    let fields = schema.fields.iter().zip(found).filter_map(|(f, auc)| Some((&f.name, auc?)));
    let best = fields.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, auc)| *auc > SUSPICIOUS);
    let why = match best {
        Some((name, auc)) => format!(
            "field '{}' alone gives {auc:.4}, so it may hold the outcome: leave it out unless it is known before the click",
            printable(name)
        ),
        None => "look for a field that is known only after the click".into(),
    };
    Ok(format!("the validation AUC is {auc:.4}, which honest fields rarely give; {why}"))
}

/// A score for each row of a column.
fn scores(train: &Column, labels: &[f32], judged: &Column) -> Vec<f32> {
    match (train, judged) {
        (Column::Categorical(train), Column::Categorical(judged)) => {
            let means = Means::new(train.iter().copied().zip(labels.iter().copied()), labels);
            judged.iter().map(|&id| means.of(id)).collect()
        }
        (Column::Multi { offsets, ids, .. }, Column::Multi { offsets: of, ids: judged, .. }) => {
            let pairs = offsets
                .windows(2)
                .zip(labels)
                .flat_map(|(ends, &label)| list(ids, ends).iter().map(move |&id| (id, label)));
            let means = Means::new(pairs, labels);
            let score = |ends: &[u32]| {
                let ids = list(judged, ends);
                ids.iter().map(|&id| means.of(id)).sum::<f32>() / ids.len() as f32
            };
            of.windows(2).map(score).collect()
        }
        (Column::Numeric(train), Column::Numeric(judged)) => {
            let mut sorted = train.clone();
            sorted.sort_by(f32::total_cmp);
            let mut cuts: Vec<f32> = (1..BINS).map(|i| sorted[i * sorted.len() / BINS]).collect();
            cuts.dedup();
            let bin = |value: &f32| cuts.partition_point(|cut| cut <= value) as u32;
            let means = Means::new(train.iter().map(bin).zip(labels.iter().copied()), labels);
            judged.iter().map(|value| means.of(bin(value))).collect()
        }
        _ => Vec::new(),
    }
}

/// The ids of a list.
fn list<'a>(ids: &'a [u32], ends: &[u32]) -> &'a [u32] {
    match &ids[ends[0] as usize..ends[1] as usize] {
        [] => &[EMPTY],
        ids => ids,
    }
}

/// Mean label by value, drawn towards that of all rows as if by one more row: rare values say little.
struct Means {
    prior: f32,
    sums: HashMap<u32, (f32, f32)>, // labels and rows
}

impl Means {
    fn new(values: impl Iterator<Item = (u32, f32)>, labels: &[f32]) -> Self {
        let prior = labels.iter().sum::<f32>() / labels.len().max(1) as f32;
        let mut sums: HashMap<u32, (f32, f32)> = HashMap::new();
        for (value, label) in values {
            let sum = sums.entry(value).or_default();
            *sum = (sum.0 + label, sum.1 + 1.0);
        }
        Self { prior, sums }
    }

    fn of(&self, value: u32) -> f32 {
        let (labels, rows) = self.sums.get(&value).copied().unwrap_or_default();
        (labels + self.prior) / (rows + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four fields: one that is the label, one that has nothing of it, a number that is far from its middle where the label is 1, and a
    /// list that is empty where it is 0.
    fn batch(rows: usize) -> Batch {
        let label = |i: usize| u32::from(i.is_multiple_of(4));
        let mut offsets = vec![0];
        let mut ids = Vec::new();
        for i in 0..rows {
            ids.extend((label(i) == 1).then_some(7));
            offsets.push(ids.len() as u32);
        }
        let far = |i: usize| if label(i) == 1 { [-9.0, 9.0][i / 4 % 2] } else { (i % 16) as f32 / 16.0 };
        Batch {
            labels: (0..rows).map(|i| label(i) as f32).collect(),
            weights: Vec::new(),
            scenarios: vec![0; rows],
            columns: vec![
                Column::Categorical((0..rows).map(|i| 1 + label(i)).collect()),
                Column::Categorical((0..rows).map(|i| (i / 4 % 5) as u32).collect()),
                Column::Numeric((0..rows).map(far).collect()),
                Column::Multi { offsets, ids, weights: Vec::new() },
            ],
        }
    }

    #[test]
    fn fields_that_know_the_label_stand_out() {
        let (train, valid) = (batch(2000), batch(400));
        let found = alone(&train, &valid);
        for field in [0, 2, 3] {
            assert_eq!(found[field], Some(1.0), "field {field}");
        }
        // The second one has each value equally often with each label: all rows score the same.
        assert_eq!(found[1], Some(0.5));
        let mut one = batch(400);
        one.labels.fill(1.0);
        assert_eq!(alone(&train, &one), [None; 4]);
    }
}
