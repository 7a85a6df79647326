//! Panels of a weight that lies the other way round, squares of a register's width at a time.

use crate::gemm::{Rows, pack_panel};
use crate::isa::{Isa, Work};
use crate::simd::Simd;

/// Elements of a row between what is turned and what is asked for: rows are too far apart for the hardware to foresee.
const AHEAD: usize = 64;

/// As [`pack_panel`] of B `[k, n]` from its transpose `w`, faster where the panel is whole.
pub(crate) fn pack_transposed(isa: Isa, panel: &mut [f32], w: Rows, k: usize, n: usize, index: usize) {
    let width = isa.panel();
    if k == 0 || n < (index + 1) * width {
        return pack_panel(isa, panel, w, true, k, n, index);
    }
    let rows = &w.data[index * width * w.stride..];
    let need = (width - 1) * w.stride + k;
    assert!(rows.len() >= need && panel.len() >= k * width, "a panel of {k}x{width}");
    isa.run(Whole { panel, rows, stride: w.stride, k });
}

/// A panel whose extents were checked: as many rows of `k` elements as it is wide.
struct Whole<'a> {
    panel: &'a mut [f32],
    rows: &'a [f32],
    stride: usize,
    k: usize,
}

impl Work for Whole<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd, const MR: usize>(self) {
        let (from, to, width) = (self.rows.as_ptr(), self.panel.as_mut_ptr(), 2 * S::WIDTH);
        let squares = self.k / S::WIDTH * S::WIDTH;
        for q in (0..width).step_by(S::WIDTH) {
            for p in (0..squares).step_by(S::WIDTH) {
                // SAFETY: rows q.. and columns p.. are a square of `rows`, rows p.. and columns q.. one of the panel, as
                // pack_transposed() checked.
                unsafe {
                    let from = from.add(q * self.stride + p);
                    for i in 0..S::WIDTH {
                        S::prefetch(from.wrapping_add(i * self.stride + AHEAD));
                    }
                    S::transpose(from, self.stride, to.add(p * width + q), width);
                }
            }
        }
        for p in squares..self.k {
            for q in 0..width {
                self.panel[p * width + q] = self.rows[q * self.stride + p];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_is_that_of_plain_loops() {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let panel = isa.panel();
            for (k, n, stride) in [(1, panel, 1), (37, 2 * panel + 3, 41), (64, 3 * panel, 64), (0, panel, 0)]
            {
                let data: Vec<f32> = (0..n * stride).map(|i| i as f32).collect();
                let w = Rows { data: &data, stride };
                for index in 0..n.div_ceil(panel) {
                    let (mut plain, mut turned) = (vec![-1.0; panel * k], vec![-1.0; panel * k]);
                    pack_panel(isa, &mut plain, w, true, k, n, index);
                    pack_transposed(isa, &mut turned, w, k, n, index);
                    assert_eq!(turned, plain, "{}, {k} x {n}, panel {index}", isa.name());
                }
            }
        }
    }
}
