//! Measures over the rows of some data, and tables that a model makes of them and of its weights.

use super::ModelSpec;

/// Values that a forward pass has for every row, to be averaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Over all rows: the forward pass itself sums them.
    Rows {
        /// Names of its elements, unique within a model.
        names: Vec<String>,
    },
    /// Over the rows of each scenario.
    Scenarios {
        /// Elements per row. They have no names: there may be as many as columns of all fields.
        len: usize,
    },
}

impl Measure {
    /// A single number per row, averaged over all of them.
    pub fn of_rows(name: &str) -> Self {
        Measure::Rows { names: vec![name.into()] }
    }

    /// `len` values per row, averaged over the rows of each scenario.
    pub fn of_scenarios(len: usize) -> Self {
        Measure::Scenarios { len }
    }

    /// Elements per row.
    #[allow(clippy::len_without_is_empty)] // a measure has at least one
    pub fn len(&self) -> usize {
        match self {
            Measure::Rows { names } => names.len(),
            Measure::Scenarios { len } => *len,
        }
    }

    /// Names of the elements that a forward pass sums.
    pub(crate) fn summed(&self) -> &[String] {
        match self {
            Measure::Rows { names } => names,
            Measure::Scenarios { .. } => &[],
        }
    }
}

/// Sums of a model's measures over rows that were predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Rows of each scenario.
    pub rows: Vec<u64>,
    /// Of the measures over rows, one after the other.
    pub sums: Vec<f64>,
    /// Of each measure over scenarios, `[S, elements]`; none where they are not wanted.
    pub by_scenario: Vec<Vec<f64>>,
}

impl Measured {
    /// No rows yet.
    pub fn new(spec: &ModelSpec) -> Self {
        let s = spec.input().scenarios;
        let by_scenario = spec.over_scenarios().map(|(_, m)| vec![0.0; s * m.len()]).collect();
        Self { by_scenario, ..Self::of_rows(spec) }
    }

    /// No rows yet, and no measures over scenarios: for the means over rows alone, which cost less.
    pub fn of_rows(spec: &ModelSpec) -> Self {
        Self { rows: vec![0; spec.input().scenarios], sums: vec![0.0; spec.sums()], by_scenario: Vec::new() }
    }

    /// Means of the measures over rows, by name; NaN without rows.
    pub fn means(&self, spec: &ModelSpec) -> Vec<(String, f64)> {
        let rows = self.rows.iter().sum::<u64>() as f64;
        let names = spec.measures().iter().flat_map(Measure::summed);
        names.cloned().zip(self.sums.iter().map(|sum| sum / rows)).collect()
    }

    /// Means of measure `number` among those over scenarios: `[S, elements]`; `None` for a scenario without rows.
    pub fn scenario_means(&self, number: usize) -> Vec<Option<Vec<f64>>> {
        let sums = &self.by_scenario[number];
        let elements = sums.len() / self.rows.len().max(1);
        let mean = |(scenario, &rows): (usize, &u64)| {
            let own = &sums[scenario * elements..][..elements];
            (rows > 0).then(|| own.iter().map(|sum| sum / rows as f64).collect())
        };
        self.rows.iter().enumerate().map(mean).collect()
    }
}

/// Root mean square of v − `from` over each of `parts` equal parts of the values.
pub(crate) fn root_mean_squares(values: &[f64], parts: usize, from: f64) -> impl Iterator<Item = f64> {
    let len = values.len() / parts;
    values.chunks(len).map(move |v| (v.iter().map(|v| (v - from).powi(2)).sum::<f64>() / len as f64).sqrt())
}

/// A table to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Exhibit {
    /// Short name.
    pub title: String,
    /// How to read it, in a sentence or two.
    pub says: String,
    /// Names of the rows.
    pub rows: Heads,
    /// Names of the columns.
    pub columns: Heads,
    /// Values, row by row; `None` where there is nothing to show.
    pub values: Vec<Option<f64>>,
    /// Value of the strongest colour; without one, values have none.
    pub full: Option<f64>,
}

impl Exhibit {
    /// Weights that the rows of each scenario give `columns`: means of measure `number` among those over scenarios.
    pub fn gate(measured: &Measured, number: usize, columns: impl Into<Heads>) -> Self {
        let elements = measured.by_scenario[number].len() / measured.rows.len();
        let of = |mean: Option<Vec<f64>>| -> Vec<Option<f64>> {
            mean.map_or(vec![None; elements], |mean| mean.into_iter().map(Some).collect())
        };
        let values: Vec<Option<f64>> = measured.scenario_means(number).into_iter().flat_map(of).collect();
        Self {
            title: "Gate by scenario".into(),
            says: "Mean weight that the rows of a scenario give each expert; a row sums to 1. The largest weight has the \
                   strongest colour."
                .into(),
            rows: Heads::Scenarios,
            columns: columns.into(),
            full: Some(values.iter().flatten().fold(0.0_f64, |a, &b| a.max(b))),
            values,
        }
    }
}

/// Names of rows or columns of an exhibit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heads {
    /// One for each scenario, which the model does not know by name.
    Scenarios,
    /// These.
    Named(Vec<String>),
}

impl From<Vec<String>> for Heads {
    fn from(names: Vec<String>) -> Self {
        Heads::Named(names)
    }
}
