// The product of uint8 rows around 128 by an int8 matrix, with exact sums.

#pragma once

#include <cstdint>

namespace qwen3 {

// Columns of the matrix that are packed side by side.
constexpr int64_t kProductPanel = 64;

// A packed matrix `[depth][columns]`.
struct Int8Matrix {
  const int8_t* panels;        // for each panel of columns, [depth / 4][kProductPanel][4]
  const int32_t* corrections;  // [columns, rounded up]: 128 times the sum of a column
  const float* scales;         // [columns, rounded up]
  int64_t depth;               // a multiple of 4
  int64_t columns;
};

// `result[rows][columns]` of one panel: `(left - 128) @ matrix * scales`, and times `row_scales` if they are given.
using ProductOfPanel = void (*)(const Int8Matrix&, int64_t panel, const uint8_t* left, const float* row_scales,
                                int64_t rows, float* result);

void product_of_panel_vnni(const Int8Matrix&, int64_t panel, const uint8_t* left, const float* row_scales, int64_t rows,
                           float* result);
// Only for a depth that is a multiple of 64.
void product_of_panel_amx(const Int8Matrix&, int64_t panel, const uint8_t* left, const float* row_scales, int64_t rows,
                          float* result);

}  // namespace qwen3
