//! C (+)= A · B with B in packed panels: x Wᵀ and d_y W.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use super::kernel::{After, Bf16, Elements, Operands, Single, Target, tile};
use super::{Rows, RowsMut};
use crate::bf16;
use crate::isa::{Isa, Work};
use crate::memory::{Buffer, LINE};
use crate::simd::Simd;

/// Bytes of A and C that pass all panels together: a share of L2 that leaves room for the panels.
const BLOCK_BYTES: usize = 512 * 1024;

/// Rows of A that are a multiple of this many elements apart (a page) fall into one cache set, where a tile's rows would
/// displace each other.
const ALIASING: usize = 1024;

/// Bytes of panels that every row of a block meets before the next ones: half of an L2 of 1 MiB.
const PAIRS_BYTES: usize = 512 * 1024;

/// A multiple of the rows of every set's tile.
const TILE_MULTIPLE: usize = 24;

thread_local! {
    /// Rows of A, one buffer per thread; grows to the largest block and stays.
    static COPY: RefCell<Buffer> = const { RefCell::new(Buffer::EMPTY) };
}

/// C `[m, n]` (+)= A `[m, k]` · B `[k, n]`, then what follows.
pub(crate) struct Product<'a> {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: Rows<'a>,
    /// Panels of [`Isa::panel`] columns, the last one padded: each k rows or, of bf16, [`bf16::words`] of k.
    pub(crate) b: &'a [f32],
    /// Whether B holds pairs of bf16, to which A is rounded then.
    pub(crate) bf16: bool,
    pub(crate) c: RowsMut<'a>,
    pub(crate) add: bool,
    pub(crate) relu: bool,
    /// `[n]`, added to every row.
    pub(crate) bias: Option<&'a [f32]>,
    /// `[m, n]`: the product is set to 0 where this is not above 0, before it is added.
    pub(crate) mask: Option<Rows<'a>>,
}

/// Computes a product after checking every extent.
pub(crate) fn multiply(isa: Isa, p: Product) {
    let (m, n, k) = (p.m, p.n, p.k);
    if m == 0 || n == 0 {
        return;
    }
    let words = if p.bf16 { bf16::words(k) } else { k };
    p.a.checked(m, k, "A");
    p.c.check(m, n, "C");
    let panels = n.div_ceil(isa.panel()) * isa.panel() * words;
    assert!(p.b.len() >= panels, "the packed B has {} elements, {k}x{n} needs {panels}", p.b.len());
    assert!(p.bias.is_none_or(|bias| bias.len() >= n), "the bias is shorter than {n}");
    let mask = p.mask.map(|mask| mask.checked(m, n, "the mask"));
    // Blocks of equal size, so that none is left with a few rows for which every panel is read again.
    let blocks = (4 * m * (k + n) / BLOCK_BYTES).max(1);
    let block = m.div_ceil(blocks).next_multiple_of(TILE_MULTIPLE);
    let panels = Panels {
        m,
        n,
        k,
        words,
        block,
        copy: std::ptr::null_mut(),
        a: p.a.data.as_ptr(),
        a_stride: p.a.stride,
        b: p.b.as_ptr(),
        c: p.c.data.as_mut_ptr(),
        c_stride: p.c.stride,
        after: After {
            add: p.add,
            relu: p.relu,
            bias: p.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
            mask: mask.map_or(std::ptr::null(), |mask| mask.data.as_ptr()),
            mask_stride: mask.map_or(0, |mask| mask.stride),
        },
    };
    let aliases = p.a.stride.is_multiple_of(ALIASING) && m >= TILE_MULTIPLE && n >= 4 * isa.panel();
    if !p.bf16 && !aliases {
        return isa.run(Of(panels, PhantomData::<Single>));
    }
    COPY.with_borrow_mut(|copy| {
        copy.at_least(m.min(block) * panels.copy_stride());
        let copy = copy.as_mut_ptr();
        if p.bf16 {
            isa.run_bf16(Of(Panels { copy, ..panels }, PhantomData::<Bf16>));
        } else {
            isa.run(Of(Panels { copy, ..panels }, PhantomData::<Single>));
        }
    });
}

/// A [`Product`] whose extents were checked.
#[derive(Clone, Copy)]
struct Panels {
    m: usize,
    n: usize,
    /// Columns of A.
    k: usize,
    /// Words of a column of B.
    words: usize,
    /// Rows that pass all panels together.
    block: usize,
    /// Room for a block of A in words, its rows in different cache sets; null where A itself will do.
    copy: *mut f32,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    c: *mut f32,
    c_stride: usize,
    after: After,
}

/// The product of operands E.
struct Of<E>(Panels, PhantomData<E>);

impl<E: Elements> Work for Of<E> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd, const MR: usize>(self) {
        const { assert!(TILE_MULTIPLE.is_multiple_of(MR)) };
        let Of(panels, _) = self;
        for first in (0..panels.m).step_by(panels.block) {
            let m = (panels.m - first).min(panels.block);
            // SAFETY: rows first..first + m are inside A and C, as multiply() checked.
            unsafe { panels.rows(first, m).own_rows::<E>().block::<S, E, MR>() };
        }
    }
}

impl Panels {
    /// Words from one row of the copy to the next: whole cache lines, never a multiple of a page.
    fn copy_stride(&self) -> usize {
        let stride = self.words.next_multiple_of(LINE);
        if stride.is_multiple_of(ALIASING / 4) { stride + LINE } else { stride }
    }

    /// The same from a copy of A, when there is room for one.
    #[inline(always)]
    unsafe fn own_rows<E: Elements>(self) -> Self {
        if self.copy.is_null() {
            return self;
        }
        let stride = self.copy_stride();
        for i in 0..self.m {
            // SAFETY: A has m rows of k columns, the copy room for as many of its stride, as multiply() checked. With k = 0 A may be
            // empty, and the row is, too.
            unsafe {
                let row = std::slice::from_raw_parts(self.a.wrapping_add(i * self.a_stride), self.k);
                E::copy(std::slice::from_raw_parts_mut(self.copy.add(i * stride), self.words), row);
            }
        }
        Panels { a: self.copy, a_stride: stride, ..self }
    }

    /// Rows `first..first + m`.
    ///
    /// # Safety
    /// They exist.
    #[inline(always)]
    unsafe fn rows(self, first: usize, m: usize) -> Self {
        // SAFETY: the rows exist, and so do those of the mask when there is one.
        unsafe {
            let mask = self.after.mask;
            let mask = if mask.is_null() { mask } else { mask.add(first * self.after.mask_stride) };
            Panels {
                m,
                a: self.a.wrapping_add(first * self.a_stride),
                c: self.c.add(first * self.c_stride),
                after: After { mask, ..self.after },
                ..self
            }
        }
    }

    #[inline(always)]
    unsafe fn block<S: Simd, E: Elements, const MR: usize>(self) {
        // SAFETY: as multiply() checked.
        unsafe {
            if self.m == 1 {
                return self.one_row::<S, E>();
            }
            let pairs = if S::PAIRS { self.n.div_ceil(2 * S::WIDTH) / 2 } else { 0 };
            self.pairs::<S, E>(pairs);
            self.panels::<S, E, MR>(pairs * 4 * S::WIDTH);
        }
    }

    /// One row against four panels at once: two chains would leave the multiplier waiting.
    #[inline(always)]
    unsafe fn one_row<S: Simd, E: Elements>(self) {
        let wide = 8 * S::WIDTH;
        for j in (0..self.n).step_by(wide) {
            // SAFETY: columns j.. are inside, as many as the panels that are met.
            unsafe {
                let (x, to, after) = self.at::<S>(0, j, wide);
                match to.width.div_ceil(2 * S::WIDTH) {
                    1 => tile::<S, E, 1, 2>(x, to, after),
                    2 => tile::<S, E, 1, 4>(x, to, after),
                    3 => tile::<S, E, 1, 6>(x, to, after),
                    _ => tile::<S, E, 1, 8>(x, to, after),
                }
            }
        }
    }

    /// The first `count` pairs of panels, six rows at a time: 10 loads for 24 multiply-adds, where twelve rows of one panel take
    /// 14. Rows outside, so that A stays close while as many columns pass as stay in L2.
    #[inline(always)]
    unsafe fn pairs<S: Simd, E: Elements>(self, count: usize) {
        let pair = 4 * S::WIDTH;
        let together = (PAIRS_BYTES / (4 * self.words.max(1) * pair)).max(1);
        for first in (0..count).step_by(together) {
            let columns = first * pair..(first + together).min(count) * pair;
            let mut i = 0;
            while i < self.m {
                // SAFETY: rows i.. and the columns are inside.
                unsafe {
                    i += match self.m - i {
                        6.. => self.strip::<S, E, 6>(i, columns.clone()),
                        4.. => self.strip::<S, E, 4>(i, columns.clone()),
                        2.. => self.strip::<S, E, 2>(i, columns.clone()),
                        _ => self.strip::<S, E, 1>(i, columns.clone()),
                    };
                }
            }
        }
    }

    /// `R` rows from row `i` on, a pair of panels at a time; returns R.
    #[inline(always)]
    unsafe fn strip<S: Simd, E: Elements, const R: usize>(self, i: usize, columns: Range<usize>) -> usize {
        for j in columns.step_by(4 * S::WIDTH) {
            // SAFETY: rows i..i + R and column j are inside.
            unsafe {
                let (x, to, after) = self.at::<S>(i, j, 4 * S::WIDTH);
                tile::<S, E, R, 4>(x, to, after);
            }
        }
        R
    }

    /// Columns from `first` on, panels outside, so that one stays close while all rows of the block pass.
    #[inline(always)]
    unsafe fn panels<S: Simd, E: Elements, const MR: usize>(self, first: usize) {
        for j in (first..self.n).step_by(2 * S::WIDTH) {
            let mut i = 0;
            while i < self.m {
                // SAFETY: rows i.. and column j are inside.
                unsafe {
                    i += match self.m - i {
                        left if left >= MR => self.tiles::<S, E, MR>(i, j),
                        4.. => self.tiles::<S, E, 4>(i, j),
                        _ => self.tiles::<S, E, 1>(i, j),
                    };
                }
            }
        }
    }

    /// One tile from row `i`, column `j` on, one register wide where the panel ends early; returns R.
    #[inline(always)]
    unsafe fn tiles<S: Simd, E: Elements, const R: usize>(self, i: usize, j: usize) -> usize {
        // SAFETY: rows i..i + R and column j are inside.
        unsafe {
            let (x, to, after) = self.at::<S>(i, j, 2 * S::WIDTH);
            if to.width > S::WIDTH {
                tile::<S, E, R, 2>(x, to, after);
            } else {
                tile::<S, E, R, 1>(x, to, after);
            }
        }
        R
    }

    /// Operands and target of at most `width` columns from row `i`, column `j` on.
    #[inline(always)]
    unsafe fn at<S: Simd>(self, i: usize, j: usize, width: usize) -> (Operands, Target, After) {
        let after = self.after;
        // SAFETY: row i and column j are inside A, B, C and what is not null in `after`.
        unsafe {
            let x = Operands {
                k: self.words,
                a: self.a.wrapping_add(i * self.a_stride),
                row_stride: self.a_stride,
                k_stride: 1,
                b: self.b.add(j * self.words),
                panel_len: 2 * S::WIDTH * self.words,
            };
            let to = Target {
                c: self.c.add(i * self.c_stride + j),
                stride: self.c_stride,
                width: (self.n - j).min(width),
            };
            let bias = if after.bias.is_null() { after.bias } else { after.bias.add(j) };
            let mask = after.mask;
            let mask = if mask.is_null() { mask } else { mask.add(i * after.mask_stride + j) };
            (x, to, After { bias, mask, ..after })
        }
    }
}
