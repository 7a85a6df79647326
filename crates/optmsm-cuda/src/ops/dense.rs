#![allow(clippy::too_many_arguments, unused_variables, unused_imports)]
//! Stub.
use crate::Cuda;
use crate::backend::{Buf, Ids, M, MM};
use crate::device::Device;
use crate::memory::Memory;
use crate::memory::{Buffer, Table};
use optmsm_core::backend::*;
use optmsm_core::optim::Update;
use optmsm_core::rounding::*;
use std::ops::Range;
use std::sync::Arc;

/// Weights of linear maps: a view of the matrix that they were packed from.
#[derive(Debug)]
pub struct Packed<D: Device> {
    groups: usize,
    outputs: usize,
    inputs: usize,
    source: Option<(Arc<Memory<D>>, usize, usize, Layout)>,
}
impl<D: Device> Packed<D> {
    pub(crate) fn new(groups: usize, outputs: usize, inputs: usize) -> Self {
        Self { groups, outputs, inputs, source: None }
    }
    pub(crate) fn shape(&self) -> (usize, usize, usize) {
        (self.groups, self.outputs, self.inputs)
    }
    pub(crate) fn view(&mut self, src: M<D>, layout: Layout) {
        self.source = Some((Arc::clone(&src.buf.memory), src.offset, src.stride, layout));
    }
}
pub(crate) fn linear<D: Device>(
    cuda: &Cuda<D>,
    y: MM<D>,
    x: M<D>,
    w: &Packed<D>,
    part: Part<Ids<D>>,
    then: Epilogue<Buf<D>>,
) {
    unimplemented!()
}
pub(crate) fn linear_dx<D: Device>(
    cuda: &Cuda<D>,
    d_x: MM<D>,
    write: Write,
    d_y: M<D>,
    w: &Packed<D>,
    part: Part<Ids<D>>,
    relu: Option<M<D>>,
) {
    unimplemented!()
}
pub(crate) fn linear_dw<D: Device>(
    cuda: &Cuda<D>,
    d_w: MM<D>,
    write: Write,
    d_y: M<D>,
    x: M<D>,
    part: Part<Ids<D>>,
) {
    unimplemented!()
}
