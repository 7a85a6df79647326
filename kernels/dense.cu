// Sums: of parts, and by column. Products are in gemm.cu.
#include "columns.cuh"

// Σ at[i · step] for i from 0 to count, in this order, the loads ahead of the sums.
__device__ __forceinline__ float sum_ahead(const float* at, unsigned count, size_t step) {
  constexpr unsigned AHEAD = 16;
  float sum = 0.0f;
  for (unsigned i = 0; i < count; i += AHEAD) {
    float v[AHEAD];
#pragma unroll
    for (unsigned k = 0; k < AHEAD; ++k) {
      if (i + k < count) v[k] = at[(i + k) * step];
    }
#pragma unroll
    for (unsigned k = 0; k < AHEAD; ++k) {
      if (i + k < count) sum += v[k];
    }
  }
  return sum;
}

// out (+)= parts[0] + parts[1] + … in this order, each [rows, cols] and dense.
// Floor: each part read once, out written once. Grid: 256 elements, 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) sum_parts(float* out, unsigned ld_out, const float* parts, unsigned count,
                                                            unsigned rows, unsigned cols, unsigned add) {
  const unsigned i = blockIdx.x * 256 + threadIdx.x, row = i / cols;
  if (row >= rows) return;
  float* to = out + (size_t)row * ld_out + i % cols;
  const float sum = sum_ahead(parts + i, count, (size_t)rows * cols);
  *to = add ? *to + sum : sum;
}

// First of two: sums[p + g, :] = Σ x[b, :], as column_parts says.
// Floor: x read once. Grid: (tile of columns, parts); 256 / tile threads share a column.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    col_sum_parts(float* sums, unsigned ld_sums, const float* x, unsigned ld_x, unsigned rows, unsigned cols, unsigned tile,
                  const unsigned* offsets, unsigned groups, unsigned part_rows, unsigned add) {
  __shared__ float partial[256];
  const ColumnParts cut{offsets, rows, cols, tile, groups, part_rows};
  column_parts(
      partial, cut, [=](unsigned b, unsigned column, unsigned) { return x[(size_t)b * ld_x + column]; },
      [=](unsigned row, unsigned column, float sum) {
        float* out = sums + (size_t)row * ld_sums + column;
        *out = add ? *out + sum : sum;
      });
}

// First of two: sums[p + g, :] = Σ x[b, :] ⊙ y[b, :], as column_parts says.
// Floor: x and y read once. Grid: (tile of columns, parts); 256 / tile threads share a column.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    col_dot_parts(float* sums, unsigned ld_sums, const float* x, unsigned ld_x, const float* y, unsigned ld_y, unsigned rows,
                  unsigned cols, unsigned tile, const unsigned* offsets, unsigned groups, unsigned part_rows, unsigned add) {
  __shared__ float partial[256];
  const ColumnParts cut{offsets, rows, cols, tile, groups, part_rows};
  column_parts(
      partial, cut,
      [=](unsigned b, unsigned column, unsigned) { return x[(size_t)b * ld_x + column] * y[(size_t)b * ld_y + column]; },
      [=](unsigned row, unsigned column, float sum) {
        float* out = sums + (size_t)row * ld_sums + column;
        *out = add ? *out + sum : sum;
      });
}

// Second of two, for groups: out[g, :] (+)= Σ_p sums[p + g, :] over the parts with rows of group g; 0 where it has none.
// Floor: each partial sum read once. Grid: ⌈cols / 256⌉ · groups, 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    col_sum_join(float* out, unsigned ld_out, const float* sums, unsigned cols, const unsigned* offsets, unsigned part_rows,
                 unsigned add) {
  const unsigned blocks = (cols + 255) / 256, g = blockIdx.x / blocks, column = blockIdx.x % blocks * 256 + threadIdx.x;
  if (column >= cols) return;
  const unsigned from = offsets[g], to = offsets[g + 1];
  const unsigned first = from / part_rows, count = from < to ? (to - 1) / part_rows - first + 1 : 0;
  const float sum = sum_ahead(sums + (size_t)(first + g) * cols + column, count, cols);
  float* at = out + (size_t)g * ld_out + column;
  *at = add ? *at + sum : sum;
}
