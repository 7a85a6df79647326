//! Dropout (kernels/dropout.cu).

use optmsm_core::backend::Dropout;

use crate::Cuda;
use crate::backend::{Ids, MM};
use crate::device::Device;
use crate::kernels::Kernel;
use crate::memory::Span;
use crate::ops::elementwise::Quads;

pub(crate) fn dropout<D: Device>(cuda: &Cuda<D>, x: MM<D>, drop: &Dropout, rows: &Ids<D>, first: usize) {
    let Some(q) = Quads::by_row(x.rows, x.cols, [x.stride]) else { return };
    // Row 0 of quad 0: the rest of the counter, and the key, are the same for all.
    let ([_, _, site, step], [key0, key1]) = drop.counter(0, 0);
    cuda.session()
        .launch(Kernel::Dropout, q.grid(), 256)
        .write(Span::mat_mut(&x)) // float* x
        .size(q.strides[0]) // unsigned ld_x
        .read(rows.span(first, x.rows)) // const unsigned* rows
        .size(q.count) // unsigned count
        .size(q.cols) // unsigned cols
        .u32(site) // unsigned site
        .u32(step) // unsigned step
        .u32(key0) // unsigned key0
        .u32(key1) // unsigned key1
        .u32(drop.threshold()) // unsigned threshold
        .f32((1.0 / (1.0 - drop.p)) as f32) // float scale
        .go();
}
