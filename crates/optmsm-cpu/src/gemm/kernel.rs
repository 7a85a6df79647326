//! The microkernel: `MR` rows by `NV` registers of columns, in `f32` or in pairs of bf16.

use crate::bf16;
use crate::memory::LINE;
use crate::simd::Simd;

/// Operands of a product: each word of A and B has one element along k, or two.
pub(super) trait Elements {
    /// acc + a · b in every lane.
    ///
    /// # Safety
    /// The instruction set was detected.
    unsafe fn add<S: Simd>(acc: S::V, a: S::V, b: S::V) -> S::V;
    /// Words of a row along k.
    fn copy(words: &mut [f32], row: &[f32]);
}

/// `f32`.
#[derive(Clone, Copy)]
pub(super) struct Single;

impl Elements for Single {
    #[inline(always)]
    unsafe fn add<S: Simd>(acc: S::V, a: S::V, b: S::V) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { S::fma(a, b, acc) }
    }
    #[inline(always)]
    fn copy(words: &mut [f32], row: &[f32]) {
        words.copy_from_slice(row);
    }
}

/// Two bf16.
#[derive(Clone, Copy)]
pub(super) struct Bf16;

impl Elements for Bf16 {
    #[inline(always)]
    unsafe fn add<S: Simd>(acc: S::V, a: S::V, b: S::V) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { S::dot(acc, a, b) }
    }
    #[inline(always)]
    fn copy(words: &mut [f32], row: &[f32]) {
        bf16::pair_columns(words, row);
    }
}

/// Steps of k between two additions to an address.
const UNROLLED: usize = 4;

/// A tile's operands in words: A `[MR, k]` with any strides, B `[k, ·]` of one panel or of neighbouring ones.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub(super) k: usize,
    pub(super) a: *const f32,
    pub(super) row_stride: usize,
    pub(super) k_stride: usize,
    pub(super) b: *const f32,
    /// Elements from one panel to the next; of no use where a tile has one.
    pub(super) panel_len: usize,
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

/// `MR` rows by `NV` registers of neighbouring panels, each of which has two.
///
/// # Safety
/// The instruction set was detected; A has `MR` rows and `k` columns; a panel `k` rows of whole registers; the target,
/// and in `after` what is not null, the columns and rows that are written.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, E: Elements, const MR: usize, const NV: usize>(
    x: Operands,
    to: Target,
    after: After,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        // The tile's end often meets memory that is in no near cache: a mask, or a matrix that is written once.
        for r in 0..MR {
            ask::<S>(to.c.wrapping_add(r * to.stride), to.width);
            if !after.mask.is_null() {
                ask::<S>(after.mask.wrapping_add(r * after.mask_stride), to.width);
            }
        }
        let mut acc = [[S::zero(); NV]; MR];
        chain::<S, E, MR, NV>(&mut acc, x);
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

/// Asks for the cache lines of `width` elements.
#[inline(always)]
fn ask<S: Simd>(p: *const f32, width: usize) {
    for at in (0..width).step_by(LINE) {
        S::prefetch(p.wrapping_add(at));
    }
    S::prefetch(p.wrapping_add(width - 1));
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
            chain::<S, Single, MR, NV>(&mut acc, Operands { k: (k - first).min(x.k), a, b, ..x });
        }
        for (r, acc) in acc.into_iter().enumerate() {
            finish::<S, NV>(acc, Target { c: to.c.add(r * to.stride), ..to }, after);
        }
    }
}

/// The chains of multiply-adds over k.
#[inline(always)]
unsafe fn chain<S: Simd, E: Elements, const MR: usize, const NV: usize>(
    acc: &mut [[S::V; NV]; MR],
    x: Operands,
) {
    // SAFETY: as the caller of tile() vouches.
    unsafe {
        let (mut a, mut b) = (x.a, x.b);
        // Several at a time, so that addresses are counted once for all of them.
        for _ in 0..x.k / UNROLLED {
            for u in 0..UNROLLED {
                let at = Operands { a: a.add(u * x.k_stride), b: b.add(u * 2 * S::WIDTH), ..x };
                multiply_add::<S, E, MR, NV>(acc, at);
            }
            a = a.wrapping_add(UNROLLED * x.k_stride);
            b = b.wrapping_add(UNROLLED * 2 * S::WIDTH);
        }
        for _ in 0..x.k % UNROLLED {
            multiply_add::<S, E, MR, NV>(acc, Operands { a, b, ..x });
            a = a.wrapping_add(x.k_stride);
            b = b.wrapping_add(2 * S::WIDTH);
        }
    }
}

/// One link of every chain.
#[inline(always)]
unsafe fn multiply_add<S: Simd, E: Elements, const MR: usize, const NV: usize>(
    acc: &mut [[S::V; NV]; MR],
    x: Operands,
) {
    // SAFETY: as the caller of tile() vouches.
    unsafe {
        let mut columns = [S::zero(); NV];
        for (v, column) in columns.iter_mut().enumerate() {
            *column = S::load(x.b.add(v / 2 * x.panel_len + v % 2 * S::WIDTH));
        }
        for (r, acc) in acc.iter_mut().enumerate() {
            let x = S::splat(*x.a.add(r * x.row_stride));
            for (acc, &column) in acc.iter_mut().zip(&columns) {
                *acc = E::add::<S>(*acc, x, column);
            }
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
