//! Training since its last evaluation: mean losses, and how well rows were predicted right before they were learned
//! from (progressive validation: Blum, Kalai and Langford, COLT 1999).

use optmsm_core::learner::Trace;
use serde::{Deserialize, Serialize};

/// Bins of a unit of the logit.
const FINE: f32 = 16.0;
/// Logits beyond it share a bin.
const MOST: i32 = 16;
/// Bins.
const BINS: usize = 2 * MOST as usize * FINE as usize + 1;

/// Sums of losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Rows.
    pub rows: u64,
    /// Σw.
    pub weight: f64,
    /// Σ w · binary cross-entropy.
    pub bce: f64,
    /// Σ over steps of rows · penalties.
    pub penalty: f64,
}

/// Means of losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanLoss {
    /// Weighted mean of the binary cross-entropy.
    pub bce: f64,
    /// Mean of the penalties.
    pub penalty: f64,
}

impl MeanLoss {
    /// The loss that training lowers.
    pub fn total(self) -> f64 {
        self.bce + self.penalty
    }
}

/// Losses and predictions of the steps since an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Their losses.
    pub losses: Losses,
    /// Those of the steps since the last point for TensorBoard.
    pub recent: Losses,
    /// Σw of the rows of label 0 and of label 1 by bin of their logit.
    #[serde(with = "sparse")]
    bins: Vec<[f64; 2]>,
}

impl Losses {
    fn add(&mut self, rows: usize, weight: f64, bce: f64, penalty: f64) {
        self.rows += rows as u64;
        self.weight += weight;
        self.bce += bce * weight;
        self.penalty += penalty * rows as f64;
    }

    /// Their means; 0 without rows.
    pub fn mean(&self) -> MeanLoss {
        let over = |sum: f64, n: f64| if n > 0.0 { sum / n } else { 0.0 };
        MeanLoss { bce: over(self.bce, self.weight), penalty: over(self.penalty, self.rows as f64) }
    }
}

impl Stretch {
    /// Whether no step was added.
    pub fn is_empty(&self) -> bool {
        self.losses.rows == 0
    }

    /// Adds steps.
    pub fn add(&mut self, trace: &Trace<f32>) {
        for step in &trace.steps {
            for losses in [&mut self.losses, &mut self.recent] {
                losses.add(step.rows, step.weight, step.loss.bce, step.loss.penalty);
            }
        }
        self.bins.resize(BINS, [0.0; 2]);
        for ((&o, &y), &w) in trace.logits.iter().zip(&trace.labels).zip(&trace.weights) {
            let bin = (o.clamp(-MOST as f32, MOST as f32) * FINE).floor() as i32 + MOST * FINE as i32;
            self.bins[bin as usize][usize::from(y > 0.5)] += f64::from(w);
        }
    }

    /// Weighted AUC of what was predicted of rows before they were learned from; logits that differ by less than 1/16 may count as
    /// ties. None while there is one class only.
    pub fn auc(&self) -> Option<f64> {
        let (mut right, mut below, mut positives) = (0.0, 0.0, 0.0);
        for &[down, up] in &self.bins {
            right += up * (below + 0.5 * down);
            (below, positives) = (below + down, positives + up);
        }
        (below > 0.0 && positives > 0.0).then(|| right / (below * positives))
    }
}

/// Bins that hold something, as `[bin, Σw of label 0, Σw of label 1]`.
mod sparse {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bins: &[[f64; 2]], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(bins.iter().enumerate().filter(|(_, b)| **b != [0.0; 2]).map(|(i, b)| (i, b[0], b[1])))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<[f64; 2]>, D::Error> {
        let mut bins = vec![[0.0; 2]; super::BINS];
        for (i, down, up) in Vec::<(usize, f64, f64)>::deserialize(from)? {
            let bin = bins.get_mut(i).ok_or_else(|| serde::de::Error::custom(format!("no bin {i}")))?;
            *bin = [down, up];
        }
        Ok(bins)
    }
}

#[cfg(test)]
mod tests {
    use optmsm_core::learner::{StepLoss, TracedStep};
    use optmsm_core::philox::Stream;

    use super::*;

    fn trace(rows: u64, seed: u64) -> Trace<f32> {
        let s = Stream::new(seed, "rows");
        let logits: Vec<f32> = (0..rows).map(|i| s.normal(i) as f32).collect();
        let labels = (0..rows).map(|i| f32::from(s.uniform(i + rows) < 0.3)).collect();
        let weights = (0..rows).map(|i| (4.0 * s.uniform(i + 2 * rows)).floor() as f32).collect();
        let loss = StepLoss { bce: 0.5, penalty: 0.25 };
        let steps = vec![TracedStep { step: 1, loss, rows: rows as usize, weight: 10.0 }];
        Trace { steps, logits, labels, weights }
    }

    #[test]
    fn the_area_lies_between_ties_lost_and_ties_won() {
        let trace = trace(500, 3);
        let mut stretch = Stretch::default();
        stretch.add(&trace);
        // Pair by pair, with logits rounded down to sixteenths.
        let (mut lost, mut won, mut all) = (0.0, 0.0, 0.0);
        let rows = || trace.logits.iter().zip(&trace.labels).zip(&trace.weights);
        for ((up, _), w) in rows().filter(|((_, y), _)| **y == 1.0) {
            for ((down, _), v) in rows().filter(|((_, y), _)| **y == 0.0) {
                let pair = f64::from(w * v);
                all += pair;
                lost += if (up * FINE).floor() > (down * FINE).floor() { pair } else { 0.0 };
                won += if (up * FINE).floor() >= (down * FINE).floor() { pair } else { 0.0 };
            }
        }
        let auc = stretch.auc().unwrap();
        assert!((auc - (lost + won) / (2.0 * all)).abs() < 1e-12, "{auc}");
        assert!(won - lost < 0.05 * all);
    }

    #[test]
    fn one_class_and_extreme_logits() {
        let mut stretch = Stretch::default();
        assert_eq!((stretch.auc(), stretch.is_empty()), (None, true));
        let rows = |logits: Vec<f32>, labels: Vec<f32>| Trace {
            steps: Vec::new(),
            weights: vec![1.0; logits.len()],
            logits,
            labels,
        };
        stretch.add(&rows(vec![f32::MIN, -17.0], vec![0.0; 2]));
        assert_eq!(stretch.auc(), None);
        stretch.add(&rows(vec![f32::MAX, 17.0, -16.5], vec![1.0; 3]));
        // Below −16 all is one bin: two rows of label 1 are above both others, one ties with them.
        assert_eq!(stretch.auc(), Some((2.0 + 2.0 + 1.0) / 6.0));
    }

    #[test]
    fn means_are_those_of_all_rows() {
        let step = |rows, weight, bce, penalty| TracedStep {
            step: 1,
            loss: StepLoss { bce, penalty },
            rows,
            weight,
        };
        let steps = vec![step(10, 1.0, 0.9, 0.1), step(30, 3.0, 0.5, 0.5)];
        let mut stretch = Stretch::default();
        stretch.add(&Trace { steps, ..Trace::default() });
        let mean = stretch.losses.mean();
        // (0.9 + 3·0.5) / 4 and (10·0.1 + 30·0.5) / 40.
        assert!((mean.bce - 0.6).abs() < 1e-15 && (mean.penalty - 0.4).abs() < 1e-15, "{mean:?}");
        assert_eq!(Losses::default().mean().total(), 0.0);
    }

    #[test]
    fn nothing_is_lost_in_a_checkpoint() {
        let mut stretch = Stretch::default();
        [3, 4].into_iter().for_each(|seed| stretch.add(&trace(200, seed)));
        let text = serde_json::to_string(&stretch).unwrap();
        assert_eq!(serde_json::from_str::<Stretch>(&text).unwrap(), stretch);
        assert!(
            serde_json::from_str::<Stretch>(&text.replacen("\"bins\":[[", "\"bins\":[[9999,1.0,1.0],[", 1))
                .is_err()
        );
    }
}
