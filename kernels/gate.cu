// Gate and selection (model.md §4, backward §8): e [B, K·m], α [B, K], mix [B, m].
#include "rows.cuh"

struct Softmax {
  float* alpha;
  const float* logits;
  unsigned ld_alpha, ld_logits, rows, experts;
};

// α of the row of this group of lanes; lane k % LANES writes α_k.
template <unsigned LANES>
__device__ __forceinline__ void softmax_row(const Softmax& s, size_t row, bool live) {
  const unsigned lane = threadIdx.x % LANES;
  const float* logits = s.logits + row * s.ld_logits;
  float largest = -INFINITY;
  for (unsigned k = lane; k < s.experts; k += LANES) {
    largest = fmaxf(largest, logits[k]);
  }
  largest = group_max<LANES>(largest);
  float sum = 0.0f;
  for (unsigned k = lane; k < s.experts; k += LANES) {
    sum += expf(logits[k] - largest);
  }
  sum = group_sum<LANES>(sum);
  if (live) {
    for (unsigned k = lane; k < s.experts; k += LANES) {
      s.alpha[row * s.ld_alpha + k] = expf(logits[k] - largest) / sum;
    }
  }
}

// α = softmax(logits), row by row.
// Floor: 8 bytes an element. Grid: 8 lanes a row, blocks of 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) softmax(float* alpha, unsigned ld_alpha, const float* logits,
                                                          unsigned ld_logits, unsigned rows, unsigned experts) {
  const unsigned at = blockIdx.x * 32 + threadIdx.x / 8;
  softmax_row<8>({alpha, logits, ld_alpha, ld_logits, rows, experts}, min(at, rows - 1), at < rows);
}

// d_logit_k = α_k (d_α_k − Σ_j α_j d_α_j), row by row.
// Floor: 12 bytes an element. Grid: 8 lanes a row, blocks of 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    softmax_bwd(float* d_logits, unsigned ld_d_logits, const float* d_alpha, unsigned ld_d_alpha, const float* alpha,
                unsigned ld_alpha, unsigned rows, unsigned experts) {
  const unsigned lane = threadIdx.x % 8, at = blockIdx.x * 32 + threadIdx.x / 8;
  const size_t row = min(at, rows - 1);
  const float *d = d_alpha + row * ld_d_alpha, *a = alpha + row * ld_alpha;
  float mean = 0.0f;
  for (unsigned k = lane; k < experts; k += 8) {
    mean += a[k] * d[k];
  }
  mean = group_sum<8>(mean);
  if (at < rows) {
    for (unsigned k = lane; k < experts; k += 8) {
      d_logits[row * ld_d_logits + k] = a[k] * (d[k] - mean);
    }
  }
}

// Σ_k α_k e_k at four columns.
__device__ __forceinline__ float4 mix_quad(const float* alpha, const Experts& experts, unsigned col) {
  float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 4
  for (unsigned k = 0; k < experts.count; ++k) {
    sum = add_scaled(sum, alpha[k], experts.load(k, col));
  }
  return sum;
}

// mix = Σ_k α_k e_k.
// Floor: each element of e read, of mix written once. Grid: a thread a quad of columns of mix, quad number
// blockIdx.x · 256 + threadIdx.x of `count`, blocks of 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) mix(float* mix, unsigned ld_mix, const float* alpha,
                                                      unsigned ld_alpha, const float* e, unsigned ld_e, unsigned count,
                                                      unsigned experts, unsigned width) {
  const bool aligned = quads_aligned(mix, ld_mix), aligned_e = quads_aligned(e, ld_e) && width % 4 == 0;
  for_quad(count, width, [=](size_t row, unsigned col, unsigned left) {
    const float4 sum = mix_quad(alpha + row * ld_alpha, {e + row * ld_e, experts, width, aligned_e}, col);
    store_quad(mix + row * ld_mix + col, sum, left, aligned);
  });
}

struct Gate {
  float* mix;
  Softmax softmax;
  const float* e;
  unsigned ld_mix, ld_e, width;
};

template <unsigned LANES>
__device__ __forceinline__ void gate_by(const Gate& g) {
  const Softmax& s = g.softmax;
  const unsigned at = blockIdx.x * (256 / LANES) + threadIdx.x / LANES;
  const size_t row = min(at, s.rows - 1);
  softmax_row<LANES>(s, row, at < s.rows);
  // All of α is there: other lanes of the warp wrote it.
  __syncwarp();
  if (at < s.rows) {
    const bool aligned = quads_aligned(g.mix, g.ld_mix);
    const bool aligned_e = quads_aligned(g.e, g.ld_e) && g.width % 4 == 0;
    const Experts experts{g.e + row * g.ld_e, s.experts, g.width, aligned_e};
    for (unsigned col = threadIdx.x % LANES * 4; col < g.width; col += LANES * 4) {
      const float4 sum = mix_quad(s.alpha + row * s.ld_alpha, experts, col);
      store_quad(g.mix + row * g.ld_mix + col, sum, g.width - col, aligned);
    }
  }
}

// α = softmax(logits) and mix = Σ_k α_k e_k.
// Floor: each element of e and logits read, of mix and α written once. Grid: `lanes` (8, 16 or 32) lanes a row, blocks of
// 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    gate(float* mix, unsigned ld_mix, float* alpha, unsigned ld_alpha, const float* logits, unsigned ld_logits,
         const float* e, unsigned ld_e, unsigned rows, unsigned experts, unsigned width, unsigned lanes) {
  const Gate g{mix, {alpha, logits, ld_alpha, ld_logits, rows, experts}, e, ld_mix, ld_e, width};
  switch (lanes) {
    case 8:
      return gate_by<8>(g);
    case 16:
      return gate_by<16>(g);
    default:
      return gate_by<32>(g);
  }
}

struct MixBwd {
  float *d_alpha, *d_e;
  const float *d_mix, *alpha, *e;
  unsigned ld_d_alpha, ld_d_e, ld_d_mix, ld_alpha, ld_e, rows, experts, width, add;
};

template <unsigned LANES>
__device__ __forceinline__ void mix_bwd_by(const MixBwd& g) {
  const unsigned lane = threadIdx.x % LANES, at = blockIdx.x * (256 / LANES) + threadIdx.x / LANES;
  const size_t row = min(at, g.rows - 1);
  const bool live = at < g.rows, whole = g.width % 4 == 0;
  const bool aligned_d_mix = quads_aligned(g.d_mix, g.ld_d_mix);
  const bool aligned_d_e = quads_aligned(g.d_e, g.ld_d_e) && whole;
  const float *d_mix = g.d_mix + row * g.ld_d_mix, *alpha = g.alpha + row * g.ld_alpha;
  const Experts experts{g.e + row * g.ld_e, g.experts, g.width, quads_aligned(g.e, g.ld_e) && whole};
  const auto d_mix_quad = [=](unsigned col) { return load_quad(d_mix + col, g.width - col, aligned_d_mix); };
  for (unsigned k = 0; k < g.experts; k += 4) {
    float beta[4];
    four_dots<LANES>(beta, d_mix_quad, experts, k, g.experts - 1);
    if (live && lane < 4 && k + lane < g.experts) {
      g.d_alpha[row * g.ld_d_alpha + k + lane] = pick(beta, lane);
    }
  }
  if (live) {
    for (unsigned col = lane * 4; col < g.width; col += LANES * 4) {
      const float4 d = d_mix_quad(col);
      for (unsigned k = 0; k < g.experts; ++k) {
        float* to = g.d_e + row * g.ld_d_e + static_cast<size_t>(k) * g.width + col;
        const float a = alpha[k];
        const float4 v = g.add ? add_scaled(load_quad(to, g.width - col, aligned_d_e), a, d)
                               : each(d, [=](float d) { return a * d; });
        store_quad(to, v, g.width - col, aligned_d_e);
      }
    }
  }
}

// d_α_k = d_mix · e_k, and d_e_k = α_k d_mix or += it.
// Floor: each element of e and d_mix read, of d_e written once (and read when added to). Grid: `lanes` (8, 16 or 32) lanes
// a row, blocks of 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    mix_bwd(float* d_alpha, unsigned ld_d_alpha, float* d_e, unsigned ld_d_e, const float* d_mix, unsigned ld_d_mix,
            const float* alpha, unsigned ld_alpha, const float* e, unsigned ld_e, unsigned rows, unsigned experts,
            unsigned width, unsigned add, unsigned lanes) {
  const MixBwd g{d_alpha, d_e,      d_mix, alpha, e,       ld_d_alpha, ld_d_e,
                 ld_d_mix, ld_alpha, ld_e,  rows,  experts, width,      add};
  switch (lanes) {
    case 8:
      return mix_bwd_by<8>(g);
    case 16:
      return mix_bwd_by<16>(g);
    default:
      return mix_bwd_by<32>(g);
  }
}

// mix[b, :] = e_g[b, :], row b of group g.
// Floor: each element of mix written, as many of e read. Grid: as `mix`.
// spills: none
extern "C" __global__ void __launch_bounds__(256) select_expert(float* mix, unsigned ld_mix, const float* e,
                                                                unsigned ld_e, const unsigned* offsets, unsigned count,
                                                                unsigned groups, unsigned width) {
  const bool aligned = quads_aligned(mix, ld_mix), aligned_e = quads_aligned(e, ld_e) && width % 4 == 0;
  for_quad(count, width, [=](size_t row, unsigned col, unsigned left) {
    const Experts experts{e + row * ld_e, groups, width, aligned_e};
    const unsigned group = group_of(offsets, groups, static_cast<unsigned>(row));
    store_quad(mix + row * ld_mix + col, experts.load(group, col), left, aligned);
  });
}

// d_e_g[b, :] = d_mix[b, :] and the rest of d_e = 0, row b of group g.
// Floor: each element of d_e written, of d_mix read once. Grid: a thread a quad of the columns of an expert, number
// blockIdx.x · 256 + threadIdx.x of `count`: row, then expert, then quad; blocks of 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    select_expert_bwd(float* d_e, unsigned ld_d_e, const float* d_mix, unsigned ld_d_mix, const unsigned* offsets,
                      unsigned count, unsigned groups, unsigned width) {
  const bool aligned = quads_aligned(d_mix, ld_d_mix), aligned_e = quads_aligned(d_e, ld_d_e) && width % 4 == 0;
  for_quad(count, width, [=](size_t at, unsigned col, unsigned left) {
    const size_t row = at / groups;
    const unsigned k = static_cast<unsigned>(at - row * groups);
    float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (k == group_of(offsets, groups, static_cast<unsigned>(row))) {
      v = load_quad(d_mix + row * ld_d_mix + col, left, aligned);
    }
    store_quad(d_e + row * ld_d_e + static_cast<size_t>(k) * width + col, v, left, aligned_e);
  });
}

// d_e_g[b, :] += d_mix[b, :], row b of group g.
// Floor: each element of d_mix read, as many of d_e read and written. Grid: as `mix`.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    select_expert_bwd_add(float* d_e, unsigned ld_d_e, const float* d_mix, unsigned ld_d_mix, const unsigned* offsets,
                          unsigned count, unsigned groups, unsigned width) {
  const bool aligned = quads_aligned(d_mix, ld_d_mix), aligned_e = quads_aligned(d_e, ld_d_e) && width % 4 == 0;
  for_quad(count, width, [=](size_t row, unsigned col, unsigned left) {
    const unsigned group = group_of(offsets, groups, static_cast<unsigned>(row));
    float* to = d_e + row * ld_d_e + static_cast<size_t>(group) * width + col;
    const float4 old = load_quad(to, left, aligned_e), d = load_quad(d_mix + row * ld_d_mix + col, left, aligned);
    store_quad(to, each(old, d, [](float e, float d) { return e + d; }), left, aligned_e);
  });
}
