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
pub(crate) fn softmax<D: Device>(cuda: &Cuda<D>, alpha: MM<D>, logits: M<D>) {
    unimplemented!()
}
pub(crate) fn softmax_bwd<D: Device>(cuda: &Cuda<D>, d_logits: MM<D>, d_alpha: M<D>, alpha: M<D>) {
    unimplemented!()
}
pub(crate) fn mix<D: Device>(cuda: &Cuda<D>, mix: MM<D>, alpha: M<D>, e: M<D>) {
    unimplemented!()
}
pub(crate) fn mix_bwd<D: Device>(
    cuda: &Cuda<D>,
    d_alpha: MM<D>,
    d_e: MM<D>,
    write: Write,
    d_mix: M<D>,
    alpha: M<D>,
    e: M<D>,
) {
    unimplemented!()
}
pub(crate) fn select<D: Device>(cuda: &Cuda<D>, mix: MM<D>, e: M<D>, groups: &Ids<D>) {
    unimplemented!()
}
pub(crate) fn select_bwd<D: Device>(cuda: &Cuda<D>, d_e: MM<D>, write: Write, d_mix: M<D>, groups: &Ids<D>) {
    unimplemented!()
}
