// Embeddings: rows of tables and their pooling, numeric fields, and the sums of gradient rows by id (model.md §1).
#include "optmsm.cuh"
#include "rounding.cuh"
#include "vector.cuh"

// As in crates/optmsm-cuda/src/ops/embedding.rs.
constexpr unsigned FIELDS = 32;

// How rows are read: factors of what is stored and, unless null, of an average in f32 that lies as the table does.
struct Reading {
  const float* average;
  float scale, factor;
};

struct LookupField {
  float* out;
  const void* table;
  const unsigned* ids;
  Reading reading;
  unsigned ld_out, stride, width;
  unsigned short dtype, vector;
};

struct LookupFields {
  LookupField fields[FIELDS];
};

// Calls F<T, V>::run(arguments…) for the type of a table, by four columns or by one.
template <template <class, class> class F, class... A>
__device__ __forceinline__ void by_type(unsigned dtype, unsigned vector, A... a) {
  if (dtype == DTYPE_F32) {
    vector ? F<TableF32, float4>::run(a...) : F<TableF32, float>::run(a...);
  } else if (dtype == DTYPE_F16) {
    vector ? F<TableF16, float4>::run(a...) : F<TableF16, float>::run(a...);
  } else {
    vector ? F<TableBf16, float4>::run(a...) : F<TableBf16, float>::run(a...);
  }
}

// v, loaded from element `at` of a table, as it is read.
template <class V>
__device__ __forceinline__ void read_as(V& v, const Reading& reading, size_t at) {
  scale(v, reading.scale);
  if (reading.average) add_scaled(v, reading.factor, get<V>(reading.average + at));
}

template <class T, class V>
struct LookupRows {
  static __device__ __forceinline__ void run(const LookupField f, unsigned rows) {
    constexpr unsigned COUNT = Columns<V>::COUNT, EACH = 4;
    const typename T::Stored* table = static_cast<const typename T::Stored*>(f.table);
    const unsigned units = f.width / COUNT, total = rows * units;
    const unsigned first = blockIdx.x * (256 * EACH) + threadIdx.x;
    // Ids, then rows: EACH loads of each in flight.
    size_t from[EACH];
    V v[EACH];
#pragma unroll
    for (unsigned k = 0; k < EACH; ++k) {
      const unsigned i = first + 256 * k;
      if (i < total) from[k] = (size_t)f.ids[i / units] * f.stride + i % units * COUNT;
    }
#pragma unroll
    for (unsigned k = 0; k < EACH; ++k) {
      if (first + 256 * k < total) load<T>(v[k], table + from[k]);
    }
#pragma unroll
    for (unsigned k = 0; k < EACH; ++k) {
      if (first + 256 * k < total) read_as(v[k], f.reading, from[k]);
    }
#pragma unroll
    for (unsigned k = 0; k < EACH; ++k) {
      const unsigned i = first + 256 * k;
      if (i < total) put(f.out + (size_t)(i / units) * f.ld_out + i % units * COUNT, v[k]);
    }
  }
};

// out_f[b, :] = table_f[ids_f[b], :] as it is read, for each field f; rows of a table are `stride` elements apart.
// Floor: each id read, each row read in the table's type and written as f32, once. Grid: (1024 units, fields), a unit being four columns
// of a row where addresses allow, else one; 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) lookup_fields(const LookupFields fields, unsigned rows) {
  const LookupField f = fields.fields[blockIdx.y];
  by_type<LookupRows>(f.dtype, f.vector, f, rows);
}

struct Bags {
  float* out;
  const void* table;
  const unsigned* offsets;
  const unsigned* ids;
  const float* coefs;
  Reading reading;
  unsigned ld_out, width;
  unsigned short dtype, vector;
  unsigned rows;
};

template <class T, class V>
struct PoolBags {
  static __device__ __forceinline__ void run(const Bags bags) {
    constexpr unsigned COUNT = Columns<V>::COUNT, AHEAD = 4;
    const unsigned units = bags.width / COUNT, i = blockIdx.x * 256 + threadIdx.x;
    if (i >= bags.rows * units) return;
    const unsigned row = i / units, column = i % units * COUNT;
    const typename T::Stored* table = static_cast<const typename T::Stored*>(bags.table) + column;
    const unsigned end = bags.offsets[row + 1];
    V sum;
    set_zero(sum);
    for (unsigned at = bags.offsets[row]; at < end; at += AHEAD) {
      V v[AHEAD];
#pragma unroll
      for (unsigned k = 0; k < AHEAD; ++k) {
        if (at + k < end) load<T>(v[k], table + (size_t)bags.ids[at + k] * bags.width);
      }
#pragma unroll
      for (unsigned k = 0; k < AHEAD; ++k) {
        if (at + k < end) read_as(v[k], bags.reading, (size_t)bags.ids[at + k] * bags.width + column);
      }
#pragma unroll
      for (unsigned k = 0; k < AHEAD; ++k) {
        if (at + k < end) add_scaled(sum, bags.coefs[at + k], v[k]);
      }
    }
    put(bags.out + (size_t)row * bags.ld_out + column, sum);
  }
};

// out[b, :] = Σ coef · table[id, :], each row as it is read, over ids offsets[b]..offsets[b + 1], in this order.
// Floor: each id, coefficient and row of an id read once, out written once. Grid: 256 units, as in lookup_fields; 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) lookup_bags(const Bags bags) {
  by_type<PoolBags>(bags.dtype, bags.vector, bags);
}

// out[b, :] = values[b] · w[:].
// Floor: out written once. Grid: 1024 elements, 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256)
    numeric_embed(float* out, unsigned ld_out, unsigned rows, unsigned cols, const float* w, const float* values) {
#pragma unroll
  for (unsigned k = 0; k < 4; ++k) {
    const unsigned i = blockIdx.x * 1024 + 256 * k + threadIdx.x, row = i / cols, column = i % cols;
    if (row < rows) out[(size_t)row * ld_out + column] = values[row] * w[column];
  }
}

// ---- sums of gradient rows by id
//
// The occurrences of a field are cut into chunks of CHUNK. A group of lanes, one a column or four, walks a chunk. Runs of one id
// inside a chunk are sums; a run that goes on leaves a partial sum in the chunk's record: `head`, of a segment that began in an
// earlier chunk, and `tail`, of one that begins here and goes on. Then each such segment adds its partial sums.

constexpr unsigned CHUNK = 32; // long enough that records are few, short enough that a batch of 4096 fills a device
constexpr unsigned GROUPS = 64; // most groups of a block
constexpr unsigned NONE = 0xffffffffu;

struct FieldSum {
  float* g;
  const float* d_out;
  const unsigned* starts;
  const unsigned* rows;
  const float* coefs; // null: 1
  unsigned count, ld_g, width;
  unsigned records; // where the field's records begin in the workspace
  unsigned ld_d;
  unsigned short lanes, vector;
};

struct FieldSums {
  FieldSum fields[FIELDS];
};

// A chunk's record: head and tail, each of the width rounded up to four, then the segment that goes on, or NONE.
__device__ __forceinline__ unsigned padded(unsigned width) { return (width + 3) / 4 * 4; }
__device__ __forceinline__ size_t record(const FieldSum& f, unsigned chunk) {
  return f.records + (size_t)chunk * (2 * padded(f.width) + 4);
}

// Groups read the same place of their chunks at once: one bank each.
__device__ __forceinline__ unsigned banked(unsigned place) { return place + place / CHUNK; }

constexpr unsigned PLACES = GROUPS * (CHUNK + 1);

// `begins` holds the segment that begins at a place, or NONE.
template <class V>
__device__ __forceinline__ void walk_chunks(const FieldSum& f, float* records, unsigned* begins, unsigned* row_of, float* coef_of) {
  constexpr unsigned COUNT = Columns<V>::COUNT, AHEAD = 8;
  const unsigned span = 256 / f.lanes * CHUNK, base = blockIdx.x * span, occurrences = f.starts[f.count];
  if (base > occurrences) return;
  for (unsigned p = threadIdx.x; p < span; p += 256) {
    begins[banked(p)] = NONE;
    if (base + p < occurrences) {
      row_of[banked(p)] = f.rows[base + p];
      coef_of[banked(p)] = f.coefs ? f.coefs[base + p] : 1.0f;
    }
  }
  if (threadIdx.x == 0) begins[banked(span)] = NONE;
  __syncthreads();

  const unsigned group = threadIdx.x / f.lanes, lane = threadIdx.x % f.lanes;
  const unsigned column = (blockIdx.z * f.lanes + lane) * COUNT, from = group * CHUNK;
  const bool works = base + from < occurrences && column < f.width;
  const unsigned length = works ? min(CHUNK, occurrences - base - from) : 0;
  // The first rows are on their way while segments are looked for.
  V v[AHEAD];
#pragma unroll
  for (unsigned k = 0; k < AHEAD; ++k) {
    if (k < length) v[k] = get<V>(f.d_out + (size_t)row_of[banked(from + k)] * f.ld_d + column);
  }

  // Segments that begin in the span; the place behind its end tells the last group whether its run goes on.
  for (unsigned u = warp_lower_bound(f.starts, f.count, base) + threadIdx.x; u < f.count; u += 4 * 256) {
    unsigned start[4], end[4];
#pragma unroll
    for (unsigned k = 0; k < 4; ++k) {
      const bool is = u + 256 * k < f.count;
      start[k] = is ? f.starts[u + 256 * k] : NONE;
      end[k] = is ? f.starts[u + 256 * k + 1] : NONE;
    }
#pragma unroll
    for (unsigned k = 0; k < 4; ++k) {
      if (start[k] > base + span) continue;
      if (start[k] < end[k]) {
        begins[banked(start[k] - base)] = u + 256 * k;
      } else if (start[k] < base + span && blockIdx.z == 0) {
        for (unsigned j = 0; j < f.width; ++j) f.g[(size_t)(u + 256 * k) * f.ld_g + j] = 0.0f;
      }
    }
    if (start[3] > base + span) break;
  }
  __syncthreads();
  if (!works) return;

  float* head = records + record(f, base / CHUNK + group);
  unsigned segment = begins[banked(from)]; // NONE: it began before
  V sum;
  set_zero(sum);
#pragma unroll 1
  for (unsigned i = 0; i < length; i += AHEAD) {
#pragma unroll
    for (unsigned k = 0; k < AHEAD; ++k) {
      const unsigned place = from + i + k;
      if (i + k < length) {
        const unsigned begun = begins[banked(place)];
        if (i + k > 0 && begun != NONE) {
          put(segment == NONE ? head + column : f.g + (size_t)segment * f.ld_g + column, sum);
          set_zero(sum);
          segment = begun;
        }
        add_scaled(sum, coef_of[banked(place)], v[k]);
        if (i + k + AHEAD < length) v[k] = get<V>(f.d_out + (size_t)row_of[banked(place + AHEAD)] * f.ld_d + column);
      }
    }
  }
  const unsigned next = from + length;
  const bool goes_on = segment != NONE && base + next < occurrences && begins[banked(next)] == NONE;
  float* tail = head + padded(f.width);
  put(segment == NONE ? head + column : goes_on ? tail + column : f.g + (size_t)segment * f.ld_g + column, sum);
  if (column == 0) *reinterpret_cast<unsigned*>(tail + padded(f.width)) = goes_on ? segment : NONE;
}

// First of two: g[u, :] = Σ coef · d_out[row, :] over the occurrences starts[u]..starts[u + 1], for the segments that lie inside one chunk.
// Floor: each occurrence's row id, coefficient and row of d_out read once, each row of g written once. Grid: (256 / lanes chunks of the
// occurrences that there is room for, fields, 32 lanes of a row), 256 threads.
// spills: none
extern "C" __global__ void __launch_bounds__(256) reduce_fields_walk(const FieldSums fields, float* records) {
  const FieldSum f = fields.fields[blockIdx.y];
  if (blockIdx.z > 0 && blockIdx.z * f.lanes * (f.vector ? 4 : 1) >= f.width) return;
  __shared__ unsigned begins[PLACES + 1];
  __shared__ unsigned row_of[PLACES];
  __shared__ float coef_of[PLACES];
  if (f.vector) {
    walk_chunks<float4>(f, records, begins, row_of, coef_of);
  } else {
    walk_chunks<float>(f, records, begins, row_of, coef_of);
  }
}

template <class V>
__device__ __forceinline__ void join_chunks(const FieldSum& f, const float* records, unsigned* segments, unsigned* lengths, V* sums) {
  constexpr unsigned SHORT = 16; // more partial sums are added by the whole block
  const unsigned occurrences = f.starts[f.count], groups = 256 / f.lanes;
  const unsigned group = threadIdx.x / f.lanes, lane = threadIdx.x % f.lanes;
  const unsigned column = (blockIdx.z * f.lanes + lane) * Columns<V>::COUNT;
  const unsigned first = blockIdx.x * groups, chunk = first + group, step = 2 * padded(f.width) + 4;
  if ((size_t)first * CHUNK >= occurrences) return;
  const bool is = (size_t)chunk * CHUNK < occurrences;
  // The tail of `chunk`, then the heads of those that follow.
  const float* tail = records + record(f, chunk) + padded(f.width);
  const unsigned segment = is ? *reinterpret_cast<const unsigned*>(tail + padded(f.width)) : NONE;
  const unsigned length = segment == NONE ? 0 : (f.starts[segment + 1] - 1) / CHUNK - chunk + 1;
  if (length > 0 && length <= SHORT && column < f.width) {
    V sum = get<V>(tail + column);
    const float* head = tail - padded(f.width) + column;
#pragma unroll 4
    for (unsigned i = 1; i < length; ++i) add(sum, get<V>(head + (size_t)i * step));
    put(f.g + (size_t)segment * f.ld_g + column, sum);
  }
  if (lane == 0) {
    segments[group] = segment;
    lengths[group] = length;
  }
  __syncthreads();
  for (unsigned k = 0; k < groups; ++k) {
    const unsigned long_length = lengths[k];
    if (long_length <= SHORT) continue;
    V sum;
    set_zero(sum);
    if (column < f.width) {
      const float* head = records + record(f, first + k) + column;
#pragma unroll 4
      for (unsigned i = group; i < long_length; i += groups) {
        add(sum, get<V>(head + (size_t)i * step + (i == 0 ? padded(f.width) : 0)));
      }
    }
    sums[threadIdx.x] = sum;
    for (unsigned half = groups / 2; half > 0; half /= 2) {
      __syncthreads();
      if (group < half) add(sums[threadIdx.x], sums[threadIdx.x + half * f.lanes]);
    }
    if (group == 0 && column < f.width) put(f.g + (size_t)segments[k] * f.ld_g + column, sums[lane]);
    __syncthreads();
  }
}

// Second of two: adds the partial sums of the segments that cross from one chunk into the next, in an order that follows from where
// these lie. Floor: two partial sums read and one row of g written for each. Grid as in reduce_fields_walk.
// spills: none
extern "C" __global__ void __launch_bounds__(256, 4) reduce_fields_join(const FieldSums fields, const float* records) {
  const FieldSum f = fields.fields[blockIdx.y];
  if (blockIdx.z > 0 && blockIdx.z * f.lanes * (f.vector ? 4 : 1) >= f.width) return;
  __shared__ unsigned segments[GROUPS];
  __shared__ unsigned lengths[GROUPS];
  __shared__ float4 sums[256];
  if (f.vector) {
    join_chunks<float4>(f, records, segments, lengths, sums);
  } else {
    join_chunks<float>(f, records, segments, lengths, reinterpret_cast<float*>(sums));
  }
}
