// Kernels that test mma.cuh and async.cuh.
#include "async.cuh"
#include "mma.cuh"

// out[i] = to_tf32(x[i])
extern "C" __global__ void convert_tf32(const float* x, unsigned* out) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = to_tf32(x[i]);
}

// out[i] = pack_bf16(x[2i], x[2i + 1])
extern "C" __global__ void convert_bf16(const float* x, unsigned* out) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = pack_bf16(x[2 * i], x[2 * i + 1]);
}

// d[16, 8] += a[16, 8] · b[8, 8], one warp.
extern "C" __global__ void __launch_bounds__(32) product_tf32(float* d, const float* a, const float* b) {
    const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    const unsigned left[4] = {to_tf32(a[g * 8 + t]), to_tf32(a[(g + 8) * 8 + t]), to_tf32(a[g * 8 + t + 4]), to_tf32(a[(g + 8) * 8 + t + 4])};
    const unsigned right[2] = {to_tf32(b[t * 8 + g]), to_tf32(b[(t + 4) * 8 + g])};
    float sum[4] = {d[g * 8 + 2 * t], d[g * 8 + 2 * t + 1], d[(g + 8) * 8 + 2 * t], d[(g + 8) * 8 + 2 * t + 1]};
    mma_tf32(sum, left, right);
    d[g * 8 + 2 * t] = sum[0];
    d[g * 8 + 2 * t + 1] = sum[1];
    d[(g + 8) * 8 + 2 * t] = sum[2];
    d[(g + 8) * 8 + 2 * t + 1] = sum[3];
}

// d[16, 8] += a[16, 16] · b[16, 8], one warp.
extern "C" __global__ void __launch_bounds__(32) product_bf16(float* d, const float* a, const float* b) {
    const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    unsigned left[4], right[2];
    for (unsigned i = 0; i < 4; ++i) {
        const float* pair = a + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8;
        left[i] = pack_bf16(pair[0], pair[1]);
    }
    for (unsigned i = 0; i < 2; ++i) {
        const float* pair = b + (2 * t + i * 8) * 8 + g;
        right[i] = pack_bf16(pair[0], pair[8]);
    }
    float sum[4] = {d[g * 8 + 2 * t], d[g * 8 + 2 * t + 1], d[(g + 8) * 8 + 2 * t], d[(g + 8) * 8 + 2 * t + 1]};
    mma_bf16(sum, left, right);
    d[g * 8 + 2 * t] = sum[0];
    d[g * 8 + 2 * t + 1] = sum[1];
    d[(g + 8) * 8 + 2 * t] = sum[2];
    d[(g + 8) * 8 + 2 * t + 1] = sum[3];
}

// Two groups of copies of 16 and of 4 bytes: the first group is x[0..4 * threads] by 16 bytes, the second x[0..threads] by 4 bytes. Threads at
// or past `valid` copy nothing. out[3, 5 * threads]: what is there before a wait, after wait_async<1>, after wait_async<0>.
extern "C" __global__ void copies(const float* x, float* out, unsigned valid) {
    DYNAMIC_SHARED(float, shared);
    const unsigned t = threadIdx.x, n = blockDim.x;
    float* single = shared + 4 * n;
    copy_async_16(shared + 4 * t, t < valid ? x + 4 * t : nullptr, t < valid);
    commit_async();
    copy_async_4(single + t, t < valid ? x + t : nullptr, t < valid);
    commit_async();
    for (unsigned part = 0; part < 3; ++part) {
        if (part == 1) wait_async<1>();
        if (part == 2) wait_async<0>();
        __syncthreads();
        for (unsigned i = t; i < 5 * n; i += n) out[part * 5 * n + i] = shared[i];
        __syncthreads();
    }
}
