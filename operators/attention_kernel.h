// What a kernel of ragged attention is: functions for one instruction set, on packed keys and values of one head.

#pragma once

#include <cstddef>
#include <cstdint>

namespace qwen3 {

// Keys are taken in blocks of so many, counted from a text's first token. So the order in which a query's numbers are
// added depends on its position in its text and on nothing else.
constexpr int64_t kKeyBlock = 128;
// Rows (queries x heads of a group) that are computed together, whole tiles of AMX.
constexpr int64_t kMaxRows = 48;
constexpr int64_t kMaxHeadDim = 512;
constexpr int64_t kMaxPanel = 64;

// What all heads of a call share.
struct Shape {
  int64_t head_dim;
  int64_t value_columns;  // `head_dim`, rounded up to whole panels
  const float* cos;       // `[positions, head_dim / 2]`
  const float* sin;
  // Gains of the RMS norms of queries and keys, `[head_dim]`.
  const float* query_gain;
  const float* key_gain;
  float eps;
};

// Some tokens of one text, for one head of keys and values.
struct Tokens {
  const float* const* keys;    // of each token, `[head_dim]`, before the rotary embedding
  const float* const* values;  // of each token, `[head_dim]`
  int64_t first;               // position of the first one, a multiple of the panel
  int64_t count;               // at most a panel
  int64_t tokens;              // of the text
  char* packed_keys;           // of the text
  char* packed_values;
};

// Some queries of one text, for one head of keys and values.
struct Queries {
  const float* const* queries;  // for each row, `[head_dim]`, before the rotary embedding
  float* const* outputs;        // for each row, `[head_dim]`
  const int64_t* positions;     // of each row
  int64_t rows;                 // at most `kMaxRows`
  int64_t tokens;               // of the text
  const char* packed_keys;      // of the text
  const char* packed_values;
};

struct Kernel {
  int64_t panel;                    // keys, or columns of values, that are side by side in packed form
  int64_t element;                  // bytes of a packed number
  size_t (*scratch)(const Shape&);  // bytes that `attend` needs
  void (*pack)(const Shape&, const Tokens&);
  void (*attend)(const Shape&, const Queries&, char* scratch);
};

extern const Kernel kernel_avx2;
extern const Kernel kernel_avx512;
extern const Kernel kernel_avx512_bf16;
extern const Kernel kernel_amx;  // only for a `head_dim` that is a multiple of 32

// Number of keys for which a text's packed form has memory: whole panels.
static inline int64_t padded(int64_t tokens, int64_t panel) { return (tokens + panel - 1) / panel * panel; }

}  // namespace qwen3
