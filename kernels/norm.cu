// Normalization by group: rows offsets[g]..offsets[g + 1] have the statistics of group g. Layer normalization: each row has its
// own.
#include "columns.cuh"
#include "rows.cuh"

// First of two: with d = x[b, :] − center[g, :], sums[p + g, :] = Σ d and squares[p + g, :] = Σ d², as column_parts says.
// Floor: x read once. Grid: (tile of columns, parts); 256 / tile threads share a column.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    deviations_parts(float* sums, unsigned ld_sums, float* squares, unsigned ld_squares, const float* x, unsigned ld_x,
                     const float* center, unsigned ld_center, unsigned rows, unsigned cols, unsigned tile,
                     const unsigned* offsets, unsigned groups, unsigned part_rows, unsigned add) {
  __shared__ float2 partial[256];
  const ColumnParts cut{offsets, rows, cols, tile, groups, part_rows};
  column_parts(
      partial, cut,
      [=](unsigned b, unsigned column, unsigned g) {
        const float d = x[(size_t)b * ld_x + column] - center[(size_t)g * ld_center + column];
        return make_float2(d, d * d);
      },
      [=](unsigned row, unsigned column, float2 sum) {
        float *out = sums + (size_t)row * ld_sums + column, *square = squares + (size_t)row * ld_squares + column;
        *out = add ? *out + sum.x : sum.x;
        *square = add ? *square + sum.y : sum.y;
      });
}

// Mean and 1/√(variance + eps) of each group from its sums, and the running statistics, of which `keep` stays and `rest` is new. A
// group without rows, as all are without offsets, has its running statistics, which are then only read.
// Floor: each element read and written once. Grid: ⌈groups · cols / 256⌉ blocks of 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    moments(float* mean, unsigned ld_mean, float* inv_std, unsigned ld_inv_std, float* running_mean, unsigned ld_running_mean,
            float* running_var, unsigned ld_running_var, const float* sums, unsigned ld_sums, const float* squares,
            unsigned ld_squares, const unsigned* offsets, unsigned groups, unsigned cols, float eps, float keep, float rest) {
  const unsigned i = blockIdx.x * 256 + threadIdx.x, column = i % cols;
  const size_t g = i / cols;
  if (g >= groups) return;
  float *old_mean = running_mean + g * ld_running_mean + column, *old_var = running_var + g * ld_running_var + column;
  float center = *old_mean, var = *old_var;
  const unsigned rows = offsets ? offsets[g + 1] - offsets[g] : 0;
  if (rows > 0) {
    const float delta = sums[g * ld_sums + column] / rows, v = squares[g * ld_squares + column] / rows - delta * delta;
    const float new_mean = center + delta, new_var = v < 0.0f ? 0.0f : v;  // NaN stays NaN
    *old_mean = keep * center + rest * new_mean;
    *old_var = keep * var + rest * new_var;
    center = new_mean;
    var = new_var;
  }
  mean[g * ld_mean + column] = center;
  inv_std[g * ld_inv_std + column] = 1.0f / sqrtf(var + eps);
}

// y[b, :] = (x[b, :] − mean[g, :]) ⊙ inv_std[g, :], row b of group g.
// Floor: each element of x read, of y written once. Grid: a thread a quad of columns, quad number blockIdx.x · 256 + threadIdx.x
// of `count`, blocks of 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    normalize(float* y, unsigned ld_y, const float* x, unsigned ld_x, const float* mean, unsigned ld_mean,
              const float* inv_std, unsigned ld_inv_std, const unsigned* offsets, unsigned groups, unsigned count,
              unsigned cols) {
  const bool aligned_y = quads_aligned(y, ld_y), aligned_x = quads_aligned(x, ld_x);
  const bool aligned_mean = quads_aligned(mean, ld_mean), aligned_inv_std = quads_aligned(inv_std, ld_inv_std);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    const size_t g = group_of(offsets, groups, static_cast<unsigned>(row));
    const float4 d = each(load_quad(x + row * ld_x + col, left, aligned_x), load_quad(mean + g * ld_mean + col, left, aligned_mean),
                          [](float x, float mean) { return x - mean; });
    const float4 inv = load_quad(inv_std + g * ld_inv_std + col, left, aligned_inv_std);
    store_quad(y + row * ld_y + col, each(d, inv, [](float d, float inv) { return d * inv; }), left, aligned_y);
  });
}

// y[b, :] = x[b, :] ⊙ scale[g, :] + shift[g, :], row b of group g.
// Floor: each element of x read, of y written once. Grid: as `normalize`.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    affine(float* y, unsigned ld_y, const float* x, unsigned ld_x, const float* scale, unsigned ld_scale, const float* shift,
           unsigned ld_shift, const unsigned* offsets, unsigned groups, unsigned count, unsigned cols) {
  const bool aligned_y = quads_aligned(y, ld_y), aligned_x = quads_aligned(x, ld_x);
  const bool aligned_scale = quads_aligned(scale, ld_scale), aligned_shift = quads_aligned(shift, ld_shift);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    const size_t g = group_of(offsets, groups, static_cast<unsigned>(row));
    const float4 scaled = each(load_quad(x + row * ld_x + col, left, aligned_x),
                               load_quad(scale + g * ld_scale + col, left, aligned_scale),
                               [](float x, float scale) { return x * scale; });
    const float4 by = load_quad(shift + g * ld_shift + col, left, aligned_shift);
    store_quad(y + row * ld_y + col, each(scaled, by, [](float x, float shift) { return x + shift; }), left, aligned_y);
  });
}

// d[b, :] = gain[g, :] ⊙ (d[b, :] − sum_d[g, :]/N − x_hat[b, :] ⊙ sum_dx[g, :]/N), row b of group g of the block, N rows of it in the
// batch.
// Floor: each element of d and x_hat read, of d written once. Grid: as `normalize`.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    norm_bwd(float* d, unsigned ld_d, const float* x_hat, unsigned ld_x_hat, const float* gain, unsigned ld_gain,
             const float* sum_d, unsigned ld_sum_d, const float* sum_dx, unsigned ld_sum_dx, const unsigned* offsets,
             const unsigned* batch, unsigned groups, unsigned count, unsigned cols) {
  const bool aligned_d = quads_aligned(d, ld_d), aligned_x = quads_aligned(x_hat, ld_x_hat);
  const bool aligned_gain = quads_aligned(gain, ld_gain), aligned_sum_d = quads_aligned(sum_d, ld_sum_d);
  const bool aligned_sum_dx = quads_aligned(sum_dx, ld_sum_dx);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    const size_t g = group_of(offsets, groups, static_cast<unsigned>(row));
    const float share = 1.0f / (batch[g + 1] - batch[g]);
    float* at = d + row * ld_d + col;
    const float4 centered = each(load_quad(at, left, aligned_d), load_quad(sum_d + g * ld_sum_d + col, left, aligned_sum_d),
                                 [=](float d, float sum) { return d - share * sum; });
    const float4 along = each(load_quad(x_hat + row * ld_x_hat + col, left, aligned_x),
                              load_quad(sum_dx + g * ld_sum_dx + col, left, aligned_sum_dx),
                              [=](float x, float sum) { return x * (share * sum); });
    const float4 rest = each(centered, along, [](float d, float along) { return d - along; });
    const float4 by = load_quad(gain + g * ld_gain + col, left, aligned_gain);
    store_quad(at, each(rest, by, [](float d, float gain) { return gain * d; }), left, aligned_d);
  });
}

// x_hat[b, :] = (x[b, :] − mean) · inv_std[b] with inv_std = 1/√(variance + eps) of the row.
// Floor: each element of x read, of x_hat written once. Grid: a warp a row, blocks of 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    layer_norm(float* x_hat, unsigned ld_x_hat, float* inv_std, unsigned ld_inv_std, const float* x, unsigned ld_x,
               unsigned rows, unsigned cols, float eps) {
  const unsigned lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32;
  if (at >= rows) return;
  const size_t row = at;
  const float* from = x + row * ld_x;
  float sum = 0.0f, squares = 0.0f;
  for (unsigned col = lane; col < cols; col += 32) {
    sum += from[col];
  }
  const float mean = group_sum<32>(sum) / cols;
  for (unsigned col = lane; col < cols; col += 32) {
    const float d = from[col] - mean;
    squares = fmaf(d, d, squares);
  }
  const float inv = 1.0f / sqrtf(group_sum<32>(squares) / cols + eps);
  for (unsigned col = lane; col < cols; col += 32) {
    x_hat[row * ld_x_hat + col] = (from[col] - mean) * inv;
  }
  if (lane == 0) {
    inv_std[row * ld_inv_std] = inv;
  }
}

// d[b, :] = inv_std[b] · (d[b, :] − mean of d[b, :] − x_hat[b, :] · mean of d[b, :] ⊙ x_hat[b, :]).
// Floor: each element of d and x_hat read, of d written once. Grid: as `layer_norm`.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    layer_norm_bwd(float* d, unsigned ld_d, const float* x_hat, unsigned ld_x_hat, const float* inv_std, unsigned ld_inv_std,
                   unsigned rows, unsigned cols) {
  const unsigned lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32;
  if (at >= rows) return;
  const size_t row = at;
  float* to = d + row * ld_d;
  const float *x = x_hat + row * ld_x_hat, inv = inv_std[row * ld_inv_std];
  float sum = 0.0f, dot = 0.0f;
  for (unsigned col = lane; col < cols; col += 32) {
    sum += to[col];
    dot = fmaf(to[col], x[col], dot);
  }
  const float mean = group_sum<32>(sum) / cols, along = group_sum<32>(dot) / cols;
  for (unsigned col = lane; col < cols; col += 32) {
    to[col] = inv * (to[col] - mean - x[col] * along);
  }
}
