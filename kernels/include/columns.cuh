// Sums over the rows of a column, by groups of rows: first of parts of the rows, which a second launch adds in order.
#pragma once
#include "vector.cuh"

// Rows offsets[g]..offsets[g + 1] are group g, without offsets all are one; a part has `part_rows` rows, a block `tile` columns.
struct ColumnParts {
  const unsigned* offsets;
  unsigned rows, cols, tile, groups, part_rows;
};

// Calls store(p + g, column, Σ value(b, column, g)), the sum over the rows b of group g among the rows of part p. Groups are
// contiguous, so p + g is another number for every pair that has rows. With one part the sums are complete: then empty groups get
// theirs, too. Grid: (tile of columns, parts), 256 threads: 256 / tile share a column. `partial` is shared memory of 256 sums.
template <class V, class F, class S>
__device__ __forceinline__ void column_parts(V* partial, const ColumnParts& a, F value, S store) {
  const unsigned column = blockIdx.x * a.tile + threadIdx.x % a.tile, lane = threadIdx.x / a.tile, lanes = 256 / a.tile;
  const unsigned first = blockIdx.y * a.part_rows, last = min(a.rows, first + a.part_rows);
  const bool complete = gridDim.y == 1;
  // The group of row `first`: the last that begins there or before.
  unsigned g = 0;
  if (a.offsets && !complete) g = warp_lower_bound(a.offsets, a.groups, first + 1) - 1;
  for (; g < a.groups; ++g) {
    const unsigned from = a.offsets ? max(first, a.offsets[g]) : first, to = a.offsets ? min(last, a.offsets[g + 1]) : last;
    if (!complete && from >= last) break;
    if (!complete && from >= to) continue;
    V sum;
    set_zero(sum);
    if (column < a.cols) {
#pragma unroll 8
      for (unsigned b = from + lane; b < to; b += lanes) add(sum, value(b, column, g));
    }
    partial[threadIdx.x] = sum;
    for (unsigned half = lanes / 2; half > 0; half /= 2) {
      __syncthreads();
      if (lane < half) add(partial[threadIdx.x], partial[threadIdx.x + half * a.tile]);
    }
    if (lane == 0 && column < a.cols) store(blockIdx.y + g, column, partial[threadIdx.x]);
    __syncthreads();
  }
}
