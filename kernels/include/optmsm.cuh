// Included first by every .cu: the few names that kernels share. The same text is compiled by nvcc for the device and, in tests, by a host
// compiler (host/cuda_host.h says how).
#pragma once

#ifndef __CUDACC__
#include "../host/cuda_host.h"
#endif

// `DYNAMIC_SHARED(float, tile);` declares `float* const tile`, the launch's dynamic shared memory, 16-byte aligned.
#ifdef __CUDACC__
extern __shared__ float4 optmsm_dynamic_shared[];
#define DYNAMIC_SHARED(type, name) type* const name = reinterpret_cast<type*>(optmsm_dynamic_shared)
#else
#define DYNAMIC_SHARED(type, name) type* const name = reinterpret_cast<type*>(optmsm_host::dynamic_shared)
#endif

constexpr unsigned WARP = 32;
constexpr unsigned FULL_WARP = 0xffffffffu;

// Sum over the warp's 32 lanes; every lane gets the same bits. The order is that of a butterfly: neighbours at distance 16, 8, 4, 2, 1.
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (unsigned distance = WARP / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(FULL_WARP, value, distance);
    return value;
}

// Sum over the block's THREADS threads (blockDim.x); every thread gets the same bits. All threads must call it. `scratch` is shared memory of
// THREADS / 32 floats, which may be used again as soon as the call has returned.
template <unsigned THREADS>
__device__ __forceinline__ float block_sum(float value, float* scratch) {
    static_assert(THREADS % WARP == 0 && THREADS <= 1024, "a block is made of whole warps");
    constexpr unsigned WARPS = THREADS / WARP;
    value = warp_sum(value);
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = value;
    __syncthreads();
    float sum = scratch[0];
#pragma unroll
    for (unsigned warp = 1; warp < WARPS; ++warp) sum += scratch[warp];
    __syncthreads();
    return sum;
}
