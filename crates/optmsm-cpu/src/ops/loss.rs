//! Penalty (model.md §3) and loss (§6).

use optmsm_core::backend::Write;

use super::{M, MM};
use crate::Cpu;
use crate::rows::{self, put, row, row_mut};

pub(crate) fn orthogonality(cpu: &Cpu, mut inv_norm: MM, mut sums: MM, e: M) {
    let sums = row_mut(&mut sums, 0);
    cpu.isa.vectorise(
        #[inline(always)]
        || (0..e.rows).for_each(|b| rows::orthogonality(row_mut(&mut inv_norm, b), sums, row(&e, b))),
    );
}

pub(crate) fn orthogonality_bwd(cpu: &Cpu, mut d_e: MM, e: M, inv_norm: M, scale: f64) {
    let k = inv_norm.cols;
    if k < 2 || scale == 0.0 {
        return;
    }
    let c = (4.0 * scale / (k * (k - 1)) as f64) as f32;
    cpu.isa.vectorise(
        #[inline(always)]
        || {
            for b in 0..e.rows {
                rows::orthogonality_bwd(row_mut(&mut d_e, b), row(&e, b), row(&inv_norm, b), c);
            }
        },
    );
}

pub(crate) fn bce_with_logits(
    mut d_logits: MM,
    mut sum: MM,
    logits: M,
    labels: &[f32],
    weights: &[f32],
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

pub(crate) fn sigmoid(mut p: MM, logits: M) {
    for b in 0..logits.rows {
        put(row_mut(&mut p, b), Write::Set, row(&logits, b).iter().map(|&o| rows::sigmoid(o)));
    }
}
