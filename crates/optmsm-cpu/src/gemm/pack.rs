//! Weights into panels.

use std::cell::RefCell;

use super::Rows;
use super::transpose::turn;
use crate::bf16;
use crate::isa::Isa;
use crate::memory::Buffer;

/// Rows and columns that are transposed together: both sides of the copy then stay in L1.
const BLOCK: usize = 32;

/// B `[k, n]` of a product as it lies in memory.
#[derive(Clone, Copy)]
pub(crate) struct Weight<'a> {
    /// B, or its transpose `[n, k]`.
    pub(crate) rows: Rows<'a>,
    pub(crate) transposed: bool,
    pub(crate) k: usize,
    pub(crate) n: usize,
}

/// Packs B `[k, n]` into panels of [`Isa::panel`] columns, each k rows, the last one padded.
pub(crate) fn pack(isa: Isa, panels: &mut [f32], b: Rows, k: usize, n: usize) {
    let len = isa.panel() * k;
    let count = n.div_ceil(isa.panel());
    assert!(panels.len() >= count * len, "{} elements for {k}x{n}", panels.len());
    for (index, panel) in panels.chunks_exact_mut(len.max(1)).take(count).enumerate() {
        pack_panel(isa, panel, Weight { rows: b, transposed: false, k, n }, index);
    }
}

/// Packs panel `index`; columns behind the last keep what they hold.
pub(crate) fn pack_panel(isa: Isa, panel: &mut [f32], weight: Weight, index: usize) {
    let Weight { rows: w, transposed, k, n } = weight;
    let width = isa.panel();
    let first = index * width;
    let real = width.min(n - first);
    if !transposed {
        for (p, row) in panel.chunks_exact_mut(width).enumerate() {
            row[..real].copy_from_slice(&w.data[p * w.stride + first..][..real]);
        }
        return;
    }
    if real == width {
        let rows = Rows { data: w.data.get(first * w.stride..).unwrap_or(&[]), ..w };
        return turn(isa, panel, rows, k);
    }
    for p in (0..k).step_by(BLOCK) {
        let depth = (k - p).min(BLOCK);
        for q in 0..real {
            let from = &w.data[(first + q) * w.stride + p..][..depth];
            let to = &mut panel[p * width + q..];
            to.iter_mut().step_by(width).zip(from).for_each(|(to, &from)| *to = from);
        }
    }
}

thread_local! {
    /// A panel in `f32`, one buffer per thread; grows to the longest panel and stays.
    static PANEL: RefCell<Buffer> = const { RefCell::new(Buffer::EMPTY) };
}

/// Packs panel `index` in pairs of bf16 that are neighbours along k; columns behind the last hold anything.
pub(crate) fn pack_panel_bf16(isa: Isa, panel: &mut [f32], weight: Weight, index: usize) {
    let k = weight.k;
    let width = isa.panel();
    PANEL.with_borrow_mut(|wide| {
        // An odd k has a row of zeros behind the last one.
        let rows = 2 * bf16::words(k);
        wide.at_least(rows * width);
        let wide = &mut wide[..rows * width];
        wide[k * width..].fill(0.0);
        pack_panel(isa, &mut wide[..k * width], weight, index);
        isa.vectorise(
            #[inline(always)]
            || {
                for (words, rows) in panel.chunks_exact_mut(width).zip(wide.chunks_exact(2 * width)) {
                    let (first, second) = rows.split_at(width);
                    bf16::pair_rows(words, first, second);
                }
            },
        );
    });
}
