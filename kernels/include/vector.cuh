// The same code for one number, two, and four.
#pragma once
#include "optmsm.cuh"

template <class V>
struct Columns;
template <>
struct Columns<float> {
  static constexpr unsigned COUNT = 1;
};
template <>
struct Columns<float4> {
  static constexpr unsigned COUNT = 4;
};

__device__ __forceinline__ void set_zero(float& v) { v = 0.0f; }
__device__ __forceinline__ void set_zero(float2& v) { v = make_float2(0.0f, 0.0f); }
__device__ __forceinline__ void set_zero(float4& v) { v = make_float4(0.0f, 0.0f, 0.0f, 0.0f); }

__device__ __forceinline__ void add(float& sum, const float& v) { sum += v; }
__device__ __forceinline__ void add(float2& sum, const float2& v) {
  sum.x += v.x;
  sum.y += v.y;
}
__device__ __forceinline__ void add(float4& sum, const float4& v) {
  sum.x += v.x;
  sum.y += v.y;
  sum.z += v.z;
  sum.w += v.w;
}

// sum += coef · v, rounded once, so both forms give the same bits.
__device__ __forceinline__ void add_scaled(float& sum, float coef, const float& v) { sum = fmaf(coef, v, sum); }
__device__ __forceinline__ void add_scaled(float4& sum, float coef, const float4& v) {
  sum.x = fmaf(coef, v.x, sum.x);
  sum.y = fmaf(coef, v.y, sum.y);
  sum.z = fmaf(coef, v.z, sum.z);
  sum.w = fmaf(coef, v.w, sum.w);
}

// v *= factor.
__device__ __forceinline__ void scale(float& v, float factor) { v *= factor; }
__device__ __forceinline__ void scale(float4& v, float factor) {
  v.x *= factor;
  v.y *= factor;
  v.z *= factor;
  v.w *= factor;
}

template <class V>
__device__ __forceinline__ V get(const float* from) {
  return *reinterpret_cast<const V*>(from);
}

template <class V>
__device__ __forceinline__ void put(float* to, const V& v) {
  *reinterpret_cast<V*>(to) = v;
}

// The first of `at[0..count]` (ascending) that is `value` or more; `count` where none is. By a whole warp: each round
// leaves a 32nd of what is in question.
__device__ __forceinline__ unsigned warp_lower_bound(const unsigned* at, unsigned count, unsigned value) {
  unsigned low = 0, high = count;
  while (low < high) {
    const unsigned step = (high - low + WARP - 1) / WARP, probe = low + threadIdx.x % WARP * step;
    const unsigned less = __popc(__ballot_sync(FULL_WARP, probe < high && at[probe] < value));
    high = less == 0 ? low : min(high, low + less * step);
    low = less == 0 ? low : low + (less - 1) * step + 1;
  }
  return low;
}
