// The types that tables are stored in, by their bits (core's rounding.rs; docs/derivations.md#smaller-tables).
#pragma once
#include "optmsm.cuh"

// As in crates/optmsm-cuda/src/ops/embedding.rs.
constexpr unsigned DTYPE_F32 = 0, DTYPE_F16 = 1, DTYPE_BF16 = 2;

constexpr unsigned INFINITY_F32 = 0x7f800000u, SIGN_F32 = 0x80000000u;

struct TableF32 {
  typedef float Stored;
  static __device__ __forceinline__ float value(float stored) { return stored; }
  static __device__ __forceinline__ float stored(float v, unsigned) { return v; }
  static __device__ __forceinline__ float nearest(float v) { return v; }
};

struct TableBf16 {
  typedef unsigned short Stored;

  static __device__ __forceinline__ float value(unsigned stored) { return __uint_as_float(stored << 16); }

  // Drops 16 bits: up by one where `word` is below them, over 2^16. Exponents are those of f32, so a carry may go into
  // the exponent, and into infinity.
  static __device__ __forceinline__ unsigned short stored(float v, unsigned word) {
    const unsigned bits = __float_as_uint(v);
    if ((bits & ~SIGN_F32) > INFINITY_F32) return 0x7fc0;
    return (unsigned short)((bits >> 16) + ((word >> 16) < (bits & 0xffffu)));
  }

  // To the nearest, of two the even one: half a unit is added, less by the smallest where the number below is even.
  static __device__ __forceinline__ unsigned short nearest(float v) {
    const unsigned bits = __float_as_uint(v);
    if ((bits & ~SIGN_F32) > INFINITY_F32) return 0x7fc0;
    return (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
  }
};

struct TableF16 {
  typedef unsigned short Stored;

  static __device__ __forceinline__ float value(unsigned stored) {
    const unsigned size = stored & 0x7fffu, sign = (stored & 0x8000u) << 16;
    // With its bits in place the number is 2^-112 of what it stands for, subnormal or not: the product is exact.
    const unsigned finite = __float_as_uint(__uint_as_float(size << 13) * 0x1p112f);
    return __uint_as_float(sign | (size >= 0x7c00u ? INFINITY_F32 | size << 13 : finite));
  }

  static __device__ __forceinline__ unsigned short stored(float v, unsigned word) {
    const unsigned bits = __float_as_uint(v), size = bits & ~SIGN_F32, sign = bits >> 16 & 0x8000u;
    if (size > INFINITY_F32) return 0x7e00;
    if (size >= 0x38800000u) { // 2^-14, the smallest normal number
      // 13 of the 23 bits of the fraction go, and the bias falls from 127 to 15; 2^16 is the end of the range.
      const unsigned rounded = (size >> 13) + ((word >> 19) < (size & 0x1fffu)) - (112u << 10);
      return (unsigned short)(sign | (rounded < 0x7c00u ? rounded : 0x7c00u));
    }
    // Steps of 2^-24. Every operation here is exact.
    const float steps = __uint_as_float(size) * 0x1p24f, below = floorf(steps);
    const unsigned share = (unsigned)((steps - below) * 0x1p32f);
    return (unsigned short)(sign | ((unsigned)below + (word < share)));
  }

  // To the nearest, of two the even one.
  static __device__ __forceinline__ unsigned short nearest(float v) {
    const unsigned bits = __float_as_uint(v), size = bits & ~SIGN_F32, sign = bits >> 16 & 0x8000u;
    if (size > INFINITY_F32) return 0x7e00;
    if (size >= 0x38800000u) {
      const unsigned rounded = ((size + 0xfffu + (size >> 13 & 1u)) >> 13) - (112u << 10);
      return (unsigned short)(sign | (rounded < 0x7c00u ? rounded : 0x7c00u));
    }
    return (unsigned short)(sign | (unsigned)rintf(__uint_as_float(size) * 0x1p24f));
  }
};

// One element.
template <class T>
__device__ __forceinline__ void load(float& v, const typename T::Stored* from) {
  v = T::value(*from);
}

// Four elements, from an address that is a multiple of their size.
template <class T>
__device__ __forceinline__ void load(float4& v, const typename T::Stored* from) {
  if (sizeof(typename T::Stored) == 4) {
    v = *reinterpret_cast<const float4*>(from);
  } else {
    const uint2 bits = *reinterpret_cast<const uint2*>(from);
    v.x = T::value((typename T::Stored)(bits.x & 0xffffu));
    v.y = T::value((typename T::Stored)(bits.x >> 16));
    v.z = T::value((typename T::Stored)(bits.y & 0xffffu));
    v.w = T::value((typename T::Stored)(bits.y >> 16));
  }
}

__device__ __forceinline__ void store(float* to, float x, float y, float z, float w) {
  *reinterpret_cast<float4*>(to) = make_float4(x, y, z, w);
}

__device__ __forceinline__ void store(unsigned short* to, unsigned x, unsigned y, unsigned z, unsigned w) {
  *reinterpret_cast<uint2*>(to) = make_uint2(x | y << 16, z | w << 16);
}
