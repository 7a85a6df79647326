// Uploads, fresh memory, and what sets and copies it.
#include "rows.cuh"

// A piece of an upload: `bytes` bytes at `from` in the stage go to `to`; as in crates/optmsm-cuda/src/queue.rs.
struct Piece {
  unsigned long long to;
  unsigned from, bytes;
};

// Carries the pieces of a stage to their places; the list of pieces lies in the stage, too, at `pieces_at`.
// Floor: each byte read and written once. Grid: (16 KB of the largest piece, pieces), 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) unpack(const unsigned char* stage, unsigned pieces_at) {
  const Piece piece = reinterpret_cast<const Piece*>(stage + pieces_at)[blockIdx.y];
  unsigned char* to = reinterpret_cast<unsigned char*>(piece.to);
  const unsigned char* from = stage + piece.from; // at a multiple of 16
  const unsigned first = blockIdx.x * 256 + threadIdx.x, step = gridDim.x * 256;
  if (piece.to % 16 == 0) {
    const unsigned whole = piece.bytes / 16;
    for (unsigned i = first; i < whole; i += step) {
      reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
    }
    // The last bytes: at most seven numbers of two bytes.
    for (unsigned i = whole * 8 + first; i < piece.bytes / 2; i += step) {
      reinterpret_cast<unsigned short*>(to)[i] = reinterpret_cast<const unsigned short*>(from)[i];
    }
  } else if (piece.to % 4 == 0 && piece.bytes % 4 == 0) {
    for (unsigned i = first; i < piece.bytes / 4; i += step) {
      reinterpret_cast<unsigned*>(to)[i] = reinterpret_cast<const unsigned*>(from)[i];
    }
  } else {
    for (unsigned i = first; i < piece.bytes / 2; i += step) {
      reinterpret_cast<unsigned short*>(to)[i] = reinterpret_cast<const unsigned short*>(from)[i];
    }
  }
}

// dst[i] = 0 for `words` words of four bytes.
// Floor: each byte written once. Grid: enough for the device or 1024 words a block, 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) zero_words(unsigned* dst, unsigned long long words) {
  const size_t step = (size_t)gridDim.x * 256;
  for (size_t i = (size_t)blockIdx.x * 256 + threadIdx.x; i < words; i += step) {
    dst[i] = 0;
  }
}

// dst = v.
// Floor: each element written once.
// spills: none
extern "C" __global__ void __launch_bounds__(256) fill(float* dst, unsigned ld_dst, unsigned count, unsigned cols,
                                                       float v) {
  const bool aligned = quads_aligned(dst, ld_dst);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    store_quad(dst + row * ld_dst + col, make_float4(v, v, v, v), left, aligned);
  });
}

// dst = src, or dst += src.
// Floor: each element of src read, of dst written once (and read when added to).
// spills: none
extern "C" __global__ void __launch_bounds__(256) copy(float* dst, unsigned ld_dst, const float* src, unsigned ld_src,
                                                       unsigned count, unsigned cols, unsigned add) {
  const bool aligned_dst = quads_aligned(dst, ld_dst), aligned_src = quads_aligned(src, ld_src);
  for_quad(count, cols, [=](size_t row, unsigned col, unsigned left) {
    float4 v = load_quad(src + row * ld_src + col, left, aligned_src);
    float* to = dst + row * ld_dst + col;
    if (add) {
      v = each(load_quad(to, left, aligned_dst), v, [](float d, float s) { return d + s; });
    }
    store_quad(to, v, left, aligned_dst);
  });
}
