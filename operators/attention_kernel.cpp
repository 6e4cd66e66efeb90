// The kernel of ragged attention. It is compiled once for each instruction set: `KERNEL` is the name of the result, and
// with `BF16` packed numbers are bfloat16 (sums are float32 all the same).
//
// Scores and outputs are products of few rows by a panel, a matrix whose rows are as wide as the sums that fit into the
// registers. Every sum is added in the order of its index, whatever else is computed beside it.

#include "attention_kernel.h"

#include <cmath>
#include <cstring>

#include "simd.h"

namespace qwen3 {
namespace {

constexpr int kPanel = kWidth * kPanelVectors;
constexpr int kRows = 6;  // rows of a product

#if defined(BF16)
using Number = uint16_t;
constexpr int kDepth = 2;  // numbers that one instruction multiplies and adds

inline Number narrow(float v) { return (Number)_mm_extract_epi16((__m128i)_mm_cvtneps_pbh(_mm_set_ss(v)), 0); }

inline void store_narrow(Number* to, Vector v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh(v));
}
#else
using Number = float;
constexpr int kDepth = 1;

inline Number narrow(float v) { return v; }

inline void store_narrow(Number* to, Vector v) { store(to, v); }
#endif

void narrow_row(const float* from, int64_t count, Number* to) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) store_narrow(to + i, load(from + i));
  for (; i < count; i++) to[i] = narrow(from[i]);
}

// `sums[rows][kPanel] (+)= left[rows][depth] * panel[depth][kPanel]`, the first `Vectors` vectors of each row.
// In bfloat16, `panel` is `[depth / 2][kPanel][2]`, and `depth` is even.
template <int Rows, int Vectors>
void product(const Number* left, int64_t left_stride, const Number* panel, int64_t depth, float* sums,
             int64_t sums_stride, bool accumulate) {
  Vector sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; v++) {
      sum[r][v] = accumulate ? load(sums + r * sums_stride + v * kWidth) : all(0.0f);
    }
  }
  for (int64_t k = 0; k < depth; k += kDepth, panel += kPanel * kDepth) {
#if defined(BF16)
    __m512bh column[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; v++) column[v] = (__m512bh)_mm512_loadu_si512(panel + v * kWidth * 2);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; r++) {
      int32_t pair;
      std::memcpy(&pair, left + r * left_stride + k, sizeof pair);
      const __m512bh factor = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; v++) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], factor, column[v]);
    }
#else
    Vector column[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; v++) column[v] = load(panel + v * kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; r++) {
      const Vector factor = all(left[r * left_stride + k]);
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; v++) sum[r][v] = fused(factor, column[v], sum[r][v]);
    }
#endif
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; v++) store(sums + r * sums_stride + v * kWidth, sum[r][v]);
  }
}

template <int Vectors>
void product_of_rows(int64_t rows, const Number* left, int64_t left_stride, const Number* panel, int64_t depth,
                     float* sums, int64_t sums_stride, bool accumulate) {
  for (; rows >= kRows; rows -= kRows, left += kRows * left_stride, sums += kRows * sums_stride) {
    product<kRows, Vectors>(left, left_stride, panel, depth, sums, sums_stride, accumulate);
  }
  switch (rows) {
    case 1: product<1, Vectors>(left, left_stride, panel, depth, sums, sums_stride, accumulate); break;
    case 2: product<2, Vectors>(left, left_stride, panel, depth, sums, sums_stride, accumulate); break;
    case 3: product<3, Vectors>(left, left_stride, panel, depth, sums, sums_stride, accumulate); break;
    case 4: product<4, Vectors>(left, left_stride, panel, depth, sums, sums_stride, accumulate); break;
    case 5: product<5, Vectors>(left, left_stride, panel, depth, sums, sums_stride, accumulate); break;
    default: break;
  }
}

void product_of_columns(int64_t columns, int64_t rows, const Number* left, int64_t left_stride, const Number* panel,
                        int64_t depth, float* sums, int64_t sums_stride, bool accumulate) {
  switch ((columns + kWidth - 1) / kWidth) {
    case 1: product_of_rows<1>(rows, left, left_stride, panel, depth, sums, sums_stride, accumulate); break;
    case 2: product_of_rows<2>(rows, left, left_stride, panel, depth, sums, sums_stride, accumulate); break;
#if defined(__AVX512F__)
    case 3: product_of_rows<3>(rows, left, left_stride, panel, depth, sums, sums_stride, accumulate); break;
    case 4: product_of_rows<4>(rows, left, left_stride, panel, depth, sums, sums_stride, accumulate); break;
#endif
    default: break;
  }
}

// A query or a key as products take it: normalised if there is a gain, and with the rotary embedding, in which the
// halves of a vector are the parts of complex numbers. All times `scale`.
void prepare(const Shape& shape, const float* __restrict x, const float* __restrict gain, int64_t position, float scale,
             Number* __restrict prepared) {
  const int64_t dim = shape.head_dim, half = dim / 2;
  float normed[kMaxHeadDim], rotated[kMaxHeadDim];
  if (gain) {
    Vector squares = all(0.0f);
    int64_t i = 0;
    for (; i + kWidth <= dim; i += kWidth) squares = fused(load(x + i), load(x + i), squares);
    float sum = total(squares);
    for (; i < dim; i++) sum += x[i] * x[i];
    const float factor = 1.0f / std::sqrt(sum / static_cast<float>(dim) + shape.eps);
    for (i = 0; i < dim; i++) normed[i] = x[i] * factor * gain[i];
    x = normed;
  }
  const float* __restrict cos = shape.cos + position * half;
  const float* __restrict sin = shape.sin + position * half;
  for (int64_t i = 0; i < half; i++) {
    rotated[i] = scale * (x[i] * cos[i] - x[i + half] * sin[i]);
    rotated[i + half] = scale * (x[i + half] * cos[i] + x[i] * sin[i]);
  }
  narrow_row(rotated, dim, prepared);
}

// Keys become `[head_dim / kDepth][kPanel][kDepth]`. Columns after the last token, up to a whole vector, are zeros.
void pack_keys(const Shape& shape, const Tokens& tokens) {
  const int64_t dim = shape.head_dim, filled = (tokens.count + kWidth - 1) / kWidth * kWidth;
  Number* const panel = reinterpret_cast<Number*>(tokens.packed_keys) + tokens.first * dim;
  Number key[kMaxHeadDim];
  for (int64_t t = 0; t < filled; t++) {
    if (t < tokens.count) {
      prepare(shape, tokens.keys[t], shape.key_gain, tokens.first + t, 1.0f, key);
    } else {
      std::memset(key, 0, sizeof(Number) * dim);
    }
    Number* to = panel + t * kDepth;
    for (int64_t d = 0; d < dim; d += kDepth, to += kPanel * kDepth) std::memcpy(to, key + d, sizeof(Number) * kDepth);
  }
}

// Tokens of a block of keys that have memory in packed form.
int64_t stored_tokens(int64_t tokens, int64_t block) {
  const int64_t left = padded(tokens, kPanel) - block;
  return left < kKeyBlock ? left : kKeyBlock;
}

// Values become, for each block of keys, panels of columns: `[tokens / kDepth][kPanel][kDepth]`. Zeros follow the last
// token, so that there are `kDepth` of each.
void pack_values(const Shape& shape, const Tokens& tokens) {
  const int64_t block = tokens.first / kKeyBlock * kKeyBlock;
  const int64_t stride = stored_tokens(tokens.tokens, block) * kPanel;
  Number* const panels =
      reinterpret_cast<Number*>(tokens.packed_values) + block * shape.value_columns + (tokens.first - block) * kPanel;
  Number rows[kDepth][kMaxHeadDim + kPanel] = {};
  for (int64_t t = 0; t < tokens.count; t += kDepth) {
    for (int64_t k = 0; k < kDepth; k++) {
      if (t + k < tokens.count) {
        narrow_row(tokens.values[t + k], shape.head_dim, rows[k]);
      } else {
        std::memset(rows[k], 0, sizeof(Number) * shape.head_dim);
      }
    }
    for (int64_t c = 0; c < shape.value_columns; c += kPanel) {
      Number* const to = panels + c / kPanel * stride + t * kPanel;
      for (int64_t i = 0; i < kPanel; i++) {
        for (int64_t k = 0; k < kDepth; k++) to[i * kDepth + k] = rows[k][c + i];
      }
    }
  }
}

void pack(const Shape& shape, const Tokens& tokens) {
  pack_keys(shape, tokens);
  pack_values(shape, tokens);
}

struct Scratch {
  Number* queries;  // [kMaxRows][head_dim]
  float* scores;    // [kMaxRows][kKeyBlock]
  Number* weights;  // [kMaxRows][kKeyBlock]; in float32 the same memory as the scores
  float* outputs;   // [kMaxRows][value_columns]
  float* largest;   // [kMaxRows]
  float* totals;    // [kMaxRows]
};

size_t arrange(const Shape& shape, char* memory, Scratch* scratch) {
  size_t used = 0;
  const auto take = [&](size_t bytes) {
    char* p = memory + used;
    used += (bytes + 63) / 64 * 64;
    return p;
  };
  Scratch s;
  s.queries = reinterpret_cast<Number*>(take(sizeof(Number) * kMaxRows * shape.head_dim));
  s.scores = reinterpret_cast<float*>(take(sizeof(float) * kMaxRows * kKeyBlock));
#if defined(BF16)
  s.weights = reinterpret_cast<Number*>(take(sizeof(Number) * kMaxRows * kKeyBlock));
#else
  s.weights = s.scores;
#endif
  s.outputs = reinterpret_cast<float*>(take(sizeof(float) * kMaxRows * shape.value_columns));
  s.largest = reinterpret_cast<float*>(take(sizeof(float) * kMaxRows));
  s.totals = reinterpret_cast<float*>(take(sizeof(float) * kMaxRows));
  if (scratch) *scratch = s;
  return used;
}

size_t scratch_size(const Shape& shape) { return arrange(shape, nullptr, nullptr); }

// Turn one row's scores of a block of keys into weights, and bring what was summed before to the new largest score.
void soften(float* scores, Number* weights, int64_t seen, int64_t keys, float* largest_so_far, float* total_so_far,
            float* outputs, int64_t columns, bool is_first) {
  const int64_t stored = (keys + kWidth - 1) / kWidth * kWidth;
  if (seen <= 0) {
    for (int64_t i = 0; i < stored; i += kWidth) store_narrow(weights + i, all(0.0f));
    return;
  }
  Vector most = all(-INFINITY);
  for (int64_t i = 0; i < seen; i += kWidth) {
    Vector v = load(scores + i);
    if (seen - i < kWidth) v = first(v, static_cast<int>(seen - i), -INFINITY);
    most = larger(most, v);
  }
  const float before = *largest_so_far;
  float now = largest(most);
  if (!is_first && before > now) now = before;
  Vector sum = all(0.0f);
  for (int64_t i = 0; i < stored; i += kWidth) {
    Vector w = all(0.0f);
    if (i < seen) {
      w = exponential(sub(load(scores + i), all(now)));
      if (seen - i < kWidth) w = first(w, static_cast<int>(seen - i), 0.0f);
      sum = add(sum, w);
    }
    store_narrow(weights + i, w);
  }
  *largest_so_far = now;
  if (is_first) {
    *total_so_far = total(sum);
    return;
  }
  float factor[kWidth];
  store(factor, exponential(all(before - now)));
  *total_so_far = *total_so_far * factor[0] + total(sum);
  if (now != before) {
    for (int64_t c = 0; c < columns; c += kWidth) store(outputs + c, mul(load(outputs + c), all(factor[0])));
  }
}

void attend(const Shape& shape, const Queries& q, char* memory) {
  Scratch s;
  arrange(shape, memory, &s);
  const int64_t dim = shape.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  int64_t last = 0;
  for (int64_t r = 0; r < q.rows; r++) {
    prepare(shape, q.queries[r], shape.query_gain, q.positions[r], scale, s.queries + r * dim);
    if (q.positions[r] > last) last = q.positions[r];
  }
  const Number* keys = reinterpret_cast<const Number*>(q.packed_keys);
  const Number* values = reinterpret_cast<const Number*>(q.packed_values);
  for (int64_t block = 0; block <= last; block += kKeyBlock) {
    int64_t count = last + 1 - block;  // keys that any row sees
    if (count > kKeyBlock) count = kKeyBlock;
    for (int64_t k = 0; k < count; k += kPanel) {
      product_of_columns(count - k < kPanel ? count - k : kPanel, q.rows, s.queries, dim, keys + (block + k) * dim, dim,
                         s.scores + k, kKeyBlock, false);
    }
    for (int64_t r = 0; r < q.rows; r++) {
      soften(s.scores + r * kKeyBlock, s.weights + r * kKeyBlock,
             q.positions[r] + 1 - block < count ? q.positions[r] + 1 - block : count, count, s.largest + r,
             s.totals + r, s.outputs + r * shape.value_columns, shape.value_columns, block == 0);
    }
    const int64_t stored = stored_tokens(q.tokens, block);
    const int64_t depth = (count + kDepth - 1) / kDepth * kDepth;
    for (int64_t c = 0; c < shape.value_columns; c += kPanel) {
      product_of_columns(dim - c < kPanel ? dim - c : kPanel, q.rows, s.weights, kKeyBlock,
                         values + block * shape.value_columns + c * stored, depth, s.outputs + c, shape.value_columns,
                         block != 0);
    }
  }
  for (int64_t r = 0; r < q.rows; r++) {
    float* row = s.outputs + r * shape.value_columns;
    const Vector share = all(1.0f / s.totals[r]);
    for (int64_t d = 0; d < dim; d += kWidth) store(row + d, mul(load(row + d), share));
    std::memcpy(q.outputs[r], row, sizeof(float) * dim);
  }
}

}  // namespace

extern const Kernel KERNEL;
const Kernel KERNEL = {kPanel, sizeof(Number), scratch_size, pack, attend};

}  // namespace qwen3
