// The arithmetic of warp collectives: see cuda_host.h.
#include "cuda_host.h"

namespace optmsm_host {

unsigned vote(Wait wait, unsigned mask, bool predicate, Place place) {
    Warp& warp = warps[threadIdx.x / 32];
    const unsigned slot = warp.collective % 2;
    warp.values[slot][threadIdx.x % 32] = predicate;
    meet(wait, mask, place, [](Warp& all, unsigned at) {
        uint64_t bits = 0;
        for (unsigned lane = 0; lane < 32; ++lane) bits |= all.values[at][lane] << lane;
        all.values[at][0] = bits;
    });
    return static_cast<unsigned>(warp.values[slot][0]);
}

unsigned to_tf32(float value) {
    const unsigned bits = __float_as_uint(value);
    if (value != value) return (bits | 0x00400000u) & 0xffffe000u;
    return (bits + 0x1000u) & 0xffffe000u;
}

uint16_t to_bf16(float value) {
    const unsigned bits = __float_as_uint(value);
    if (value != value) return 0x7fff;
    return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

namespace {

struct Fragments {
    float* d;
    const unsigned* a;
    const unsigned* b;
};

// The element's value in the half of a register.
inline float half_of(unsigned bits, unsigned half) { return __uint_as_float(half == 0 ? bits << 16 : bits & 0xffff0000u); }

typedef float Row __attribute__((vector_size(32)));

// d[16, 8] += a[16, K] · b[K, 8], each element's products added in the order of k.
template <unsigned K>
void multiply(Warp& warp, unsigned slot) {
    float a[16][K];
    union {
        float at[8];
        Row row;
    } b[K], sums[16];
    for (unsigned lane = 0; lane < 32; ++lane) {
        const Fragments& of = *reinterpret_cast<const Fragments*>(warp.values[slot][lane]);
        const unsigned group = lane / 4, member = lane % 4;
        if constexpr (K == 8) {
#pragma GCC unroll 4
            for (unsigned i = 0; i < 4; ++i) a[group + i % 2 * 8][member + i / 2 * 4] = __uint_as_float(of.a[i] & 0xffffe000u);
            for (unsigned i = 0; i < 2; ++i) b[member + i * 4].at[group] = __uint_as_float(of.b[i] & 0xffffe000u);
        } else {
#pragma GCC unroll 8
            for (unsigned i = 0; i < 8; ++i) a[group + i / 2 % 2 * 8][member * 2 + i % 2 + i / 4 * 8] = half_of(of.a[i / 2], i % 2);
#pragma GCC unroll 4
            for (unsigned i = 0; i < 4; ++i) b[member * 2 + i % 2 + i / 2 * 8].at[group] = half_of(of.b[i / 2], i % 2);
        }
#pragma GCC unroll 4
        for (unsigned i = 0; i < 4; ++i) sums[group + i / 2 * 8].at[member * 2 + i % 2] = of.d[i];
    }
    for (unsigned row = 0; row < 16; ++row) {
#pragma GCC unroll 16
        for (unsigned k = 0; k < K; ++k) sums[row].row += a[row][k] * b[k].row;
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
        const Fragments& of = *reinterpret_cast<const Fragments*>(warp.values[slot][lane]);
#pragma GCC unroll 4
        for (unsigned i = 0; i < 4; ++i) of.d[i] = sums[lane / 4 + i / 2 * 8].at[lane % 4 * 2 + i % 2];
    }
}

void meet_with(const Fragments& fragments, Wait wait, Place place, void (*finish)(Warp& warp, unsigned slot)) {
    Warp& warp = warps[threadIdx.x / 32];
    warp.values[warp.collective % 2][threadIdx.x % 32] = reinterpret_cast<uintptr_t>(&fragments);
    meet(wait, 0xffffffffu, place, finish);
}

}  // namespace

void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Place place) {
    const Fragments fragments = {d, a, b};
    meet_with(fragments, Wait::mma_tf32, place, multiply<8>);
}

void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Place place) {
    const Fragments fragments = {d, a, b};
    meet_with(fragments, Wait::mma_bf16, place, multiply<16>);
}

}  // namespace optmsm_host
