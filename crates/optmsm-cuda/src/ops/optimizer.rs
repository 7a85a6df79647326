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
pub(crate) fn step_dense<D: Device>(
    cuda: &Cuda<D>,
    w: &mut Buf<D>,
    g: &Buf<D>,
    state: &mut [Buf<D>],
    len: usize,
    update: &Update<Buf<D>>,
) {
    unimplemented!()
}
pub(crate) fn step_rows<D: Device>(
    cuda: &Cuda<D>,
    table: &mut Table<D>,
    g: M<D>,
    state: &mut [Buf<D>],
    rows: &Ids<D>,
    update: &Update<Buf<D>>,
    rounding: &Rounding,
) {
    unimplemented!()
}
