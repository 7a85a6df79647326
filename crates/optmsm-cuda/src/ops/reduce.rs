//! Sums (kernels/reduce.cu).

use std::ops::Range;

use optmsm_core::backend::{Part, Write};

use crate::Cuda;
use crate::backend::{Buf, Ids, M, MM};
use crate::device::Device;
use crate::kernels::Kernel;
use crate::launch::{Launcher, Plain, Session, Workspace};
use crate::memory::Span;
use crate::ops::elementwise::expect_shape;

/// out (+)= parts[0] + parts[1] + … in this order, `count` of them, each as large as `out` and dense.
pub(crate) fn sum_parts<D: Device>(
    session: &mut Session<'_, D>,
    out: MM<D>,
    write: Write,
    parts: Workspace,
    count: usize,
) {
    if out.rows * out.cols == 0 {
        return;
    }
    session
        .launch(Kernel::SumParts, [(out.rows * out.cols).div_ceil(256), 1, 1], 256)
        .write(Span::mat_mut(&out)) // float* out
        .size(out.stride) // unsigned ld_out
        .read_workspace(parts) // const float* parts
        .size(count) // unsigned count
        .size(out.rows) // unsigned rows
        .size(out.cols) // unsigned cols
        .u32((write == Write::Add).into()) // unsigned add
        .go();
}

/// Rows that one block sums at least: less is not worth a second launch.
const PART: usize = 128;
/// Parts at most: what the second launch of [`by_column`] reads one after the other.
const PARTS: usize = 64;

/// Sums by column, in `[1, n]` or by groups of rows in `[G, n]`: `kernel` makes those of parts of the rows, which are then
/// added in order. It takes each sum and its stride, the arguments that `operands` adds, and what cuts the rows.
pub(crate) fn by_column<D: Device, const N: usize>(
    cuda: &Cuda<D>,
    out: [MM<D>; N],
    write: Write,
    rows: usize,
    part: Part<Ids<D>>,
    kernel: Kernel,
    operands: impl FnOnce(Launcher<'_>) -> Launcher<'_>,
) {
    let (groups, cols) = out.first().map_or((0, 0), |out| (out.rows, out.cols));
    if groups * cols == 0 {
        return;
    }
    let offsets = if let Part::Rows(offsets) = part { Some(offsets.span(0, groups + 1)) } else { None };
    assert!(offsets.is_some() || groups == 1, "{groups} rows of sums without groups");
    let parts = rows.div_ceil(PART).clamp(1, PARTS);
    let part_rows = rows.div_ceil(parts).max(1);
    let parts = rows.div_ceil(part_rows).max(1);
    let tile = cols.next_power_of_two().min(32);
    let add = u32::from(write == Write::Add);
    let each = (parts + groups - 1) * cols;

    let mut session = cuda.session();
    let between = (parts > 1).then(|| session.workspace(N * each));
    let mut first = session.launch(kernel, [cols.div_ceil(tile), parts, 1], 256);
    for (i, out) in out.iter().enumerate() {
        first = match between {
            Some(sums) => first.write_workspace(sums.after(i * each)).size(cols),
            None => first.write(Span::mat_mut(out)).size(out.stride),
        }; // float* sums, unsigned ld_sums
    }
    operands(first)
        .size(rows) // unsigned rows
        .size(cols) // unsigned cols
        .size(tile) // unsigned tile
        .read_or_null(offsets) // const unsigned* offsets
        .size(groups) // unsigned groups
        .size(part_rows) // unsigned part_rows
        .u32(if parts == 1 { add } else { 0 }) // unsigned add
        .go();
    let Some(between) = between else { return };
    for (i, out) in out.into_iter().enumerate() {
        let sums = between.after(i * each);
        let Some(offsets) = offsets else {
            sum_parts(&mut session, out, write, sums, parts);
            continue;
        };
        session
            .launch(Kernel::ColSumJoin, [cols.div_ceil(256) * groups, 1, 1], 256)
            .write(Span::mat_mut(&out)) // float* out
            .size(out.stride) // unsigned ld_out
            .read_workspace(sums) // const float* sums
            .size(cols) // unsigned cols
            .read(offsets) // const unsigned* offsets
            .size(part_rows) // unsigned part_rows
            .u32(add) // unsigned add
            .go();
    }
}

pub(crate) fn col_sum<D: Device>(cuda: &Cuda<D>, out: MM<D>, write: Write, x: M<D>, part: Part<Ids<D>>) {
    assert_eq!(out.cols, x.cols, "columns of the sums and of x");
    by_column(cuda, [out], write, x.rows, part, Kernel::ColSumParts, |launch| {
        launch
            .read(Span::mat(&x)) // const float* x
            .size(x.stride) // unsigned ld_x
    });
}

pub(crate) fn col_dot<D: Device>(
    cuda: &Cuda<D>,
    out: MM<D>,
    write: Write,
    x: M<D>,
    y: M<D>,
    part: Part<Ids<D>>,
) {
    assert_eq!(out.cols, x.cols, "columns of the sums and of x");
    expect_shape("y", (y.rows, y.cols), (x.rows, x.cols));
    by_column(cuda, [out], write, x.rows, part, Kernel::ColDotParts, |launch| {
        launch
            .read(Span::mat(&x)) // const float* x
            .size(x.stride) // unsigned ld_x
            .read(Span::mat(&y)) // const float* y
            .size(y.stride) // unsigned ld_y
    });
}

/// Buffers that one launch adds.
const ADDENDS: usize = 8;

/// As in kernels/reduce.cu.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Addends {
    x: [u64; ADDENDS],
}

// SAFETY: one array of numbers.
unsafe impl Plain for Addends {}

pub(crate) fn accumulate<'a, D: Device>(
    cuda: &Cuda<D>,
    acc: &mut Buf<D>,
    count: usize,
    x: impl Fn(usize) -> &'a Buf<D> + Sync,
    range: Range<usize>,
) {
    let (start, len) = (range.start, range.len());
    if len == 0 {
        return;
    }
    for first in (0..count).step_by(ADDENDS) {
        let few = ADDENDS.min(count - first);
        let spans: [_; ADDENDS] = std::array::from_fn(|i| (i < few).then(|| x(first + i).span(start, len)));
        let addends = Addends { x: spans.map(|span| span.map_or(0, |span| span.pointer())) };
        let mut session = cuda.session();
        let launch = session
            .launch(Kernel::Accumulate, [len.div_ceil(1024), 1, 1], 256)
            .write(acc.span(start, len)) // float* acc
            .size(len) // unsigned len
            .plain(&addends) // Addends from
            .size(few); // unsigned count
        spans.into_iter().flatten().fold(launch, |launch, span| launch.also(span, false)).go();
    }
}

/// Elements that one block squares at least.
const SQUARES: usize = 4096;
/// Blocks that square at most.
const SQUARE_BLOCKS: usize = 1024;

pub(crate) fn sum_sq<D: Device>(cuda: &Cuda<D>, sum: &mut Buf<D>, write: Write, x: &Buf<D>, len: usize) {
    let parts = len.div_ceil(SQUARES).clamp(1, SQUARE_BLOCKS);
    let mut session = cuda.session();
    let between = session.workspace(parts);
    session
        .launch(Kernel::SumSqParts, [parts, 1, 1], 256)
        .write_workspace(between) // float* parts
        .read(x.span(0, len)) // const float* x
        .size(len) // unsigned len
        .go();
    session
        .launch(Kernel::SumSqJoin, [1, 1, 1], 256)
        .write(sum.span(0, 1)) // float* sum
        .read_workspace(between) // const float* parts
        .size(parts) // unsigned count
        .u32((write == Write::Add).into()) // unsigned add
        .go();
}
