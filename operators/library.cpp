// The operators as a library that ONNX Runtime loads: `RegisterCustomOps` is what it calls.

#include "int8_product_operator.h"
#include "operator.h"
#include "ragged_attention_operator.h"
#include "rows_operators.h"

namespace {

constexpr const char* kDomain = "qwen3";

}  // namespace

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(ort::kApiVersion);
  if (!api) return nullptr;  // an older release; it then says that it does not know the operators
  static const ort::CustomOp operators[] = {
      qwen3::description<qwen3::RaggedAttention>(), qwen3::description<qwen3::Int8Product>(),
      qwen3::description<qwen3::GatedProduct>(),    qwen3::description<qwen3::QuantizeRows>(),
      qwen3::description<qwen3::QuantizeGated>(),   qwen3::description<qwen3::AddNormQuantize>()};
  return qwen3::guarded(api, [&] {
    OrtCustomOpDomain* domain = nullptr;  // lives as long as the process, as sessions need it
    qwen3::check(ort::CreateCustomOpDomain::call(api, kDomain, &domain));
    for (const ort::CustomOp& op : operators) qwen3::check(ort::CustomOpDomainAdd::call(api, domain, &op));
    qwen3::check(ort::AddCustomOpDomain::call(api, options, domain));
  });
}
