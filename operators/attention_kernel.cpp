// The kernel of ragged attention. It is compiled once for each instruction set: `KERNEL` is the name of the result, and
// what `BF16` and `TILES` change is in `attention_product.h`.

#include "attention_kernel.h"

#include <cmath>
#include <cstring>

#include "attention_product.h"
#include "simd.h"

namespace qwen3 {
namespace {

void narrow_row(const float* from, int64_t count, Number* to) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) store_narrow(to + i, load(from + i));
  for (; i < count; i++) to[i] = narrow(from[i]);
}

// A query or a key as products take it: normalised, and with the rotary embedding, in which the halves of a vector are
// the parts of complex numbers. All times `scale`.
void prepare(const Shape& shape, const float* __restrict x, const float* __restrict gain, int64_t position, float scale,
             Number* __restrict prepared) {
  const int64_t dim = shape.head_dim, half = dim / 2;
  float normed[kMaxHeadDim], rotated[kMaxHeadDim];
  Vector squares = all(0.0f);
  int64_t d = 0;
  for (; d + kWidth <= dim; d += kWidth) squares = fused(load(x + d), load(x + d), squares);
  float sum = total(squares);
  for (; d < dim; d++) sum += x[d] * x[d];
  const float factor = 1.0f / std::sqrt(sum / static_cast<float>(dim) + shape.eps);
  for (int64_t i = 0; i < dim; i++) normed[i] = x[i] * factor * gain[i];
  const float* __restrict cos = shape.cos + position * half;
  const float* __restrict sin = shape.sin + position * half;
  for (int64_t i = 0; i < half; i++) {
    rotated[i] = scale * (normed[i] * cos[i] - normed[i + half] * sin[i]);
    rotated[i + half] = scale * (normed[i + half] * cos[i] + normed[i] * sin[i]);
  }
  narrow_row(rotated, dim, prepared);
}

// Keys become `[head_dim / kPair][kPanel][kPair]`. Columns after the last token, up to a whole vector, are zeros.
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
    Number* to = panel + t * kPair;
    for (int64_t d = 0; d < dim; d += kPair, to += kPanel * kPair) std::memcpy(to, key + d, sizeof(Number) * kPair);
  }
}

// Tokens of a block of keys that have memory in packed form.
int64_t stored_tokens(int64_t tokens, int64_t block) {
  const int64_t left = padded(tokens, kPanel) - block;
  return left < kKeyBlock ? left : kKeyBlock;
}

int64_t whole_steps(int64_t depth) { return (depth + kStep - 1) / kStep * kStep; }

// Values become, for each block of keys, panels of columns: `[tokens / kPair][kPanel][kPair]`. Zeros follow the last
// token, up to a whole step of a product.
void pack_values(const Shape& shape, const Tokens& tokens) {
  const int64_t block = tokens.first / kKeyBlock * kKeyBlock;
  const int64_t stride = stored_tokens(tokens.tokens, block) * kPanel;
  Number* const panels =
      reinterpret_cast<Number*>(tokens.packed_values) + block * shape.value_columns + (tokens.first - block) * kPanel;
  Number rows[kPair][kMaxHeadDim + kPanel] = {};
  for (int64_t t = 0; t < whole_steps(tokens.count); t += kPair) {
    for (int64_t k = 0; k < kPair; k++) {
      if (t + k < tokens.count) {
        narrow_row(tokens.values[t + k], shape.head_dim, rows[k]);
      } else {
        std::memset(rows[k], 0, sizeof(Number) * shape.head_dim);
      }
    }
    for (int64_t c = 0; c < shape.value_columns; c += kPanel) {
      Number* const to = panels + c / kPanel * stride + t * kPanel;
      for (int64_t i = 0; i < kPanel; i++) {
        for (int64_t k = 0; k < kPair; k++) to[i * kPair + k] = rows[k][c + i];
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
  const int64_t stored = whole_steps((keys + kWidth - 1) / kWidth * kWidth);
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
      w = weight_of(sub(load(scores + i), all(now)));
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
  store(factor, weight_of(all(before - now)));
  *total_so_far = *total_so_far * factor[0] + total(sum);
  if (now != before) {
    for (int64_t c = 0; c < columns; c += kWidth) store(outputs + c, mul(load(outputs + c), all(factor[0])));
  }
}

void attend(const Shape& shape, const Queries& q, char* memory) {
  Scratch s;
  arrange(shape, memory, &s);
  [[maybe_unused]] const Products products;
  const int64_t dim = shape.head_dim;
  const float scale = kScoreUnit / std::sqrt(static_cast<float>(dim));
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
    for (int64_t c = 0; c < shape.value_columns; c += kPanel) {
      product_of_columns(dim - c < kPanel ? dim - c : kPanel, q.rows, s.weights, kKeyBlock,
                         values + block * shape.value_columns + c * stored, whole_steps(count), s.outputs + c,
                         shape.value_columns, block != 0);
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
