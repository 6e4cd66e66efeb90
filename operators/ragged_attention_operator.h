// Ragged attention as an operator of ONNX Runtime.

#pragma once

#include <cstring>
#include <iterator>
#include <string>

#include "operator.h"
#include "processor.h"
#include "ragged_attention.h"

namespace qwen3 {

// The fastest kernel that this processor has; null if it has none.
inline const Kernel* fastest_kernel(bool may_use_bf16, int64_t head_dim) {
  const Processor& processor = Processor::here();
  if (processor.amx_bf16 && may_use_bf16 && head_dim % 32 == 0) return &kernel_amx;
  if (processor.avx512_bf16 && may_use_bf16) return &kernel_avx512_bf16;
  if (processor.avx512) return &kernel_avx512;
  return processor.avx2 ? &kernel_avx2 : nullptr;
}

// RaggedAttention: see `ragged_attention.h`.
//
// Inputs: query FP32 [rows, heads * head_dim], key and value FP32 [rows, kv_heads * head_dim], starts and lengths INT64
// [texts, 1], cos and sin FP32 [positions, head_dim / 2], query_gain and key_gain FP32 [head_dim], of the RMS norms of
// queries and keys, those of prefixes too; optional: wanted INT64 [outputs]; optional, together: prefix_rows FP32
// [prefix_rows, 2 * layers * kv_heads * head_dim], prefix_starts and prefix_lengths INT64 [texts or 1, 1]; optional:
// keep INT64 [kept], rows whose keys and values are returned.
//
// Outputs: FP32 [rows or outputs, heads * head_dim]; with `keep`, FP32 [kept, 2 * kv_heads * head_dim] in the form of
// one layer of `prefix_rows`.
//
// Attributes: heads, kv_heads, layer (whose keys and values to read in the prefix rows), bf16 (1 if products may be
// in bfloat16, with sums in float32, where the processor has instructions for it), epsilon (of the norms).
class RaggedAttention {
 public:
  enum Input {
    kQuery,
    kKey,
    kValue,
    kStarts,
    kLengths,
    kCos,
    kSin,
    kQueryGain,
    kKeyGain,
    kWanted,
    kPrefixRows,
    kPrefixStarts,
    kPrefixLengths,
    kKeep
  };
  static constexpr const char* kName = "RaggedAttention";
  static constexpr int kInputs[] = {ort::kFloat, ort::kFloat, ort::kFloat, ort::kInt64, ort::kInt64,
                                    ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat, ort::kInt64,
                                    ort::kFloat, ort::kInt64, ort::kInt64, ort::kInt64};
  static constexpr size_t kOptional = 5;
  static constexpr int kOutputs[] = {ort::kFloat, ort::kFloat};

  RaggedAttention(const OrtApi* api, const OrtKernelInfo* info) : api_(api) {
    int64_t may_use_bf16 = 0;
    check(ort::GetAttributeInt::call(api, info, "heads", &heads_));
    check(ort::GetAttributeInt::call(api, info, "kv_heads", &kv_heads_));
    check(ort::GetAttributeInt::call(api, info, "layer", &layer_));
    check(ort::GetAttributeInt::call(api, info, "bf16", &may_use_bf16));
    check(ort::GetAttributeFloat::call(api, info, "epsilon", &eps_));
    may_use_bf16_ = may_use_bf16 != 0;
    if (!fastest_kernel(may_use_bf16_, 0)) throw lacks_instructions(api, kName);
    check(ort::CreateCpuMemoryInfo::call(api, ort::kArena, ort::kDefaultMemory, &memory_));
  }
  ~RaggedAttention() { ort::ReleaseMemoryInfo::call(api_, memory_); }
  RaggedAttention(const RaggedAttention&) = delete;
  RaggedAttention& operator=(const RaggedAttention&) = delete;

  void compute(OrtKernelContext* context) const {
    std::vector<Tensor> in;
    for (size_t i = 0; i < std::size(kInputs); i++) in.push_back(input(api_, context, i));
    const Geometry geometry = {heads_, kv_heads_, in[kQuery].size(1) / heads_};
    const int64_t key_size = geometry.kv_heads * geometry.head_dim;
    Batch batch = {};
    batch.query = in[kQuery].floats();
    batch.key = in[kKey].floats();
    batch.value = in[kValue].floats();
    batch.rows = in[kQuery].size(0);
    batch.starts = in[kStarts].ints();
    batch.lengths = in[kLengths].ints();
    batch.texts = in[kLengths].count();
    batch.cos = in[kCos].floats();
    batch.sin = in[kSin].floats();
    batch.positions = in[kCos].size(0);
    batch.query_gain = in[kQueryGain].floats();
    batch.key_gain = in[kKeyGain].floats();
    batch.eps = eps_;
    batch.wanted = in[kWanted] ? in[kWanted].ints() : nullptr;
    batch.outputs = in[kWanted] ? in[kWanted].count() : batch.rows;
    bool fits = in[kQuery].size(1) == heads_ * geometry.head_dim && in[kKey].size(1) == key_size &&
                in[kValue].size(1) == key_size && in[kKey].size(0) == batch.rows && in[kValue].size(0) == batch.rows &&
                in[kStarts].count() == batch.texts && in[kCos].size(1) == geometry.head_dim / 2 &&
                in[kSin].shape == in[kCos].shape && in[kQueryGain].count() == geometry.head_dim &&
                in[kKeyGain].count() == geometry.head_dim;
    if (in[kPrefixRows] && in[kPrefixRows].size(0)) {
      const auto step = [&](Input i) { return in[i].count() == 1 ? 0 : 1; };
      const int64_t keys = 2 * layer_ * key_size, stride = in[kPrefixRows].size(1);
      batch.prefixes = {in[kPrefixRows].floats(),
                        in[kPrefixRows].size(0),
                        stride,
                        keys,
                        keys + key_size,
                        in[kPrefixStarts].ints(),
                        in[kPrefixLengths].ints(),
                        step(kPrefixStarts),
                        step(kPrefixLengths)};
      for (Input i : {kPrefixStarts, kPrefixLengths}) {
        fits = fits && in[i] && (in[i].count() == batch.texts || in[i].count() == 1);
      }
      fits = fits && stride >= keys + 2 * key_size;
    }
    if (!fits) throw Failure{failed(api_, "RaggedAttention: the shapes of the inputs do not fit together")};
    if (const char* wrong = wrong_with(geometry, batch)) {
      throw Failure{failed(api_, std::string("RaggedAttention: ") + wrong)};
    }
    if (in[kKeep]) keep(context, in[kKeep], in[kKey], in[kValue]);
    batch.output = output<float>(api_, context, 0, {batch.outputs, in[kQuery].size(1)});
    CallMemory memory(api_, context, memory_);
    attend(*fastest_kernel(may_use_bf16_, geometry.head_dim), geometry, batch,
           {[&](size_t bytes) { return memory.take(bytes); },
            [&](size_t tasks, const std::function<void(size_t)>& task) { run_tasks(api_, context, tasks, task); }});
  }

 private:
  void keep(OrtKernelContext* context, const Tensor& rows, const Tensor& key, const Tensor& value) const {
    const int64_t size = key.size(1), count = rows.count();
    float* kept = output<float>(api_, context, 1, {count, 2 * size});
    for (int64_t i = 0; i < count; i++) {
      const int64_t row = rows.ints()[i];
      if (row < 0 || row >= key.size(0)) throw Failure{failed(api_, "RaggedAttention: a row to keep does not exist")};
      std::memcpy(kept + 2 * i * size, key.floats() + row * size, sizeof(float) * size);
      std::memcpy(kept + (2 * i + 1) * size, value.floats() + row * size, sizeof(float) * size);
    }
  }

  const OrtApi* api_;
  bool may_use_bf16_ = false;
  int64_t heads_ = 0, kv_heads_ = 0, layer_ = 0;
  float eps_ = 0.0f;
  OrtMemoryInfo* memory_ = nullptr;
};

}  // namespace qwen3
