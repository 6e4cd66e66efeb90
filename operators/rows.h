// What is done to each row by itself: quantization, the gate of an MLP, norms.

#pragma once

#include <cstdint>

namespace qwen3 {

// Functions for one instruction set. All add in the same order.
struct RowKernel {
  // Quantize a row to uint8 around 128 with one scale, by which its largest magnitude becomes 127. Returns the scale.
  // The same bits as ONNX Runtime's Abs, ReduceMax, Max with 1e-20, Div by 127 and QuantizeLinear.
  float (*quantize)(const float* row, int64_t size, uint8_t* quantized);

  // `gated = silu(gate * gate_scale) * up`
  void (*gate)(const float* gate, float gate_scale, const float* up, int64_t size, float* gated);

  // `sum = residual + update * update_scale`, and `normed`, its RMS norm times `gain`.
  void (*add_and_norm)(const float* residual, const float* update, float update_scale, const float* gain, float eps,
                       int64_t size, float* sum, float* normed);
};

extern const RowKernel rows_avx2;
extern const RowKernel rows_avx512;

}  // namespace qwen3
