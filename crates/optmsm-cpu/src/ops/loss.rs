//! Loss and probabilities (model.md §6).

use optmsm_core::backend::{Loss, Write};

use super::{M, MM};
use crate::Cpu;
use crate::memory::Buffer;
use crate::rows::{self, put, row, row_mut};

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
        let mut total = 0.0;
        for b in 0..logits.rows {
            let (o, y, w) = (row(&logits, b)[0], labels[first + b], weights[first + b]);
            // f32::max would turn a NaN logit into a finite loss.
            let positive = if o < 0.0 { 0.0 } else { o };
            total += f64::from(w * (positive - o * y + (-o.abs()).exp().ln_1p()));
            row_mut(&mut d_logits, b)[0] = w * (rows::sigmoid(o) - y) * scale as f32;
        }
        row_mut(&mut sum, 0)[0] += total as f32;
    }

    fn sigmoid(&self, mut p: MM, logits: M) {
        for b in 0..logits.rows {
            put(row_mut(&mut p, b), Write::Set, row(&logits, b).iter().map(|&o| rows::sigmoid(o)));
        }
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
