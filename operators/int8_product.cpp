// It is compiled for AVX-512 with VNNI.

#include "int8_product.h"

#include <immintrin.h>

#include <cstring>

namespace qwen3 {
namespace {

constexpr int kWidth = 16;
constexpr int kVectors = kProductPanel / kWidth;
constexpr int kRows = 6;                      // 24 sums, 4 vectors and a factor in 32 registers
constexpr int64_t kStep = kProductPanel * 4;  // bytes of a panel that one step multiplies
constexpr int64_t kAhead = 8 * kStep;

template <int Rows>
void product(const Int8Matrix& matrix, int64_t panel, const uint8_t* left, const float* row_scales, float* result) {
  const int64_t depth = matrix.depth;
  const int8_t* weights = matrix.panels + panel * kProductPanel * depth;
  __m512i sum[Rows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; v++) sum[r][v] = _mm512_setzero_si512();
  }
  for (int64_t k = 0; k < depth; k += 4, weights += kStep) {
    __m512i column[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; v++) {
      column[v] = _mm512_loadu_si512(weights + v * 64);
      _mm_prefetch(weights + kAhead + v * 64, _MM_HINT_T0);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; r++) {
      int32_t four;
      std::memcpy(&four, left + r * depth + k, sizeof four);
      const __m512i factor = _mm512_set1_epi32(four);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; v++) sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], factor, column[v]);
    }
  }
  const int64_t first = panel * kProductPanel;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; v++) {
      const int64_t c = first + v * kWidth, left_over = matrix.columns - c;
      if (left_over <= 0) break;
      const __mmask16 inside = left_over >= kWidth ? 0xffff : static_cast<__mmask16>((1u << left_over) - 1);
      const __m512i exact = _mm512_sub_epi32(sum[r][v], _mm512_loadu_si512(matrix.corrections + c));
      __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(exact), _mm512_loadu_ps(matrix.scales + c));
      if (row_scales) scaled = _mm512_mul_ps(scaled, _mm512_set1_ps(row_scales[r]));
      _mm512_mask_storeu_ps(result + r * matrix.columns + c, inside, scaled);
    }
  }
}

}  // namespace

void product_of_panel_vnni(const Int8Matrix& matrix, int64_t panel, const uint8_t* left, const float* row_scales,
                           int64_t rows, float* result) {
  const auto scales = [&](int64_t r) { return row_scales ? row_scales + r : nullptr; };
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    product<kRows>(matrix, panel, left + r * matrix.depth, scales(r), result + r * matrix.columns);
  }
  left += r * matrix.depth;
  result += r * matrix.columns;
  switch (rows - r) {
    case 1: return product<1>(matrix, panel, left, scales(r), result);
    case 2: return product<2>(matrix, panel, left, scales(r), result);
    case 3: return product<3>(matrix, panel, left, scales(r), result);
    case 4: return product<4>(matrix, panel, left, scales(r), result);
    case 5: return product<5>(matrix, panel, left, scales(r), result);
    default: return;
  }
}

}  // namespace qwen3
