// Products with int8 weights as operators of ONNX Runtime.

#pragma once

#include <algorithm>
#include <iterator>
#include <vector>

#include "int8_product.h"
#include "operator.h"
#include "processor.h"
#include "rows.h"

namespace qwen3 {

// The fastest product that this processor has; null if it has none.
inline ProductOfPanel fastest_product(int64_t depth) {
  const Processor& processor = Processor::here();
  if (processor.amx_int8 && depth % 64 == 0) return product_of_panel_amx;
  return processor.avx512_vnni ? product_of_panel_vnni : nullptr;
}

// Constant weights and their scales, packed for products.
class PackedWeights {
 public:
  // `weight`: INT8 [in, out]; `scales`: FP32 [out].
  PackedWeights(const OrtApi* api, const char* name, const Tensor& weight, const Tensor& scales)
      : depth_(weight.size(0)), columns_(weight.size(1)) {
    if (depth_ % 4 || scales.count() != columns_) {
      throw Failure{failed(api, std::string(name) + ": the weights do not fit")};
    }
    pack(static_cast<const int8_t*>(weight.data), scales.floats());
  }
  PackedWeights(const PackedWeights&) = delete;
  PackedWeights& operator=(const PackedWeights&) = delete;

  Int8Matrix matrix() const { return {packed_, corrections_.data(), scales_.data(), depth_, columns_}; }
  int64_t depth() const { return depth_; }
  int64_t columns() const { return columns_; }
  int64_t panels() const { return static_cast<int64_t>(corrections_.size()) / kProductPanel; }

  // Have a task ask for its share of a panel that is needed next, unless it is the only task of its own panel: so few
  // rows take less time than a panel needs to come.
  void ask_ahead(int64_t panel, int64_t group, int64_t groups, Int8Task* task) const {
    task->ahead = nullptr;
    task->ahead_bytes = 0;
    if (groups < 2 || panel >= panels()) return;
    task->ahead_bytes = depth_ * kProductPanel / groups / 64 * 64;
    task->ahead = packed_ + panel * depth_ * kProductPanel + group * task->ahead_bytes;
  }

 private:
  void pack(const int8_t* weight, const float* scales) {
    const int64_t padded = (columns_ + kProductPanel - 1) / kProductPanel * kProductPanel;
    panels_.resize(padded * depth_ + 64);  // products ask for memory after the end too, which does no harm
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

  int64_t depth_, columns_;
  std::vector<int8_t> panels_;
  int8_t* packed_ = nullptr;
  std::vector<int32_t> corrections_;
  std::vector<float> scales_;
};

// Some rows by all panels of weights, in tasks of one panel and one of several groups of rows. What a task lacks are
// its row scales, its result, and what it asks for.
inline void for_each_panel(const OrtApi* api, const OrtKernelContext* context, int64_t panels, const Tensor& left,
                           const std::function<void(int64_t group, int64_t groups, Int8Task task)>& action) {
  const int64_t rows = left.size(0), groups = (rows + kProductRows - 1) / kProductRows;
  const uint8_t* bytes = static_cast<const uint8_t*>(left.data);
  run_tasks(api, context, panels * groups, [&](size_t index) {
    const int64_t panel = static_cast<int64_t>(index) / groups, group = static_cast<int64_t>(index) % groups;
    const int64_t first = group * kProductRows;
    action(
        group, groups,
        {panel, bytes + first * left.size(1), nullptr, std::min(kProductRows, rows - first), nullptr, 0, nullptr, 0});
  });
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

  Int8Product(const OrtApi* api, const OrtKernelInfo* info)
      : api_(api),
        weights_(api, kName, constant_input(api, info, 1), constant_input(api, info, 2)),
        product_(fastest_product(weights_.depth())) {
    if (!product_) throw lacks_instructions(api, kName);
  }

  void compute(OrtKernelContext* context) const {
    const Tensor left = input(api_, context, 0), row_scale = input(api_, context, 3);
    const int64_t rows = left.size(0), columns = weights_.columns();
    if (left.size(1) != weights_.depth() || (row_scale && row_scale.count() != rows)) {
      throw Failure{failed(api_, "Int8Product: the shapes of the inputs do not fit together")};
    }
    float* result = output<float>(api_, context, 0, {rows, columns});
    const Int8Matrix matrix = weights_.matrix();
    for_each_panel(api_, context, weights_.panels(), left, [&](int64_t group, int64_t groups, Int8Task task) {
      const int64_t first = group * kProductRows;
      task.row_scales = row_scale ? row_scale.floats() + first : nullptr;
      task.result = result + first * columns + task.panel * kProductPanel;
      task.stride = columns;
      weights_.ask_ahead(task.panel + 1, group, groups, &task);
      product_(matrix, task);
    });
  }

 private:
  const OrtApi* api_;
  PackedWeights weights_;
  ProductOfPanel product_;
};

// GatedProduct: `silu(gate * row_scale) * up`, where gate and up are Int8Products of the same rows. They stay in cache.
//
// Inputs: left UINT8 [rows, in]; gate_weight INT8 [in, out], gate_scales FP32 [out], and the same of up, constants;
// row_scale FP32 [rows, 1].
// Output: FP32 [rows, out].
class GatedProduct {
 public:
  static constexpr const char* kName = "GatedProduct";
  static constexpr int kInputs[] = {ort::kUint8, ort::kInt8, ort::kFloat, ort::kInt8, ort::kFloat, ort::kFloat};
  static constexpr size_t kOptional = 0;
  static constexpr int kOutputs[] = {ort::kFloat};

  GatedProduct(const OrtApi* api, const OrtKernelInfo* info)
      : api_(api),
        gate_(api, kName, constant_input(api, info, 1), constant_input(api, info, 2)),
        up_(api, kName, constant_input(api, info, 3), constant_input(api, info, 4)),
        product_(fastest_product(gate_.depth())) {
    if (!product_) throw lacks_instructions(api, kName);
    if (up_.depth() != gate_.depth() || up_.columns() != gate_.columns()) {
      throw Failure{failed(api, "GatedProduct: the weights do not fit together")};
    }
  }

  void compute(OrtKernelContext* context) const {
    const Tensor left = input(api_, context, 0), row_scale = input(api_, context, 5);
    const int64_t rows = left.size(0), columns = gate_.columns();
    if (left.size(1) != gate_.depth() || row_scale.count() != rows) {
      throw Failure{failed(api_, "GatedProduct: the shapes of the inputs do not fit together")};
    }
    float* result = output<float>(api_, context, 0, {rows, columns});
    const Int8Matrix gate = gate_.matrix(), up = up_.matrix();
    for_each_panel(api_, context, gate_.panels(), left, [&](int64_t group, int64_t groups, Int8Task task) {
      const int64_t first = group * kProductRows, column = task.panel * kProductPanel;
      alignas(64) float gates[kProductRows][kProductPanel], ups[kProductRows][kProductPanel];
      task.stride = kProductPanel;
      task.result = gates[0];
      up_.ask_ahead(task.panel, group, groups, &task);
      product_(gate, task);
      task.result = ups[0];
      gate_.ask_ahead(task.panel + 1, group, groups, &task);
      product_(up, task);
      for (int64_t r = 0; r < task.rows; r++) {
        rows_.gate(gates[r], row_scale.floats()[first + r], ups[r], std::min(kProductPanel, columns - column),
                   result + (first + r) * columns + column);
      }
    });
  }

 private:
  const OrtApi* api_;
  PackedWeights gate_, up_;
  ProductOfPanel product_;
  const RowKernel& rows_ = rows_avx512;  // processors with products have AVX-512
};

}  // namespace qwen3
