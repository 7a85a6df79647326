//! Weights as the microkernel reads them, both orientations, made once a step.

use optmsm_core::backend::{Layout, Mat};

use crate::gemm::{Rows, pack};
use crate::isa::Isa;

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

    /// Packs matrices that lie one after the other: `[G·out, in]` or `[G·in, out]`, or dense in any shape.
    pub(crate) fn fill(&mut self, src: Mat<Vec<f32>>, layout: Layout) {
        let (o, i) = (self.outputs, self.inputs);
        let (rows, cols) = if layout == Layout::OutIn { (o, i) } else { (i, o) };
        assert_eq!(src.rows * src.cols, self.groups * o * i, "weights of {} groups {o}x{i}", self.groups);
        let dense = src.stride == src.cols || src.rows < 2;
        assert!(dense || src.cols == cols, "rows of {}, not of {cols}", src.cols);
        let stride = if dense { cols } else { src.stride };
        let out_in = layout == Layout::OutIn;
        for g in 0..self.groups {
            let data = src.buf.get(src.offset + g * rows * stride..src.end()).unwrap_or(&[]);
            let w = Rows { data, stride };
            // x Wᵀ: k runs over inputs, columns over outputs; d_y W the other way round.
            let (f, b) = (self.size(o, i), self.size(i, o));
            pack(self.isa, &mut self.forward[g * f..(g + 1) * f], w, out_in, i, o);
            pack(self.isa, &mut self.backward[g * b..(g + 1) * b], w, !out_in, o, i);
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
