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
pub(crate) fn dropout<D: Device>(cuda: &Cuda<D>, x: MM<D>, drop: &Dropout, rows: &Ids<D>, first: usize) {
    unimplemented!()
}
