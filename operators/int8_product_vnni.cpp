// It is compiled for AVX-512 with VNNI.

#include <immintrin.h>

#include <cstring>

#include "int8_product.h"
#include "int8_results.h"

namespace qwen3 {
namespace {

constexpr int kWidth = 16;
constexpr int kVectors = kProductPanel / kWidth;
constexpr int kRows = 6;                      // 24 sums, 4 vectors and a factor in 32 registers
constexpr int64_t kStep = kProductPanel * 4;  // bytes of a panel that one step multiplies
constexpr int64_t kAhead = 8 * kStep;

template <int Rows>
void product(const Int8Matrix& matrix, int64_t panel, const uint8_t* left, const float* row_scales, float* result,
             int64_t stride) {
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
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; v++) {
      store_results(matrix, panel * kProductPanel + v * kWidth, sum[r][v], row_scales ? row_scales + r : nullptr,
                    result + r * stride + v * kWidth);
    }
  }
}

}  // namespace

void product_of_panel_vnni(const Int8Matrix& matrix, const Int8Task& task) {
  int64_t r = 0;
  for (; r + kRows <= task.rows; r += kRows) {
    product<kRows>(matrix, task.panel, task.left + r * matrix.depth, row_scale_of(task, r),
                   task.result + r * task.stride, task.stride);
  }
  const uint8_t* const left = task.left + r * matrix.depth;
  float* const result = task.result + r * task.stride;
  switch (task.rows - r) {
    case 1: return product<1>(matrix, task.panel, left, row_scale_of(task, r), result, task.stride);
    case 2: return product<2>(matrix, task.panel, left, row_scale_of(task, r), result, task.stride);
    case 3: return product<3>(matrix, task.panel, left, row_scale_of(task, r), result, task.stride);
    case 4: return product<4>(matrix, task.panel, left, row_scale_of(task, r), result, task.stride);
    case 5: return product<5>(matrix, task.panel, left, row_scale_of(task, r), result, task.stride);
    default: return;
  }
}

}  // namespace qwen3
