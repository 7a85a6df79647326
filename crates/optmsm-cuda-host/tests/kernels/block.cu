// Kernels that test the execution of a block: barriers, shuffles, shared memory, what a launch passes.
#include "optmsm.cuh"

constexpr unsigned THREADS = 128;

// out[block] = sum of the block's THREADS numbers, a tree in dynamic shared memory.
extern "C" __global__ void __launch_bounds__(THREADS) tree_sum(const float* x, float* out) {
    DYNAMIC_SHARED(float, sums);
    const unsigned t = threadIdx.x;
    sums[t] = x[static_cast<size_t>(blockIdx.x) * THREADS + t];
    __syncthreads();
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) sums[t] += sums[t + half];
        __syncthreads();
    }
    if (t == 0) out[blockIdx.x] = sums[0];
}

// The same without the barriers between the tree's levels.
extern "C" __global__ void __launch_bounds__(THREADS) tree_sum_without_barriers(const float* x, float* out) {
    DYNAMIC_SHARED(float, sums);
    const unsigned t = threadIdx.x;
    sums[t] = x[static_cast<size_t>(blockIdx.x) * THREADS + t];
    __syncthreads();
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) sums[t] += sums[t + half];
    }
    __syncthreads();
    if (t == 0) out[blockIdx.x] = sums[0];
}

// out[i] = the block's sum, for each thread.
extern "C" __global__ void __launch_bounds__(THREADS) helper_sum(const float* x, float* out) {
    __shared__ float scratch[THREADS / WARP];
    const size_t i = static_cast<size_t>(blockIdx.x) * THREADS + threadIdx.x;
    const float sum = block_sum<THREADS>(x[i], scratch);
    out[i] = sum + block_sum<THREADS>(0.0f, scratch);
}

// Each warp's lanes get what the collectives give; [5, threads].
extern "C" __global__ void collectives(const unsigned* x, unsigned* out) {
    const unsigned t = threadIdx.x, n = blockDim.x;
    out[t] = __shfl_sync(FULL_WARP, x[t], 3);
    out[n + t] = __shfl_xor_sync(FULL_WARP, x[t], 5);
    out[2 * n + t] = __shfl_down_sync(FULL_WARP, x[t], 4);
    out[3 * n + t] = __ballot_sync(FULL_WARP, x[t] % 3 == 0);
    __syncwarp();
    out[4 * n + t] = __any_sync(FULL_WARP, x[t] == 77) * 2 + __shfl_sync(FULL_WARP, x[t], t) % 2;
}

struct Descriptors {
    const float* from[4];
    float scale[4];
    unsigned count;
};

// out[i] = sum over the descriptors of scale * from[i], plus what the scalars say.
extern "C" __global__ void by_value(float* out, const Descriptors fields, unsigned n, float add, int sign, unsigned long long wide) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float sum = wide == 0x100000002ull ? add : -1.0f;
    for (unsigned field = 0; field < fields.count; ++field) sum += fields.scale[field] * fields.from[field][i];
    out[i] = static_cast<float>(sign) * sum;
}

// Writes 1 + its linear index for each block of a three-dimensional grid.
extern "C" __global__ void grid_index(unsigned* out) {
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    if (threadIdx.x == 0) out[block] += 1 + block;
}

// Threads that have returned are not waited for.
extern "C" __global__ void early_return(unsigned* out) {
    __shared__ unsigned shared[WARP];
    if (threadIdx.x >= WARP) return;
    shared[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = shared[WARP - 1 - threadIdx.x];
}

// Shared memory that nobody wrote.
extern "C" __global__ void unwritten(float* out) {
    __shared__ float fixed[WARP];
    DYNAMIC_SHARED(float, dynamic);
    out[threadIdx.x] = threadIdx.x % 2 == 0 ? fixed[threadIdx.x] : dynamic[threadIdx.x];
    __syncthreads();
    fixed[threadIdx.x] = dynamic[threadIdx.x] = 0.0f;
}

// Breaks a rule, by number.
extern "C" __global__ void broken(float* x, unsigned rule) {
    DYNAMIC_SHARED(float, dynamic);
    const unsigned t = threadIdx.x;
    if (rule == 0 && t % WARP < 7) x[t] = __shfl_xor_sync(FULL_WARP, x[t], 1);
    if (rule == 0 && t % WARP >= 7) x[t] = __shfl_xor_sync(FULL_WARP, x[t], 1);
    if (rule == 1 && t != 5) __shfl_xor_sync(FULL_WARP, x[t], 1);
    if (rule == 1 && t == 5) __syncthreads();
    if (rule == 2) x[t] = __shfl_xor_sync(0xffffu, x[t], 1);
    if (rule == 3) x[t] = x[t + blockDim.x];
    if (rule == 4 && t % 2 == 0) __syncwarp();
    if (rule == 4 && t % 2 == 1) __ballot_sync(FULL_WARP, 1);
    if (rule == 5) dynamic[t + 1] = 0.0f;
    if (rule == 6 && t < WARP) __syncthreads();
    if (rule == 6 && t >= WARP) __syncthreads();
}

// Needs a megabyte of stack.
extern "C" __global__ void large_frame(float* x) {
    volatile char large[1 << 20];
    large[0] = large[sizeof large - 1] = 1;
    x[threadIdx.x] = large[threadIdx.x];
}
