// Copies from global to shared memory that run on while the thread computes (cp.async).
//
// A thread puts copies into a group with `commit_async`; `wait_async<N>` returns when all of its groups but the newest N have arrived. That
// says nothing about other threads' copies: a __syncthreads must follow before their bytes are read.
#pragma once

#include "optmsm.cuh"

#ifdef __CUDACC__
__device__ __forceinline__ unsigned optmsm_shared_address(const void* shared) {
    return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}
#endif

// 16 bytes, both addresses 16-byte aligned, past the first-level cache. When not valid, zeros are written and `global` is not read.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool valid) {
#ifdef __CUDACC__
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(optmsm_shared_address(shared)), "l"(__cvta_generic_to_global(global)),
                 "r"(valid ? 16 : 0)
                 : "memory");
#else
    optmsm_host::copy_async(shared, global, 16, valid);
#endif
}

// 4 bytes, both addresses 4-byte aligned. When not valid, zeros are written and `global` is not read.
__device__ __forceinline__ void copy_async_4(void* shared, const void* global, bool valid) {
#ifdef __CUDACC__
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(optmsm_shared_address(shared)), "l"(__cvta_generic_to_global(global)),
                 "r"(valid ? 4 : 0)
                 : "memory");
#else
    optmsm_host::copy_async(shared, global, 4, valid);
#endif
}

// Closes the thread's group of copies issued since the last commit (which may be none).
__device__ __forceinline__ void commit_async() {
#ifdef __CUDACC__
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    optmsm_host::commit_async();
#endif
}

// Waits until at most the newest N of the thread's groups are under way.
template <int N>
__device__ __forceinline__ void wait_async() {
#ifdef __CUDACC__
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#else
    optmsm_host::wait_async(N);
#endif
}
