// One tile of a product C = A·B: its operands on their way through shared memory, and the warps' sums.
//
// Operands. A tile of A holds T::M of C's rows, a tile of B T::N of C's columns ("lines" below), and both DEPTH values of k. In memory
// either k is contiguous (a line is a row) or the lines are (a row is one k); the tile in shared memory keeps that order, without padding:
// 16-byte chunks are swizzled instead, by the functions `chunk_*` below.
//
// Who reads what. A lane reads blocks of 4 lines by 4 values of k, four loads of 16 bytes in either order. On tensor cores lane (g, t) =
// (lane / 4, lane % 4) has lines 4g.. of a group of 32 and k = 4t.. of a group of 16. An mma wants other numbers of each lane, but only says
// which lanes' numbers meet: any renaming of k that A and B share, and any of C's rows and columns, is a product again. Here
//   line 4g + q       is row g of the mma's A for even q, row g + 8 for odd q; column g of its B
//   k = 4t, …, 4t+3   are columns t, t + 4 of the first m16n8k8 and t, t + 4 of the second; or columns 2t, 2t+1, 2t+8, 2t+9 of one m16n8k16
// so lane (g, t) gets rows 4g..4g+3 and columns 8t..8t+7 of C's 32 by 32. The ordinary units do the same with (lane / 8) for rows and
// (lane % 8) for columns, one group of four k after the other.
//
// Banks. 16-byte loads go in phases of eight lanes, which must differ in the number of the chunk modulo 8 or share it:
//   k contiguous: chunk k4 ^ f(line4) of 8 a row, f(line4) = 4·(line4 % 2) + line4 / 2 % 4. A phase has lines g = 2i, 2i+1 and t = 0..3, so
//     chunks t ^ i and t ^ i ^ 4: eight. On ordinary units eight lines share k4, and f maps eight neighbours to eight numbers.
//   lines contiguous: chunk line4 ^ 2·(k4 % 4), rows a multiple of 8 chunks: g ^ 2t for g = 2i, 2i+1: four even, four odd ones. On ordinary
//     units eight neighbours with one k4.
// Copies write eight chunks of one row in a phase: all different.
#pragma once

#include "async.cuh"
#include "mma.cuh"
#include "optmsm.cuh"

#define F32 0
#define TF32 1
#define BF16 2

constexpr unsigned GEMM_THREADS = 128;
// k of one stage.
constexpr unsigned DEPTH = 32;

// M by N numbers of C, by four warps of M/2 by N/2.
template <unsigned ROWS, unsigned COLS, unsigned STAGED>
struct Tile {
  static constexpr unsigned M = ROWS, N = COLS, STAGES = STAGED;
  static constexpr unsigned STAGE = (ROWS + COLS) * DEPTH;  // floats
  static_assert(STAGES * STAGE >= ROWS * COLS, "the sums fit where the stages were");
};
using Large = Tile<128, 128, 3>;
using Small = Tile<64, 64, 3>;

// Which chunk of its row holds k = 4·k4.. of lines 4·line4.., where k is contiguous.
__device__ __forceinline__ unsigned chunk_of_k(unsigned line4, unsigned k4) { return k4 ^ ((line4 % 2) << 2 | line4 / 2 % 4); }

// The same where lines are contiguous.
__device__ __forceinline__ unsigned chunk_of_lines(unsigned line4, unsigned k4) { return line4 ^ (k4 % 4 * 2); }

// Which chunk of its row holds columns 4·col4.. of the finished sums: a phase of eight lanes writes rows 4g and 4g + 4, every other chunk.
__device__ __forceinline__ unsigned chunk_of_sums(unsigned row, unsigned col4) { return col4 ^ (row / 4 % 2); }

// Starts copying four floats, of which the first `valid` exist; the others become 0.
__device__ __forceinline__ void copy_chunk(float* to, const float* from, unsigned valid, bool aligned) {
  if (valid == 0 || (aligned && valid >= 4)) {
    copy_async_16(to, from, valid != 0);
  } else {
#pragma unroll
    for (unsigned j = 0; j < 4; ++j) copy_async_4(to + j, from + (j < valid ? j : 0), j < valid);
  }
}

// Starts copying LINES lines by DEPTH from `from`, of which `lines` by `depth` exist; what does not exist becomes 0 and is not read.
// `origin` is an address of the operand, near which one stands for those that are not read.
template <unsigned LINES, bool K_CONTIGUOUS>
__device__ __forceinline__ void copy_tile(float* tile, const float* from, const float* origin, unsigned ld, unsigned lines, unsigned depth, bool aligned) {
  constexpr unsigned ROW = K_CONTIGUOUS ? DEPTH : LINES;   // floats of a row of the tile
  constexpr unsigned ROWS = K_CONTIGUOUS ? LINES : DEPTH;
  constexpr unsigned STEP = GEMM_THREADS / (ROW / 4);      // rows that the block copies at a time
  const unsigned chunk = threadIdx.x % (ROW / 4), first = threadIdx.x / (ROW / 4);
  const float* source = from + (size_t)first * ld + 4 * chunk;
  if (aligned && lines >= LINES && depth >= DEPTH) {
#pragma unroll
    for (unsigned i = 0; i < ROWS / STEP; ++i) {
      const unsigned row = first + i * STEP;
      const unsigned at = K_CONTIGUOUS ? chunk_of_k(row / 4, chunk) : chunk_of_lines(chunk, row / 4);
      copy_async_16(tile + row * ROW + 4 * at, source, true);
      source += (size_t)STEP * ld;
    }
  } else {
    const unsigned rows = K_CONTIGUOUS ? lines : depth, cols = K_CONTIGUOUS ? depth : lines;
    const unsigned valid = 4 * chunk < cols ? cols - 4 * chunk : 0;
    // Aligned, since a copy of no byte is still one of 16.
    const float* unread = reinterpret_cast<const float*>(reinterpret_cast<size_t>(origin) / 16 * 16);
#pragma unroll 1
    for (unsigned row = first; row < ROWS; row += STEP) {
      const unsigned at = K_CONTIGUOUS ? chunk_of_k(row / 4, chunk) : chunk_of_lines(chunk, row / 4);
      const bool exists = row < rows && valid != 0;
      copy_chunk(tile + row * ROW + 4 * at, exists ? source : unread, exists ? valid : 0, aligned);
      source += (size_t)STEP * ld;
    }
  }
}

// Lines 4·line4.. by k = 4·k4..: v[line][k].
template <unsigned LINES, bool K_CONTIGUOUS>
__device__ __forceinline__ void load_block(float (&v)[4][4], const float* tile, unsigned line4, unsigned k4) {
  if (K_CONTIGUOUS) {
    const float* row = tile + 4 * line4 * DEPTH + 4 * chunk_of_k(line4, k4);
#pragma unroll
    for (unsigned q = 0; q < 4; ++q) {
      const float4 w = *reinterpret_cast<const float4*>(row + q * DEPTH);
      v[q][0] = w.x, v[q][1] = w.y, v[q][2] = w.z, v[q][3] = w.w;
    }
  } else {
    const float* row = tile + 4 * k4 * LINES + 4 * chunk_of_lines(line4, k4);
#pragma unroll
    for (unsigned r = 0; r < 4; ++r) {
      const float4 w = *reinterpret_cast<const float4*>(row + r * LINES);
      v[0][r] = w.x, v[1][r] = w.y, v[2][r] = w.z, v[3][r] = w.w;
    }
  }
}

// Threads that share one line of LINES, neighbours in a warp.
template <unsigned LINES>
constexpr unsigned LINE_THREADS = GEMM_THREADS / LINES;

// Σ over k of a thread's share of its line in a tile whose lines are contiguous. Threads of one line take every other pair of k4, so that
// their swizzles differ by four chunks: a warp reads 32 banks.
template <unsigned LINES>
__device__ __forceinline__ float sum_line(const float* tile) {
  constexpr unsigned THREADS = LINE_THREADS<LINES>;
  static_assert(THREADS == 1 || THREADS == 2, "each has a pair of k4 of every four");
  const unsigned line = threadIdx.x / THREADS, share = threadIdx.x % THREADS;
  float sum = 0.0f;
#pragma unroll
  for (unsigned i = 0; i < DEPTH / 4 / THREADS; ++i) {
    const unsigned k4 = i / 2 * 2 * THREADS + 2 * share + i % 2;
    const float* at = tile + 4 * k4 * LINES + 4 * chunk_of_lines(line / 4, k4) + line % 4;
#pragma unroll
    for (unsigned r = 0; r < 4; ++r) sum += at[r * LINES];
  }
  return sum;
}

// The sum of a line from those of its threads. Whole warps call it.
template <unsigned LINES>
__device__ __forceinline__ float join_line(float sum) {
  return LINE_THREADS<LINES> == 1 ? sum : sum + __shfl_xor_sync(FULL_WARP, sum, 1);
}

#if PRECISION == F32

// A thread's sums: columns 32j + 4·(lane % 8).. of rows 16i + 4·(lane / 8) + q of its warp's part.
template <class T>
struct Sums {
  static constexpr unsigned I = T::M / 32, J = T::N / 64;
  float v[I][4][J][4];

  // Adds one stage; each sum in ascending order of k.
  template <bool A_K, bool B_K>
  __device__ __forceinline__ void multiply(const float* a, const float* b, unsigned row4, unsigned col4) {
    const unsigned lane = threadIdx.x % WARP;
#pragma unroll 1
    for (unsigned k4 = 0; k4 < DEPTH / 4; ++k4) {
      float right[J][4][4];
#pragma unroll
      for (unsigned j = 0; j < J; ++j) load_block<T::N, B_K>(right[j], b, col4 + 8 * j + lane % 8, k4);
#pragma unroll
      for (unsigned i = 0; i < I; ++i) {
        float left[4][4];
        load_block<T::M, A_K>(left, a, row4 + 4 * i + lane / 8, k4);
#pragma unroll
        for (unsigned r = 0; r < 4; ++r)
#pragma unroll
          for (unsigned q = 0; q < 4; ++q)
#pragma unroll
            for (unsigned j = 0; j < J; ++j)
#pragma unroll
              for (unsigned c = 0; c < 4; ++c) v[i][q][j][c] = fmaf(left[q][r], right[j][c][r], v[i][q][j][c]);
      }
    }
  }

  __device__ __forceinline__ void store(float* tile, unsigned row4, unsigned col4) const {
    const unsigned lane = threadIdx.x % WARP;
#pragma unroll
    for (unsigned i = 0; i < I; ++i)
#pragma unroll
      for (unsigned q = 0; q < 4; ++q)
#pragma unroll
        for (unsigned j = 0; j < J; ++j) {
          const unsigned row = 4 * (row4 + 4 * i + lane / 8) + q;
          const unsigned at = chunk_of_sums(row, col4 + 8 * j + lane % 8);
          const float* s = v[i][q][j];
          *reinterpret_cast<float4*>(tile + row * T::N + 4 * at) = make_float4(s[0], s[1], s[2], s[3]);
        }
  }
#else

// A thread's sums: rows 32i + 4g + 2p + e/2 and columns 32j + 8t + 4·(e % 2) + q of its warp's part are v[i][p][j][q][e].
template <class T>
struct Sums {
  static constexpr unsigned I = T::M / 64, J = T::N / 64;
  float v[I][2][J][4][4];

  // One line's four k, rounded: as the tensor core takes them, in two (bf16) or four (tf32) registers.
#if PRECISION == TF32
  static constexpr unsigned WORDS = 4;
  static __device__ __forceinline__ void round(unsigned (&w)[WORDS], const float (&k)[4]) {
#pragma unroll
    for (unsigned r = 0; r < 4; ++r) w[r] = to_tf32(k[r]);
  }
#else
  static constexpr unsigned WORDS = 2;
  static __device__ __forceinline__ void round(unsigned (&w)[WORDS], const float (&k)[4]) {
    w[0] = pack_bf16(k[0], k[1]);
    w[1] = pack_bf16(k[2], k[3]);
  }
#endif

  template <unsigned LINES, bool K_CONTIGUOUS>
  static __device__ __forceinline__ void load(unsigned (&w)[4][WORDS], const float* tile, unsigned line4, unsigned k4) {
    float v[4][4];
    load_block<LINES, K_CONTIGUOUS>(v, tile, line4, k4);
#pragma unroll
    for (unsigned q = 0; q < 4; ++q) round(w[q], v[q]);
  }

  // Adds one stage; each sum in ascending order of groups of 16 k.
  template <bool A_K, bool B_K>
  __device__ __forceinline__ void multiply(const float* a, const float* b, unsigned row4, unsigned col4) {
    const unsigned g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
#pragma unroll 1
    for (unsigned k4 = t; k4 < DEPTH / 4; k4 += 4) {
      unsigned left[I][4][WORDS];
#pragma unroll
      for (unsigned i = 0; i < I; ++i) load<T::M, A_K>(left[i], a, row4 + 8 * i + g, k4);
#pragma unroll
      for (unsigned j = 0; j < J; ++j) {
        unsigned right[4][WORDS];
        load<T::N, B_K>(right, b, col4 + 8 * j + g, k4);
#pragma unroll
        for (unsigned s = 0; s < WORDS; s += 2)
#pragma unroll
          for (unsigned i = 0; i < I; ++i)
#pragma unroll
            for (unsigned p = 0; p < 2; ++p) {
              const unsigned wa[4] = {left[i][2 * p][s], left[i][2 * p + 1][s], left[i][2 * p][s + 1], left[i][2 * p + 1][s + 1]};
#pragma unroll
              for (unsigned q = 0; q < 4; ++q) {
                const unsigned wb[2] = {right[q][s], right[q][s + 1]};
#if PRECISION == TF32
                mma_tf32(v[i][p][j][q], wa, wb);
#else
                mma_bf16(v[i][p][j][q], wa, wb);
#endif
              }
            }
      }
    }
  }

  __device__ __forceinline__ void store(float* tile, unsigned row4, unsigned col4) const {
    const unsigned g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
#pragma unroll
    for (unsigned i = 0; i < I; ++i)
#pragma unroll
      for (unsigned p = 0; p < 2; ++p)
#pragma unroll
        for (unsigned j = 0; j < J; ++j)
#pragma unroll
          for (unsigned e = 0; e < 4; ++e) {
            const unsigned row = 4 * (row4 + 8 * i + g) + 2 * p + e / 2;
            const unsigned at = chunk_of_sums(row, col4 + 8 * j + 2 * t + e % 2);
            const float(*s)[4] = v[i][p][j];
            *reinterpret_cast<float4*>(tile + row * T::N + 4 * at) = make_float4(s[0][e], s[1][e], s[2][e], s[3][e]);
          }
  }
#endif

  __device__ __forceinline__ void clear() {
    float* all = reinterpret_cast<float*>(v);
#pragma unroll
    for (unsigned n = 0; n < sizeof v / sizeof(float); ++n) all[n] = 0.0f;
  }
};
