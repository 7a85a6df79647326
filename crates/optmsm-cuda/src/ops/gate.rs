//! Gate and selection (kernels/gate.cu): e `[B, K·m]`, α `[B, K]`, mix `[B, m]`.

use optmsm_core::backend::{Gate, Write};

use crate::cuda::Cuda;
use crate::device::Device;
use crate::kernels::Kernel;
use crate::memory::{Ids, M, MM, Span};
use crate::ops::rows::{Quads, adds, expect_shape, grid_of, lanes_of};

/// Lanes that share a row of experts' weights: they are few.
const SOFTMAX_LANES: usize = 8;

impl<D: Device> Gate for Cuda<D> {
    fn softmax(&self, alpha: MM<D>, logits: M<D>) {
        expect_shape("logits", (logits.rows, logits.cols), (alpha.rows, alpha.cols));
        if alpha.rows * alpha.cols == 0 {
            return;
        }
        self.record()
            .launch(Kernel::Softmax, grid_of(alpha.rows * SOFTMAX_LANES), 256)
            .write(Span::mat_mut(&alpha)) // float* alpha
            .size(alpha.stride) // unsigned ld_alpha
            .read(Span::mat(&logits)) // const float* logits
            .size(logits.stride) // unsigned ld_logits
            .size(alpha.rows) // unsigned rows
            .size(alpha.cols) // unsigned experts
            .go();
    }

    fn softmax_bwd(&self, d_logits: MM<D>, d_alpha: M<D>, alpha: M<D>) {
        expect_shape("the logits' gradient", (d_logits.rows, d_logits.cols), (alpha.rows, alpha.cols));
        expect_shape("α's gradient", (d_alpha.rows, d_alpha.cols), (alpha.rows, alpha.cols));
        if alpha.rows * alpha.cols == 0 {
            return;
        }
        self.record()
            .launch(Kernel::SoftmaxBwd, grid_of(alpha.rows * SOFTMAX_LANES), 256)
            .write(Span::mat_mut(&d_logits)) // float* d_logits
            .size(d_logits.stride) // unsigned ld_d_logits
            .read(Span::mat(&d_alpha)) // const float* d_alpha
            .size(d_alpha.stride) // unsigned ld_d_alpha
            .read(Span::mat(&alpha)) // const float* alpha
            .size(alpha.stride) // unsigned ld_alpha
            .size(alpha.rows) // unsigned rows
            .size(alpha.cols) // unsigned experts
            .go();
    }

    fn mix(&self, mix: MM<D>, alpha: M<D>, e: M<D>) {
        let (rows, experts, width) = (mix.rows, alpha.cols, mix.cols);
        expect_shape("α", (alpha.rows, alpha.cols), (rows, experts));
        expect_shape("e", (e.rows, e.cols), (rows, experts * width));
        let strides = [mix.stride, alpha.stride, e.stride];
        let Some(q) = Quads::by_row(rows, width, strides) else { return };
        self.record()
            .launch(Kernel::Mix, q.grid(), 256)
            .write(Span::mat_mut(&mix)) // float* mix
            .size(q.strides[0]) // unsigned ld_mix
            .read(Span::mat(&alpha)) // const float* alpha
            .size(q.strides[1]) // unsigned ld_alpha
            .read(Span::mat(&e)) // const float* e
            .size(q.strides[2]) // unsigned ld_e
            .size(q.count) // unsigned count
            .size(experts) // unsigned experts
            .size(width) // unsigned width
            .go();
    }

    fn mix_bwd(&self, d_alpha: MM<D>, d_e: MM<D>, write: Write, d_mix: M<D>, alpha: M<D>, e: M<D>) {
        let (rows, experts, width) = (d_mix.rows, alpha.cols, d_mix.cols);
        expect_shape("α", (alpha.rows, alpha.cols), (rows, experts));
        expect_shape("α's gradient", (d_alpha.rows, d_alpha.cols), (rows, experts));
        expect_shape("e", (e.rows, e.cols), (rows, experts * width));
        expect_shape("e's gradient", (d_e.rows, d_e.cols), (rows, experts * width));
        if rows * experts == 0 {
            return;
        }
        let lanes = lanes_of(width);
        self.record()
            .launch(Kernel::MixBwd, grid_of(rows * lanes), 256)
            .write(Span::mat_mut(&d_alpha)) // float* d_alpha
            .size(d_alpha.stride) // unsigned ld_d_alpha
            .write(Span::mat_mut(&d_e)) // float* d_e
            .size(d_e.stride) // unsigned ld_d_e
            .read(Span::mat(&d_mix)) // const float* d_mix
            .size(d_mix.stride) // unsigned ld_d_mix
            .read(Span::mat(&alpha)) // const float* alpha
            .size(alpha.stride) // unsigned ld_alpha
            .read(Span::mat(&e)) // const float* e
            .size(e.stride) // unsigned ld_e
            .size(rows) // unsigned rows
            .size(experts) // unsigned experts
            .size(width) // unsigned width
            .u32(adds(write)) // unsigned add
            .size(lanes) // unsigned lanes
            .go();
    }

    fn gate(&self, mix: MM<D>, alpha: MM<D>, logits: M<D>, e: M<D>) {
        let (rows, experts, width) = (mix.rows, alpha.cols, mix.cols);
        expect_shape("α", (alpha.rows, alpha.cols), (rows, experts));
        expect_shape("logits", (logits.rows, logits.cols), (rows, experts));
        expect_shape("e", (e.rows, e.cols), (rows, experts * width));
        if rows == 0 {
            return;
        }
        let lanes = lanes_of(width);
        self.record()
            .launch(Kernel::Gate, grid_of(rows * lanes), 256)
            .write(Span::mat_mut(&mix)) // float* mix
            .size(mix.stride) // unsigned ld_mix
            .write(Span::mat_mut(&alpha)) // float* alpha
            .size(alpha.stride) // unsigned ld_alpha
            .read(Span::mat(&logits)) // const float* logits
            .size(logits.stride) // unsigned ld_logits
            .read(Span::mat(&e)) // const float* e
            .size(e.stride) // unsigned ld_e
            .size(rows) // unsigned rows
            .size(experts) // unsigned experts
            .size(width) // unsigned width
            .size(lanes) // unsigned lanes
            .go();
    }

    fn select(&self, mix: MM<D>, e: M<D>, groups: &Ids<D>) {
        expect_shape("e", (e.rows, e.cols), (mix.rows, e.cols));
        let Some(q) = Quads::by_row(mix.rows, mix.cols, [mix.stride, e.stride]) else { return };
        let count = groups_of(e.cols, mix.cols);
        self.record()
            .launch(Kernel::SelectExpert, q.grid(), 256)
            .write(Span::mat_mut(&mix)) // float* mix
            .size(q.strides[0]) // unsigned ld_mix
            .read(Span::mat(&e)) // const float* e
            .size(q.strides[1]) // unsigned ld_e
            .read(groups.span(0, count + 1)) // const unsigned* offsets
            .size(q.count) // unsigned count
            .size(count) // unsigned groups
            .size(mix.cols) // unsigned width
            .go();
    }

    fn select_bwd(&self, d_e: MM<D>, write: Write, d_mix: M<D>, groups: &Ids<D>) {
        expect_shape("e's gradient", (d_e.rows, d_e.cols), (d_mix.rows, d_e.cols));
        if d_mix.rows * d_mix.cols == 0 {
            return;
        }
        let count = groups_of(d_e.cols, d_mix.cols);
        // Set: every element of d_e. Add: those that change.
        let (kernel, parts) = match write {
            Write::Set => (Kernel::SelectExpertBwd, count),
            Write::Add => (Kernel::SelectExpertBwdAdd, 1),
        };
        let strides = [d_e.stride, d_mix.stride];
        let Some(q) = Quads::by_row(d_mix.rows * parts, d_mix.cols, strides) else { return };
        self.record()
            .launch(kernel, q.grid(), 256)
            .write(Span::mat_mut(&d_e)) // float* d_e
            .size(q.strides[0]) // unsigned ld_d_e
            .read(Span::mat(&d_mix)) // const float* d_mix
            .size(q.strides[1]) // unsigned ld_d_mix
            .read(groups.span(0, count + 1)) // const unsigned* offsets
            .size(q.count) // unsigned count
            .size(count) // unsigned groups
            .size(d_mix.cols) // unsigned width
            .go();
    }
}

/// Groups of rows: as many as e has experts.
fn groups_of(e_cols: usize, width: usize) -> usize {
    assert!(e_cols > 0 && e_cols.is_multiple_of(width), "{e_cols} columns are no experts of {width}");
    e_cols / width
}
