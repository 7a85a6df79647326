//! C += Aᵀ · B with both operands in place: the weight gradient d_yᵀ x, a reduction over rows.

use std::cell::RefCell;

use super::kernel::{After, Operands, Single, Target, tile};
use super::{Rows, RowsMut};
use crate::isa::{Isa, Work};
use crate::memory::Buffer;
use crate::simd::Simd;

/// Rows that are reduced in registers before C is touched: a block's rows (`CpuOptions::block_rows`).
const DEPTH: usize = 256;
/// Columns of B that are copied into panels together: 256 × 256 × 4 B, a quarter of L2.
const WIDTH: usize = 256;
/// Rows of the widest tile.
const MOST_ROWS: usize = 12;

/// C `[m, n]` += Aᵀ · B over `k` rows of A `[k, m]` and B `[k, n]`.
pub(crate) struct Reduction<'a> {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: Rows<'a>,
    pub(crate) b: Rows<'a>,
    pub(crate) c: RowsMut<'a>,
}

thread_local! {
    /// Panels of B, one buffer per thread; grows to the largest product and stays.
    static PANELS: RefCell<Buffer> = const { RefCell::new(Buffer::EMPTY) };
}

/// Computes a reduction after checking every extent.
pub(crate) fn accumulate(isa: Isa, r: Reduction) {
    let (m, n, k) = (r.m, r.n, r.k);
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    r.a.checked(k, m, "A");
    r.b.checked(k, n, "B");
    r.c.check(m, n, "C");
    let need = k.min(DEPTH) * n.min(WIDTH).next_multiple_of(isa.panel());
    PANELS.with_borrow_mut(|panels| {
        panels.at_least(need);
        isa.run(Copied {
            m,
            n,
            k,
            a: r.a.data.as_ptr(),
            a_stride: r.a.stride,
            b: r.b.data.as_ptr(),
            b_stride: r.b.stride,
            c: r.c.data.as_mut_ptr(),
            c_stride: r.c.stride,
            panels: panels.as_mut_ptr(),
        });
    });
}

/// A [`Reduction`] whose extents were checked, with room for its panels.
#[derive(Clone, Copy)]
struct Copied {
    m: usize,
    n: usize,
    k: usize,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    b_stride: usize,
    c: *mut f32,
    c_stride: usize,
    panels: *mut f32,
}

impl Work for Copied {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd, const MR: usize>(self) {
        const { assert!(MR <= MOST_ROWS) };
        for p in (0..self.k).step_by(DEPTH) {
            for j in (0..self.n).step_by(WIDTH) {
                let (k, n) = ((self.k - p).min(DEPTH), (self.n - j).min(WIDTH));
                // SAFETY: rows p..p + k and columns j..j + n are inside, and the panels hold them, as accumulate() checked.
                unsafe {
                    let part = Copied {
                        n,
                        k,
                        a: self.a.add(p * self.a_stride),
                        b: self.b.add(p * self.b_stride + j),
                        c: self.c.add(j),
                        ..self
                    };
                    part.fill::<S>();
                    part.block::<S, MR>();
                }
            }
        }
    }
}

impl Copied {
    /// Copies B into panels. In place, its rows are often a power of two apart and would share a few cache sets.
    #[inline(always)]
    unsafe fn fill<S: Simd>(self) {
        let panel = 2 * S::WIDTH;
        // SAFETY: row q has n columns; the buffer holds k rows of n columns, rounded up to whole panels.
        unsafe {
            for j in (0..self.n).step_by(panel) {
                let (from, to) = (self.b.add(j), self.panels.add(j * self.k));
                let width = (self.n - j).min(panel);
                for q in 0..self.k {
                    let (from, to) = (from.add(q * self.b_stride), to.add(q * panel));
                    if width == panel {
                        S::store(to, S::load(from));
                        S::store(to.add(S::WIDTH), S::load(from.add(S::WIDTH)));
                    } else {
                        for i in 0..width {
                            *to.add(i) = *from.add(i);
                        }
                    }
                }
            }
        }
    }

    /// Columns of A outside: `MR` of them, copied once, meet every panel.
    #[inline(always)]
    unsafe fn block<S: Simd, const MR: usize>(self) {
        let mut columns = [0.0f32; DEPTH * MOST_ROWS];
        let mut i = 0;
        // SAFETY: columns i..i + R of A are copied to k · R elements, at most DEPTH · MOST_ROWS.
        unsafe {
            while i < self.m {
                let left = self.m - i;
                let step = match left {
                    _ if left >= MR => MR,
                    4.. => 4,
                    _ => 1,
                };
                match step {
                    1 => self.strip::<S, 1>(i, &mut columns),
                    4 => self.strip::<S, 4>(i, &mut columns),
                    _ => self.strip::<S, MR>(i, &mut columns),
                }
                i += step;
            }
        }
    }

    #[inline(always)]
    unsafe fn strip<S: Simd, const R: usize>(self, i: usize, columns: &mut [f32; DEPTH * MOST_ROWS]) {
        let panel = 2 * S::WIDTH;
        // SAFETY: A has k rows and columns i..i + R; the panels were filled; C has row i + R - 1.
        unsafe {
            let to = columns.as_mut_ptr();
            for q in 0..self.k {
                let from = self.a.add(q * self.a_stride + i);
                std::ptr::copy_nonoverlapping(from, to.add(q * R), R);
            }
            let panels = self.n.div_ceil(panel);
            for (index, j) in (0..self.n).step_by(panel).enumerate() {
                // The next strip's cache lines, a share with every panel: they are a row apart, which no hardware foresees.
                for q in index * self.k / panels..(index + 1) * self.k / panels {
                    S::prefetch(self.a.wrapping_add(q * self.a_stride + i + R));
                }
                let b = self.panels.add(j * self.k);
                let x = Operands { k: self.k, a: to, row_stride: 1, k_stride: R, b, panel_len: 0 };
                let c = self.c.add(i * self.c_stride + j);
                let target = Target { c, stride: self.c_stride, width: (self.n - j).min(panel) };
                if target.width > S::WIDTH {
                    tile::<S, Single, R, 2>(x, target, After::ADD);
                } else {
                    tile::<S, Single, R, 1>(x, target, After::ADD);
                }
            }
        }
    }
}
