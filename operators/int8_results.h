// How sums of int8 products become results. All functions are static, because each instruction set has its own.

#pragma once

#include <immintrin.h>

#include "int8_product.h"

namespace qwen3 {
namespace {

// The scale of a row of a task; null if it has none.
inline const float* row_scale_of(const Int8Task& task, int64_t row) {
  return task.row_scales ? task.row_scales + row : nullptr;
}

// Write the results of 16 columns of a row, those that the matrix has: of `sums`, which are of numbers around 128, and
// with the row's scale if there is one.
inline void store_results(const Int8Matrix& matrix, int64_t column, __m512i sums, const float* row_scale, float* to) {
  constexpr int64_t kWidth = 16;
  const int64_t left_over = matrix.columns - column;
  if (left_over <= 0) return;
  const __mmask16 inside = left_over >= kWidth ? 0xffff : static_cast<__mmask16>((1u << left_over) - 1);
  const __m512i exact = _mm512_sub_epi32(sums, _mm512_loadu_si512(matrix.corrections + column));
  __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(exact), _mm512_loadu_ps(matrix.scales + column));
  if (row_scale) scaled = _mm512_mul_ps(scaled, _mm512_set1_ps(*row_scale));
  _mm512_mask_storeu_ps(to, inside, scaled);
}

}  // namespace
}  // namespace qwen3
