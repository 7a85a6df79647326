//! Weights as the microkernel reads them, both orientations, made once a step.

use optmsm_core::backend::Layout;

use crate::gemm::{Isa, pack};

/// `groups` weights of `inputs → outputs` in panels.
#[derive(Clone, Debug)]
pub struct Packed {
    pub(crate) groups: usize,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    forward: Vec<f32>,
    backward: Vec<f32>,
    isa: Isa,
}

impl Packed {
    pub(crate) fn new(isa: Isa, groups: usize, outputs: usize, inputs: usize) -> Self {
        let size = |n: usize, k: usize| vec![0.0; groups * n.next_multiple_of(isa.panel()) * k];
        Self { groups, outputs, inputs, forward: size(outputs, inputs), backward: size(inputs, outputs), isa }
    }

    /// Packs dense matrices that lie one after the other.
    pub(crate) fn fill(&mut self, src: &[f32], layout: Layout) {
        let (o, i) = (self.outputs, self.inputs);
        assert_eq!(src.len(), self.groups * o * i, "weights of {} groups {o}x{i}", self.groups);
        // Strides of W[out, in].
        let (out_stride, in_stride) = match layout {
            Layout::OutIn => (i, 1),
            Layout::InOut => (1, o),
        };
        for g in 0..self.groups {
            let w = &src[g * o * i..(g + 1) * o * i];
            // x Wᵀ: k runs over inputs, columns over outputs; d_y W the other way round.
            let (f, b) = (self.size(o, i), self.size(i, o));
            pack(self.isa, &mut self.forward[g * f..(g + 1) * f], w, i, o, in_stride, out_stride);
            pack(self.isa, &mut self.backward[g * b..(g + 1) * b], w, o, i, out_stride, in_stride);
        }
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
        let size = self.size(self.inputs, self.outputs);
        &self.backward[g * size..(g + 1) * size]
    }
}
