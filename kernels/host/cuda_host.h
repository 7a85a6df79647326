// What makes a .cu compile and run on the CPU, for tests: CUDA's names for C++17 on Linux.
//
// The threads of a block are fibers (cuda_host.cpp). They run in an order that is shuffled by a seed, anew after each barrier, so that a missing
// barrier gives wrong numbers sooner or later; a barrier that some threads never reach ends the process with a message. Blocks are
// one-dimensional and made of whole warps; warp collectives take the full mask.
//
// A generated file (crates/optmsm-cuda-host) includes this header, then a .cu inside an unnamed namespace, then registers its kernels.
#pragma once

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <utility>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))
// A promise about one thread's pointers, which the compiler would take for all: other fibers write between two statements.
#define __restrict__
// All of a file's shared variables lie in one section, which is filled with NaN before each block.
#define __shared__ static __attribute__((section("optmsm_shared"), aligned(16)))

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
};
struct __align__(8) float2 {
    float x, y;
};
struct __align__(16) float4 {
    float x, y, z, w;
};
struct __align__(8) uint2 {
    unsigned x, y;
};
struct __align__(16) uint4 {
    unsigned x, y, z, w;
};
struct __align__(8) int2 {
    int x, y;
};
struct __align__(16) int4 {
    int x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

// Those of the fiber that runs now.
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;
constexpr int warpSize = 32;

namespace optmsm_host {

// The launch's dynamic shared memory; null when it has none.
extern char* dynamic_shared;

// Ends the process: the message, the kernel, the block and the thread.
[[noreturn]] __attribute__((format(printf, 1, 2))) void die(const char* format, ...);

// What a fiber waits at; two lanes of a warp must wait at the same.
enum class Wait : unsigned char { nothing, block_barrier, sync_warp, shuffle, shuffle_xor, shuffle_down, shuffle_up, ballot, any, all, mma_tf32, mma_bf16 };

struct Place {
    const char* file;
    int line;
};

struct Warp {
    // What the lanes brought, by the parity of the collective: a lane may arrive at the next one before another has read this one's.
    uint64_t values[2][32];
    unsigned collective;
    unsigned arrived;
    Wait wait;
    Place place;
};
extern Warp warps[32];

void barrier(Place place);
// Returns when all lanes of the warp have arrived. The last one calls `finish(slot)` first, if there is one.
void meet(Wait wait, unsigned mask, Place place, void (*finish)(Warp& warp, unsigned slot) = nullptr);

template <class T>
inline T exchange(Wait wait, unsigned mask, T value, unsigned source, Place place) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    Warp& warp = warps[threadIdx.x / 32];
    const unsigned slot = warp.collective % 2;
    memcpy(&warp.values[slot][threadIdx.x % 32], &value, sizeof value);
    meet(wait, mask, place);
    memcpy(&value, &warp.values[slot][source], sizeof value);
    return value;
}

// The lanes' predicates as bits.
unsigned vote(Wait wait, unsigned mask, bool predicate, Place place);

unsigned to_tf32(float value);
uint16_t to_bf16(float value);
void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Place place = {__builtin_FILE(), __builtin_LINE()});
void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Place place = {__builtin_FILE(), __builtin_LINE()});

// A copy is carried out by the `wait_async` that asks for it; until then its bytes in shared memory are 0xFF.
void copy_async(void* shared, const void* global, unsigned bytes, bool valid);
void commit_async();
void wait_async(unsigned newest);

}  // namespace optmsm_host

#define OPTMSM_HERE \
    optmsm_host::Place place = { __builtin_FILE(), __builtin_LINE() }

inline void __syncthreads(OPTMSM_HERE) { optmsm_host::barrier(place); }
inline void __syncwarp(unsigned mask = 0xffffffffu, OPTMSM_HERE) { optmsm_host::meet(optmsm_host::Wait::sync_warp, mask, place); }

template <class T>
inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, OPTMSM_HERE) {
    if (width != 32) optmsm_host::die("%s:%d: a shuffle's width is 32 here, not %d", place.file, place.line, width);
    return optmsm_host::exchange(optmsm_host::Wait::shuffle, mask, value, static_cast<unsigned>(lane) % 32, place);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, OPTMSM_HERE) {
    if (width != 32) optmsm_host::die("%s:%d: a shuffle's width is 32 here, not %d", place.file, place.line, width);
    const unsigned source = threadIdx.x % 32 ^ static_cast<unsigned>(bits);
    return optmsm_host::exchange(optmsm_host::Wait::shuffle_xor, mask, value, source < 32 ? source : threadIdx.x % 32, place);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, OPTMSM_HERE) {
    if (width != 32) optmsm_host::die("%s:%d: a shuffle's width is 32 here, not %d", place.file, place.line, width);
    const unsigned lane = threadIdx.x % 32;
    return optmsm_host::exchange(optmsm_host::Wait::shuffle_down, mask, value, distance < 32 - lane ? lane + distance : lane, place);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, OPTMSM_HERE) {
    if (width != 32) optmsm_host::die("%s:%d: a shuffle's width is 32 here, not %d", place.file, place.line, width);
    const unsigned lane = threadIdx.x % 32;
    return optmsm_host::exchange(optmsm_host::Wait::shuffle_up, mask, value, distance <= lane ? lane - distance : lane, place);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, OPTMSM_HERE) {
    return optmsm_host::vote(optmsm_host::Wait::ballot, mask, predicate != 0, place);
}
inline int __any_sync(unsigned mask, int predicate, OPTMSM_HERE) {
    return optmsm_host::vote(optmsm_host::Wait::any, mask, predicate != 0, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate, OPTMSM_HERE) {
    return optmsm_host::vote(optmsm_host::Wait::all, mask, predicate != 0, place) == 0xffffffffu;
}
#undef OPTMSM_HERE

inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T>
inline T __ldg(const T* address) {
    return *address;
}
inline unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
inline int __float_as_int(float value) { return static_cast<int>(__float_as_uint(value)); }
inline float __int_as_float(int bits) { return __uint_as_float(static_cast<unsigned>(bits)); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits)); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float value) { return sqrtf(value); }
inline float rsqrtf(float value) { return 1.0f / sqrtf(value); }

#define OPTMSM_MIN_MAX(type)                                   \
    inline type min(type a, type b) { return b < a ? b : a; } \
    inline type max(type a, type b) { return a < b ? b : a; }
OPTMSM_MIN_MAX(int)
OPTMSM_MIN_MAX(unsigned)
OPTMSM_MIN_MAX(long)
OPTMSM_MIN_MAX(unsigned long)
OPTMSM_MIN_MAX(long long)
OPTMSM_MIN_MAX(unsigned long long)
#undef OPTMSM_MIN_MAX
inline unsigned min(int a, unsigned b) { return min(static_cast<unsigned>(a), b); }
inline unsigned min(unsigned a, int b) { return min(a, static_cast<unsigned>(b)); }
inline unsigned max(int a, unsigned b) { return max(static_cast<unsigned>(a), b); }
inline unsigned max(unsigned a, int b) { return max(a, static_cast<unsigned>(b)); }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }

// One fiber runs at a time, and none is interrupted.
#define OPTMSM_ATOMIC(name, type, result)            \
    inline type name(type* address, type operand) { \
        const type old = *address;                  \
        *address = result;                          \
        return old;                                 \
    }
#define OPTMSM_ATOMICS(type)                                       \
    OPTMSM_ATOMIC(atomicAdd, type, old + operand)                  \
    OPTMSM_ATOMIC(atomicMin, type, old < operand ? old : operand)  \
    OPTMSM_ATOMIC(atomicMax, type, old < operand ? operand : old)  \
    OPTMSM_ATOMIC(atomicAnd, type, old & operand)                  \
    OPTMSM_ATOMIC(atomicOr, type, old | operand)                   \
    OPTMSM_ATOMIC(atomicExch, type, operand)
OPTMSM_ATOMICS(int)
OPTMSM_ATOMICS(unsigned)
OPTMSM_ATOMICS(unsigned long long)
#undef OPTMSM_ATOMICS
#undef OPTMSM_ATOMIC

// Calling a kernel by an array of pointers to its arguments, as cuLaunchKernel does.
namespace optmsm_host {

struct Kernel {
    const char* name;
    // One thread's run.
    void (*call)(void* const* arguments);
    const unsigned* sizes;
    unsigned parameters;
    // The first argument of __launch_bounds__; 0 without one.
    unsigned bound;
};

template <class T>
inline T read_argument(const void* argument) {
    T value;
    memcpy(&value, argument, sizeof value);
    return value;
}

template <auto FUNCTION, class... P, size_t... I>
inline void call_kernel(void* const* arguments, std::index_sequence<I...>) {
    FUNCTION(read_argument<P>(arguments[I])...);
}

template <class... P>
inline constexpr unsigned sizes_of[] = {sizeof(P)..., 0};

template <auto FUNCTION, class... P>
constexpr Kernel kernel(const char* name, unsigned bound, void (*)(P...)) {
    return {name, [](void* const* arguments) { call_kernel<FUNCTION, P...>(arguments, std::index_sequence_for<P...>{}); }, sizes_of<P...>,
            sizeof...(P), bound};
}

}  // namespace optmsm_host

#define OPTMSM_QUOTE(name) #name
// `name` may be a macro's use, as in OPTMSM_KERNEL(KERNEL(gemm_nt), 128).
#define OPTMSM_KERNEL(name, bound) OPTMSM_KERNEL_(name, bound)
#define OPTMSM_KERNEL_(name, bound) optmsm_host::kernel<&name>(OPTMSM_QUOTE(name), bound, &name)
