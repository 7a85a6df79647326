#![allow(clippy::too_many_arguments, unused_variables, unused_imports)]
//! Stub.
use crate::Cuda;
use crate::backend::{Buf, Ids, M, MM};
use crate::device::Device;
use crate::memory::{Buffer, Table};
use optmsm_core::backend::*;
use optmsm_core::optim::Update;
use optmsm_core::rounding::*;
use std::ops::Range;
pub(crate) fn col_sum<D: Device>(cuda: &Cuda<D>, out: MM<D>, write: Write, x: M<D>, part: Part<Ids<D>>) {
    unimplemented!()
}
pub(crate) fn accumulate<'a, D: Device>(
    cuda: &Cuda<D>,
    acc: &mut Buf<D>,
    count: usize,
    x: impl Fn(usize) -> &'a Buf<D> + Sync,
    range: Range<usize>,
) {
    unimplemented!()
}
pub(crate) fn sum_sq<D: Device>(cuda: &Cuda<D>, sum: &mut Buf<D>, write: Write, x: &Buf<D>, len: usize) {
    unimplemented!()
}
