// The product with int8 weights as an operator of ONNX Runtime.

#pragma once

#include <algorithm>
#include <iterator>
#include <vector>

#include "int8_product.h"
#include "operator.h"
#include "processor.h"

namespace qwen3 {

// The fastest product that this processor has; null if it has none.
inline ProductOfPanel fastest_product(int64_t depth) {
  const Processor& processor = Processor::here();
  if (processor.amx_int8 && depth % 64 == 0) return product_of_panel_amx;
  return processor.avx512_vnni ? product_of_panel_vnni : nullptr;
}

// Int8Product: `(left - 128) @ weight * scales`, with exact sums; the same bits as ONNX Runtime's MatMulIntegerToFloat.
//
// Inputs: left UINT8 [rows, in], weight INT8 [in, out] and scales FP32 [out], both constants; optional: row_scale FP32
// [rows, 1], by which rows are multiplied at the end.
// Output: FP32 [rows, out].
class Int8Product {
 public:
  static constexpr const char* kName = "Int8Product";
  static constexpr int kInputs[] = {ort::kUint8, ort::kInt8, ort::kFloat, ort::kFloat};
  static constexpr size_t kOptional = 1;
  static constexpr int kOutputs[] = {ort::kFloat};

  Int8Product(const OrtApi* api, const OrtKernelInfo* info) : api_(api) {
    const Tensor weight = constant_input(api, info, 1), scales = constant_input(api, info, 2);
    depth_ = weight.size(0);
    columns_ = weight.size(1);
    product_ = fastest_product(depth_);
    if (!product_) throw lacks_instructions(api, kName);
    if (depth_ % 4 || scales.count() != columns_) throw Failure{failed(api, "Int8Product: the weights do not fit")};
    pack(static_cast<const int8_t*>(weight.data), scales.floats());
  }

  void compute(OrtKernelContext* context) const {
    const Tensor left = input(api_, context, 0), row_scale = input(api_, context, 3);
    const int64_t rows = left.size(0);
    if (left.size(1) != depth_ || (row_scale && row_scale.count() != rows)) {
      throw Failure{failed(api_, "Int8Product: the shapes of the inputs do not fit together")};
    }
    float* result = output<float>(api_, context, 0, {rows, columns_});
    const uint8_t* bytes = static_cast<const uint8_t*>(left.data);
    const float* factors = row_scale ? row_scale.floats() : nullptr;
    const Int8Matrix matrix = {packed_, corrections_.data(), scales_.data(), depth_, columns_};
    const int64_t panels = static_cast<int64_t>(corrections_.size()) / kProductPanel;
    const int64_t groups = (rows + kProductRows - 1) / kProductRows;
    run_tasks(api_, context, panels * groups, [&](size_t task) {
      const int64_t panel = static_cast<int64_t>(task) / groups, group = static_cast<int64_t>(task) % groups;
      const int64_t first = group * kProductRows;
      Int8Task rows_by_panel = {panel,
                                bytes + first * depth_,
                                factors ? factors + first : nullptr,
                                std::min(kProductRows, rows - first),
                                result + first * columns_,
                                nullptr,
                                0};
      // Fewer rows take less time than the next panel needs to come.
      if (groups > 1 && panel + 1 < panels) {
        const int64_t part = depth_ * kProductPanel / groups / 64 * 64;
        rows_by_panel.ahead = packed_ + (panel + 1) * depth_ * kProductPanel + group * part;
        rows_by_panel.ahead_bytes = part;
      }
      product_(matrix, rows_by_panel);
    });
  }

 private:
  void pack(const int8_t* weight, const float* scales) {
    const int64_t padded = (columns_ + kProductPanel - 1) / kProductPanel * kProductPanel;
    panels_.resize(padded * depth_ + 64 + kProductPanel * 4 * 16);  // what is prefetched after the end is ours
    packed_ = reinterpret_cast<int8_t*>((reinterpret_cast<uintptr_t>(panels_.data()) + 63) / 64 * 64);
    corrections_.assign(padded, 0);
    scales_.assign(padded, 0.0f);
    std::copy(scales, scales + columns_, scales_.begin());
    for (int64_t k = 0; k < depth_; k++) {
      for (int64_t c = 0; c < columns_; c++) {
        const int8_t w = weight[k * columns_ + c];
        corrections_[c] += 128 * w;
        packed_[(c / kProductPanel * depth_ + k / 4 * 4) * kProductPanel + c % kProductPanel * 4 + k % 4] = w;
      }
    }
  }

  const OrtApi* api_;
  ProductOfPanel product_ = nullptr;
  int64_t depth_ = 0, columns_ = 0;
  std::vector<int8_t> panels_;
  int8_t* packed_ = nullptr;
  std::vector<int32_t> corrections_;
  std::vector<float> scales_;
};

}  // namespace qwen3
