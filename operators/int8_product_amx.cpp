// It is compiled for AVX-512 and AMX with int8 products.

#include <type_traits>

#include "int8_product.h"
#include "int8_results.h"
#include "tiles.h"

namespace qwen3 {
namespace {

static_assert(kProductPanel * 4 == kUnitBytes, "a panel of weights is what tiles are loaded from");

// The columns from `c` on of rows that the tiles are shaped for: 17 to 32 in two tiles, or up to 16 in one.
template <int RowTiles, bool Streams>
void product_of_columns(const Int8Matrix& matrix, int64_t panel, int64_t c, const uint8_t* left,
                        const float* row_scales, int64_t rows, float* result) {
  constexpr int64_t kColumns = columns_at_once<RowTiles>();
  const int8_t* const weights = matrix.panels + panel * kProductPanel * matrix.depth + c * 4;
  alignas(64) int32_t sums[RowTiles * kTileRows][kColumns];
  clear_sums();
  multiply<Int8Unit, RowTiles, Streams>(left, matrix.depth, weights, matrix.depth / kTileBytes);
  store_sums<RowTiles>(sums, sizeof sums[0]);
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t v = 0; v < kColumns; v += kTileColumns) {
      store_results(matrix, panel * kProductPanel + c + v, _mm512_load_si512(sums[r] + v),
                    row_scales ? row_scales + r : nullptr, result + r * matrix.columns);
    }
  }
}

// `is_first`: of the rows that a panel is multiplied with, so that it comes from memory.
template <int RowTiles>
void product(const Int8Matrix& matrix, int64_t panel, const uint8_t* left, const float* row_scales, int64_t rows,
             float* result, bool is_first) {
  const auto columns = [&](auto streams, int64_t c) {
    product_of_columns<RowTiles, streams.value>(matrix, panel, c, left, row_scales, rows, result);
  };
  is_first ? columns(std::true_type(), 0) : columns(std::false_type(), 0);
  for (int64_t c = columns_at_once<RowTiles>(); c < kProductPanel; c += columns_at_once<RowTiles>()) {
    columns(std::false_type(), c);
  }
}

}  // namespace

void product_of_panel_amx(const Int8Matrix& matrix, int64_t panel, const uint8_t* left, const float* row_scales,
                          int64_t rows, float* result) {
  constexpr int64_t kMost = 2 * kTileRows;
  const auto scales = [&](int64_t r) { return row_scales ? row_scales + r : nullptr; };
  int64_t r = 0;
  if (rows >= kMost) shape_tiles<2>(kMost);
  for (; r + kMost <= rows; r += kMost) {
    product<2>(matrix, panel, left + r * matrix.depth, scales(r), kMost, result + r * matrix.columns, r == 0);
  }
  const int64_t rest = rows - r;
  left += r * matrix.depth;
  result += r * matrix.columns;
  if (rest > kTileRows) {
    shape_tiles<2>(rest);
    product<2>(matrix, panel, left, scales(r), rest, result, r == 0);
  } else if (rest) {
    shape_tiles<1>(rest);
    product<1>(matrix, panel, left, scales(r), rest, result, r == 0);
  }
  _tile_release();
}

}  // namespace qwen3
