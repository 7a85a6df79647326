//! Sums of rows of several tables: the layers that are folded.

use half::slice::HalfBitsSliceExt;
use half::{bf16, f16};
use optmsm_core::backend::{Epilogue, MatMut, Write};

use super::{Data, Stored, Table, prefetch};
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::rows::{put, row, row_mut};

/// Most tables whose rows are summed in one pass over the output.
const TERMS: usize = 16;

/// [`Embedding::lookup_sum`](optmsm_core::backend::Embedding::lookup_sum).
pub(crate) fn lookup_sum<'a>(
    isa: Isa,
    mut y: MatMut<Buffer>,
    mut terms: impl Iterator<Item = (&'a Table, &'a [u32])>,
    then: Epilogue<Buffer>,
) {
    let mut start = match &then.bias {
        Some(bias) => Start::Row(row(bias, 0)),
        None => Start::Zero,
    };
    let mut next = terms.next();
    loop {
        let few: [_; TERMS] = std::array::from_fn(|_| std::mem::replace(&mut next, terms.next()));
        let count = few.iter().flatten().count();
        let relu = then.relu && next.is_none();
        isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..y.rows {
                    sum_rows(row_mut(&mut y, b), &few[..count], b, &start, relu);
                }
            },
        );
        if next.is_none() {
            return;
        }
        start = Start::There;
    }
}

/// The begin of sums.
enum Start<'a> {
    Zero,
    Row(&'a [f32]),
    /// The values that the output holds.
    There,
}

/// One row of [`lookup_sum`]. Four rows of `f32` or `bf16` are added at a time, so that the output is read and written a quarter as
/// often.
#[inline(always)]
fn sum_rows(y: &mut [f32], terms: &[Option<(&Table, &[u32])>], b: usize, start: &Start, relu: bool) {
    match start {
        Start::Zero => y.fill(0.0),
        Start::Row(row) => y.copy_from_slice(row),
        Start::There => {}
    }
    let mut left = terms;
    while let Some(first) = left.first() {
        let done = match (first, left.first_chunk()) {
            (Some((Table { data: Data::F32(_), .. }, _)), Some(four)) => {
                four_rows(y, four, b, |data| if let Data::F32(v) = data { Some(&v[..]) } else { None }, |v| v)
            }
            (Some((Table { data: Data::Bf16(_), .. }, _)), Some(four)) => four_rows(
                y,
                four,
                b,
                |data| if let Data::Bf16(v) = data { Some(&v[..]) } else { None },
                // Its bits are the upper half of an f32's.
                |v: u16| f32::from_bits(u32::from(v) << 16),
            ),
            _ => false,
        };
        if done {
            left = &left[4..];
            continue;
        }
        left = &left[1..];
        if let Some((table, ids)) = first {
            let at = ids[b] as usize * table.width;
            with_elements!(table, data => Stored::read(&data[at..at + table.width], |j, v| {
                put(&mut y[j..j + v.len()], Write::Add, v.iter().copied());
            }));
        }
    }
    if relu {
        // NaN stays NaN, as in every ReLU here.
        y.iter_mut().for_each(|y| *y = if *y < 0.0 { 0.0 } else { *y });
    }
}

/// The row that a term reads for row `b` of the output; the next one's begin is asked for.
#[inline(always)]
fn table_row<'a, T: 'a>(
    term: &Option<(&'a Table, &'a [u32])>,
    b: usize,
    of: &impl Fn(&'a Data) -> Option<&'a [T]>,
) -> Option<&'a [T]> {
    let (table, ids) = (*term)?;
    let (data, width) = (of(&table.data)?, table.width);
    if let Some(&ahead) = ids.get(b + 1) {
        (0..width.min(64)).step_by(16).for_each(|j| prefetch(data, ahead as usize * width + j));
    }
    Some(&data[ids[b] as usize * width..][..width])
}

/// Adds a row of each of four tables, if all hold what `of` gives.
#[inline(always)]
fn four_rows<'a, T: Copy + 'a>(
    y: &mut [f32],
    terms: &[Option<(&'a Table, &'a [u32])>; 4],
    b: usize,
    of: impl Fn(&'a Data) -> Option<&'a [T]>,
    wide: impl Fn(T) -> f32,
) -> bool {
    let [t, u, v, w] = terms.each_ref();
    let rows = [table_row(t, b, &of), table_row(u, b, &of), table_row(v, b, &of), table_row(w, b, &of)];
    let [Some(t), Some(u), Some(v), Some(w)] = rows else { return false };
    for ((((y, &t), &u), &v), &w) in y.iter_mut().zip(t).zip(u).zip(v).zip(w) {
        *y = *y + wide(t) + wide(u) + wide(v) + wide(w);
    }
    true
}
