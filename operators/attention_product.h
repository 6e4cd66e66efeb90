// The numbers of attention: how they are packed, the weight of a score, and products: few rows by a panel, a matrix
// whose rows are as wide as the sums that fit into the registers. All functions are static, because each instruction
// set has its own.
//
// With `BF16`, packed numbers are bfloat16 (sums are float32 all the same), and a panel is `[depth / 2][kPanel][2]`.
// With `TILES` too, products are those of AMX. What a sum is added up of, and in which order, is the same whatever else
// is computed beside it.

#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "attention_kernel.h"
#include "simd.h"
#if defined(TILES)
#include "tiles.h"
#endif

namespace qwen3 {
namespace {

constexpr int kPanel = kWidth * kPanelVectors;

#if defined(BF16)
using Number = uint16_t;
constexpr int kPair = 2;  // numbers that are side by side in a column

inline Number narrow(float v) { return (Number)_mm_extract_epi16((__m128i)_mm_cvtneps_pbh(_mm_set_ss(v)), 0); }

inline void store_narrow(Number* to, Vector v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh(v));
}

// Scores are logarithms to base 2, which are cheaper to undo.
constexpr float kScoreUnit = 1.44269504f;

// 2^x for x up to 0, with a relative error of 3e-6, a thousandth of what the result is rounded to: the fraction of x
// goes through a polynomial of degree 4 with the smallest error.
inline Vector weight_of(Vector x) {
  constexpr int kFraction = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
  const Vector fraction = _mm512_reduce_ps(x, kFraction);
  Vector y = all(0.0134267006f);
  y = fused(y, fraction, all(0.0522424467f));
  y = fused(y, fraction, all(0.241280213f));
  y = fused(y, fraction, all(0.693044841f));
  y = fused(y, fraction, all(1.0f));
  return times_power_of_two(y, x);  // which rounds x down
}
#else
using Number = float;
constexpr int kPair = 1;

inline Number narrow(float v) { return v; }

inline void store_narrow(Number* to, Vector v) { store(to, v); }

constexpr float kScoreUnit = 1.0f;

inline Vector weight_of(Vector x) { return exponential(x); }
#endif

#if defined(TILES)

constexpr int kStep = 32;  // of which the depth of a product is a multiple
static_assert(kMaxRows % kTileRows == 0, "products are of whole tiles");
static_assert(kPanel * kPair * sizeof(Number) == kUnitBytes, "a panel of keys or values is what tiles are loaded from");

// While it lives, the tiles of this thread are shaped for products.
struct Products {
  Products() { shape_tiles<2>(2 * kTileRows); }
  ~Products() { _tile_release(); }
};

template <int RowTiles>
void product(const Number* left, int64_t left_stride, const Number* panel, int64_t depth, float* sums,
             int64_t sums_stride, bool accumulate) {
  if (accumulate) {
    load_sums<RowTiles>(sums, sums_stride * sizeof(float));
  } else {
    clear_sums();
  }
  multiply<Bf16Unit, RowTiles>(left, left_stride * sizeof(Number), panel, depth / kStep);
  store_sums<RowTiles>(sums, sums_stride * sizeof(float));
}

// `sums[rows][kPanel] (+)= left[rows][depth] * panel[depth][kPanel]`, of which only the first `columns` are needed. The
// matrices have memory for whole tiles, `kMaxRows` rows and whole panels; what is after the last row or column is of no
// meaning and changes nothing before it.
void product_of_columns(int64_t columns, int64_t rows, const Number* left, int64_t left_stride, const Number* panel,
                        int64_t depth, float* sums, int64_t sums_stride, bool accumulate) {
  constexpr int64_t kMost = 2 * kTileColumns;
  for (; rows > kTileRows; rows -= 2 * kTileRows) {
    for (int64_t c = 0; c < columns; c += kMost) {
      product<2>(left, left_stride, panel + c * kPair, depth, sums + c, sums_stride, accumulate);
    }
    left += 2 * kTileRows * left_stride;
    sums += 2 * kTileRows * sums_stride;
  }
  if (rows > 0) product<1>(left, left_stride, panel, depth, sums, sums_stride, accumulate);
}

#else

constexpr int kStep = kPair;
constexpr int kRows = 6;  // of a product

struct Products {};

// `sums[rows][kPanel] (+)= left[rows][depth] * panel[depth][kPanel]`, the first `Vectors` vectors of each row.
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
  for (int64_t k = 0; k < depth; k += kPair, panel += kPanel * kPair) {
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

// `sums[rows][kPanel] (+)= left[rows][depth] * panel[depth][kPanel]`, of which only the first `columns` are needed.
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

#endif

}  // namespace
}  // namespace qwen3
