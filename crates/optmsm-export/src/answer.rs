//! How a logit becomes a probability.

/// A function of the logit for each scenario, computed in `f64` and rounded once.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Added to the logit first, by scenario.
    pub shifts: Vec<f64>,
    /// The step that follows.
    pub curves: Curves,
}

/// Functions of the moved logit z.
#[derive(Clone, Debug, PartialEq)]
pub enum Curves {
    /// σ(z).
    Plain,
    /// σ(slope · z + intercept): the pair of each scenario.
    Lines(Vec<[f64; 2]>),
    /// Points of each scenario.
    Points(Vec<Points>),
}

/// Linear between points, constant beyond them, NaN of NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct Points {
    /// Rising, at least one.
    pub logits: Vec<f64>,
    /// As many.
    pub probabilities: Vec<f64>,
}

/// Points of all scenarios in rows of one length, as formats without lists of lists keep them.
pub(crate) struct Padded {
    /// Scenarios.
    pub(crate) rows: usize,
    /// Points of the longest.
    pub(crate) width: usize,
    /// ∞ behind a scenario's last point.
    pub(crate) logits: Vec<f64>,
    /// 0 there.
    pub(crate) probabilities: Vec<f64>,
    /// Place of the last point of each scenario.
    pub(crate) last: Vec<i64>,
}

impl Padded {
    pub(crate) fn of(points: &[Points]) -> Self {
        let width = points.iter().map(|p| p.logits.len()).max().unwrap_or(0);
        let padded = |of: fn(&Points) -> &[f64], with: f64| -> Vec<f64> {
            points
                .iter()
                .flat_map(|p| of(p).iter().copied().chain(std::iter::repeat(with)).take(width))
                .collect()
        };
        Self {
            rows: points.len(),
            width,
            logits: padded(|p| &p.logits, f64::INFINITY),
            probabilities: padded(|p| &p.probabilities, 0.0),
            last: points.iter().map(|p| p.logits.len() as i64 - 1).collect(),
        }
    }
}
