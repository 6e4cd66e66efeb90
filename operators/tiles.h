// Products of matrices in the tiles of AMX, registers of 16 rows of 64 bytes. All functions are static, because only
// files for AMX may have them.
//
// The right matrix is packed as `[depth in units of 4 bytes][64 columns][4 bytes]`: four int8 or two bfloat16 numbers
// of one column are side by side. So 16 units of 16 columns are a tile.

#pragma once

#include <immintrin.h>

#include <cstdint>

namespace qwen3 {
namespace {

constexpr int kTileRows = 16;
constexpr int kTileColumns = 16;
constexpr int64_t kTileBytes = 64;      // of a row
constexpr int64_t kUnitBytes = 64 * 4;  // of one unit of all columns

// Tiles 0 to 3 are sums, 4 and 5 rows of the left matrix, 6 and 7 columns of the right one. So sums are of 2 x 2 tiles,
// where each loaded tile is multiplied twice, or of 1 x 4 for 16 rows or fewer.
constexpr int kSums = 4;

template <int RowTiles>
constexpr int64_t columns_at_once() {
  return kSums / RowTiles * kTileColumns;
}

// What LDTILECFG loads. Source: Intel's Software Developer's Manual, volume 1, 18.
struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t first_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileShapes) == 64, "the instruction reads 64 bytes");

// Shape the tiles for products of `rows` rows, of which there is one to 16 in the last tile.
template <int RowTiles>
void shape_tiles(int64_t rows) {
  TileShapes shapes;
  for (int t = 0; t < 8; t++) {
    const bool is_last = t < kSums ? t / (kSums / RowTiles) == RowTiles - 1 : t == kSums + RowTiles - 1;
    shapes.bytes[t] = kTileBytes;
    shapes.rows[t] = static_cast<uint8_t>(is_last ? rows - (RowTiles - 1) * kTileRows : kTileRows);
  }
  _tile_loadconfig(&shapes);
}

struct Int8Unit {
  template <int Sum, int Left, int Right>
  static void add() {
    _tile_dpbusd(Sum, Left, Right);
  }
};

struct Bf16Unit {
  template <int Sum, int Left, int Right>
  static void add() {
    _tile_dpbf16ps(Sum, Left, Right);
  }
};

// Set the sums to those in memory, `[RowTiles * 16][columns_at_once]` numbers of 32 bits.
template <int RowTiles>
void load_sums(const void* from, int64_t stride) {
  const char* const first = static_cast<const char*>(from);
  const char* const second = first + (RowTiles == 2 ? kTileRows * stride : 2 * kTileBytes);
  _tile_loadd(0, first, stride);
  _tile_loadd(1, first + kTileBytes, stride);
  _tile_loadd(2, second, stride);
  _tile_loadd(3, second + kTileBytes, stride);
}

template <int RowTiles>
void store_sums(void* to, int64_t stride) {
  char* const first = static_cast<char*>(to);
  char* const second = first + (RowTiles == 2 ? kTileRows * stride : 2 * kTileBytes);
  _tile_stored(0, first, stride);
  _tile_stored(1, first + kTileBytes, stride);
  _tile_stored(2, second, stride);
  _tile_stored(3, second + kTileBytes, stride);
}

inline void clear_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

struct NoPrefetch {
  void operator()(const char*) const {}
};

constexpr int64_t kStepBytes = kTileRows * kUnitBytes;  // of all columns

// Add the product of rows of `left`, `[RowTiles * 16][steps * 64 bytes]`, by the first `columns_at_once` columns of
// `right` to the sums. At each step `prefetch` is given the step's part of `right`.
template <typename Unit, int RowTiles, typename Prefetch = NoPrefetch>
void multiply(const void* left, int64_t left_stride, const void* right, int64_t steps, Prefetch prefetch = {}) {
  const char* rows = static_cast<const char*>(left);
  const char* columns = static_cast<const char*>(right);
  for (; steps > 0; steps--, rows += kTileBytes, columns += kStepBytes) {
    prefetch(columns);
    _tile_loadd(4, rows, left_stride);
    _tile_loadd(6, columns, kUnitBytes);
    Unit::template add<0, 4, 6>();
    _tile_loadd(7, columns + kTileBytes, kUnitBytes);
    Unit::template add<1, 4, 7>();
    if (RowTiles == 2) {
      _tile_loadd(5, rows + kTileRows * left_stride, left_stride);
      Unit::template add<2, 5, 6>();
      Unit::template add<3, 5, 7>();
    } else {
      _tile_loadd(6, columns + 2 * kTileBytes, kUnitBytes);
      Unit::template add<2, 4, 6>();
      _tile_loadd(7, columns + 3 * kTileBytes, kUnitBytes);
      Unit::template add<3, 4, 7>();
    }
  }
}

}  // namespace
}  // namespace qwen3
