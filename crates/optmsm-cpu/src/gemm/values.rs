//! Backward of y += e Wᵀ where many rows of e are equal: a field's rows are the rows of its table.
//!
//! Rows of one value are summed first, s_u = Σ coef · d_y, and both products run over the distinct values alone: g = s W and
//! d_W = sᵀ x. A batch of 4096 rows holds a few hundred values of most fields, so this is a fraction of the arithmetic of the
//! products over rows. Floor: reading a row of d_y for each occurrence, and 4·n·N·d FLOP for n values.

use std::cell::RefCell;

use super::kernel::{After, Operands, Single, Target, tile, tile_of_pieces};
use super::{Rows, RowsMut, pack};
use crate::isa::{Isa, Work};
use crate::memory::Buffer;
use crate::simd::Simd;

/// Values whose sums are made together: 128 rows of 768 columns are 384 KiB, which stay in L2 for both products.
const CHUNK: usize = 128;

/// Sets g `[n, d]` = s W and d_w `[N, d]` = sᵀ x, with s_u the sum of the segment of value u.
pub(crate) struct ByValue<'a, F> {
    /// Values, n.
    pub(crate) count: usize,
    /// Columns of d_y, N.
    pub(crate) outputs: usize,
    /// Width of a value, d.
    pub(crate) width: usize,
    pub(crate) g: RowsMut<'a>,
    pub(crate) d_w: RowsMut<'a>,
    /// `[n, d]`.
    pub(crate) x: Rows<'a>,
    /// `[N, d]`.
    pub(crate) w: Rows<'a>,
    /// Occurrences of value u: `starts[u]..starts[u + 1]`.
    pub(crate) starts: &'a [u32],
    /// Row of d_y, and coefficient, of an occurrence.
    pub(crate) occurrence: F,
}

/// Memory of one thread; grows to the largest field and stays.
struct Scratch {
    /// Sums of a chunk: panels of `[CHUNK, panel]`, and what keeps two panels from sharing cache sets.
    sums: Buffer,
    /// W in panels.
    w: Buffer,
    /// d_Wᵀ, `[d, N]`.
    d_wt: Buffer,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch { sums: Buffer::EMPTY, w: Buffer::EMPTY, d_wt: Buffer::EMPTY })
    };
}

/// Computes both products after checking every extent.
pub(crate) fn by_value<'a, F: Fn(usize) -> (&'a [f32], f32)>(isa: Isa, v: ByValue<F>) {
    let (count, n, d) = (v.count, v.outputs, v.width);
    v.g.check(count, d, "g");
    v.d_w.check(n, d, "d_w");
    v.x.checked(count, d, "x");
    v.w.checked(n, d, "w");
    if n == 0 || d == 0 {
        // Sums of nothing.
        (0..count).for_each(|u| v.g.data[u * v.g.stride..][..d].fill(0.0));
        return;
    }
    let panel = isa.panel();
    SCRATCH.with_borrow_mut(|scratch| {
        let wide = n.next_multiple_of(panel);
        let step = (CHUNK + 1) * panel;
        scratch.sums.at_least(wide / panel * step);
        scratch.w.at_least(d.next_multiple_of(panel) * n);
        scratch.d_wt.at_least(wide * d);
        pack(isa, &mut scratch.w, v.w, n, d);
        scratch.d_wt[..wide * d].fill(0.0);
        isa.run(Chunks { v, scratch, wide, step });
    });
}

struct Chunks<'a, 's, F> {
    v: ByValue<'a, F>,
    scratch: &'s mut Scratch,
    /// N in whole panels.
    wide: usize,
    /// Elements from one panel of sums to the next.
    step: usize,
}

impl<'a, F: Fn(usize) -> (&'a [f32], f32)> Work for Chunks<'_, '_, F> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd, const MR: usize>(mut self) {
        for first in (0..self.v.count).step_by(CHUNK) {
            let values = (self.v.count - first).min(CHUNK);
            // SAFETY: values first..first + values exist; their sums are made first.
            unsafe {
                self.sum::<S>(first, values);
                self.weight_gradient::<S>(first, values);
                self.value_gradients::<S, MR>(first, values);
            }
        }
        let (n, d, wide) = (self.v.outputs, self.v.width, self.wide);
        for o in 0..n {
            let row = &mut self.v.d_w.data[o * self.v.d_w.stride..][..d];
            row.iter_mut().enumerate().for_each(|(i, to)| *to = self.scratch.d_wt[i * wide + o]);
        }
    }
}

impl<'a, F: Fn(usize) -> (&'a [f32], f32)> Chunks<'_, '_, F> {
    /// Sums of the segments of `values` values, into panels.
    #[inline(always)]
    unsafe fn sum<S: Simd>(&mut self, first: usize, values: usize) {
        for value in 0..values {
            let [mut at, end] = [0, 1].map(|i| self.v.starts[first + value + i] as usize);
            // SAFETY: occurrences at..end exist; the value has a row in every panel.
            unsafe {
                if at == end {
                    self.add::<S, 0>(value, at, false);
                }
                let mut add = false;
                while at < end {
                    at += match end - at {
                        4.. => self.add::<S, 4>(value, at, add),
                        3 => self.add::<S, 3>(value, at, add),
                        2 => self.add::<S, 2>(value, at, add),
                        _ => self.add::<S, 1>(value, at, add),
                    };
                    add = true;
                }
            }
        }
    }

    /// Sets the sum of a value to `N` occurrences from `at` on, or adds them; returns N. Meanwhile the next rows are on their
    /// way: they lie anywhere in the lanes' memory, mostly outside L2.
    #[inline(always)]
    unsafe fn add<S: Simd, const N: usize>(&mut self, value: usize, at: usize, add: bool) -> usize {
        let (n, panel) = (self.v.outputs, 2 * S::WIDTH);
        let last = self.v.starts[self.v.count] as usize;
        let row = |i: usize| {
            let (row, coef) = (self.v.occurrence)(i);
            (row[..n].as_ptr(), coef)
        };
        let rows: [_; N] = std::array::from_fn(|q| row(at + q));
        let next: [_; N] = std::array::from_fn(|q| row((at + N + q).min(last - 1)).0);
        let sums = self.scratch.sums[value * panel..].as_mut_ptr();
        for j in (0..n).step_by(S::WIDTH) {
            // SAFETY: columns j.. of the rows exist, as row() checked, `n - j` of them in the last register; the value has a
            // row of whole registers in every panel.
            unsafe {
                let to = sums.add(j / panel * self.step + j % panel);
                let mut sum = if add { S::load(to) } else { S::zero() };
                for (&(row, coef), next) in rows.iter().zip(next) {
                    S::prefetch(next.wrapping_add(j));
                    let row = row.add(j);
                    let row = if n - j >= S::WIDTH { S::load(row) } else { S::load_part(row, n - j) };
                    sum = S::fma(S::splat(coef), row, sum);
                }
                S::store(to, sum);
            }
        }
        N
    }

    /// d_Wᵀ += xᵀ s.
    #[inline(always)]
    unsafe fn weight_gradient<S: Simd>(&mut self, first: usize, values: usize) {
        let (d, panel) = (self.v.width, 2 * S::WIDTH);
        let x = self.v.x.data[first * self.v.x.stride..].as_ptr();
        let sums = self.scratch.sums.as_ptr();
        let c = self.scratch.d_wt.as_mut_ptr();
        // Columns behind the last hold anything: they end in columns of d_Wᵀ that nobody reads.
        for p in 0..self.wide / panel {
            let mut i = 0;
            while i < d {
                // SAFETY: column i of x, panel p of the sums and row i of d_Wᵀ exist, as by_value() checked.
                unsafe {
                    let operands = Operands {
                        k: values,
                        a: x.add(i),
                        row_stride: 1,
                        k_stride: self.v.x.stride,
                        b: sums.add(p * self.step),
                        panel_len: 0,
                    };
                    let to = Target { c: c.add(i * self.wide + p * panel), stride: self.wide, width: panel };
                    i += match d - i {
                        8.. => {
                            tile::<S, Single, 8, 2>(operands, to, After::ADD);
                            8
                        }
                        4.. => {
                            tile::<S, Single, 4, 2>(operands, to, After::ADD);
                            4
                        }
                        _ => {
                            tile::<S, Single, 1, 2>(operands, to, After::ADD);
                            1
                        }
                    };
                }
            }
        }
    }

    /// g = s W.
    #[inline(always)]
    unsafe fn value_gradients<S: Simd, const MR: usize>(&mut self, first: usize, values: usize) {
        let mut i = 0;
        while i < values {
            // SAFETY: rows i.. of the sums and of g exist, as by_value() checked.
            unsafe {
                i += match values - i {
                    left if left >= MR => self.value_rows::<S, MR>(first, i),
                    4.. => self.value_rows::<S, 4>(first, i),
                    _ => self.value_rows::<S, 1>(first, i),
                };
            }
        }
    }

    /// `R` rows of g from row `first + i` on; returns R.
    #[inline(always)]
    unsafe fn value_rows<S: Simd, const R: usize>(&mut self, first: usize, i: usize) -> usize {
        let (n, d, panel) = (self.v.outputs, self.v.width, 2 * S::WIDTH);
        let g = self.v.g.data[(first + i) * self.v.g.stride..].as_mut_ptr();
        for j in (0..d).step_by(panel) {
            // SAFETY: the rows exist, as the caller vouches; W has n rows in each panel, and so have the sums columns.
            unsafe {
                let x = Operands {
                    k: panel,
                    a: self.scratch.sums.as_ptr().add(i * panel),
                    row_stride: panel,
                    k_stride: 1,
                    b: self.scratch.w.as_ptr().add(j * n),
                    panel_len: 0,
                };
                let to = Target { c: g.add(j), stride: self.v.g.stride, width: (d - j).min(panel) };
                let pieces = [self.step, panel * panel];
                if to.width > S::WIDTH {
                    tile_of_pieces::<S, R, 2>(x, n, pieces, to, After::SET);
                } else {
                    tile_of_pieces::<S, R, 1>(x, n, pieces, to, After::SET);
                }
            }
        }
        R
    }
}
