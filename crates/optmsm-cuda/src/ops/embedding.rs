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
pub(crate) fn gather_rows<D: Device>(cuda: &Cuda<D>, out: MM<D>, x: M<D>, ids: &Ids<D>, first: usize) {
    unimplemented!()
}
pub(crate) fn lookup<D: Device>(cuda: &Cuda<D>, out: MM<D>, table: &Table<D>, ids: &Ids<D>, first: usize) {
    unimplemented!()
}
pub(crate) fn lookup_bags<D: Device>(
    cuda: &Cuda<D>,
    out: MM<D>,
    table: &Table<D>,
    bags: Bags<Ids<D>, Buf<D>>,
    first: usize,
) {
    unimplemented!()
}
pub(crate) fn numeric_embed<D: Device>(cuda: &Cuda<D>, out: MM<D>, w: M<D>, values: &Buf<D>, first: usize) {
    unimplemented!()
}
pub(crate) fn reduce_rows<'a, D: Device>(
    cuda: &Cuda<D>,
    g: MM<D>,
    segments: Segments<Ids<D>, Buf<D>>,
    lane_rows: usize,
    lane: impl Fn(usize) -> M<'a, D> + Sync,
) {
    unimplemented!()
}
pub(crate) fn linear_bwd_by_value<'a, D: Device>(
    cuda: &Cuda<D>,
    g: MM<D>,
    d_w: MM<D>,
    x: M<D>,
    w: M<D>,
    segments: Segments<Ids<D>, Buf<D>>,
    lane_rows: usize,
    lane: impl Fn(usize) -> M<'a, D> + Sync,
) {
    unimplemented!()
}
