//! The rows of one request: one user in one scenario, with candidates.

use super::{Batch, Column};
use crate::config::InputSpec;
use crate::error::{BatchPart, Error, Result};

/// Rows that have a scenario and the values of some fields in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    rows: Batch,
    same: Vec<bool>,
}

impl Request {
    /// Most ids of a list that candidates have in common, over all of them: each has its own copy.
    pub const MOST_IDS: usize = 1 << 24;

    /// `user` has one row of the scenario and of the fields that all candidates have in common, `items` one per candidate of the
    /// others; the columns that each lacks are empty.
    ///
    /// # Errors
    /// When a field is in both or in neither, `user` has not one row, a column of `items` has another number than `count`, or the user's
    /// list times `count` has more ids than [`Request::MOST_IDS`].
    pub fn new(input: &InputSpec, user: &Batch, items: Batch, count: usize) -> Result<Self> {
        let fail = |part, problem: String| Err(Error::batch(part, None, problem));
        if user.scenarios.len() != 1 || !items.scenarios.is_empty() {
            let problem = format!(
                "{} scenarios of the user and {} of the candidates; give one, of the user",
                user.scenarios.len(),
                items.scenarios.len()
            );
            return fail(BatchPart::Scenario, problem);
        }
        let fields = input.fields.len();
        if user.columns.len() != fields || items.columns.len() != fields {
            let (of_user, of_items) = (user.columns.len(), items.columns.len());
            return fail(BatchPart::Batch, format!("{of_user} and {of_items} columns for {fields} fields"));
        }
        let mut request = Self { rows: items, same: Vec::with_capacity(fields) };
        request.rows.scenarios.resize(count, user.scenarios[0]);
        for ((field, of_user), own) in input.fields.iter().zip(&user.columns).zip(&mut request.rows.columns) {
            let same = match (of_user.rows(), own.rows()) {
                (1, 0) => true,
                (0, own) if own == count => false,
                (of_user, own) => {
                    let problem = format!(
                        "{of_user} values of the user and {own} of {count} candidates; give one of the user, or one per candidate"
                    );
                    return fail(BatchPart::Field(field.name.clone()), problem);
                }
            };
            if let Column::Multi { ids, .. } = of_user
                && ids.len().saturating_mul(count) > Self::MOST_IDS
            {
                let problem = format!(
                    "a list of {} values for each of {count} candidates; shorten it, or score fewer at a time",
                    ids.len()
                );
                return fail(BatchPart::Field(field.name.clone()), problem);
            }
            if same && !own.repeat(of_user, count) {
                let problem = "the user's and the candidates' columns are of different kinds".into();
                return fail(BatchPart::Field(field.name.clone()), problem);
            }
            request.same.push(same);
        }
        Ok(request)
    }

    /// All values of every candidate.
    pub fn rows(&self) -> &Batch {
        &self.rows
    }

    /// [`Request::rows`] and [`Request::same`], owned.
    pub fn into_parts(self) -> (Batch, Vec<bool>) {
        (self.rows, self.same)
    }

    /// Whether all candidates have the value of a field in common, in schema order.
    pub fn same(&self) -> &[bool] {
        &self.same
    }
}

impl Column {
    /// Appends the first value of `of` `count` times; false if that is a column of another kind.
    fn repeat(&mut self, of: &Column, count: usize) -> bool {
        match (self, of) {
            (Column::Categorical(to), Column::Categorical(from)) => to.resize(to.len() + count, from[0]),
            (Column::Numeric(to), Column::Numeric(from)) => to.resize(to.len() + count, from[0]),
            (
                Column::Multi { offsets, ids, weights },
                Column::Multi { offsets: _, ids: of_ids, weights: of_weights },
            ) => {
                for _ in 0..count {
                    ids.extend_from_slice(of_ids);
                    weights.extend_from_slice(of_weights);
                    offsets.push(ids.len() as u32);
                }
            }
            _ => return false,
        }
        true
    }
}
