// Reductions and updates over parameter buffers and tables (model.md §9).
#include "optmsm.cuh"
#include "philox.cuh"
#include "rounding.cuh"

// As in crates/optmsm-cuda/src/ops/update.rs.
constexpr unsigned SGD = 0, MOMENTUM = 1, ADAM = 2, ADAMW = 3, ADAGRAD = 4, ROWWISE_ADAGRAD = 5;
constexpr unsigned TABLES = 28;

// An update's constants, each rounded once.
struct Rule {
  double max_norm;
  unsigned kind;
  float lr, decay;
  float shrink; // 1 - lr · decay
  float beta1, beta2;
  float rest1, rest2; // 1 - β₁, 1 - β₂
  float eps, momentum;
  float rate, root_scale; // of Adam: rate · m / (√v · root_scale + eps)
};

// min(1, max_norm / (√sum_sq + 1e-6)), or 1 without `sum_sq`; by all threads of a block.
__device__ __forceinline__ float clip_factor(const float* sum_sq, double max_norm, float* scratch) {
  if (!sum_sq) return 1.0f;
  if (threadIdx.x == 0) *scratch = (float)fmin(max_norm / (sqrt((double)*sum_sq) + 1e-6), 1.0);
  __syncthreads();
  return *scratch;
}

// Moves one element; s0 and s1 are its state.
__device__ __forceinline__ void move(const Rule& rule, float clip, float& w, float g, float& s0, float& s1) {
  g = clip * g;
  if (rule.kind == ADAMW) {
    w *= rule.shrink;
  } else {
    g += rule.decay * w;
  }
  if (rule.kind == SGD) {
    w -= rule.lr * g;
  } else if (rule.kind == MOMENTUM) {
    s0 = rule.momentum * s0 + g;
    w -= rule.lr * s0;
  } else if (rule.kind == ADAGRAD) {
    s0 += g * g;
    w -= rule.lr * g / (sqrtf(s0) + rule.eps);
  } else {
    s0 = rule.beta1 * s0 + rule.rest1 * g;
    s1 = rule.beta2 * s1 + rule.rest2 * g * g;
    w -= rule.rate * s0 / (sqrtf(s1) * rule.root_scale + rule.eps);
  }
}

__device__ __forceinline__ void move(const Rule& rule, float clip, float4& w, const float4& g, float4& s0, float4& s1) {
  move(rule, clip, w.x, g.x, s0.x, s1.x);
  move(rule, clip, w.y, g.y, s0.y, s1.y);
  move(rule, clip, w.z, g.z, s0.z, s1.z);
  move(rule, clip, w.w, g.w, s0.w, s1.w);
}

__device__ __forceinline__ bool has_state(const Rule& rule) { return rule.kind != SGD; }
__device__ __forceinline__ bool has_second(const Rule& rule) { return rule.kind == ADAM || rule.kind == ADAMW; }

struct DenseStep {
  float* w;
  const float* g;
  float* state[2];
};

// The elements from i on: one, or four.
template <class V>
__device__ __forceinline__ void move_at(const DenseStep& step, const Rule& rule, float clip, size_t i) {
  V w = *reinterpret_cast<V*>(step.w + i), s0 = {}, s1 = {};
  const V g = *reinterpret_cast<const V*>(step.g + i);
  if (has_state(rule)) s0 = *reinterpret_cast<V*>(step.state[0] + i);
  if (has_second(rule)) s1 = *reinterpret_cast<V*>(step.state[1] + i);
  move(rule, clip, w, g, s0, s1);
  *reinterpret_cast<V*>(step.w + i) = w;
  if (has_state(rule)) *reinterpret_cast<V*>(step.state[0] + i) = s0;
  if (has_second(rule)) *reinterpret_cast<V*>(step.state[1] + i) = s1;
}

// One step of the rule on `len` elements, g being clipped by its norm first.
// Floor: w, g and the state read once, w and the state written once. Grid: 1024 elements, 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    step_dense(const DenseStep step, unsigned len, const float* sum_sq, const Rule rule) {
  __shared__ float scratch[1];
  const float clip = clip_factor(sum_sq, rule.max_norm, scratch);
  const size_t i = ((size_t)blockIdx.x * 256 + threadIdx.x) * 4;
  if (i + 4 <= len) {
    move_at<float4>(step, rule, clip, i);
  } else {
    for (size_t k = i; k < len; ++k) move_at<float>(step, rule, clip, k);
  }
}

// ---- tables

struct TableStep {
  void* table;
  const float* g;
  float* state[2];
  const unsigned* rows;
  unsigned long long seed;
  float* average; // in f32, or null
  float c; // what the average moves by as a row moves, times -1
  unsigned step, site;
  unsigned count, width, ld_g;
  unsigned dtype, vector;
};

struct TableSteps {
  TableStep tables[TABLES];
};

// Columns column..column + 4 of a row, as far as there are any.
template <class T>
__device__ __forceinline__ float4 load_four(const typename T::Stored* row, unsigned column, unsigned width, bool vector) {
  float4 v = {};
  if (vector) {
    load<T>(v, row + column);
  } else {
    v.x = T::value(row[column]);
    if (column + 1 < width) v.y = T::value(row[column + 1]);
    if (column + 2 < width) v.z = T::value(row[column + 2]);
    if (column + 3 < width) v.w = T::value(row[column + 3]);
  }
  return v;
}

template <class T>
__device__ __forceinline__ void store_four(typename T::Stored* row, unsigned column, unsigned width, bool vector, const float4& v,
                                           const uint4& words) {
  const typename T::Stored x = T::stored(v.x, words.x), y = T::stored(v.y, words.y);
  const typename T::Stored z = T::stored(v.z, words.z), w = T::stored(v.w, words.w);
  if (vector) {
    store(row + column, x, y, z, w);
  } else {
    row[column] = x;
    if (column + 1 < width) row[column + 1] = y;
    if (column + 2 < width) row[column + 2] = z;
    if (column + 3 < width) row[column + 3] = w;
  }
}

// Takes four columns of an average along, as a row moved from `before` to what it holds now.
template <class T>
__device__ __forceinline__ void follow(const TableStep& t, size_t start, unsigned column, const float4& before, const float4& w,
                                       const uint4& words) {
  const bool vector = t.vector != 0;
  float4 a = load_four<TableF32>(t.average + start, column, t.width, vector);
  a.x -= t.c * (T::value(T::stored(w.x, words.x)) - before.x);
  a.y -= t.c * (T::value(T::stored(w.y, words.y)) - before.y);
  a.z -= t.c * (T::value(T::stored(w.z, words.z)) - before.z);
  a.w -= t.c * (T::value(T::stored(w.w, words.w)) - before.w);
  store_four<TableF32>(t.average + start, column, t.width, vector, a, {});
}

// g of row-wise Adagrad: clipped, with the decay.
__device__ __forceinline__ float4 decayed(const Rule& rule, float clip, const float4& g, const float4& w) {
  return make_float4(clip * g.x + rule.decay * w.x, clip * g.y + rule.decay * w.y, clip * g.z + rule.decay * w.z,
                     clip * g.w + rule.decay * w.w);
}

template <class T>
__device__ __forceinline__ void step_table(const TableStep& t, const Rule& rule, float clip) {
  // As in crates/optmsm-cuda/src/ops/update.rs.
  unsigned lanes = 1;
  while (lanes < WARP && 4 * lanes < t.width) lanes *= 2;
  const unsigned u = (blockIdx.x * 256 + threadIdx.x) / lanes, first = threadIdx.x % lanes * 4;
  const bool works = u < t.count, vector = t.vector != 0;
  const unsigned id = works ? t.rows[u] : 0;
  const size_t start = (size_t)id * t.width;
  typename T::Stored* table = static_cast<typename T::Stored*>(t.table) + start;
  const float* gradient = t.g + (size_t)u * t.ld_g;
  float pull = 0.0f; // row-wise Adagrad: lr over the root
  if (rule.kind == ROWWISE_ADAGRAD) {
    float squares = 0.0f, sum = 0.0f;
    if (works) {
      sum = t.state[0][id];
      for (unsigned column = first; column < t.width; column += 4 * lanes) {
        const float4 w = load_four<T>(table, column, t.width, vector);
        const float4 g = decayed(rule, clip, load_four<TableF32>(gradient, column, t.width, vector), w);
        squares += g.x * g.x + g.y * g.y + g.z * g.z + g.w * g.w;
      }
    }
    for (unsigned half = lanes / 2; half > 0; half /= 2) squares += __shfl_xor_sync(FULL_WARP, squares, half);
    // All lanes of the row have its state: a shuffle alone orders no memory.
    __syncwarp();
    sum += squares / (float)t.width;
    pull = rule.lr / (sqrtf(sum) + rule.eps);
    if (works && first == 0) t.state[0][id] = sum;
  }
  if (!works) return;
  for (unsigned column = first; column < t.width; column += 4 * lanes) {
    float4 w = load_four<T>(table, column, t.width, vector), s0 = {}, s1 = {};
    const float4 before = w, g = load_four<TableF32>(gradient, column, t.width, vector);
    if (rule.kind == ROWWISE_ADAGRAD) {
      const float4 whole = decayed(rule, clip, g, w);
      w = make_float4(w.x - pull * whole.x, w.y - pull * whole.y, w.z - pull * whole.z, w.w - pull * whole.w);
    } else {
      if (has_state(rule)) s0 = load_four<TableF32>(t.state[0] + start, column, t.width, vector);
      if (has_second(rule)) s1 = load_four<TableF32>(t.state[1] + start, column, t.width, vector);
      move(rule, clip, w, g, s0, s1);
      if (has_state(rule)) store_four<TableF32>(t.state[0] + start, column, t.width, vector, s0, {});
      if (has_second(rule)) store_four<TableF32>(t.state[1] + start, column, t.width, vector, s1, {});
    }
    uint4 words = {};
    if (t.dtype != DTYPE_F32) {
      words = philox4x32(make_uint4(id, column / 4, t.site, t.step), make_uint2((unsigned)t.seed, (unsigned)(t.seed >> 32)));
    }
    store_four<T>(table, column, t.width, vector, w, words);
    if (t.average) follow<T>(t, start, column, before, w, words);
  }
}

// One step of the rule on rows rows[u] of each table, with row u of g, calculated in f32 and stored in the table's type by random words of
// the row and the column. A row's sum of squares, of row-wise Adagrad, is added in an order that its width alone decides.
// An average moves with them. Floor: of each row w, g, the state and the average read, all but g written, once. Grid: (256 / lanes rows, tables), one lane for four columns.
// spills: none
extern "C" __global__ void __launch_bounds__(256, 3)
    step_tables(const TableSteps tables, const float* sum_sq, const Rule rule) {
  __shared__ float scratch[1];
  const TableStep t = tables.tables[blockIdx.y];
  const float clip = clip_factor(sum_sq, rule.max_norm, scratch);
  if (t.dtype == DTYPE_F32) {
    step_table<TableF32>(t, rule, clip);
  } else if (t.dtype == DTYPE_F16) {
    step_table<TableF16>(t, rule, clip);
  } else {
    step_table<TableBf16>(t, rule, clip);
  }
}

// ---- averages

// a += share · (w − a) over `len` elements.
// Floor: a and w read once, a written once. Grid: 1024 elements, 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) average(float* a, const float* w, unsigned len, float share) {
#pragma unroll
  for (unsigned k = 0; k < 4; ++k) {
    const size_t i = (size_t)blockIdx.x * 1024 + 256 * k + threadIdx.x;
    if (i < len) a[i] += share * (w[i] - a[i]);
  }
}

struct Settle {
  void* table;
  float* average; // or null
  unsigned long long len;
  float factor, q, d;
  unsigned dtype;
};

template <class T>
__device__ __forceinline__ void settle(const Settle& s) {
  typename T::Stored* table = static_cast<typename T::Stored*>(s.table);
#pragma unroll
  for (unsigned k = 0; k < 4; ++k) {
    const size_t i = (size_t)blockIdx.x * 1024 + 256 * k + threadIdx.x;
    if (i >= s.len) return;
    const float w = T::value(table[i]);
    if (s.average) s.average[i] = fmaf(s.d, s.average[i], s.q * w);
    table[i] = T::nearest(s.factor * w);
  }
}

// average = q · table + d · average, then table *= factor, to the nearest that its type holds.
// Floor: both read and written once. Grid: 1024 elements, 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) settle_rows(const Settle s) {
  if (s.dtype == DTYPE_F32) {
    settle<TableF32>(s);
  } else if (s.dtype == DTYPE_F16) {
    settle<TableF16>(s);
  } else {
    settle<TableBf16>(s);
  }
}

// First of two: parts[i] = Σ x² over what block i reads.
// Floor: x read once. Grid: as many parts as the length gives, 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) sum_sq_parts(float* parts, const float* x, unsigned len) {
  __shared__ float scratch[8];
  const float4* quads = reinterpret_cast<const float4*>(x);
  const unsigned whole = len / 4, step = gridDim.x * 256, own = blockIdx.x * 256 + threadIdx.x;
  float sum = 0.0f;
#pragma unroll 4
  for (unsigned i = own; i < whole; i += step) {
    const float4 v = quads[i];
    sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  if (own < len % 4) sum += x[4 * whole + own] * x[4 * whole + own];
  sum = block_sum<256>(sum, scratch);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// Second of two: sum[0] (+)= parts[0] + parts[1] + …
// Floor: latency. Grid: one block of 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) sum_sq_join(float* sum, const float* parts, unsigned count, unsigned add) {
  __shared__ float scratch[8];
  float v = 0.0f;
  for (unsigned i = threadIdx.x; i < count; i += 256) v += parts[i];
  v = block_sum<256>(v, scratch);
  if (threadIdx.x == 0) sum[0] = add ? sum[0] + v : v;
}

// As in crates/optmsm-cuda/src/ops/update.rs.
struct Addends {
  const float* x[8];
};

// acc += x_0 + x_1 + …, one after the other.
// Floor: acc and each x read once, acc written once. Grid: 1024 elements, 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) accumulate(float* acc, unsigned len, const Addends from, unsigned count) {
  const unsigned first = blockIdx.x * 1024 + threadIdx.x;
#pragma unroll
  for (unsigned k = 0; k < 4; ++k) {
    const unsigned i = first + 256 * k;
    if (i >= len) break;
    float sum = acc[i];
#pragma unroll
    for (unsigned n = 0; n < 8; ++n) {
      if (n < count) sum += from.x[n][i];
    }
    acc[i] = sum;
  }
}
