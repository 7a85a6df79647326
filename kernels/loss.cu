// Loss and probabilities (model.md §6).
#include "rows.cuh"

// d_logits[b] = w_b (σ(o_b) − y_b) · scale, and parts[block] = Σ_b w_b (max(o_b, 0) − o_b y_b + log(1 + e^{−|o_b|})) over the
// rows of the block.
// Floor: 16 bytes a row. Grid: ⌈rows / 256⌉ blocks of 256 threads, at most 128.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    bce_with_logits(float* d_logits, unsigned ld_d, float* parts, const float* logits, unsigned ld_logits,
                    const float* labels, const float* weights, unsigned rows, float scale) {
  __shared__ float scratch[8];
  float sum = 0.0f;
  for (size_t row = blockIdx.x * 256 + threadIdx.x; row < rows; row += gridDim.x * 256) {
    const float o = logits[row * ld_logits], y = labels[row], w = weights[row];
    const float e = expf(-fabsf(o));
    sum += w * ((o > 0.0f ? o : 0.0f) - o * y + log1pf(e));
    d_logits[row * ld_d] = w * (sigmoid_of(o, e) - y) * scale;
  }
  sum = block_sum<256>(sum, scratch);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = sum;
  }
}

// p = σ(o), element by element.
// Floor: each element of o read, of p written once. Grid: a thread a quad of columns, quad number blockIdx.x · 256 +
// threadIdx.x of `count`, blocks of 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) sigmoid(float* p, unsigned ld_p, const float* logits,
                                                          unsigned ld_logits, unsigned count, unsigned cols) {
  const bool aligned_p = quads_aligned(p, ld_p), aligned_o = quads_aligned(logits, ld_logits);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    const float4 o = load_quad(logits + row * ld_logits + col, left, aligned_o);
    const float4 v = each(o, [](float o) { return sigmoid_of(o, expf(-fabsf(o))); });
    store_quad(p + row * ld_p + col, v, left, aligned_p);
  });
}

// d = d ⊙ p ⊙ (1 − p): the gradient through p = σ(·).
// Floor: each element of d and p read, of d written once. Grid: as `sigmoid`.
// spills: none
extern "C" __global__ void __launch_bounds__(256) sigmoid_bwd(float* d, unsigned ld_d, const float* p, unsigned ld_p,
                                                              unsigned count, unsigned cols) {
  const bool aligned_d = quads_aligned(d, ld_d), aligned_p = quads_aligned(p, ld_p);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    float* at = d + row * ld_d + col;
    const float4 v = each(load_quad(at, left, aligned_d), load_quad(p + row * ld_p + col, left, aligned_p),
                          [](float d, float p) { return d * p * (1.0f - p); });
    store_quad(at, v, left, aligned_d);
  });
}
