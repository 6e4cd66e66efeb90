// Operators of ONNX Runtime on rows. Each quantizes its result for the products that follow.

#pragma once

#include <algorithm>
#include <iterator>
#include <memory>

#include "operator.h"
#include "processor.h"
#include "rows.h"

namespace qwen3 {

// Quantized rows and their scales, as the products take them.
struct QuantizedRows {
  uint8_t* quantized;  // [rows, size]
  float* scales;       // [rows, 1]

  QuantizedRows(const OrtApi* api, OrtKernelContext* context, size_t first_output, int64_t rows, int64_t size)
      : quantized(output<uint8_t>(api, context, first_output, {rows, size})),
        scales(output<float>(api, context, first_output + 1, {rows, 1})) {}
};

// Call `action` for each row, with memory for one more row.
inline void for_each_row(const OrtApi* api, const OrtKernelContext* context, int64_t rows, int64_t size,
                         const std::function<void(int64_t row, float* scratch)>& action) {
  const int64_t together = std::max<int64_t>(1, 16384 / std::max<int64_t>(size, 1));  // rows that are worth a task
  const int64_t tasks = (rows + together - 1) / together;
  const auto run = [&](size_t task) {
    const std::unique_ptr<float[]> scratch(new float[size]);
    const int64_t first = static_cast<int64_t>(task) * together, end = std::min(rows, first + together);
    for (int64_t row = first; row < end; row++) action(row, scratch.get());
  };
  if (tasks == 1) {
    run(0);
  } else if (tasks > 1) {
    run_tasks(api, context, tasks, run);
  }
}

class RowOperator {
 protected:
  RowOperator(const OrtApi* api, const char* name)
      : api_(api), rows_(Processor::here().avx512 ? rows_avx512 : rows_avx2) {
    if (!Processor::here().avx2) throw lacks_instructions(api, name);
  }
  const OrtApi* api_;
  const RowKernel& rows_;
};

// QuantizeRows. Input: x FP32 [rows, size]. Outputs: UINT8 [rows, size] around 128, FP32 [rows, 1].
class QuantizeRows : RowOperator {
 public:
  static constexpr const char* kName = "QuantizeRows";
  static constexpr int kInputs[] = {ort::kFloat};
  static constexpr size_t kOptional = 0;
  static constexpr int kOutputs[] = {ort::kUint8, ort::kFloat};

  QuantizeRows(const OrtApi* api, const OrtKernelInfo*) : RowOperator(api, kName) {}

  void compute(OrtKernelContext* context) const {
    const Tensor x = input(api_, context, 0);
    const int64_t rows = x.size(0), size = x.size(1);
    const QuantizedRows out(api_, context, 0, rows, size);
    for_each_row(api_, context, rows, size, [&](int64_t r, float*) {
      out.scales[r] = rows_.quantize(x.floats() + r * size, size, out.quantized + r * size);
    });
  }
};

// QuantizeGated: `silu(gate * gate_scale) * up`, quantized.
// Inputs: gate and up FP32 [rows, size], gate_scale FP32 [rows, 1]. Outputs: as QuantizeRows.
class QuantizeGated : RowOperator {
 public:
  static constexpr const char* kName = "QuantizeGated";
  static constexpr int kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat};
  static constexpr size_t kOptional = 0;
  static constexpr int kOutputs[] = {ort::kUint8, ort::kFloat};

  QuantizeGated(const OrtApi* api, const OrtKernelInfo*) : RowOperator(api, kName) {}

  void compute(OrtKernelContext* context) const {
    const Tensor gate = input(api_, context, 0), up = input(api_, context, 1), gate_scale = input(api_, context, 2);
    const int64_t rows = gate.size(0), size = gate.size(1);
    if (up.shape != gate.shape || gate_scale.count() != rows) {
      throw Failure{failed(api_, "QuantizeGated: the shapes of the inputs do not fit together")};
    }
    const QuantizedRows out(api_, context, 0, rows, size);
    for_each_row(api_, context, rows, size, [&](int64_t r, float* gated) {
      rows_.gate(gate.floats() + r * size, gate_scale.floats()[r], up.floats() + r * size, size, gated);
      out.scales[r] = rows_.quantize(gated, size, out.quantized + r * size);
    });
  }
};

// AddNormQuantize: the next value of the residual stream, and its RMS norm, quantized.
// Inputs: residual and update FP32 [rows, size], update_scale FP32 [rows, 1], gain FP32 [size].
// Outputs: `residual + update * update_scale` FP32 [rows, size]; then as QuantizeRows. Attribute: epsilon.
class AddNormQuantize : RowOperator {
 public:
  static constexpr const char* kName = "AddNormQuantize";
  static constexpr int kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat};
  static constexpr size_t kOptional = 0;
  static constexpr int kOutputs[] = {ort::kFloat, ort::kUint8, ort::kFloat};

  AddNormQuantize(const OrtApi* api, const OrtKernelInfo* info) : RowOperator(api, kName) {
    check(ort::GetAttributeFloat::call(api, info, "epsilon", &eps_));
  }

  void compute(OrtKernelContext* context) const {
    const Tensor residual = input(api_, context, 0), update = input(api_, context, 1);
    const Tensor update_scale = input(api_, context, 2), gain = input(api_, context, 3);
    const int64_t rows = residual.size(0), size = residual.size(1);
    if (update.shape != residual.shape || update_scale.count() != rows || gain.count() != size) {
      throw Failure{failed(api_, "AddNormQuantize: the shapes of the inputs do not fit together")};
    }
    float* sums = output<float>(api_, context, 0, {rows, size});
    const QuantizedRows out(api_, context, 1, rows, size);
    for_each_row(api_, context, rows, size, [&](int64_t r, float* normed) {
      rows_.add_and_norm(residual.floats() + r * size, update.floats() + r * size, update_scale.floats()[r],
                         gain.floats(), eps_, size, sums + r * size, normed);
      out.scales[r] = rows_.quantize(normed, size, out.quantized + r * size);
    });
  }

 private:
  float eps_ = 0.0f;
};

}  // namespace qwen3
