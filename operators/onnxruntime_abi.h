// The part of ONNX Runtime's C interface that the operators use.
//
// ONNX Runtime hands out its functions as a table, which only ever grows at its end: a function keeps its index in all
// releases. So the few that are needed are named here with their indices, and no header of one release is needed.
// Source: include/onnxruntime/core/session/onnxruntime_c_api.h, `OrtApi` and `OrtCustomOp`. This file knows nothing
// about any operator.

#pragma once

#include <cstddef>
#include <cstdint>

struct OrtStatus;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtShapeInferContext;
struct OrtValue;
struct OrtTensorTypeAndShapeInfo;
struct OrtMemoryInfo;
struct OrtAllocator;
struct OrtApi;

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

namespace ort {

// Of the oldest release that is supported, 1.23.
constexpr uint32_t kApiVersion = 23;
// Of the fields of `OrtCustomOp` below.
constexpr uint32_t kCustomOpVersion = 17;

constexpr int kInvalidArgument = 2;                           // OrtErrorCode
constexpr int kFloat = 1, kUint8 = 2, kInt8 = 3, kInt64 = 7;  // ONNXTensorElementDataType
constexpr int kRequired = 0, kOptional = 1;                   // OrtCustomOpInputOutputCharacteristic
constexpr int kArena = 1, kDefaultMemory = 0;                 // OrtAllocatorType, OrtMemType

// A function of `OrtApi` by its index. `call` calls it with its type.
template <size_t Index, typename Result, typename... Arguments>
struct Entry {
  static Result call(const OrtApi* api, Arguments... arguments) {
    using Type = Result (*)(Arguments...);
    return reinterpret_cast<const Type*>(api)[Index](arguments...);
  }
};
template <size_t Index, typename... Arguments>
using Function = Entry<Index, OrtStatus*, Arguments...>;
template <size_t Index, typename Object>
using Release = Entry<Index, void, Object*>;

struct CustomOp;

using CreateStatus = Function<0, int, const char*>;
using CreateCustomOpDomain = Function<26, const char*, OrtCustomOpDomain**>;
using CustomOpDomainAdd = Function<27, OrtCustomOpDomain*, const CustomOp*>;
using AddCustomOpDomain = Function<28, OrtSessionOptions*, OrtCustomOpDomain*>;
using GetTensorMutableData = Function<51, const OrtValue*, void**>;
using GetDimensionsCount = Function<61, const OrtTensorTypeAndShapeInfo*, size_t*>;
using GetDimensions = Function<62, const OrtTensorTypeAndShapeInfo*, int64_t*, size_t>;
using GetTensorTypeAndShape = Function<65, const OrtValue*, OrtTensorTypeAndShapeInfo**>;
using CreateCpuMemoryInfo = Function<69, int, int, OrtMemoryInfo**>;
using AllocatorAlloc = Function<75, OrtAllocator*, size_t, void**>;
using AllocatorFree = Function<76, OrtAllocator*, void*>;
using GetAttributeFloat = Function<85, const OrtKernelInfo*, const char*, float*>;
using GetAttributeInt = Function<86, const OrtKernelInfo*, const char*, int64_t*>;
using GetInput = Function<90, const OrtKernelContext*, size_t, const OrtValue**>;
using GetOutput = Function<91, OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**>;
using ReleaseStatus = Release<93, OrtStatus>;
using ReleaseMemoryInfo = Release<94, OrtMemoryInfo>;
using ReleaseTensorTypeAndShapeInfo = Release<99, OrtTensorTypeAndShapeInfo>;
using ReleaseAllocator = Release<132, OrtAllocator>;
using GetConstantInput = Function<249, const OrtKernelInfo*, size_t, int*, const OrtValue**>;
using GetAllocator = Function<253, const OrtKernelContext*, const OrtMemoryInfo*, OrtAllocator**>;
using ParallelFor = Function<274, const OrtKernelContext*, void (*)(void*, size_t), size_t, size_t, void*>;

// `OrtCustomOp` with the fields that version 17 has.
struct CustomOp {
  uint32_t version;
  void* (*CreateKernel)(const CustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const CustomOp*);
  const char* (*GetExecutionProviderType)(const CustomOp*);
  int (*GetInputType)(const CustomOp*, size_t index);
  size_t (*GetInputTypeCount)(const CustomOp*);
  int (*GetOutputType)(const CustomOp*, size_t index);
  size_t (*GetOutputTypeCount)(const CustomOp*);
  void (*KernelCompute)(void* kernel, OrtKernelContext*);
  void (*KernelDestroy)(void* kernel);
  int (*GetInputCharacteristic)(const CustomOp*, size_t index);
  int (*GetOutputCharacteristic)(const CustomOp*, size_t index);
  int (*GetInputMemoryType)(const CustomOp*, size_t index);
  int (*GetVariadicInputMinArity)(const CustomOp*);
  int (*GetVariadicInputHomogeneity)(const CustomOp*);
  int (*GetVariadicOutputMinArity)(const CustomOp*);
  int (*GetVariadicOutputHomogeneity)(const CustomOp*);
  OrtStatus* (*CreateKernelV2)(const CustomOp*, const OrtApi*, const OrtKernelInfo*, void** kernel);
  OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const CustomOp*, OrtShapeInferContext*);
  int (*GetStartVersion)(const CustomOp*);
  int (*GetEndVersion)(const CustomOp*);
};

}  // namespace ort
