// variants: PRECISION=F32,TF32,BF16
// Products C = A·B and what follows them. Numbers in memory are f32; PRECISION says what operands are rounded to, and sums are f32.
#include "optmsm.cuh"

#include "gemm_tile.cuh"

#define PASTE_(name, suffix) name##suffix
#define PASTE(name, suffix) PASTE_(name, suffix)
#if PRECISION == F32
#define KERNEL(name) PASTE(name, _f32)
#elif PRECISION == TF32
#define KERNEL(name) PASTE(name, _tf32)
#else
#define KERNEL(name) PASTE(name, _bf16)
#endif

// A product for each group; as in crates/optmsm-cuda/src/ops/dense.rs.
struct Product {
  unsigned long long group_a, group_b, group_c, group_x; // elements from one group's matrix to the next one's
  unsigned long long part_c;                             // elements of C from one part of k to the next
  unsigned long long group_d_b;                          // elements from one group's d_b to the next one's
  long long d_b;                                         // elements from C to d_b, the sums of A's lines over k; 0: not wanted
  unsigned m, n, k;                                      // C is [m, n]; of all groups together where `ragged` says so
  unsigned ld_a, ld_b, ld_c, ld_x, ld_bias;
  unsigned tiles_m, tiles_n, groups;
  unsigned chunk;  // k of a part
  unsigned parts;  // parts of k; their bound where groups have their own
  unsigned ragged; // what groups have of their own, 0: nothing
  unsigned add;    // C += instead of C =
  unsigned relu;   // max(·, 0) follows
};

// `ragged`: group g has rows offsets[g]..offsets[g + 1] of A and C (1), or k = offsets[g]..offsets[g + 1] (2).
constexpr unsigned RAGGED_K = 2;

// A stretch of one group: first..end, where `end` is the group's.
struct Stretch {
  unsigned group, first, end;
};

// Cuts each group into stretches of `size`, the last one shorter, and finds number `index` of them. A whole warp calls it, with the same
// arguments in each lane; false when there are not so many.
__device__ __forceinline__ bool find_stretch(Stretch& found, const unsigned* offsets, unsigned groups, unsigned size, unsigned index) {
  const unsigned lane = threadIdx.x % WARP;
#pragma unroll 1
  for (unsigned base = 0; base < groups; base += WARP) {
    const bool exists = base + lane < groups;
    const unsigned start = exists ? offsets[base + lane] : 0, end = exists ? offsets[base + lane + 1] : 0;
    const unsigned count = (end - start + size - 1) / size;
    unsigned upto = count;
#pragma unroll
    for (unsigned distance = 1; distance < WARP; distance *= 2) {
      const unsigned other = __shfl_up_sync(FULL_WARP, upto, distance);
      if (lane >= distance) upto += other;
    }
    const unsigned total = __shfl_sync(FULL_WARP, upto, WARP - 1);
    if (index < total) {
      const unsigned before = upto - count;
      const int owner = __ffs((int)__ballot_sync(FULL_WARP, index >= before && index < upto)) - 1;
      found.group = base + owner;
      found.first = __shfl_sync(FULL_WARP, start + (index - before) * size, owner);
      found.end = __shfl_sync(FULL_WARP, end, owner);
      return true;
    }
    index -= total;
  }
  return false;
}

__device__ __forceinline__ bool aligned_16(const float* at, unsigned ld) { return reinterpret_cast<size_t>(at) % 16 == 0 && ld % 4 == 0; }

// One number of C from its sum over k: x ≤ 0 closes it (NaN does not), as a ReLU that x came out of.
__device__ __forceinline__ float masked(float sum, float x) { return x <= 0.0f ? 0.0f : sum; }

// C (+)= relu(A·B + bias), or 0 where x ≤ 0: one tile of one group and one part of k a block.
//
// Also, where A is [k, m] and it is wanted: d_b (+)= Σ_k A, of numbers as they are in memory, by the blocks of C's first columns from the tiles
// that they have at hand. Each stage is summed before it is added, so the sum rounds no more often than a stage or a part has numbers.
//
// Layouts: A_K says that A is [m, k] (else [k, m]), B_K that B is [n, k] (else [k, n]), each with its row stride.
// Blocks: n fastest, so that blocks which run together share A's rows and all of a small B from the second-level cache; parts of k last.
//
// Floor: 2·m·n·k FLOP of the variant's units, or (m·k + n·k + m·n) numbers of memory; each tile reads its operands anew, that is
// m·n·k·(1/T::M + 1/T::N) numbers from the second-level cache.
// Large: a warp's 16 k are 16 shared loads of 16 bytes, that is 64 clocks of shared memory (128 bytes a clock for four warps), beside
//   tf32: 64 conversions of two instructions, 64 mma.m16n8k8: about 225 instructions; four warps' mma take at least 256 clocks on sm_90, four
//     warps' loads 256: at the rate of shared memory there, at half of it on sm_80
//   bf16: 32 conversions, 32 mma.m16n8k16: about 100 instructions; bound by the loads
//   f32: 24 loads and 512 FFMA for 4 k: about 555 instructions, bound by FFMA
// Registers: 128 sums and at most 48 of fragments, 205 to 247 a thread in all, so two blocks an SM; its 96 KB of shared memory allow two on
// sm_90, one on sm_80 and sm_86. Small: 32 sums, at most 119 registers, 48 KB: four blocks an SM on sm_90.
// spills: none
template <class T, bool A_K, bool B_K>
__device__ __forceinline__ void gemm(float* c, const float* a, const float* b, const float* bias, const float* x, const unsigned* offsets, const Product& p) {
  DYNAMIC_SHARED(float, shared);

  unsigned block = blockIdx.x;
  const unsigned n0 = block % p.tiles_n * T::N;
  block /= p.tiles_n;
  const unsigned tile_m = block % p.tiles_m;
  block /= p.tiles_m;
  unsigned group = 0, part = block;
  unsigned m0 = tile_m * T::M, m_end = p.m, k0, k_end = p.k;
  if (p.ragged != 0) {
    const bool by_k = p.ragged == RAGGED_K;
    Stretch found;
    if (!find_stretch(found, offsets, p.groups, by_k ? p.chunk : T::M, by_k ? part : tile_m)) return;
    if (by_k) {
      k0 = found.first, k_end = found.end;
    } else {
      group = found.group, m0 = found.first, m_end = found.end;
      k0 = part * p.chunk;
    }
  } else {
    group = block % p.groups;
    part = block / p.groups;
    k0 = part * p.chunk;
  }
  const unsigned depth = min(k_end - k0, p.chunk);
  const unsigned rows = m_end - m0, cols = p.n - n0; // may be more than the tile's
  const size_t row_a = A_K ? p.ld_a : 1, k_a = A_K ? 1 : p.ld_a;
  const size_t col_b = B_K ? p.ld_b : 1, k_b = B_K ? 1 : p.ld_b;
  a += group * p.group_a + m0 * row_a + k0 * k_a;
  b += group * p.group_b + n0 * col_b + k0 * k_b;

  const unsigned warp = threadIdx.x / WARP;
  const unsigned row4 = warp / 2 * (T::M / 8), col4 = warp % 2 * (T::N / 8); // the warp's quarter, in fours
  const bool aligned_a = aligned_16(a, p.ld_a), aligned_b = aligned_16(b, p.ld_b);
  Sums<T> sums;
  sums.clear();
  const bool lines_wanted = !A_K && p.d_b != 0 && n0 == 0;
  float line_sum = 0.0f;
  const int stages = (depth + DEPTH - 1) / DEPTH;
  // The first turns only fill the stages.
#pragma unroll 1
  for (int stage = 1 - (int)T::STAGES; stage < stages; ++stage) {
    if (stage >= 0) {
      wait_async<T::STAGES - 2>();
      // What is copied over below has been read by all.
      __syncthreads();
    }
    const unsigned next = stage + T::STAGES - 1;
    if ((int)next < stages) {
      float* to = shared + next % T::STAGES * T::STAGE;
      const unsigned k = next * DEPTH;
      copy_tile<T::M, A_K>(to, a + k * k_a, a, p.ld_a, rows, depth - k, aligned_a);
      copy_tile<T::N, B_K>(to + T::M * DEPTH, b + k * k_b, b, p.ld_b, cols, depth - k, aligned_b);
    }
    commit_async();
    if (stage >= 0) {
      const float* from = shared + stage % T::STAGES * T::STAGE;
      if (lines_wanted) line_sum += sum_line<T::M>(from);
      sums.template multiply<A_K, B_K>(from, from + T::M * DEPTH, row4, col4);
    }
  }
  if (lines_wanted) {
    float* d_b = c + p.d_b + group * p.group_d_b + part * p.part_c + m0;
    line_sum = join_line<T::M>(line_sum);
    const unsigned line = threadIdx.x / LINE_THREADS<T::M>;
    if (threadIdx.x % LINE_THREADS<T::M> == 0 && line < rows) d_b[line] = p.add ? d_b[line] + line_sum : line_sum;
  }
  wait_async<0>();
  __syncthreads();
  sums.store(shared, row4, col4);
  __syncthreads();

  c += group * p.group_c + part * p.part_c + (size_t)m0 * p.ld_c + n0;
  // A thread keeps its four columns.
  const unsigned quads = T::N / 4, quad = threadIdx.x % quads;
  if (4 * quad >= cols) return;
  const unsigned valid = min(cols - 4 * quad, 4u);
  c += 4 * quad;
  float shift[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  if (bias != nullptr) {
    bias += (size_t)group * p.ld_bias + n0 + 4 * quad;
#pragma unroll
    for (unsigned j = 0; j < 4; ++j)
      if (j < valid) shift[j] = bias[j];
  }
  if (x != nullptr) x += group * p.group_x + (size_t)m0 * p.ld_x + n0 + 4 * quad;
  const bool wide = valid == 4 && aligned_16(c, p.ld_c);
#pragma unroll 1
  for (unsigned row = threadIdx.x / quads; row < min(rows, T::M); row += GEMM_THREADS / quads) {
    const float4 s = *reinterpret_cast<const float4*>(shared + row * T::N + 4 * chunk_of_sums(row, quad));
    float v[4] = {s.x + shift[0], s.y + shift[1], s.z + shift[2], s.w + shift[3]};
    float* to = c + (size_t)row * p.ld_c;
    if (p.relu) {
#pragma unroll
      for (unsigned j = 0; j < 4; ++j) v[j] = v[j] < 0.0f ? 0.0f : v[j];
    }
    if (x != nullptr) {
#pragma unroll
      for (unsigned j = 0; j < 4; ++j)
        if (j < valid) v[j] = masked(v[j], x[(size_t)row * p.ld_x + j]);
    }
    if (p.add) {
#pragma unroll
      for (unsigned j = 0; j < 4; ++j)
        if (j < valid) v[j] = to[j] + v[j];
    }
    if (wide) {
      *reinterpret_cast<float4*>(to) = make_float4(v[0], v[1], v[2], v[3]);
    } else {
#pragma unroll
      for (unsigned j = 0; j < 4; ++j)
        if (j < valid) to[j] = v[j];
    }
  }
}

// A [m, k], B [n, k]: y = x Wᵀ with W [out, in], d_x = d_y W with W [in, out].
// Grid: tiles_n · tiles_m · (groups · parts; ragged: parts), 128 threads, T::STAGES · T::STAGE floats of shared memory.
extern "C" __global__ void __launch_bounds__(128) KERNEL(gemm_nt_128)(float* c, const float* a, const float* b, const float* bias, const float* x, const unsigned* offsets, Product p) {
  gemm<Large, true, true>(c, a, b, bias, x, offsets, p);
}

extern "C" __global__ void __launch_bounds__(128) KERNEL(gemm_nt_64)(float* c, const float* a, const float* b, const float* bias, const float* x, const unsigned* offsets, Product p) {
  gemm<Small, true, true>(c, a, b, bias, x, offsets, p);
}

// A [m, k], B [k, n]: y = x W with W [in, out], d_x = d_y W with W [out, in]. Grid as above.
extern "C" __global__ void __launch_bounds__(128) KERNEL(gemm_nn_128)(float* c, const float* a, const float* b, const float* bias, const float* x, const unsigned* offsets, Product p) {
  gemm<Large, true, false>(c, a, b, bias, x, offsets, p);
}

extern "C" __global__ void __launch_bounds__(128) KERNEL(gemm_nn_64)(float* c, const float* a, const float* b, const float* bias, const float* x, const unsigned* offsets, Product p) {
  gemm<Small, true, false>(c, a, b, bias, x, offsets, p);
}

// A [k, m], B [k, n]: d_W = d_yᵀ x and d_b = Σ d_y. Grid as above.
extern "C" __global__ void __launch_bounds__(128) KERNEL(gemm_tn_128)(float* c, const float* a, const float* b, const float* bias, const float* x, const unsigned* offsets, Product p) {
  gemm<Large, false, false>(c, a, b, bias, x, offsets, p);
}

extern "C" __global__ void __launch_bounds__(128) KERNEL(gemm_tn_64)(float* c, const float* a, const float* b, const float* bias, const float* x, const unsigned* offsets, Product p) {
  gemm<Small, false, false>(c, a, b, bias, x, offsets, p);
}

// C (+)= Σ of its parts in order, or 0 where x ≤ 0. `sums` is [parts, groups, m, n], with the m of d_b behind each m·n where they are wanted;
// where groups have their own parts, [parts, m, n] with those of group 0 first, then those of group 1, and an empty group has none.
// Floor: each part read once, C written once. Grid: ⌈(m·n, with d_b m·n + m) / 256⌉ · groups, 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) KERNEL(gemm_sum)(float* c, const float* sums, const float* x, const unsigned* offsets, Product p) {
  const size_t product = (size_t)p.m * p.n, size = product + (p.d_b != 0 ? p.m : 0);
  const unsigned blocks = (unsigned)((size + 255) / 256);
  const unsigned group = blockIdx.x / blocks;
  size_t step = p.groups * size;
  unsigned first = 0, parts = p.parts;
  if (p.ragged == RAGGED_K) {
    step = size;
    const unsigned lane = threadIdx.x % WARP;
    for (unsigned g = lane; g < group; g += WARP) first += (offsets[g + 1] - offsets[g] + p.chunk - 1) / p.chunk;
#pragma unroll
    for (unsigned distance = WARP / 2; distance > 0; distance /= 2) first += __shfl_xor_sync(FULL_WARP, first, distance);
    parts = (offsets[group + 1] - offsets[group] + p.chunk - 1) / p.chunk;
  } else {
    sums += group * size;
  }
  const size_t element = (size_t)(blockIdx.x % blocks) * 256 + threadIdx.x;
  if (element >= size) return;
  sums += first * step + element;
  float sum = 0.0f;
#pragma unroll 4
  for (unsigned part = 0; part < parts; ++part) sum += sums[part * step];
  float* to;
  if (element < product) {
    const unsigned row = (unsigned)(element / p.n), col = (unsigned)(element % p.n);
    if (x != nullptr) sum = masked(sum, x[group * p.group_x + (size_t)row * p.ld_x + col]);
    to = c + group * p.group_c + (size_t)row * p.ld_c + col;
  } else {
    to = c + p.d_b + group * p.group_d_b + (element - product);
  }
  *to = p.add ? *to + sum : sum;
}
