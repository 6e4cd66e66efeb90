// It is compiled for AVX-512 and AMX with int8 products.

#include <algorithm>

#include "int8_product.h"
#include "int8_results.h"
#include "tiles.h"

namespace qwen3 {
namespace {

static_assert(kProductPanel * 4 == kUnitBytes, "a panel of weights is what tiles are loaded from");

constexpr int64_t kBlockRows = 2 * kTileRows;
constexpr int64_t kBlockColumns = columns_at_once<2>();
static_assert(kProductRows % kBlockRows == 0, "most rows are in whole blocks");

// Of half a panel, so much stays in the first cache while the rows pass by.
constexpr int64_t kDepthBlock = 512;

// Write the results of `rows` rows and of `Columns` columns from column `c` of the panel on.
template <int64_t Columns>
void store_block(const Int8Matrix& matrix, const Int8Task& task, int64_t c, int64_t row, int64_t rows,
                 const int32_t (*sums)[Columns]) {
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t v = 0; v < Columns; v += kTileColumns) {
      store_results(matrix, task.panel * kProductPanel + c + v, _mm512_load_si512(sums[r] + v),
                    row_scale_of(task, row + r), task.result + (row + r) * task.stride + c + v);
    }
  }
}

// Ask for the panel where it is multiplied for the first time, and comes from memory. A step is a page of it, at whose
// end the processor's own prefetching stops.
void stream(const char* columns) {
  for (int64_t line = 0; line < kStepBytes; line += 64) _mm_prefetch(columns + 2 * kStepBytes + line, _MM_HINT_T0);
}

// The first rows of a task, in whole blocks.
void product_of_blocks(const Int8Matrix& matrix, const Int8Task& task, int64_t rows) {
  const int8_t* const weights = matrix.panels + task.panel * kProductPanel * matrix.depth;
  const int64_t at_once = rows > 2 * kBlockRows ? kDepthBlock : matrix.depth;
  const int64_t steps = rows / kBlockRows * (kProductPanel / kBlockColumns) * (matrix.depth / kTileBytes);
  const int64_t lines = (task.ahead_bytes / 64 + steps - 1) / steps;  // to ask for at each step
  const char* ahead = reinterpret_cast<const char*>(task.ahead);
  alignas(64) int32_t sums[kProductRows][kBlockColumns];
  shape_tiles<2>(kBlockRows);
  for (int64_t c = 0; c < kProductPanel; c += kBlockColumns) {
    for (int64_t k = 0; k < matrix.depth; k += at_once) {
      const int64_t depth = std::min(at_once, matrix.depth - k);
      for (int64_t r = 0; r < rows; r += kBlockRows) {
        const bool streams = !task.ahead && c == 0 && r == 0;
        k ? load_sums<2>(sums[r], sizeof sums[0]) : clear_sums();
        multiply<Int8Unit, 2>(task.left + r * matrix.depth + k, matrix.depth, weights + k * kProductPanel + c * 4,
                              depth / kTileBytes, [&](const char* columns) {
                                if (streams) stream(columns);
                                for (int64_t i = 0; i < lines; i++, ahead += 64) _mm_prefetch(ahead, _MM_HINT_T1);
                              });
        store_sums<2>(sums[r], sizeof sums[0]);
        if (k + depth == matrix.depth) store_block(matrix, task, c, r, kBlockRows, sums + r);
      }
    }
  }
}

// The last rows of a task: 17 to 31 in two tiles, or up to 16 in one.
template <int RowTiles>
void product_of_rest(const Int8Matrix& matrix, const Int8Task& task, int64_t row) {
  constexpr int64_t kColumns = columns_at_once<RowTiles>();
  const int8_t* const weights = matrix.panels + task.panel * kProductPanel * matrix.depth;
  alignas(64) int32_t sums[RowTiles * kTileRows][kColumns];
  shape_tiles<RowTiles>(task.rows - row);
  for (int64_t c = 0; c < kProductPanel; c += kColumns) {
    const bool streams = c == 0 && row == 0;
    clear_sums();
    multiply<Int8Unit, RowTiles>(task.left + row * matrix.depth, matrix.depth, weights + c * 4,
                                 matrix.depth / kTileBytes, [&](const char* columns) {
                                   if (streams) stream(columns);
                                 });
    store_sums<RowTiles>(sums, sizeof sums[0]);
    store_block(matrix, task, c, row, task.rows - row, sums);
  }
}

}  // namespace

void product_of_panel_amx(const Int8Matrix& matrix, const Int8Task& task) {
  const int64_t whole = task.rows / kBlockRows * kBlockRows;
  if (whole) product_of_blocks(matrix, task, whole);
  if (task.rows - whole > kTileRows) {
    product_of_rest<2>(matrix, task, whole);
  } else if (task.rows > whole) {
    product_of_rest<1>(matrix, task, whole);
  }
  _tile_release();
}

}  // namespace qwen3
