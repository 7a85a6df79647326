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
pub(crate) fn bce_with_logits<D: Device>(
    cuda: &Cuda<D>,
    d_logits: MM<D>,
    sum: MM<D>,
    logits: M<D>,
    labels: &Buf<D>,
    weights: &Buf<D>,
    first: usize,
    scale: f64,
) {
    unimplemented!()
}
pub(crate) fn sigmoid<D: Device>(cuda: &Cuda<D>, p: MM<D>, logits: M<D>) {
    unimplemented!()
}
