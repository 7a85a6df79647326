//! Sums of parts, which other operations end with (kernels/dense.cu).

use optmsm_core::backend::{Groups, Write};

use crate::cuda::Cuda;
use crate::device::Device;
use crate::kernels::Kernel;
use crate::launch::{Launcher, Recording, Workspace};
use crate::memory::{Ids, MM, Span};

/// out (+)= parts[0] + parts[1] + … in this order, `count` of them, each as large as `out` and dense.
pub(crate) fn sum_parts<D: Device>(
    recording: &mut Recording<'_, D>,
    out: MM<D>,
    write: Write,
    parts: Workspace,
    count: usize,
) {
    if out.rows * out.cols == 0 {
        return;
    }
    recording
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
    by: Groups<Ids<D>>,
    kernel: Kernel,
    operands: impl FnOnce(Launcher<'_>) -> Launcher<'_>,
) {
    let (groups, cols) = out.first().map_or((0, 0), |out| (out.rows, out.cols));
    if groups * cols == 0 {
        return;
    }
    let offsets = if let Groups::Rows(offsets) = by { Some(offsets.span(0, groups + 1)) } else { None };
    assert!(offsets.is_some() || groups == 1, "{groups} rows of sums without groups");
    let parts = rows.div_ceil(PART).clamp(1, PARTS);
    let part_rows = rows.div_ceil(parts).max(1);
    let parts = rows.div_ceil(part_rows).max(1);
    let tile = cols.next_power_of_two().min(32);
    let add = u32::from(write == Write::Add);
    let each = (parts + groups - 1) * cols;

    let mut recording = cuda.record();
    let between = (parts > 1).then(|| recording.workspace(N * each));
    let mut first = recording.launch(kernel, [cols.div_ceil(tile), parts, 1], 256);
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
            sum_parts(&mut recording, out, write, sums, parts);
            continue;
        };
        recording
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
