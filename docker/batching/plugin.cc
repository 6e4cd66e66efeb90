// The token budget as a batching strategy of Triton: the five functions that its dynamic batcher calls.
//
// Thin on purpose: budget.c decides, limits.c reads the configuration. This file is C++ for one reason: Triton's
// tritonbackend.h names its structs without `struct`. It needs no C++ library.
//
// One thread of Triton forms all batches of a model, one after the other, so the batch lives in the batcher: Triton does
// not finish every batch that it begins, and an allocation for each would leak.

#include <stdlib.h>

#include "budget.h"
#include "json.h"
#include "limits.h"
#include "triton/core/tritonbackend.h"

#define ENTRY extern "C" __attribute__((visibility("default")))

namespace {

const char INPUT[] = "input_ids";  // [texts, tokens per text], the only tensor that a request must have

// Budget from the configuration of `model`.
TRITONSERVER_Error*
ReadBudget(TRITONBACKEND_Model* model, struct budget* budget)
{
  TRITONSERVER_Message* message = nullptr;
  TRITONSERVER_Error* error = TRITONBACKEND_ModelConfig(model, 1 /* config_version */, &message);
  if (error != nullptr) {
    return error;
  }
  struct span config = {nullptr, 0};
  error = TRITONSERVER_MessageSerializeToJson(message, &config.start, &config.size);
  if (error == nullptr) {
    char reason[512];
    if (!budget_read(config, budget, reason, sizeof reason)) {
      error = TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, reason);
    }
  }
  // The text belongs to the message; what budget_read keeps are numbers.
  TRITONSERVER_Error* deleted = TRITONSERVER_MessageDelete(message);
  if (error == nullptr) {
    return deleted;
  }
  if (deleted != nullptr) {
    TRITONSERVER_ErrorDelete(deleted);  // the first failure is the one to tell
  }
  return error;
}

// Texts of a request, and the tokens of each of them.
TRITONSERVER_Error*
Measure(TRITONBACKEND_Request* request, uint64_t* texts, uint64_t* length)
{
  TRITONBACKEND_Input* input = nullptr;
  TRITONSERVER_Error* error = TRITONBACKEND_RequestInput(request, INPUT, &input);
  if (error != nullptr) {
    return error;
  }
  const int64_t* shape = nullptr;
  uint32_t dimensions = 0;
  error = TRITONBACKEND_InputProperties(input, nullptr, nullptr, &shape, &dimensions, nullptr, nullptr);
  if (error != nullptr) {
    return error;
  }
  if (dimensions != 2 || shape[0] < 0 || shape[1] < 0) {
    return TRITONSERVER_ErrorNew(
        TRITONSERVER_ERROR_INVALID_ARG, "the token budget needs input_ids [texts, tokens]; the request runs alone");
  }
  *texts = static_cast<uint64_t>(shape[0]);
  *length = static_cast<uint64_t>(shape[1]);
  return nullptr;
}

}  // namespace

// Called once, when the model loads. An error keeps the model from loading.
ENTRY TRITONSERVER_Error*
TRITONBACKEND_ModelBatcherInitialize(TRITONBACKEND_Batcher** batcher, TRITONBACKEND_Model* model)
{
  *batcher = nullptr;
  struct budget* budget = static_cast<struct budget*>(malloc(sizeof *budget));
  if (budget == nullptr) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "no memory for the token budget");
  }
  TRITONSERVER_Error* error = ReadBudget(model, budget);
  if (error != nullptr) {
    free(budget);
    return error;
  }
  *batcher = reinterpret_cast<TRITONBACKEND_Batcher*>(budget);
  return nullptr;
}

// Called once, when the model unloads.
ENTRY TRITONSERVER_Error*
TRITONBACKEND_ModelBatcherFinalize(TRITONBACKEND_Batcher* batcher)
{
  free(batcher);
  return nullptr;
}

// Called when Triton begins a batch, and again when it goes on with the same one: until the model takes a batch, Triton
// adds requests to it, even after ModelBatchFinalize (triton-inference-server/server#6458). `userp` is a field of the
// batch, and Triton holds on to the last batch until it has the next, so the same address means the same batch.
ENTRY TRITONSERVER_Error*
TRITONBACKEND_ModelBatchInitialize(const TRITONBACKEND_Batcher* batcher, void** userp)
{
  // Triton calls the batcher read-only, but made of it what ModelBatcherInitialize returned.
  *userp = const_cast<TRITONBACKEND_Batcher*>(batcher);
  if (batcher == nullptr) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "the model is being unloaded; no token budget");
  }
  budget_begin(static_cast<struct budget*>(*userp), userp);
  return nullptr;
}

// Called for each request in the order of the queue, until one is left out. Triton logs an error and goes by
// `should_include`: a first request left out would be offered again at once and for ever.
ENTRY TRITONSERVER_Error*
TRITONBACKEND_ModelBatchIncludeRequest(TRITONBACKEND_Request* request, void* userp, bool* should_include)
{
  if (userp == nullptr) {
    *should_include = true;  // it may be the first
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "a batch was begun without a token budget");
  }
  struct budget* budget = static_cast<struct budget*>(userp);
  uint64_t texts = 0;
  uint64_t length = 0;
  TRITONSERVER_Error* error = Measure(request, &texts, &length);
  *should_include = error == nullptr ? budget_add(budget, texts, length) : budget_add_alone(budget);
  return error;
}

// Called when a batch is ready for the model, before requests are added to it all the same.
ENTRY TRITONSERVER_Error*
TRITONBACKEND_ModelBatchFinalize(void*)
{
  return nullptr;
}
