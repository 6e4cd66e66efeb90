// The product of uint8 rows around 128 by an int8 matrix, with exact sums.

#pragma once

#include <cstdint>

namespace qwen3 {

// Columns of the matrix that are packed side by side.
constexpr int64_t kProductPanel = 64;
// Rows that are multiplied by a panel at a time: they stay in the second cache.
constexpr int64_t kProductRows = 192;

// A packed matrix `[depth][columns]`.
struct Int8Matrix {
  const int8_t* panels;        // for each panel of columns, [depth / 4][kProductPanel][4]
  const int32_t* corrections;  // [columns, rounded up]: 128 times the sum of a column
  const float* scales;         // [columns, rounded up]
  int64_t depth;               // a multiple of 4
  int64_t columns;
};

// Some rows by one panel: `result = (left - 128) @ panel * scales`, and times `row_scales` if they are given.
struct Int8Task {
  int64_t panel;
  const uint8_t* left;      // [rows][depth]
  const float* row_scales;  // [rows], or null
  int64_t rows;             // at most `kProductRows`
  float* result;            // [rows][stride]: the panel's columns, as many as the matrix has
  int64_t stride;
  // A part of the next panel, which is asked for meanwhile: multiples of 64 bytes, or none.
  const int8_t* ahead;
  int64_t ahead_bytes;
};

using ProductOfPanel = void (*)(const Int8Matrix&, const Int8Task&);

void product_of_panel_vnni(const Int8Matrix&, const Int8Task&);
// Only for a depth that is a multiple of 64.
void product_of_panel_amx(const Int8Matrix&, const Int8Task&);

}  // namespace qwen3
