//! Which trials are stopped early.

use std::cell::Cell;

use crate::checkpoint::Position;
use crate::config::TrainConfig;
use crate::evaluate::Evaluation;
use crate::trainer::{Next, Observer};

/// Earlier trials without which none is stopped: a median of fewer says little.
const FEWEST_TRIALS: usize = 4;

/// The median rule: after evaluation e, a trial whose best validation value so far is below the median of what earlier trials
/// had as their best after e evaluations, or in all if they had fewer, is stopped (after Golovin et al., KDD 2017, who compare with
/// running averages). It looks at earlier trials only, so it does not matter when a search was interrupted.
#[derive(Debug)]
pub(crate) struct Judge {
    /// Best value so far after each evaluation, of each earlier trial.
    others: Vec<Vec<f64>>,
    epochs: u64,
    patience: u64,
    stopped: Cell<bool>,
}

impl Judge {
    /// `curves` are the earlier trials' validation values, one per evaluation; without any, nothing is stopped.
    pub(crate) fn new<'a>(curves: impl Iterator<Item = &'a [f64]>, train: &TrainConfig) -> Self {
        let best = |curve: &[f64]| {
            let mut best = f64::NEG_INFINITY;
            let running = curve.iter().map(|v| {
                best = best.max(*v);
                best
            });
            running.collect::<Vec<_>>()
        };
        let others = curves.filter(|c| !c.is_empty()).map(best).collect();
        Self { others, epochs: train.epochs, patience: train.patience.max(1), stopped: Cell::new(false) }
    }

    /// Whether it has stopped the trial.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Judges the position, which is that of an evaluation.
    pub(crate) fn decide(&self, at: &Position) -> Next {
        let over = at.epoch >= self.epochs || at.stale >= self.patience;
        let (Some(best), false) = (at.best, over || self.others.len() < FEWEST_TRIALS) else {
            return Next::Continue;
        };
        let number = at.evaluations as usize;
        let mut then: Vec<f64> =
            self.others.iter().map(|other| other[number.clamp(1, other.len()) - 1]).collect();
        then.sort_by(f64::total_cmp);
        let n = then.len();
        let median = 0.5 * (then[(n - 1) / 2] + then[n / 2]);
        if best < median {
            self.stopped.set(true);
            return Next::Stop;
        }
        Next::Continue
    }
}

impl Observer for Judge {
    fn evaluated(&self, at: &Position, _valid: Option<&Evaluation>) -> Next {
        self.decide(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, best: f64) -> Position {
        Position { epoch, evaluations: epoch, best: Some(best), ..Position::default() }
    }

    #[test]
    fn the_rule_by_hand() {
        let train = TrainConfig { epochs: 5, patience: 2, ..TrainConfig::default() };
        let curves: [&[f64]; 4] = [&[0.5, 0.6, 0.55], &[0.6], &[0.7, 0.65], &[0.8, 0.9, 0.9]];
        let judge = || Judge::new(curves.into_iter(), &train);
        // After one pass 0.5, 0.6, 0.7, 0.8: median 0.65. After two 0.6, 0.6, 0.7, 0.9: 0.65. After three the same.
        for epoch in [1, 2, 3] {
            assert_eq!(judge().decide(&at(epoch, 0.66)), Next::Continue);
            let strict = judge();
            assert_eq!((strict.decide(&at(epoch, 0.64)), strict.stopped()), (Next::Stop, true));
        }
        // A trial that is over anyway is not stopped.
        assert_eq!(judge().decide(&at(5, 0.1)), Next::Continue);
        assert_eq!(judge().decide(&Position { stale: 2, ..at(2, 0.1) }), Next::Continue);
        // Too few others.
        let few = Judge::new(curves.into_iter().take(3), &train);
        assert_eq!(few.decide(&at(1, 0.0)), Next::Continue);
    }
}
