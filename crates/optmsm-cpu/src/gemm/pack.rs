//! Weights into panels.

use super::Rows;
use crate::isa::Isa;

/// Rows and columns that are transposed together: both sides of the copy then stay in L1.
const BLOCK: usize = 32;

/// Packs B `[k, n]` into panels of [`Isa::panel`] columns, each k rows, the last one padded. `w` holds B itself, or its
/// transpose `[n, k]`.
pub(crate) fn pack(isa: Isa, panels: &mut [f32], w: Rows, transposed: bool, k: usize, n: usize) {
    let len = isa.panel() * k;
    let count = n.div_ceil(isa.panel());
    assert!(panels.len() >= count * len, "{} elements for {k}x{n}", panels.len());
    for (index, panel) in panels.chunks_exact_mut(len.max(1)).take(count).enumerate() {
        pack_panel(isa, panel, w, transposed, k, n, index);
    }
}

/// Packs panel `index`; columns behind the last keep what they hold.
pub(crate) fn pack_panel(
    isa: Isa,
    panel: &mut [f32],
    w: Rows,
    transposed: bool,
    k: usize,
    n: usize,
    index: usize,
) {
    let width = isa.panel();
    let first = index * width;
    let real = width.min(n - first);
    if !transposed {
        for (p, row) in panel.chunks_exact_mut(width).enumerate() {
            row[..real].copy_from_slice(&w.data[p * w.stride + first..][..real]);
        }
        return;
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
