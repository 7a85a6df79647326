//! Panels of a weight that lies the other way round, squares of a register's width at a time.

use super::{Rows, extent};
use crate::isa::{Isa, Work};
use crate::simd::Simd;

/// Elements of a row between what is turned and what is asked for: rows are too far apart for the hardware to foresee.
const AHEAD: usize = 64;

/// Packs a whole panel: B `[k, columns]`, as wide as the panel, from its transpose.
pub(super) fn turn(isa: Isa, panel: &mut [f32], transposed: Rows, k: usize) {
    let (width, Rows { data: rows, stride }) = (isa.panel(), transposed);
    let need = extent(width, stride, k);
    assert!(rows.len() >= need && panel.len() >= k * width, "a panel of {k}x{width}");
    isa.run(Whole { panel, rows, stride, k });
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
                // turn() checked.
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
            let width = isa.panel();
            for (k, stride) in [(0, 0), (1, 1), (37, 41), (64, 64), (64, 65)] {
                let data: Vec<f32> = (0..extent(width, stride, k)).map(|i| i as f32).collect();
                let mut panel = vec![-1.0; width * k];
                turn(isa, &mut panel, Rows { data: &data, stride }, k);
                for (at, &v) in panel.iter().enumerate() {
                    assert_eq!(
                        v,
                        data[at % width * stride + at / width],
                        "{}, {k} x {width}, {at}",
                        isa.name()
                    );
                }
            }
        }
    }
}
