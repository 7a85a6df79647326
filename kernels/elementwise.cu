// What goes element by element, or row by row without experts.
//
// Element-wise kernels: a thread a quad of columns, quad number blockIdx.x · 256 + threadIdx.x of `count`; where no
// matrix has gaps between its rows they come as one long row. Grid: ⌈count / 256⌉ blocks of 256 threads.
#include "philox.cuh"
#include "rows.cuh"

// y = max(y, 0); NaN stays NaN.
// Floor: each element read and written once.
// spills: none
extern "C" __global__ void __launch_bounds__(256) relu(float* y, unsigned ld_y, unsigned count, unsigned cols) {
  const bool aligned = quads_aligned(y, ld_y);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    float* at = y + row * ld_y + col;
    const float4 v = each(load_quad(at, left, aligned), [](float v) { return v < 0.0f ? 0.0f : v; });
    store_quad(at, v, left, aligned);
  });
}

// out = d, or 0 where y <= 0: the gradient through y = ReLU(·). `out` may be d.
// Floor: each element of d and y read, of out written once.
// spills: none
extern "C" __global__ void __launch_bounds__(256) relu_bwd(float* out, unsigned ld_out, const float* d, unsigned ld_d,
                                                           const float* y, unsigned ld_y, unsigned count, unsigned cols) {
  const bool aligned_out = quads_aligned(out, ld_out), aligned_d = quads_aligned(d, ld_d), aligned_y = quads_aligned(y, ld_y);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    const float4 v = each(load_quad(d + row * ld_d + col, left, aligned_d), load_quad(y + row * ld_y + col, left, aligned_y),
                          [](float d, float y) { return y <= 0.0f ? 0.0f : d; });
    store_quad(out + row * ld_out + col, v, left, aligned_out);
  });
}

// y = y where y > 0, else slope · y; NaN stays NaN.
// Floor: each element read and written once.
// spills: none
extern "C" __global__ void __launch_bounds__(256) leaky_relu(float* y, unsigned ld_y, unsigned count, unsigned cols,
                                                             float slope) {
  const bool aligned = quads_aligned(y, ld_y);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    float* at = y + row * ld_y + col;
    const float4 v = each(load_quad(at, left, aligned), [=](float v) { return v > 0.0f ? v : slope * v; });
    store_quad(at, v, left, aligned);
  });
}

// d = d, or slope · d where y <= 0: the gradient through y = LeakyReLU(·).
// Floor: each element of d and y read, of d written once.
// spills: none
extern "C" __global__ void __launch_bounds__(256) leaky_relu_bwd(float* d, unsigned ld_d, const float* y, unsigned ld_y,
                                                                 unsigned count, unsigned cols, float slope) {
  const bool aligned_d = quads_aligned(d, ld_d), aligned_y = quads_aligned(y, ld_y);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    float* at = d + row * ld_d + col;
    const float4 v = each(load_quad(at, left, aligned_d), load_quad(y + row * ld_y + col, left, aligned_y),
                          [=](float d, float y) { return y <= 0.0f ? slope * d : d; });
    store_quad(at, v, left, aligned_d);
  });
}

// y[b, :] = s[b] · x[b, :], or += it.
// Floor: each element of x and s read, of y written once (and read when added to).
// spills: none
extern "C" __global__ void __launch_bounds__(256) row_scale(float* y, unsigned ld_y, const float* s, unsigned ld_s,
                                                            const float* x, unsigned ld_x, unsigned count,
                                                            unsigned cols, unsigned add) {
  const bool aligned_y = quads_aligned(y, ld_y), aligned_x = quads_aligned(x, ld_x);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    const float factor = s[row * ld_s];
    float4 v = load_quad(x + row * ld_x + col, left, aligned_x);
    float* to = y + row * ld_y + col;
    if (add) {
      v = add_scaled(load_quad(to, left, aligned_y), factor, v);
    } else {
      v = each(v, [=](float x) { return factor * x; });
    }
    store_quad(to, v, left, aligned_y);
  });
}

// y[b, :] = x[b, :] ⊙ v[b, :], or += it; v may be one row, with an ld_v of 0.
// Floor: each element of x and v read, of y written once (and read when added to).
// spills: none
extern "C" __global__ void __launch_bounds__(256) mul(float* y, unsigned ld_y, const float* x, unsigned ld_x,
                                                      const float* v, unsigned ld_v, unsigned count, unsigned cols,
                                                      unsigned add) {
  const bool aligned_y = quads_aligned(y, ld_y), aligned_x = quads_aligned(x, ld_x), aligned_v = quads_aligned(v, ld_v);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    float* to = y + row * ld_y + col;
    float4 product = each(load_quad(x + row * ld_x + col, left, aligned_x), load_quad(v + row * ld_v + col, left, aligned_v),
                          [](float x, float v) { return x * v; });
    if (add) {
      product = each(load_quad(to, left, aligned_y), product, [](float y, float p) { return y + p; });
    }
    store_quad(to, product, left, aligned_y);
  });
}

// g = 2 σ(o) and y = x ⊙ g.
// Floor: each element of x and o read, of y and g written once.
// spills: none
extern "C" __global__ void __launch_bounds__(256) sigmoid_gate(float* y, unsigned ld_y, float* g, unsigned ld_g,
                                                               const float* x, unsigned ld_x, const float* o,
                                                               unsigned ld_o, unsigned count, unsigned cols) {
  const bool aligned_y = quads_aligned(y, ld_y), aligned_g = quads_aligned(g, ld_g);
  const bool aligned_x = quads_aligned(x, ld_x), aligned_o = quads_aligned(o, ld_o);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    const float4 gate = each(load_quad(o + row * ld_o + col, left, aligned_o),
                             [](float o) { return 2.0f * sigmoid_of(o, expf(-fabsf(o))); });
    const float4 gated = each(load_quad(x + row * ld_x + col, left, aligned_x), gate, [](float x, float g) { return x * g; });
    store_quad(g + row * ld_g + col, gate, left, aligned_g);
    store_quad(y + row * ld_y + col, gated, left, aligned_y);
  });
}

// d_o = d_y ⊙ x ⊙ g ⊙ (1 − g/2), and d_x = d_y ⊙ g or += it.
// Floor: each element of d_y, x and g read, of d_o and d_x written once (and of d_x read when added to).
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    sigmoid_gate_bwd(float* d_o, unsigned ld_d_o, float* d_x, unsigned ld_d_x, const float* d_y, unsigned ld_d_y,
                     const float* x, unsigned ld_x, const float* g, unsigned ld_g, unsigned count, unsigned cols,
                     unsigned add) {
  const bool aligned_d_o = quads_aligned(d_o, ld_d_o), aligned_d_x = quads_aligned(d_x, ld_d_x);
  const bool aligned_d_y = quads_aligned(d_y, ld_d_y), aligned_x = quads_aligned(x, ld_x), aligned_g = quads_aligned(g, ld_g);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    const float4 gate = load_quad(g + row * ld_g + col, left, aligned_g);
    float4 gated = each(load_quad(d_y + row * ld_d_y + col, left, aligned_d_y), gate, [](float d, float g) { return d * g; });
    const float4 slope = each(load_quad(x + row * ld_x + col, left, aligned_x), gate,
                              [](float x, float g) { return x * (1.0f - 0.5f * g); });
    store_quad(d_o + row * ld_d_o + col, each(gated, slope, [](float d, float s) { return d * s; }), left, aligned_d_o);
    float* to = d_x + row * ld_d_x + col;
    if (add) {
      gated = each(load_quad(to, left, aligned_d_x), gated, [](float x, float d) { return x + d; });
    }
    store_quad(to, gated, left, aligned_d_x);
  });
}

// Dropout (model.md §5), the same mask on every backend: x[b, j] = x[b, j] · scale where word j % 4 of Philox(row of the input, j / 4, site, step) is at least `threshold`, else 0.
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

struct RowDot {
  float* out;
  const float *x, *y;
  unsigned ld_out, ld_x, ld_y, rows, cols, add;
};

template <unsigned LANES>
__device__ __forceinline__ void row_dot_by(const RowDot& a) {
  const unsigned lane = threadIdx.x % LANES, at = blockIdx.x * (256 / LANES) + threadIdx.x / LANES;
  const size_t row = min(at, a.rows - 1);
  const bool aligned_x = quads_aligned(a.x, a.ld_x), aligned_y = quads_aligned(a.y, a.ld_y);
  const float *x = a.x + row * a.ld_x, *y = a.y + row * a.ld_y;
  float sum = 0.0f;
  for (unsigned col = lane * 4; col < a.cols; col += LANES * 4) {
    const unsigned left = a.cols - col;
    sum = dot_quad(load_quad(x + col, left, aligned_x), load_quad(y + col, left, aligned_y), sum);
  }
  sum = group_sum<LANES>(sum);
  if (lane == 0 && at < a.rows) {
    float* out = a.out + row * a.ld_out;
    *out = a.add ? *out + sum : sum;
  }
}

// out[b] = x[b, :] · y[b, :], or += it.
// Floor: each element of x and y read once. Grid: `lanes` (8, 16 or 32) lanes a row, blocks of 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) row_dot(float* out, unsigned ld_out, const float* x, unsigned ld_x,
                                                          const float* y, unsigned ld_y, unsigned rows, unsigned cols,
                                                          unsigned add, unsigned lanes) {
  const RowDot a{out, x, y, ld_out, ld_x, ld_y, rows, cols, add};
  switch (lanes) {
    case 8:
      return row_dot_by<8>(a);
    case 16:
      return row_dot_by<16>(a);
    default:
      return row_dot_by<32>(a);
  }
}
