// Dropout (model.md §5), the same mask on every backend.
#include "philox.cuh"
#include "rows.cuh"

// x[b, j] = x[b, j] · scale where word j % 4 of Philox(row of the input, j / 4, site, step) is at least `threshold`, else 0.
// Floor: each element read and written once; 100 integer operations for four of them. Grid: a thread a quad of columns,
// quad number blockIdx.x · 256 + threadIdx.x of `count`, blocks of 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) dropout(float* x, unsigned ld_x, const unsigned* rows, unsigned count,
                                                          unsigned cols, unsigned site, unsigned step, unsigned key0,
                                                          unsigned key1, unsigned threshold, float scale) {
  const bool aligned = quads_aligned(x, ld_x);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    const uint4 words = philox4x32(make_uint4(rows[row], col / 4, site, step), make_uint2(key0, key1));
    float* at = x + row * ld_x + col;
    float4 v = load_quad(at, left, aligned);
    v.x = words.x >= threshold ? v.x * scale : 0.0f;
    v.y = words.y >= threshold ? v.y * scale : 0.0f;
    v.z = words.z >= threshold ? v.z * scale : 0.0f;
    v.w = words.w >= threshold ? v.w * scale : 0.0f;
    store_quad(at, v, left, aligned);
  });
}
