// Orthogonality penalty (model.md §3, backward §8): e [B, K·m], inv_k = 1 / max(‖e_k‖, ε), ê_k = e_k inv_k, cos_ij = ê_i·ê_j.
#include "rows.cuh"

// 1 / ε.
constexpr float INV_EPS = 1024.0f;
// Where squares overflow, those of e times this do not.
constexpr float SMALLER = 0x1p-96f;

// ê_k of one row. Products of them do not overflow, whatever e.
struct Units {
  Experts experts;
  const float* inv_norm;
  unsigned width;

  __device__ __forceinline__ Units(const Experts& experts, const float* inv_norm)
      : experts(experts), inv_norm(inv_norm), width(experts.width) {}

  __device__ __forceinline__ float4 load(unsigned k, unsigned col) const {
    const float inv = inv_norm[k];
    return each(experts.load(k, col), [=](float e) { return e * inv; });
  }
};

// squared[t] = ‖scale · e_{min(first + t, K − 1)}‖²; the same in every lane of the group.
template <unsigned LANES>
__device__ __forceinline__ void four_squares(float (&squared)[4], const Experts& experts, unsigned first, float scale) {
  squared[0] = squared[1] = squared[2] = squared[3] = 0.0f;
  for (unsigned col = threadIdx.x % LANES * 4; col < experts.width; col += LANES * 4) {
#pragma unroll
    for (unsigned t = 0; t < 4; ++t) {
      const float4 e = each(experts.load(min(first + t, experts.count - 1), col), [=](float e) { return e * scale; });
      squared[t] = dot_quad(e, e, squared[t]);
    }
  }
#pragma unroll
  for (unsigned t = 0; t < 4; ++t) {
    squared[t] = group_sum<LANES>(squared[t]);
  }
}

struct Penalty {
  float *inv_norm, *parts;
  const float* e;
  unsigned ld_inv_norm, ld_e, rows, experts, width, in_shared;
  float factor;
};

template <unsigned LANES>
__device__ __forceinline__ void penalty_by(const Penalty& p) {
  DYNAMIC_SHARED(float, shared);
  const unsigned lane = threadIdx.x % LANES, group = threadIdx.x / LANES, groups = blockDim.x / LANES;
  const unsigned sums = 1 + p.experts * (p.experts - 1) / 2;
  float* part = p.parts + static_cast<size_t>(blockIdx.x) * sums;
  // The sums of this group's rows.
  float* own = p.in_shared ? shared + group * sums : part;
  for (unsigned i = lane; i < sums; i += LANES) {
    own[i] = 0.0f;
  }
  __syncwarp();
  float penalty = 0.0f;
  const bool aligned = quads_aligned(p.e, p.ld_e) && p.width % 4 == 0;
  // A warp's groups take neighbouring rows, and all of them go round as long as one has a row.
  const unsigned warp_first = threadIdx.x / WARP * (WARP / LANES);
  for (unsigned first = blockIdx.x * groups; first + warp_first < p.rows; first += gridDim.x * groups) {
    const bool live = first + group < p.rows;
    const size_t row = min(first + group, p.rows - 1);
    const Experts experts{p.e + row * p.ld_e, p.experts, p.width, aligned};
    float* inv_norm = p.inv_norm + row * p.ld_inv_norm;
    for (unsigned i = 0; i < p.experts; i += 4) {
      float squared[4];
      four_squares<LANES>(squared, experts, i, 1.0f);
      float inv = 1.0f / sqrtf(pick(squared, lane));
      inv = inv > INV_EPS ? INV_EPS : inv;
      if (__any_sync(FULL_WARP, inv == 0.0f)) {
        four_squares<LANES>(squared, experts, i, SMALLER);
        inv = inv == 0.0f ? SMALLER / sqrtf(pick(squared, lane)) : inv;
      }
      if (live && lane < 4 && i + lane < p.experts) {
        inv_norm[i + lane] = inv;
      }
    }
    __syncwarp();
    const Units units(experts, inv_norm);
    for (unsigned j = 1; j < p.experts; ++j) {
      for (unsigned i = 0; i < j; i += 4) {
        float gram[4];
        four_dots<LANES>(gram, [&](unsigned col) { return units.load(j, col); }, units, i, j - 1);
        const unsigned at = i + lane;
        if (live && lane < 4 && at < j) {
          const float cos = pick(gram, lane);
          // Pairs in the order (0,1), (0,2) … (1,2) …; a pair is always this lane's.
          own[1 + at * p.experts - at * (at + 1) / 2 + (j - at - 1)] += fabsf(cos);
          penalty += p.factor * cos * cos;
        }
      }
    }
  }
  penalty = group_sum<LANES>(penalty);
  if (lane == 0) {
    own[0] = penalty;
  }
  if (p.in_shared) {
    __syncthreads();
    for (unsigned i = threadIdx.x; i < sums; i += blockDim.x) {
      float sum = 0.0f;
      for (unsigned from = 0; from < groups; ++from) {
        sum += shared[from * sums + i];
      }
      part[i] = sum;
    }
  }
}

// inv_norm_k = 1 / max(‖e_k‖, ε), and of the rows of each block parts[block, :] = Σ_b factor Σ_{i<j} cos², then Σ_b |cos_ij| of
// each pair; factor = 2 / (K(K−1)).
// Floor: each element of e read once; m K(K+1)/2 multiply-adds a row. Grid: at most 512 blocks that go over the rows;
// `lanes` (8, 16 or 32) lanes a row, up to 256 threads. Shared: 1 + K(K−1)/2 floats a group of lanes; where a warp's do not
// fit (`in_shared` = 0) a block is one warp, one row at a time, and sums in `parts`.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    orthogonality(float* inv_norm, unsigned ld_inv_norm, float* parts, const float* e, unsigned ld_e, unsigned rows,
                  unsigned experts, unsigned width, float factor, unsigned lanes, unsigned in_shared) {
  const Penalty p{inv_norm, parts, e, ld_inv_norm, ld_e, rows, experts, width, in_shared, factor};
  switch (lanes) {
    case 8:
      return penalty_by<8>(p);
    case 16:
      return penalty_by<16>(p);
    default:
      return penalty_by<32>(p);
  }
}

struct PenaltyBwd {
  float* d_e;
  const float *e, *inv_norm;
  float* wide;
  unsigned ld_d_e, ld_e, ld_inv_norm, rows, experts, width, lanes;
  float c;
};

// What reads e beside the penalty.
struct GateBwd {
  float *d_logits, *d_alpha;
  const float *d_mix, *alpha;
  unsigned ld_d_logits, ld_d_alpha, ld_d_mix, ld_alpha;
};

// β_k = d_mix · e_k: sets d_α and d_logits.
template <unsigned LANES, class D>
__device__ __forceinline__ void gate_row(const GateBwd& g, D d_mix, const Experts& experts, size_t row, bool live) {
  const unsigned lane = threadIdx.x % LANES;
  const float* alpha = g.alpha + row * g.ld_alpha;
  float* d_alpha = g.d_alpha + row * g.ld_d_alpha;
  float mean = 0.0f;
  for (unsigned k = 0; k < experts.count; k += 4) {
    float beta[4];
    four_dots<LANES>(beta, d_mix, experts, k, experts.count - 1);
    if (live && lane < 4 && k + lane < experts.count) {
      d_alpha[k + lane] = pick(beta, lane);
    }
#pragma unroll
    for (unsigned t = 0; t < 4; ++t) {
      if (k + t < experts.count) {
        mean += alpha[k + t] * beta[t];
      }
    }
  }
  __syncwarp();
  if (live) {
    for (unsigned k = lane; k < experts.count; k += LANES) {
      g.d_logits[row * g.ld_d_logits + k] = alpha[k] * (d_alpha[k] - mean);
    }
  }
}

// The matrix M with d_e_i = Σ_j M_ji ê_j, [K, ld], from the Gram matrix G of the row's ê:
//   M_ji = c G_ji inv_i,   M_ii = −c Σ_{j≠i} G_ji² inv_i, or 0 where ê_i = e_i / ε.
template <unsigned LANES>
__device__ __forceinline__ void coefficients(float* matrix, const Units& units, unsigned ld, float c) {
  const unsigned lane = threadIdx.x % LANES, count = units.experts.count;
  for (unsigned i = 1; i < count; ++i) {
    for (unsigned j = 0; j < i; j += 4) {
      float gram[4];
      four_dots<LANES>(gram, [&](unsigned col) { return units.load(i, col); }, units, j, i - 1);
      if (lane < 4 && j + lane < i) {
        matrix[i * ld + j + lane] = matrix[(j + lane) * ld + i] = pick(gram, lane);
      }
    }
  }
  __syncwarp();
  // A lane reads and writes whole columns.
  for (unsigned i = lane; i < count; i += LANES) {
    const float inv = units.inv_norm[i];
    float back = 0.0f;
    for (unsigned j = 0; j < count; ++j) {
      if (j != i) {
        const float gram = matrix[j * ld + i];
        back += gram * gram;
        matrix[j * ld + i] = c * gram * inv;
      }
    }
    matrix[i * ld + i] = inv < INV_EPS ? -(c * back * inv) : 0.0f;
  }
  __syncwarp();
}

template <unsigned LANES, bool GATE>
__device__ __forceinline__ void penalty_bwd_by(const PenaltyBwd& p, const GateBwd& g) {
  DYNAMIC_SHARED(float, shared);
  const unsigned lane = threadIdx.x % LANES, group = threadIdx.x / LANES, groups = blockDim.x / LANES;
  const unsigned count = p.experts, ld = (count + 3) / 4 * 4;
  const size_t words = static_cast<size_t>(count) * ld;
  float* matrix = p.wide ? p.wide + blockIdx.x * words : shared + group * words;
  const bool whole = p.width % 4 == 0, penalty = p.c != 0.0f;
  const bool aligned_d_e = quads_aligned(p.d_e, p.ld_d_e) && whole;
  const bool aligned_e = quads_aligned(p.e, p.ld_e) && whole;
  const bool aligned_d_mix = GATE && quads_aligned(g.d_mix, g.ld_d_mix);
  // A warp's groups take neighbouring rows, and all of them go round as long as one has a row.
  const unsigned warp_first = threadIdx.x / WARP * (WARP / LANES);
  for (unsigned first = blockIdx.x * groups; first + warp_first < p.rows; first += gridDim.x * groups) {
    const bool live = first + group < p.rows;
    const size_t row = min(first + group, p.rows - 1);
    const Experts experts{p.e + row * p.ld_e, count, p.width, aligned_e};
    const Units units(experts, p.inv_norm + row * p.ld_inv_norm);
    const auto d_mix = [&](unsigned col) {
      return load_quad(g.d_mix + row * g.ld_d_mix + col, p.width - col, aligned_d_mix);
    };
    if (GATE) {
      gate_row<LANES>(g, d_mix, experts, row, live);
    }
    if (penalty) {
      coefficients<LANES>(matrix, units, ld, p.c);
    }
    if (live) {
      for (unsigned col = lane * 4; col < p.width; col += LANES * 4) {
        for (unsigned i = 0; i < count; i += 4) {
          float4 sum[4];
#pragma unroll
          for (unsigned t = 0; t < 4; ++t) {
            sum[t] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
          }
          if (penalty) {
            for (unsigned j = 0; j < count; ++j) {
              // What is behind column K goes to sums that are not stored.
              const float4 m = *reinterpret_cast<const float4*>(matrix + j * ld + i), v = units.load(j, col);
              sum[0] = add_scaled(sum[0], m.x, v);
              sum[1] = add_scaled(sum[1], m.y, v);
              sum[2] = add_scaled(sum[2], m.z, v);
              sum[3] = add_scaled(sum[3], m.w, v);
            }
          }
#pragma unroll
          for (unsigned t = 0; t < 4; ++t) {
            if (i + t < count) {
              float* to = p.d_e + row * p.ld_d_e + static_cast<size_t>(i + t) * p.width + col;
              if (GATE) {
                // e = ReLU(·): where it is 0, so is the gradient before it.
                const float4 d = add_scaled(sum[t], g.alpha[row * g.ld_alpha + i + t], d_mix(col));
                const float4 masked = each(d, experts.load(i + t, col), [](float d, float e) { return e <= 0.0f ? 0.0f : d; });
                store_quad(to, masked, p.width - col, aligned_d_e);
              } else {
                const float4 old = load_quad(to, p.width - col, aligned_d_e);
                const float4 d = each(old, sum[t], [](float old, float d) { return old + d; });
                store_quad(to, d, p.width - col, aligned_d_e);
              }
            }
          }
        }
      }
    }
    // The next row's matrix goes where this one's was read.
    __syncwarp();
  }
}

template <bool GATE>
__device__ __forceinline__ void penalty_bwd(const PenaltyBwd& p, const GateBwd& g) {
  switch (p.lanes) {
    case 8:
      return penalty_bwd_by<8, GATE>(p, g);
    case 16:
      return penalty_bwd_by<16, GATE>(p, g);
    default:
      return penalty_bwd_by<32, GATE>(p, g);
  }
}

// d_e_i += c Σ_{j≠i} cos_ij (ê_j − cos_ij ê_i) inv_i, without the last product where ê_i = e_i / ε.
// Floor: each element of e and d_e read, of d_e written once; m K(3K−1)/2 multiply-adds a row. Grid: `lanes` (8, 16 or 32) lanes
// a row, up to 256 threads. Shared: K rows of ⌈K / 4⌉ · 4 floats a group of lanes; where a warp's do not fit, a block is
// one warp, one row at a time, with this memory at `wide` (else null).
// spills: none
extern "C" __global__ void __launch_bounds__(256, 3)
    orthogonality_bwd(float* d_e, unsigned ld_d_e, const float* e, unsigned ld_e, const float* inv_norm,
                      unsigned ld_inv_norm, float* wide, unsigned rows, unsigned experts, unsigned width, float c,
                      unsigned lanes) {
  penalty_bwd<false>({d_e, e, inv_norm, wide, ld_d_e, ld_e, ld_inv_norm, rows, experts, width, lanes, c}, {});
}

// All that reads e = ReLU(·) under a gate: d_α_k = d_mix · e_k, d_logit_k = α_k (d_α_k − Σ_j α_j d_α_j), and
// d_e_k = α_k d_mix + what orthogonality_bwd adds, 0 where e <= 0.
// Floor: each element of e and d_mix read, of d_e written once; m K(3K+3)/2 multiply-adds a row. Grid and memory: as
// orthogonality_bwd.
// spills: none
extern "C" __global__ void __launch_bounds__(256, 3)
    gate_orthogonality_bwd(float* d_logits, unsigned ld_d_logits, float* d_alpha, unsigned ld_d_alpha, float* d_e,
                           unsigned ld_d_e, const float* d_mix, unsigned ld_d_mix, const float* alpha,
                           unsigned ld_alpha, const float* e, unsigned ld_e, const float* inv_norm,
                           unsigned ld_inv_norm, float* wide, unsigned rows, unsigned experts, unsigned width, float c,
                           unsigned lanes) {
  penalty_bwd<true>({d_e, e, inv_norm, wide, ld_d_e, ld_e, ld_inv_norm, rows, experts, width, lanes, c},
                    {d_logits, d_alpha, d_mix, alpha, ld_d_logits, ld_d_alpha, ld_d_mix, ld_alpha});
}
