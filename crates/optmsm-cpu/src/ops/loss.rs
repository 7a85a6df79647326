//! Loss and probabilities (model.md §6).

use optmsm_core::backend::Loss;

use super::{M, MM};
use crate::Cpu;
use crate::exp::{exp, ln_1p};
use crate::memory::Buffer;
use crate::rows::{joined, row, row_mut, sigmoid, sigmoid_from};

/// Rows whose loss is calculated at once.
const ROWS: usize = 64;

impl Loss for Cpu {
    fn bce_with_logits(
        &self,
        mut d_logits: MM,
        mut sum: MM,
        logits: M,
        labels: &Buffer,
        weights: &Buffer,
        first: usize,
        scale: f64,
    ) {
        self.isa.vectorise(
            #[inline(always)]
            || {
                let mut total = 0.0;
                for b in (0..logits.rows).step_by(ROWS) {
                    let n = ROWS.min(logits.rows - b);
                    let (mut o, mut losses) = ([0.0; ROWS], [0.0; ROWS]);
                    o.iter_mut().zip(b..b + n).for_each(|(o, b)| *o = row(&logits, b)[0]);
                    let (y, w) = (&labels[first + b..][..n], &weights[first + b..][..n]);
                    for (((o, loss), y), w) in o.iter_mut().zip(&mut losses).zip(y).zip(w) {
                        let e = exp(-o.abs());
                        // f32::max would turn a NaN logit into a finite loss.
                        let positive = if *o < 0.0 { 0.0 } else { *o };
                        *loss = w * (positive - *o * y + ln_1p(e));
                        *o = w * (sigmoid_from(*o, e) - y) * scale as f32;
                    }
                    // In order, so that the sum has the same bits whatever is calculated at once.
                    total = losses[..n].iter().fold(total, |total, &loss| total + f64::from(loss));
                    (b..b + n).zip(o).for_each(|(b, d)| row_mut(&mut d_logits, b)[0] = d);
                }
                row_mut(&mut sum, 0)[0] += total as f32;
            },
        );
    }

    fn sigmoid(&self, mut p: MM, logits: M) {
        assert_eq!((p.rows, p.cols), (logits.rows, logits.cols), "shapes of p and logits");
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..logits.rows {
                    row_mut(&mut p, b).copy_from_slice(row(&logits, b));
                }
                let mut all = joined(p);
                for b in 0..all.rows {
                    row_mut(&mut all, b).iter_mut().for_each(|p| *p = sigmoid(*p));
                }
            },
        );
    }

    fn sigmoid_bwd(&self, mut d: MM, p: M) {
        assert_eq!((d.rows, d.cols), (p.rows, p.cols), "shapes of d and p");
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..p.rows {
                    let d = row_mut(&mut d, b).iter_mut();
                    d.zip(row(&p, b)).for_each(|(d, p)| *d = *d * p * (1.0 - p));
                }
            },
        );
    }
}
