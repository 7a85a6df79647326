//! Weights as the microkernel reads them, made once per step.

use optmsm_core::backend::{Layout, Mat, Products};
use optmsm_core::error::Result;
use rayon::prelude::*;

use crate::bf16;
use crate::gemm::{Rows, Weight, pack_panel, pack_panel_bf16};
use crate::isa::Isa;
use crate::memory::Buffer;

/// `groups` weights of `inputs → outputs` in panels.
#[derive(Clone, Debug)]
pub struct Packed {
    pub(crate) groups: usize,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    forward: Buffer,
    backward: Buffer, // empty when no product reads it
    isa: Isa,
    bf16: bool,
}

/// Elements of one direction's panels. Saturates, so that what overflows is too large for a `Vec`: multiply() relies on n · k
/// elements.
fn elements(isa: Isa, bf16: bool, groups: usize, n: usize, k: usize) -> usize {
    let k = if bf16 { bf16::words(k) } else { k };
    groups.saturating_mul(n.next_multiple_of(isa.panel())).saturating_mul(k)
}

impl Packed {
    /// Bytes of what [`Packed::new`] makes.
    pub(crate) fn bytes(
        isa: Isa,
        bf16: bool,
        groups: usize,
        outputs: usize,
        inputs: usize,
        used: Products,
    ) -> usize {
        let forward = elements(isa, bf16, groups, outputs, inputs);
        let backward = if used == Products::Both { elements(isa, bf16, groups, inputs, outputs) } else { 0 };
        forward.saturating_add(backward).saturating_mul(size_of::<f32>())
    }

    pub(crate) fn new(
        isa: Isa,
        bf16: bool,
        groups: usize,
        outputs: usize,
        inputs: usize,
        used: Products,
    ) -> Result<Self> {
        let room = |n: usize, k: usize| Buffer::zeros(elements(isa, bf16, groups, n, k));
        let backward = if used == Products::Both { room(inputs, outputs)? } else { Buffer::EMPTY };
        Ok(Self { groups, outputs, inputs, forward: room(outputs, inputs)?, backward, isa, bf16 })
    }

    /// Packs matrices that lie one after the other: `[G·out, in]` or `[G·in, out]`, or dense in any shape. Panels are
    /// divided among the threads of the pool that this runs in.
    pub(crate) fn fill(&mut self, src: Mat<Buffer>, layout: Layout) {
        let (o, i) = (self.outputs, self.inputs);
        let (rows, cols) = if layout == Layout::OutIn { (o, i) } else { (i, o) };
        assert_eq!(src.rows * src.cols, self.groups * o * i, "weights of {} groups {o}x{i}", self.groups);
        let dense = src.stride == src.cols || src.rows < 2;
        assert!(dense || src.cols == cols, "rows of {}, not of {cols}", src.cols);
        let stride = if dense { cols } else { src.stride };
        let rows_of = |g: usize| {
            let data = src.buf.get(src.offset + g * rows * stride..src.end()).unwrap_or(&[]);
            Rows { data, stride }
        };
        let (isa, bf16, out_in) = (self.isa, self.bf16, layout == Layout::OutIn);
        let pack = |panels: &mut [f32], transposed: bool, k: usize, n: usize| {
            let (len, each) = (elements(isa, bf16, 1, isa.panel(), k).max(1), n.div_ceil(isa.panel()));
            // One task packs a few thousand elements at least.
            let panels = panels.par_chunks_exact_mut(len).enumerate().with_min_len(8192_usize.div_ceil(len));
            panels.for_each(|(index, panel)| {
                let weight = Weight { rows: rows_of(index / each), transposed, k, n };
                let pack = if bf16 { pack_panel_bf16 } else { pack_panel };
                pack(isa, panel, weight, index % each);
            });
        };
        // x Wᵀ: k runs over inputs, columns over outputs; d_y W the other way round.
        pack(&mut self.forward, out_in, i, o);
        pack(&mut self.backward, !out_in, o, i);
    }

    /// Whether panels hold pairs of bf16.
    pub(crate) fn is_bf16(&self) -> bool {
        self.bf16
    }

    fn size(&self, n: usize, k: usize) -> usize {
        elements(self.isa, self.bf16, 1, n, k)
    }

    /// Panels of x Wᵀ.
    pub(crate) fn forward(&self, g: usize) -> &[f32] {
        let size = self.size(self.outputs, self.inputs);
        &self.forward[g * size..(g + 1) * size]
    }

    /// Panels of d_y W.
    pub(crate) fn backward(&self, g: usize) -> &[f32] {
        assert!(!self.backward.is_empty() || self.inputs * self.outputs == 0, "packed for `linear` alone");
        let size = self.size(self.inputs, self.outputs);
        &self.backward[g * size..(g + 1) * size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_beyond_the_address_space_is_refused() {
        // In wrapping arithmetic this is room for no element.
        let side = 1 << (usize::BITS / 2);
        let refused = Packed::new(Isa::Portable, false, 1, side, side, Products::Forward).unwrap_err();
        assert!(refused.to_string().contains("no memory"), "{refused}");
    }
}
