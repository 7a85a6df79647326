//! The backend's operations, by family.

use optmsm_core::backend::{Groups, Mat, MatMut};

use crate::gemm::{Rows, RowsMut};
use crate::memory::Buffer;

mod dense;
mod elementwise;
mod embedding;
mod gate;
mod loss;
mod memory;
mod norm;
mod penalty;
mod update;

pub(crate) type M<'a> = Mat<'a, Buffer>;
pub(crate) type MM<'a> = MatMut<'a, Buffer>;

fn rows_of<'a>(m: M<'a>) -> Rows<'a> {
    Rows { data: &m.buf[m.offset.min(m.buf.len())..], stride: m.stride }
}

fn rows_of_mut<'a>(m: &'a mut MM) -> RowsMut<'a> {
    let (start, stride) = (m.offset.min(m.buf.len()), m.stride);
    RowsMut { data: &mut m.buf[start..], stride }
}

/// Calls `f(group, first row, rows)` for each part of a product over `rows` rows.
fn each_group(by: Groups<Vec<u32>>, groups: usize, rows: usize, mut f: impl FnMut(usize, usize, usize)) {
    match by {
        Groups::One(g) => f(g, 0, rows),
        Groups::Columns => (0..groups).for_each(|g| f(g, 0, rows)),
        Groups::Rows(offsets) => {
            let at = |g: usize| offsets[g] as usize;
            assert!(at(0) == 0 && at(groups) == rows, "group offsets {offsets:?} for {rows} rows");
            (0..groups).filter(|&g| at(g) < at(g + 1)).for_each(|g| f(g, at(g), at(g + 1) - at(g)));
        }
    }
}

/// First column of group `g`, when groups are columns.
fn column(by: Groups<Vec<u32>>, g: usize, width: usize) -> usize {
    if let Groups::Columns = by { g * width } else { 0 }
}
