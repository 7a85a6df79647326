//! Isotonic regression: the rising function of the logit that is nearest to the labels in weighted squares, by pooling adjacent violators
//! (Ayer and others, Annals of Mathematical Statistics 26, 1955; Zadrozny and Elkan, KDD 2002).

use super::Row;

/// Points of a function that is linear between them and constant beyond: logits that rise, and probabilities that do not fall.
pub(super) fn fit(rows: &[Row]) -> (Vec<f64>, Vec<f64>) {
    let mut rows = rows.to_vec();
    rows.sort_by(|a, b| a.logit.total_cmp(&b.logit));
    let mut blocks: Vec<Block> = Vec::new();
    // -0 equals 0. Rows of one logit are one block from the start.
    for tie in rows.chunk_by(|a, b| a.logit == b.logit) {
        let sum = |of: &dyn Fn(&Row) -> f64| tie.iter().map(of).sum::<f64>();
        let mut block = Block {
            first: tie[0].logit,
            last: tie[0].logit,
            weight: sum(&|r| r.weight),
            positive: sum(&|r| if r.positive { r.weight } else { 0.0 }),
        };
        while let Some(before) = blocks.pop_if(|before| before.mean() >= block.mean()) {
            block = Block {
                first: before.first,
                last: block.last,
                weight: before.weight + block.weight,
                positive: before.positive + block.positive,
            };
        }
        blocks.push(block);
    }
    let (mut logits, mut probabilities) = (Vec::new(), Vec::new());
    for block in blocks {
        logits.push(block.first);
        probabilities.push(block.mean());
        if block.last > block.first {
            logits.push(block.last);
            probabilities.push(block.mean());
        }
    }
    (logits, probabilities)
}

/// Rows next to each other that share a value.
struct Block {
    first: f64, // logits
    last: f64,
    weight: f64,
    positive: f64,
}

impl Block {
    fn mean(&self) -> f64 {
        self.positive / self.weight
    }
}

/// The function at a logit.
pub(super) fn at(logit: f64, logits: &[f64], probabilities: &[f64]) -> f64 {
    let above = logits.partition_point(|&l| l < logit);
    match (above.checked_sub(1), logits.get(above)) {
        (Some(below), Some(next)) => {
            let share = (logit - logits[below]) / (next - logits[below]);
            probabilities[below] + share * (probabilities[above] - probabilities[below])
        }
        (None, _) => probabilities[0],
        (Some(last), None) => probabilities[last],
    }
}
