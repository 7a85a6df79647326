//! The microkernel: `MR` rows by `NV` registers of columns.

use crate::simd::Simd;

/// A tile's operands: A `[MR, k]` with any strides, B `[k, ·]` of one panel.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub(super) k: usize,
    pub(super) a: *const f32,
    pub(super) row_stride: usize,
    pub(super) k_stride: usize,
    pub(super) b: *const f32,
}

/// Where a tile goes: `width` columns of `MR` rows from `c` on.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) c: *mut f32,
    pub(super) stride: usize,
    pub(super) width: usize,
}

/// Work that follows the product, for the columns of one tile.
#[derive(Clone, Copy)]
pub(super) struct After {
    /// Adds to what is there.
    pub(super) add: bool,
    /// max(·, 0); NaN stays NaN.
    pub(super) relu: bool,
    /// Added to every row; null for none.
    pub(super) bias: *const f32,
    /// 0 where this matrix is not above 0 (before an addition); null for none.
    pub(super) mask: *const f32,
    pub(super) mask_stride: usize,
}

impl After {
    pub(super) const SET: After =
        After { add: false, relu: false, bias: std::ptr::null(), mask: std::ptr::null(), mask_stride: 0 };
    pub(super) const ADD: After = After { add: true, ..After::SET };
}

/// `MR` rows by `NV` registers of one panel, whose rows are `2 · WIDTH` apart.
///
/// # Safety
/// The instruction set was detected; A has `MR` rows and `k` columns; the panel `k` rows of whole registers; the target,
/// and in `after` what is not null, the columns and rows that are written.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(x: Operands, to: Target, after: After) {
    // SAFETY: as the caller vouches.
    unsafe {
        // The tile's end often meets memory that is in no near cache: a mask, or a matrix that is written once.
        for r in 0..MR {
            S::prefetch(to.c.wrapping_add(r * to.stride));
            S::prefetch(to.c.wrapping_add(r * to.stride + to.width - 1));
            if !after.mask.is_null() {
                S::prefetch(after.mask.wrapping_add(r * after.mask_stride));
                S::prefetch(after.mask.wrapping_add(r * after.mask_stride + to.width - 1));
            }
        }
        let mut acc = [[S::zero(); NV]; MR];
        chain::<S, MR, NV>(&mut acc, x);
        for (r, acc) in acc.into_iter().enumerate() {
            let row = Target { c: to.c.add(r * to.stride), ..to };
            let after = if after.mask.is_null() {
                after
            } else {
                After { mask: after.mask.add(r * after.mask_stride), ..after }
            };
            finish::<S, NV>(acc, row, after);
        }
    }
}

/// A tile whose A and B lie in `pieces` pieces of at most `x.k` rows of B, `k` in all; piece `p` of A and B is
/// `p · a_piece` and `p · b_piece` elements on.
///
/// # Safety
/// As [`tile`], for every piece.
#[inline(always)]
pub(super) unsafe fn tile_of_pieces<S: Simd, const MR: usize, const NV: usize>(
    x: Operands,
    k: usize,
    [a_piece, b_piece]: [usize; 2],
    to: Target,
    after: After,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        let mut acc = [[S::zero(); NV]; MR];
        for (p, first) in (0..k).step_by(x.k).enumerate() {
            let (a, b) = (x.a.add(p * a_piece), x.b.add(p * b_piece));
            chain::<S, MR, NV>(&mut acc, Operands { k: (k - first).min(x.k), a, b, ..x });
        }
        for (r, acc) in acc.into_iter().enumerate() {
            finish::<S, NV>(acc, Target { c: to.c.add(r * to.stride), ..to }, after);
        }
    }
}

/// The chains of multiply-adds over k.
#[inline(always)]
unsafe fn chain<S: Simd, const MR: usize, const NV: usize>(acc: &mut [[S::V; NV]; MR], x: Operands) {
    // SAFETY: as the caller of tile() vouches.
    unsafe {
        let (mut a, mut b) = (x.a, x.b);
        for _ in 0..x.k {
            let mut columns = [S::zero(); NV];
            for (v, column) in columns.iter_mut().enumerate() {
                *column = S::load(b.add(v * S::WIDTH));
            }
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = S::splat(*a.add(r * x.row_stride));
                for (acc, &column) in acc.iter_mut().zip(&columns) {
                    *acc = S::fma(x, column, *acc);
                }
            }
            a = a.wrapping_add(x.k_stride);
            b = b.wrapping_add(2 * S::WIDTH);
        }
    }
}

/// One row against `PANELS` neighbouring panels at once: with one row, two chains would leave the multiplier waiting.
///
/// # Safety
/// As [`tile`], with `PANELS` panels of two registers, `panel_len` elements apart.
#[inline(always)]
pub(super) unsafe fn row<S: Simd, const PANELS: usize>(
    x: Operands,
    panel_len: usize,
    to: Target,
    after: After,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        let mut acc = [[S::zero(); 2]; PANELS];
        let (mut a, mut b) = (x.a, x.b);
        for _ in 0..x.k {
            let value = S::splat(*a);
            for (p, acc) in acc.iter_mut().enumerate() {
                for (v, acc) in acc.iter_mut().enumerate() {
                    *acc = S::fma(value, S::load(b.add(p * panel_len + v * S::WIDTH)), *acc);
                }
            }
            a = a.wrapping_add(x.k_stride);
            b = b.wrapping_add(2 * S::WIDTH);
        }
        for (p, acc) in acc.into_iter().enumerate() {
            let first = p * 2 * S::WIDTH;
            let at = |q: *const f32| if q.is_null() { q } else { q.add(first) };
            let width = to.width.saturating_sub(first).min(2 * S::WIDTH);
            let to = Target { c: to.c.wrapping_add(first), width, ..to };
            finish::<S, 2>(acc, to, After { bias: at(after.bias), mask: at(after.mask), ..after });
        }
    }
}

/// Writes one row's piece, a register at a time while they are full.
#[inline(always)]
unsafe fn finish<S: Simd, const NV: usize>(acc: [S::V; NV], to: Target, after: After) {
    // SAFETY: `width` columns of the target, the bias and the mask exist; the last register is cut to them.
    unsafe {
        for (v, mut y) in acc.into_iter().enumerate() {
            let first = v * S::WIDTH;
            if first >= to.width {
                return;
            }
            let (n, c) = ((to.width - first).min(S::WIDTH), to.c.add(first));
            let part = |p: *const f32| if n == S::WIDTH { S::load(p) } else { S::load_part(p, n) };
            if !after.bias.is_null() {
                y = S::add(y, part(after.bias.add(first)));
            }
            if after.relu {
                y = S::relu(y);
            }
            if !after.mask.is_null() {
                y = S::keep_positive(y, part(after.mask.add(first)));
            }
            if after.add {
                y = S::add(part(c), y);
            }
            if n == S::WIDTH {
                S::store(c, y);
            } else {
                S::store_part(c, y, n);
            }
        }
    }
}
