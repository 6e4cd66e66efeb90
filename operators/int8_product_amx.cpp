// It is compiled for AVX-512 and AMX with int8 products.

#include "int8_product.h"
#include "int8_results.h"
#include "tiles.h"

namespace qwen3 {
namespace {

// Rows that the tiles are shaped for: 17 to 32 in two tiles, or up to 16 in one.
template <int RowTiles>
void product(const Int8Matrix& matrix, int64_t panel, const uint8_t* left, const float* row_scales, int64_t rows,
             float* result) {
  constexpr int64_t kColumns = kSums / RowTiles * kTileColumns;
  const int8_t* const weights = matrix.panels + panel * kProductPanel * matrix.depth;
  for (int64_t c = 0; c < kProductPanel; c += kColumns) {
    alignas(64) int32_t sums[RowTiles * kTileRows][kColumns];
    clear_sums();
    multiply<Int8Unit, RowTiles>(left, matrix.depth, weights + c * 4, matrix.depth / kTileBytes);
    store_sums<RowTiles>(sums, sizeof sums[0]);
    for (int64_t r = 0; r < rows; r++) {
      for (int64_t v = 0; v < kColumns; v += kTileColumns) {
        store_results(matrix, panel * kProductPanel + c + v, _mm512_load_si512(sums[r] + v),
                      row_scales ? row_scales + r : nullptr, result + r * matrix.columns);
      }
    }
  }
}

}  // namespace

void product_of_panel_amx(const Int8Matrix& matrix, int64_t panel, const uint8_t* left, const float* row_scales,
                          int64_t rows, float* result) {
  const auto next = [&](int64_t done) {
    left += done * matrix.depth;
    if (row_scales) row_scales += done;
    result += done * matrix.columns;
    rows -= done;
  };
  constexpr int64_t kMost = 2 * kTileRows;
  if (rows >= kMost) shape_tiles<2>(kMost);
  while (rows >= kMost) {
    product<2>(matrix, panel, left, row_scales, kMost, result);
    next(kMost);
  }
  if (rows > kTileRows) {
    shape_tiles<2>(rows);
    product<2>(matrix, panel, left, row_scales, rows, result);
  } else if (rows) {
    shape_tiles<1>(rows);
    product<1>(matrix, panel, left, row_scales, rows, result);
  }
  _tile_release();
}

}  // namespace qwen3
