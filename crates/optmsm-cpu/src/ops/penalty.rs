//! Orthogonality penalty (model.md §3).

use optmsm_core::backend::Penalty;

use super::{M, MM};
use crate::Cpu;
use crate::rows::{self, row, row_mut};

impl Penalty for Cpu {
    fn orthogonality(&self, mut inv_norm: MM, mut sums: MM, e: M) {
        let sums = row_mut(&mut sums, 0);
        self.isa.vectorise(
            #[inline(always)]
            || (0..e.rows).for_each(|b| rows::orthogonality(row_mut(&mut inv_norm, b), sums, row(&e, b))),
        );
    }

    fn orthogonality_bwd(&self, mut d_e: MM, e: M, inv_norm: M, scale: f64) {
        let k = inv_norm.cols;
        if k < 2 || scale == 0.0 {
            return;
        }
        let c = (4.0 * scale / (k * (k - 1)) as f64) as f32;
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..e.rows {
                    rows::orthogonality_bwd(row_mut(&mut d_e, b), row(&e, b), row(&inv_norm, b), c);
                }
            },
        );
    }
}
