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
pub(crate) fn fill<D: Device>(cuda: &Cuda<D>, dst: MM<D>, v: f32) {
    unimplemented!()
}
pub(crate) fn copy<D: Device>(cuda: &Cuda<D>, dst: MM<D>, write: Write, src: M<D>) {
    unimplemented!()
}
pub(crate) fn relu<D: Device>(cuda: &Cuda<D>, y: MM<D>) {
    unimplemented!()
}
pub(crate) fn relu_bwd<D: Device>(cuda: &Cuda<D>, d: MM<D>, y: M<D>) {
    unimplemented!()
}
pub(crate) fn row_scale<D: Device>(cuda: &Cuda<D>, y: MM<D>, write: Write, s: M<D>, x: M<D>) {
    unimplemented!()
}
pub(crate) fn row_dot<D: Device>(cuda: &Cuda<D>, out: MM<D>, write: Write, x: M<D>, y: M<D>) {
    unimplemented!()
}
