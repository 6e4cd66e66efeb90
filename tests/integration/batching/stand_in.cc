// The part of Triton that the batching plugin calls, small enough to fail on demand and to count what is alive.

#include <cstdlib>
#include <cstring>

#include "triton/core/tritonbackend.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

struct TRITONSERVER_Error {
  TRITONSERVER_Error_Code code;
  char message[1024];
};

struct TRITONSERVER_Message {
  size_t size;
  char text[1];  // exactly `size` characters, so that a sanitizer sees every step beyond
};

struct TRITONBACKEND_Model {
  const char* config;
  size_t size;
};

struct TRITONBACKEND_Request {
  int64_t shape[3];
  uint32_t dimensions;
  int32_t has_input_ids;
};

extern "C" {
int stand_in_alive = 0;        // errors and messages that nobody deleted yet
char stand_in_fails[64] = "";  // the function that fails, if any
}

namespace {

TRITONSERVER_Error*
Fault(const char* function)
{
  return strcmp(stand_in_fails, function) == 0 ? TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, function) : nullptr;
}

}  // namespace

EXPORT TRITONSERVER_Error*
TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code code, const char* message)
{
  auto* error = static_cast<TRITONSERVER_Error*>(calloc(1, sizeof(TRITONSERVER_Error)));
  error->code = code;
  strncpy(error->message, message, sizeof error->message - 1);
  stand_in_alive++;
  return error;
}

EXPORT void
TRITONSERVER_ErrorDelete(TRITONSERVER_Error* error)
{
  stand_in_alive--;
  free(error);
}

EXPORT int
stand_in_error_code(const TRITONSERVER_Error* error)
{
  return error->code;
}

EXPORT const char*
stand_in_error_message(const TRITONSERVER_Error* error)
{
  return error->message;
}

EXPORT TRITONSERVER_Error*
TRITONBACKEND_ModelConfig(TRITONBACKEND_Model* model, const uint32_t version, TRITONSERVER_Message** message)
{
  if (version != 1) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, "model configuration version 1 is the only one");
  }
  if (TRITONSERVER_Error* error = Fault("TRITONBACKEND_ModelConfig")) {
    return error;
  }
  *message = static_cast<TRITONSERVER_Message*>(malloc(offsetof(TRITONSERVER_Message, text) + model->size));
  (*message)->size = model->size;
  memcpy((*message)->text, model->config, model->size);
  stand_in_alive++;
  return nullptr;
}

EXPORT TRITONSERVER_Error*
TRITONSERVER_MessageSerializeToJson(TRITONSERVER_Message* message, const char** base, size_t* size)
{
  if (TRITONSERVER_Error* error = Fault("TRITONSERVER_MessageSerializeToJson")) {
    return error;
  }
  *base = message->text;
  *size = message->size;
  return nullptr;
}

EXPORT TRITONSERVER_Error*
TRITONSERVER_MessageDelete(TRITONSERVER_Message* message)
{
  stand_in_alive--;
  free(message);
  return Fault("TRITONSERVER_MessageDelete");
}

EXPORT TRITONSERVER_Error*
TRITONBACKEND_RequestInput(TRITONBACKEND_Request* request, const char* name, TRITONBACKEND_Input** input)
{
  *input = nullptr;
  if (!request->has_input_ids || strcmp(name, "input_ids") != 0) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, "unknown request input name");
  }
  *input = reinterpret_cast<TRITONBACKEND_Input*>(request);
  return nullptr;
}

EXPORT TRITONSERVER_Error*
TRITONBACKEND_InputProperties(
    TRITONBACKEND_Input* input, const char**, TRITONSERVER_DataType*, const int64_t** shape, uint32_t* dimensions,
    uint64_t*, uint32_t*)
{
  if (TRITONSERVER_Error* error = Fault("TRITONBACKEND_InputProperties")) {
    return error;
  }
  auto* request = reinterpret_cast<TRITONBACKEND_Request*>(input);
  *shape = request->shape;
  *dimensions = request->dimensions;
  return nullptr;
}
