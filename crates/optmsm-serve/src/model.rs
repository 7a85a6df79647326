//! The models that are served, and where they come from.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::rows::{Candidates, Rows};

/// A loaded model, which answers requests from many threads.
pub trait Model: Send + Sync + 'static {
    /// Columns that a row has, that of the scenario included.
    fn inputs(&self) -> &[Input];

    /// Number of the input that names the scenario; none where the model has one scenario.
    fn scenario(&self) -> Option<usize>;

    /// Names of the scenarios, in the order of their numbers.
    fn scenarios(&self) -> &[String];

    /// Tells this model from others that were at the same path: a hash of its parameters.
    fn fingerprint(&self) -> &str;

    /// Facts that the metadata of the model shows, by name.
    fn properties(&self) -> &[(String, String)];

    /// Probabilities of rows, in their order; `seen` is told what came.
    ///
    /// # Errors
    /// A row that the model cannot read, or a failure of the model itself.
    fn predict(&self, rows: &Rows<'_>, seen: &mut Seen) -> Result<Vec<f32>, Refusal>;

    /// Probabilities of items for one user, in the order of the items; `seen` is told what came.
    ///
    /// # Errors
    /// Those of [`predict`](Self::predict); a row is an item.
    fn candidates(&self, candidates: &Candidates<'_>, seen: &mut Seen) -> Result<Vec<f32>, Refusal>;
}

/// A column that a model reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Name of the column.
    pub name: String,
    /// The values that it has.
    pub kind: Kind,
    /// Whether a row may leave it out; it is then [`Datum::Missing`](crate::Datum::Missing).
    pub optional: bool,
}

/// Values of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Words: texts, integers or truth values.
    Text,
    /// A number.
    Number,
    /// Any number of words.
    List {
        /// Whether each has a weight.
        weighted: bool,
    },
}

/// Gets models from paths.
pub trait Loader: Send + Sync + 'static {
    /// Reads the model at a path.
    ///
    /// # Errors
    /// Text that says what is wrong, where, and what to do.
    fn load(&self, path: &Path) -> Result<Arc<dyn Model>, String>;

    /// The state of a path, without reading the model: another one means that it changed. None where there is nothing to load.
    fn stamp(&self, path: &Path) -> Option<Stamp>;
}

/// The state of a path: a hash of names, sizes and times of the files that a model is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp(pub u64);

/// The answer of a model that does not predict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose fault it is.
    pub kind: RefusalKind,
    /// The row, from 0.
    pub row: Option<usize>,
    /// Name of the column.
    pub column: Option<String>,
    /// The fault.
    pub problem: String,
    /// The remedy.
    pub fix: String,
}

/// Whose fault a [`Refusal`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request's: status 400.
    Request,
    /// The model's or the machine's: status 500.
    Internal,
}

impl Refusal {
    /// A value that the model cannot read, in a row counted from 0.
    pub fn value(
        row: usize,
        column: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let column = Some(column.into());
        Self { kind: RefusalKind::Request, row: Some(row), column, problem: problem.into(), fix: fix.into() }
    }

    /// A failure of the model itself.
    pub fn internal(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        let (problem, fix) = (problem.into(), fix.into());
        Self { kind: RefusalKind::Internal, row: None, column: None, problem, fix }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.row, &self.column) {
            (Some(row), Some(column)) => write!(f, "row {}, column '{column}': ", row + 1)?,
            (Some(row), None) => write!(f, "row {}: ", row + 1)?,
            (None, Some(column)) => write!(f, "column '{column}': ")?,
            (None, None) => {}
        }
        write!(f, "{}; {}", self.problem, self.fix)
    }
}

/// Values that a model met in one request, for the metrics that show drift.
#[derive(Debug, Default)]
pub struct Seen {
    /// Scenario, rows, sum of predictions; a scenario may come several times.
    pub(crate) scenarios: Vec<(usize, u64, f64)>,
    /// Input and values that its vocabulary lacks; an input may come several times.
    pub(crate) unknown: Vec<(usize, u64)>,
}

/// Entries that are searched for the scenario or the input before another one is made.
const SEARCHED: usize = 16;

impl Seen {
    /// Notes the prediction of a row of a scenario.
    pub fn predicted(&mut self, scenario: usize, probability: f32) {
        let known = self.scenarios.iter_mut().rev().take(SEARCHED).find(|entry| entry.0 == scenario);
        match known {
            Some((_, rows, sum)) => (*rows, *sum) = (*rows + 1, *sum + f64::from(probability)),
            None => self.scenarios.push((scenario, 1, f64::from(probability))),
        }
    }

    /// Notes values of an input that its vocabulary lacks.
    pub fn unknown(&mut self, input: usize, values: u64) {
        let known = self.unknown.iter_mut().rev().take(SEARCHED).find(|entry| entry.0 == input);
        match known {
            _ if values == 0 => {}
            Some((_, sum)) => *sum += values,
            None => self.unknown.push((input, values)),
        }
    }

    /// The number of the scenario that most rows are of.
    pub(crate) fn main_scenario(&self) -> Option<usize> {
        self.scenarios.iter().max_by_key(|entry| entry.1).map(|entry| entry.0)
    }
}
