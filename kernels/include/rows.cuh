// Rows of matrices: four columns at a time, and groups of lanes that share a row.
//
// Whether four columns move at once depends on where a matrix lies, so it must not change a bit: both ways give the
// same numbers to the same thread.
#pragma once

#include "optmsm.cuh"

// Whether columns 4i..4i+4 of any row lie at a multiple of 16 bytes.
__device__ __forceinline__ bool quads_aligned(const float* x, unsigned ld) {
  return reinterpret_cast<size_t>(x) % 16 == 0 && ld % 4 == 0;
}

// x[0..4], of which `left` exist (at least 1); 0 for the rest.
__device__ __forceinline__ float4 load_quad(const float* x, unsigned left, bool aligned) {
  if (aligned && left >= 4) {
    return *reinterpret_cast<const float4*>(x);
  }
  return make_float4(x[0], left > 1 ? x[1] : 0.0f, left > 2 ? x[2] : 0.0f, left > 3 ? x[3] : 0.0f);
}

// x[0..4] = v, of which `left` exist (at least 1).
__device__ __forceinline__ void store_quad(float* x, float4 v, unsigned left, bool aligned) {
  if (aligned && left >= 4) {
    *reinterpret_cast<float4*>(x) = v;
    return;
  }
  x[0] = v.x;
  if (left > 1) {
    x[1] = v.y;
  }
  if (left > 2) {
    x[2] = v.z;
  }
  if (left > 3) {
    x[3] = v.w;
  }
}

// f of each of the four numbers.
template <class F>
__device__ __forceinline__ float4 each(float4 a, F f) {
  return make_float4(f(a.x), f(a.y), f(a.z), f(a.w));
}

template <class F>
__device__ __forceinline__ float4 each(float4 a, float4 b, F f) {
  return make_float4(f(a.x, b.x), f(a.y, b.y), f(a.z, b.z), f(a.w, b.w));
}

// σ(o) from e = e^{−|o|}, which never overflows.
__device__ __forceinline__ float sigmoid_of(float o, float e) { return (o >= 0.0f ? 1.0f : e) / (1.0f + e); }

// a · b + sum.
__device__ __forceinline__ float dot_quad(float4 a, float4 b, float sum) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

// factor · x + sum.
__device__ __forceinline__ float4 add_scaled(float4 sum, float factor, float4 x) {
  return each(sum, x, [=](float sum, float x) { return fmaf(factor, x, sum); });
}

// Calls f(row, column, columns left) for the quad of this thread: number `blockIdx.x · 256 + threadIdx.x` of `count`,
// where a row of `cols` columns has ⌈cols / 4⌉.
template <class F>
__device__ __forceinline__ void for_quad(unsigned count, unsigned cols, F f) {
  const unsigned quads = (cols - 1) / 4 + 1, at = blockIdx.x * 256 + threadIdx.x;
  if (at < count) {
    const unsigned row = at / quads, col = (at - row * quads) * 4;
    f(static_cast<size_t>(row), col, cols - col);
  }
}

// Sum and largest over a group of LANES lanes, the same bits in each of them.
template <unsigned LANES>
__device__ __forceinline__ float group_sum(float value) {
#pragma unroll
  for (unsigned distance = LANES / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(FULL_WARP, value, distance);
  }
  return value;
}

template <unsigned LANES>
__device__ __forceinline__ float group_max(float value) {
#pragma unroll
  for (unsigned distance = LANES / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(FULL_WARP, value, distance));
  }
  return value;
}

// The experts of one row: `count`, of `width` columns each.
struct Experts {
  const float* e;
  unsigned count, width;
  bool aligned;  // columns 4i..4i+4 of every expert lie at a multiple of 16 bytes

  __device__ __forceinline__ float4 load(unsigned k, unsigned col) const {
    return load_quad(e + static_cast<size_t>(k) * width + col, width - col, aligned);
  }
};

// sum[t] = a · e_{min(first + t, last)}, with a(col) four columns of a; the same in every lane of the group. `experts` are
// `Experts`, or made of them.
template <unsigned LANES, class A, class E>
__device__ __forceinline__ void four_dots(float (&sum)[4], A a, const E& experts, unsigned first, unsigned last) {
  sum[0] = sum[1] = sum[2] = sum[3] = 0.0f;
  for (unsigned col = threadIdx.x % LANES * 4; col < experts.width; col += LANES * 4) {
    const float4 left = a(col);
#pragma unroll
    for (unsigned t = 0; t < 4; ++t) {
      sum[t] = dot_quad(left, experts.load(min(first + t, last), col), sum[t]);
    }
  }
#pragma unroll
  for (unsigned t = 0; t < 4; ++t) {
    sum[t] = group_sum<LANES>(sum[t]);
  }
}

// v[lane], lane < 4.
__device__ __forceinline__ float pick(const float (&v)[4], unsigned lane) {
  return lane == 0 ? v[0] : lane == 1 ? v[1] : lane == 2 ? v[2] : v[3];
}

// The group of a row: g with offsets[g] <= row < offsets[g + 1].
__device__ __forceinline__ unsigned group_of(const unsigned* offsets, unsigned groups, unsigned row) {
  unsigned low = 0, high = groups;  // offsets[low] <= row < offsets[high]
  while (high - low > 1) {
    const unsigned middle = low + (high - low) / 2;
    if (offsets[middle] <= row) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}
