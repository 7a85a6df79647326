//! Loss and probabilities (kernels/loss.cu).

use optmsm_core::backend::{Loss, Write};

use crate::cuda::Cuda;
use crate::device::Device;
use crate::kernels::Kernel;
use crate::memory::{Buf, M, MM, Span};
use crate::ops::reduce;
use crate::ops::rows::{Quads, expect_shape};

/// Most blocks of the loss: their partial sums are added one after the other.
const BLOCKS: usize = 128;

impl<D: Device> Loss for Cuda<D> {
    fn bce_with_logits(
        &self,
        d_logits: MM<D>,
        sum: MM<D>,
        logits: M<D>,
        labels: &Buf<D>,
        weights: &Buf<D>,
        first: usize,
        scale: f64,
    ) {
        let rows = logits.rows;
        expect_shape("the logits' gradient", (d_logits.rows, d_logits.cols), (rows, 1));
        expect_shape("logits", (logits.rows, logits.cols), (rows, 1));
        expect_shape("the sum", (sum.rows, sum.cols), (1, 1));
        if rows == 0 {
            return;
        }
        let blocks = rows.div_ceil(256).min(BLOCKS);
        let mut recording = self.record();
        let parts = recording.workspace(blocks);
        recording
            .launch(Kernel::BceWithLogits, [blocks, 1, 1], 256)
            .write(Span::mat_mut(&d_logits)) // float* d_logits
            .size(d_logits.stride) // unsigned ld_d
            .write_workspace(parts) // float* parts
            .read(Span::mat(&logits)) // const float* logits
            .size(logits.stride) // unsigned ld_logits
            .read(labels.span(first, rows)) // const float* labels
            .read(weights.span(first, rows)) // const float* weights
            .size(rows) // unsigned rows
            .f32(scale as f32) // float scale
            .go();
        reduce::sum_parts(&mut recording, sum, Write::Add, parts, blocks);
    }

    fn sigmoid(&self, p: MM<D>, logits: M<D>) {
        expect_shape("logits", (logits.rows, logits.cols), (p.rows, p.cols));
        let Some(q) = Quads::over(p.rows, p.cols, [p.stride, logits.stride]) else { return };
        self.record()
            .launch(Kernel::Sigmoid, q.grid(), 256)
            .write(Span::mat_mut(&p)) // float* p
            .size(q.strides[0]) // unsigned ld_p
            .read(Span::mat(&logits)) // const float* logits
            .size(q.strides[1]) // unsigned ld_logits
            .size(q.count) // unsigned count
            .size(q.cols) // unsigned cols
            .go();
    }

    fn sigmoid_bwd(&self, d: MM<D>, p: M<D>) {
        expect_shape("p", (p.rows, p.cols), (d.rows, d.cols));
        let Some(q) = Quads::over(d.rows, d.cols, [d.stride, p.stride]) else { return };
        self.record()
            .launch(Kernel::SigmoidBwd, q.grid(), 256)
            .write(Span::mat_mut(&d)) // float* d
            .size(q.strides[0]) // unsigned ld_d
            .read(Span::mat(&p)) // const float* p
            .size(q.strides[1]) // unsigned ld_p
            .size(q.count) // unsigned count
            .size(q.cols) // unsigned cols
            .go();
    }
}
