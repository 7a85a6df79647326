// Tensor-core products of one warp, d += a · b, and the conversions of their operands. All 32 lanes call them together.
//
// Fragments as in the PTX ISA ("Matrix Fragments for mma.m16n8k8 / mma.m16n8k16"), with g = lane / 4 and t = lane % 4:
//   d [16, 8]                d[0], d[1]: row g,  columns 2t, 2t+1        d[2], d[3]: row g+8, columns 2t, 2t+1
//   tf32: a [16, 8]          a[0]: (g, t)   a[1]: (g+8, t)   a[2]: (g, t+4)   a[3]: (g+8, t+4)
//         b [8, 8]           b[0]: (t, g)   b[1]: (t+4, g)
//   bf16: a [16, 16]         two columns a register, the lower one in the lower half:
//                            a[0]: (g, 2t..)   a[1]: (g+8, 2t..)   a[2]: (g, 2t+8..)   a[3]: (g+8, 2t+8..)
//         b [16, 8]          two rows a register: b[0]: (2t.., g)   b[1]: (2t+8.., g)
#pragma once

#include "optmsm.cuh"

// f32 -> tf32: nearest, ties away from zero, 10 bits of fraction; the product ignores the other 13 bits. NaN stays NaN, but for negative ones
// above 0xffffefff, which no arithmetic of a device gives.
__device__ __forceinline__ unsigned to_tf32(float value) {
#ifdef __CUDACC__
    // What ptxas makes of cvt.rna.tf32.f32 (a sum if finite), in two instructions instead of three or four: 0x7fffffff, the NaN of
    // arithmetic, must not become -0.
    return static_cast<unsigned>(min(__float_as_int(value), 0x7fffefff)) + 0x1000u;
#else
    return optmsm_host::to_tf32(value);
#endif
}

// Two f32 -> two bf16 in one register: nearest, ties to even. NaN stays NaN.
__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
#ifdef __CUDACC__
    unsigned bits;
    // PTX puts its first source into the upper half.
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
#else
    return static_cast<unsigned>(optmsm_host::to_bf16(high)) << 16 | optmsm_host::to_bf16(low);
#endif
}

// d[16, 8] += a[16, 8] · b[8, 8], operands from `to_tf32`.
__device__ __forceinline__ void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef __CUDACC__
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    optmsm_host::mma_tf32(d, a, b);
#endif
}

// d[16, 8] += a[16, 16] · b[16, 8], operands from `pack_bf16`.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef __CUDACC__
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    optmsm_host::mma_bf16(d, a, b);
#endif
}
