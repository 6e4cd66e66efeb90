// What operators of ONNX Runtime have in common: tensors, memory, threads, errors, and how one is described to it.
//
// Knows nothing about what an operator computes.

#pragma once

#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "onnxruntime_abi.h"

namespace qwen3 {

inline OrtStatus* failed(const OrtApi* api, const std::string& message) {
  return ort::CreateStatus::call(api, ort::kInvalidArgument, message.c_str());
}

// A status on its way to ONNX Runtime.
struct Failure {
  OrtStatus* status;
};

inline Failure lacks_instructions(const OrtApi* api, const char* name) {
  return {failed(api, std::string(name) + ": this processor lacks the instructions")};
}

inline void check(OrtStatus* status) {
  if (status) throw Failure{status};
}

struct Tensor {
  void* data = nullptr;
  std::vector<int64_t> shape;

  explicit operator bool() const { return data != nullptr; }
  int64_t size(size_t axis) const { return axis < shape.size() ? shape[axis] : 1; }
  int64_t count() const {
    int64_t product = 1;
    for (int64_t size : shape) product *= size;
    return product;
  }
  const float* floats() const { return static_cast<const float*>(data); }
  const int64_t* ints() const { return static_cast<const int64_t*>(data); }
};

// A value's memory and shape.
inline Tensor tensor_of(const OrtApi* api, const OrtValue* value) {
  Tensor tensor;
  check(ort::GetTensorMutableData::call(api, value, &tensor.data));
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(ort::GetTensorTypeAndShape::call(api, value, &info));
  size_t rank = 0;
  OrtStatus* status = ort::GetDimensionsCount::call(api, info, &rank);
  if (!status) {
    tensor.shape.resize(rank);
    status = ort::GetDimensions::call(api, info, tensor.shape.data(), rank);
  }
  ort::ReleaseTensorTypeAndShapeInfo::call(api, info);
  check(status);
  if (!tensor.data) {  // a tensor without elements may have no memory
    static int64_t nothing;
    tensor.data = &nothing;
  }
  return tensor;
}

// An input; empty if it is optional and left out.
inline Tensor input(const OrtApi* api, const OrtKernelContext* context, size_t index) {
  const OrtValue* value = nullptr;
  check(ort::GetInput::call(api, context, index, &value));
  return value ? tensor_of(api, value) : Tensor();
}

// An input that is known when the session is made.
inline Tensor constant_input(const OrtApi* api, const OrtKernelInfo* info, size_t index) {
  int is_constant = 0;
  const OrtValue* value = nullptr;
  check(ort::GetConstantInput::call(api, info, index, &is_constant, &value));
  if (!is_constant || !value) throw Failure{failed(api, "an input must be a constant of the graph")};
  return tensor_of(api, value);
}

// The host's memory and threads during one call of a kernel.
class CallMemory {
 public:
  CallMemory(const OrtApi* api, const OrtKernelContext* context, const OrtMemoryInfo* kind) : api_(api) {
    check(ort::GetAllocator::call(api, context, kind, &allocator_));
  }
  ~CallMemory() {
    for (void* p : taken_) {
      if (OrtStatus* status = ort::AllocatorFree::call(api_, allocator_, p)) ort::ReleaseStatus::call(api_, status);
    }
    ort::ReleaseAllocator::call(api_, allocator_);
  }
  CallMemory(const CallMemory&) = delete;
  CallMemory& operator=(const CallMemory&) = delete;

  char* take(size_t bytes) {
    void* p = nullptr;
    check(ort::AllocatorAlloc::call(api_, allocator_, bytes, &p));
    taken_.push_back(p);
    return static_cast<char*>(p);
  }

 private:
  const OrtApi* api_;
  OrtAllocator* allocator_ = nullptr;
  std::vector<void*> taken_;
};

// Run something that may throw, and return its failure to ONNX Runtime.
template <typename Action>
OrtStatus* guarded(const OrtApi* api, Action action) {
  try {
    action();
    return nullptr;
  } catch (const Failure& failure) {
    return failure.status;
  } catch (const std::exception& error) {
    return failed(api, error.what());
  }
}

// The threads of the session, for `tasks` tasks.
inline void run_tasks(const OrtApi* api, const OrtKernelContext* context, size_t tasks,
                      const std::function<void(size_t)>& task) {
  const auto call = [](void* task, size_t index) { (*static_cast<const std::function<void(size_t)>*>(task))(index); };
  void* argument = const_cast<void*>(static_cast<const void*>(&task));
  check(ort::ParallelFor::call(api, context, call, tasks, 0, argument));
}

// Make an output; returns its memory.
template <typename Number>
Number* output(const OrtApi* api, OrtKernelContext* context, size_t index, const std::vector<int64_t>& shape) {
  OrtValue* value = nullptr;
  check(ort::GetOutput::call(api, context, index, shape.data(), shape.size(), &value));
  void* data = nullptr;
  check(ort::GetTensorMutableData::call(api, value, &data));
  return static_cast<Number*>(data);
}

// Describe an operator to ONNX Runtime. `Operator` has a constructor from `(const OrtApi*, const OrtKernelInfo*)`,
// `compute(OrtKernelContext*) const`, its `kName`, and the types of its inputs, of which the last `kOptional` may be
// left out, and of its outputs: arrays `kInputs` and `kOutputs`.
template <typename Operator>
ort::CustomOp description() {
  struct Kernel {
    const OrtApi* api;
    Operator self;
  };
  ort::CustomOp op = {};
  op.version = ort::kCustomOpVersion;
  op.GetName = [](const ort::CustomOp*) { return Operator::kName; };
  op.GetExecutionProviderType = [](const ort::CustomOp*) { return "CPUExecutionProvider"; };
  op.GetInputTypeCount = [](const ort::CustomOp*) { return std::size(Operator::kInputs); };
  op.GetInputType = [](const ort::CustomOp*, size_t index) { return Operator::kInputs[index]; };
  op.GetInputCharacteristic = [](const ort::CustomOp*, size_t index) {
    return index + Operator::kOptional < std::size(Operator::kInputs) ? ort::kRequired : ort::kOptional;
  };
  op.GetInputMemoryType = [](const ort::CustomOp*, size_t) { return ort::kDefaultMemory; };
  op.GetOutputTypeCount = [](const ort::CustomOp*) { return std::size(Operator::kOutputs); };
  op.GetOutputType = [](const ort::CustomOp*, size_t index) { return Operator::kOutputs[index]; };
  // Of the outputs, all but the first may be left out.
  op.GetOutputCharacteristic = [](const ort::CustomOp*, size_t index) {
    return index ? ort::kOptional : ort::kRequired;
  };
  op.GetVariadicInputMinArity = [](const ort::CustomOp*) { return 1; };
  op.GetVariadicInputHomogeneity = [](const ort::CustomOp*) { return 1; };
  op.GetVariadicOutputMinArity = [](const ort::CustomOp*) { return 1; };
  op.GetVariadicOutputHomogeneity = [](const ort::CustomOp*) { return 1; };
  op.GetStartVersion = [](const ort::CustomOp*) { return 1; };
  op.GetEndVersion = [](const ort::CustomOp*) { return 1; };
  op.CreateKernelV2 = [](const ort::CustomOp*, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
    return guarded(api, [&] { *kernel = new Kernel{api, {api, info}}; });
  };
  op.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
    const Kernel* found = static_cast<const Kernel*>(kernel);
    return guarded(found->api, [&] { found->self.compute(context); });
  };
  op.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  return op;
}

}  // namespace qwen3
