//! Weights as the microkernel reads them, made once per step.

use optmsm_core::backend::{Layout, Mat, Products};
use optmsm_core::error::Result;
use rayon::prelude::*;

use crate::gemm::{Rows, pack_panel};
use crate::isa::Isa;
use crate::memory::zeros;
use crate::transpose::pack_transposed;

/// `groups` weights of `inputs → outputs` in panels.
#[derive(Clone, Debug)]
pub struct Packed {
    pub(crate) groups: usize,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    forward: Vec<f32>,
    backward: Vec<f32>, // empty when no product reads it
    isa: Isa,
}

/// Elements of one direction's panels. Saturates, so that what overflows is too large for a `Vec`: multiply() relies on n · k
/// elements.
fn elements(isa: Isa, groups: usize, n: usize, k: usize) -> usize {
    groups.saturating_mul(n.next_multiple_of(isa.panel())).saturating_mul(k)
}

impl Packed {
    /// Bytes of what [`Packed::new`] makes.
    pub(crate) fn bytes(isa: Isa, groups: usize, outputs: usize, inputs: usize, used: Products) -> usize {
        let forward = elements(isa, groups, outputs, inputs);
        let backward = if used == Products::Both { elements(isa, groups, inputs, outputs) } else { 0 };
        forward.saturating_add(backward).saturating_mul(size_of::<f32>())
    }

    pub(crate) fn new(
        isa: Isa,
        groups: usize,
        outputs: usize,
        inputs: usize,
        used: Products,
    ) -> Result<Self> {
        let room = |n: usize, k: usize| zeros(elements(isa, groups, n, k));
        let backward = if used == Products::Both { room(inputs, outputs)? } else { Vec::new() };
        Ok(Self { groups, outputs, inputs, forward: room(outputs, inputs)?, backward, isa })
    }

    /// Packs matrices that lie one after the other: `[G·out, in]` or `[G·in, out]`, or dense in any shape. Panels are
    /// divided among the threads of the pool that this runs in.
    pub(crate) fn fill(&mut self, src: Mat<Vec<f32>>, layout: Layout) {
        let (o, i) = (self.outputs, self.inputs);
        let (rows, cols) = if layout == Layout::OutIn { (o, i) } else { (i, o) };
        assert_eq!(src.rows * src.cols, self.groups * o * i, "weights of {} groups {o}x{i}", self.groups);
        let dense = src.stride == src.cols || src.rows < 2;
        assert!(dense || src.cols == cols, "rows of {}, not of {cols}", src.cols);
        let stride = if dense { cols } else { src.stride };
        let weight = |g: usize| {
            let data = src.buf.get(src.offset + g * rows * stride..src.end()).unwrap_or(&[]);
            Rows { data, stride }
        };
        let (isa, out_in) = (self.isa, layout == Layout::OutIn);
        let pack = |panels: &mut [f32], transposed: bool, k: usize, n: usize| {
            let (len, each) = ((isa.panel() * k).max(1), n.div_ceil(isa.panel()));
            // One task packs a few thousand elements at least.
            let panels = panels.par_chunks_exact_mut(len).enumerate().with_min_len(8192_usize.div_ceil(len));
            panels.for_each(|(index, panel)| {
                let (w, index) = (weight(index / each), index % each);
                if transposed {
                    pack_transposed(isa, panel, w, k, n, index);
                } else {
                    pack_panel(isa, panel, w, false, k, n, index);
                }
            });
        };
        // x Wᵀ: k runs over inputs, columns over outputs; d_y W the other way round.
        pack(&mut self.forward, out_in, i, o);
        pack(&mut self.backward, !out_in, o, i);
    }

    fn size(&self, n: usize, k: usize) -> usize {
        n.next_multiple_of(self.isa.panel()) * k
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
        let refused = Packed::new(Isa::Portable, 1, side, side, Products::Forward).unwrap_err();
        assert!(refused.to_string().contains("no memory"), "{refused}");
    }
}
