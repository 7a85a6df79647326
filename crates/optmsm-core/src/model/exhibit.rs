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
    /// Sums of the squares of the same values, in the same shapes.
    pub squares: Vec<Vec<f64>>,
}

impl Measured {
    /// No rows yet.
    pub fn new(spec: &ModelSpec) -> Self {
        let s = spec.input().scenarios;
        let sums: Vec<_> = spec.over_scenarios().map(|(_, m)| vec![0.0; s * m.len()]).collect();
        Self { by_scenario: sums.clone(), squares: sums, ..Self::of_rows(spec) }
    }

    /// No rows yet, and no measures over scenarios: for the means over rows alone, which cost less.
    pub fn of_rows(spec: &ModelSpec) -> Self {
        let rows = vec![0; spec.input().scenarios];
        Self { rows, sums: vec![0.0; spec.sums()], by_scenario: Vec::new(), squares: Vec::new() }
    }

    /// All its numbers, one after the other.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = f64> + '_ {
        let rows = self.rows.iter().map(|&rows| rows as f64);
        let lists = self.by_scenario.iter().chain(&self.squares).flatten();
        rows.chain(self.sums.iter().chain(lists).copied())
    }

    /// Adds those of [`Measured::numbers`] of other rows.
    pub(crate) fn add_numbers(&mut self, numbers: &[f64]) {
        let mut numbers = numbers.iter();
        self.rows.iter_mut().zip(&mut numbers).for_each(|(rows, &n)| *rows += n as u64);
        let lists = self.by_scenario.iter_mut().chain(&mut self.squares).flatten();
        self.sums.iter_mut().chain(lists).zip(numbers).for_each(|(sum, n)| *sum += n);
    }

    /// Means of the measures over rows, by name; NaN without rows.
    pub fn means(&self, spec: &ModelSpec) -> Vec<(String, f64)> {
        let rows = self.rows.iter().sum::<u64>() as f64;
        let names = spec.measures().iter().flat_map(Measure::summed);
        names.cloned().zip(self.sums.iter().map(|sum| sum / rows)).collect()
    }

    /// Means of measure `number` among those over scenarios: `[S, elements]`; `None` for a scenario without rows.
    pub fn scenario_means(&self, number: usize) -> Vec<Option<Vec<f64>>> {
        self.means_of(&self.by_scenario[number])
    }

    /// Means of the squares of measure `number` among those over scenarios, in the same way.
    pub fn scenario_mean_squares(&self, number: usize) -> Vec<Option<Vec<f64>>> {
        self.means_of(&self.squares[number])
    }

    /// Evenness of K weights that sum to 1 in each row, of measure `number` among those over scenarios: −ln E Σ_k α_k² / ln K,
    /// 1 where all weights are 1/K, 0 where each row has one of them. This is Rényi's entropy of order 2 over its maximum, of
    /// which the mean of Shannon's over the rows is at least as much (Jensen); near 1 it is as far from 1 twice. None without
    /// rows or with a single weight.
    pub fn evenness(&self, number: usize) -> Option<f64> {
        let (rows, squares) = (self.rows.iter().sum::<u64>(), &self.squares[number]);
        let count = squares.len() / self.rows.len().max(1);
        let collisions = squares.iter().sum::<f64>() / rows as f64;
        (rows > 0 && count > 1).then(|| -collisions.ln() / (count as f64).ln())
    }

    fn means_of(&self, sums: &[f64]) -> Vec<Option<Vec<f64>>> {
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
    /// Meaning of the values, for those who judge them.
    pub shows: Shows,
}

/// Meaning of an exhibit's values, and figures of it that they do not hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Shows {
    /// Values to look at.
    Values,
    /// Mean weights of a softmax, by scenario.
    Gate {
        /// See [`Measured::evenness`].
        evenness: Option<f64>,
    },
    /// Root mean squares of outputs, by scenario and by the part of the model that makes them.
    Outputs,
    /// Mean absolute cosines of two outputs over all rows.
    Cosines {
        /// No element of an output is below 0, so that two are orthogonal only where at most one of them is above 0.
        non_negative: bool,
    },
    /// Norms of generated weights, by scenario.
    Generated {
        /// Each layer, and the largest distance of a scenario's weights from their mean over scenarios, as a share of the
        /// mean's norm.
        apart: Vec<(String, f64)>,
    },
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
            shows: Shows::Gate { evenness: measured.evenness(number) },
        }
    }

    /// Size of the outputs `[rows, K·m]` of the K experts `names` in the rows of each scenario, of measure `number` among
    /// those over scenarios.
    pub fn outputs(measured: &Measured, number: usize, names: Vec<String>) -> Self {
        let root_means = |squares: Option<Vec<f64>>| match squares {
            Some(squares) => {
                let width = squares.len() / names.len();
                let root_mean = |own: &[f64]| (own.iter().sum::<f64>() / width as f64).sqrt();
                squares.chunks(width).map(|own| Some(root_mean(own))).collect()
            }
            None => vec![None; names.len()],
        };
        let values: Vec<_> =
            measured.scenario_mean_squares(number).into_iter().flat_map(root_means).collect();
        Self {
            title: "Outputs of the experts by scenario".into(),
            says: "Root mean square of an expert's output over its units and the rows of a scenario: 0 of an expert that \
                   says nothing. The largest has the strongest colour."
                .into(),
            rows: Heads::Scenarios,
            columns: Heads::Named(names),
            full: Some(values.iter().flatten().fold(0.0_f64, |a, &b| a.max(b))),
            values,
            shows: Shows::Outputs,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::gradcheck::{case, random_batch};
    use crate::learner::{Learner, LearnerConfig};
    use crate::models::OptMsm;
    use crate::predictor::Predictor;
    use crate::reference::Reference;

    /// Two scenarios with 2 rows and 1, and one without; a measure of two elements.
    fn measured(squares: [f64; 6]) -> Measured {
        let by_scenario = vec![vec![1.0, 1.0, 0.5, 0.5, 0.0, 0.0]];
        Measured { rows: vec![2, 1, 0], sums: Vec::new(), by_scenario, squares: vec![squares.into()] }
    }

    #[test]
    fn evenness_is_1_of_even_weights_and_0_of_a_choice() {
        let close = |found: Option<f64>, wanted: f64| (found.unwrap() - wanted).abs() < 1e-12;
        assert!(close(measured([0.5, 0.5, 0.25, 0.25, 0.0, 0.0]).evenness(0), 1.0));
        // (1, 0), (0, 1), (1, 0): the means say nothing of it.
        assert!(close(measured([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]).evenness(0), 0.0));
        // (0.9, 0.1), (0.1, 0.9), (0.5, 0.5): Σα² is 0.82, 0.82 and 0.5, their mean 2.14/3.
        let found = measured([0.82, 0.82, 0.25, 0.25, 0.0, 0.0]).evenness(0);
        assert!(close(found, (3.0_f64 / 2.14).log2()));
        // At most the mean of Shannon's entropies, in bits: 0.469, 0.469 and 1.
        let shannon = |p: f64| -(p * p.log2() + (1.0 - p) * (1.0 - p).log2());
        assert!(found.unwrap() < (2.0 * shannon(0.1) + 1.0) / 3.0);
        let none = Measured { rows: vec![0; 3], ..measured([0.0; 6]) };
        assert_eq!(none.evenness(0), None);
    }

    #[test]
    fn outputs_are_root_mean_squares_over_units_and_rows() {
        // Two experts of one unit: E e² is 2 and 8 in the first scenario, 0 and 9 in the second.
        let shown =
            Exhibit::outputs(&measured([4.0, 16.0, 0.0, 9.0, 0.0, 0.0]), 0, vec!["a".into(), "b".into()]);
        let root = |v: f64| Some(v.sqrt());
        assert_eq!(shown.values, [root(2.0), root(8.0), Some(0.0), Some(3.0), None, None]);
        // One expert of two units: (2 + 8) / 2 and 9 / 2.
        let shown = Exhibit::outputs(&measured([4.0, 16.0, 0.0, 9.0, 0.0, 0.0]), 0, vec!["a".into()]);
        assert_eq!((shown.values, shown.full), (vec![root(5.0), root(4.5), None], root(5.0)));
    }

    /// A predictor of OptMSM with these weights in its gate, by expert, and the rest as it begins.
    fn gated(weight: impl Fn(usize) -> f64) -> (Predictor<Reference<f64>, OptMsm>, Batch) {
        let case = case("gated", |_| {});
        let model = OptMsm::new(&case.config, &case.input).unwrap();
        let be = Reference::<f64>::new();
        let learner = Learner::new(be.clone(), model.clone(), LearnerConfig::default(), 1, 1).unwrap();
        let mut params = learner.export().unwrap();
        for tensor in params.iter_mut().filter(|t| t.name.starts_with("gate.")) {
            let inputs = tensor.data.len() / tensor.shape[0];
            tensor.data.iter_mut().enumerate().for_each(|(i, v)| *v = weight(i / inputs));
        }
        (Predictor::new(be, model, &params, 4).unwrap(), random_batch(&case.input, 12, false, 3))
    }

    fn of_rows(predictor: &Predictor<Reference<f64>, OptMsm>, batch: &Batch) -> Measured {
        let mut measured = Measured::new(predictor.spec());
        predictor.predict_measuring(batch, &mut measured).unwrap();
        measured
    }

    /// Evenness of the gate that is shown.
    fn evenness(predictor: &Predictor<Reference<f64>, OptMsm>, measured: &Measured) -> f64 {
        let shown = predictor.exhibits(measured).unwrap();
        let gate = shown.iter().find_map(|e| match e.shows {
            Shows::Gate { evenness } => evenness,
            _ => None,
        });
        gate.unwrap()
    }

    #[test]
    fn squares_are_those_of_each_row() {
        let (predictor, batch) = gated(|k| k as f64);
        let all = of_rows(&predictor, &batch);
        let mut squares: Vec<Vec<f64>> = all.squares.iter().map(|own| vec![0.0; own.len()]).collect();
        for row in 0..batch.rows() as u32 {
            let mut one = Batch::new(predictor.spec().input());
            one.push_rows(&batch, &[row]);
            // Of one row the sums are its values.
            for (sums, values) in squares.iter_mut().zip(of_rows(&predictor, &one).by_scenario) {
                sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += v * v);
            }
        }
        let pairs = || all.squares.iter().flatten().zip(squares.iter().flatten());
        assert!(pairs().all(|(a, b)| (a - b).abs() < 1e-12) && pairs().any(|(a, _)| *a > 0.1));
    }

    #[test]
    fn a_gate_of_zeros_is_even_and_one_of_large_weights_is_not() {
        let (predictor, batch) = gated(|_| 0.0);
        assert!((evenness(&predictor, &of_rows(&predictor, &batch)) - 1.0).abs() < 1e-12);
        // Expert k has logit 50 k (Σ g + 1), of g ≥ 0: the last one has all the weight.
        let (predictor, batch) = gated(|k| 50.0 * k as f64);
        assert!(evenness(&predictor, &of_rows(&predictor, &batch)) < 1e-12);
    }
}
