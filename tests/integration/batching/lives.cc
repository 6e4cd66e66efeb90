// Lives of the plugin, good and bad, for the sanitizers: they end this program at the first wrong access or leak.
// Usage: lives CONFIG, the model configuration as JSON.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "triton/core/tritonbackend.h"

struct TRITONBACKEND_Model {
  const char* config;
  size_t size;
};

struct TRITONBACKEND_Request {
  int64_t shape[3];
  uint32_t dimensions;
  int32_t has_input_ids;
};

extern "C" int stand_in_alive;
extern "C" char stand_in_fails[64];

static int allocations_that_fail = 0;

void*
operator new(size_t size, const std::nothrow_t&) noexcept
{
  if (allocations_that_fail > 0) {
    allocations_that_fail--;
    return nullptr;
  }
  return malloc(size);
}

void*
operator new(size_t size)
{
  if (void* memory = operator new(size, std::nothrow)) {
    return memory;
  }
  throw std::bad_alloc();
}

void
operator delete(void* memory) noexcept
{
  free(memory);
}

void
operator delete(void* memory, size_t) noexcept
{
  free(memory);
}

static int
Live(TRITONBACKEND_Model model)
{
  TRITONBACKEND_Batcher* batcher = nullptr;
  if (TRITONSERVER_Error* error = TRITONBACKEND_ModelBatcherInitialize(&batcher, &model)) {
    TRITONSERVER_ErrorDelete(error);
    return 0;
  }
  TRITONBACKEND_Request requests[] = {
      {{1, 10, 0}, 2, 1},         {{3, 5, 0}, 2, 1},  {{1, 0, 0}, 2, 1},  {{1, INT64_MAX, 0}, 2, 1},
      {{INT64_MAX, INT64_MAX, 0}, 2, 1}, {{-1, 5, 0}, 2, 1}, {{7, 0, 0}, 1, 1}, {{1, 5, 0}, 2, 0},
  };
  void* userps[2];
  for (int round = 0; round < 4; round++) {
    void** userp = &userps[round % 2];
    for (TRITONBACKEND_Request& request : requests) {
      if (TRITONSERVER_Error* error = TRITONBACKEND_ModelBatchInitialize(batcher, userp)) {
        TRITONSERVER_ErrorDelete(error);
      }
      bool included = false;
      for (int times = 0; times < 3; times++) {
        if (TRITONSERVER_Error* error = TRITONBACKEND_ModelBatchIncludeRequest(&request, *userp, &included)) {
          TRITONSERVER_ErrorDelete(error);
        }
      }
      if (TRITONSERVER_Error* error = TRITONBACKEND_ModelBatchFinalize(*userp)) {
        TRITONSERVER_ErrorDelete(error);
      }
    }
  }
  if (TRITONSERVER_Error* error = TRITONBACKEND_ModelBatcherFinalize(batcher)) {
    TRITONSERVER_ErrorDelete(error);
  }
  return 1;
}

int
main(int, char** arguments)
{
  const size_t size = strlen(arguments[1]);
  int loaded = 0;
  for (size_t part = 0; part <= size; part++) {
    loaded += Live({arguments[1], part});  // all but the whole are cut short
  }
  const char* const functions[] = {
      "TRITONBACKEND_ModelConfig", "TRITONSERVER_MessageSerializeToJson", "TRITONSERVER_MessageDelete",
      "TRITONBACKEND_InputProperties"};
  for (const char* function : functions) {
    strncpy(stand_in_fails, function, sizeof stand_in_fails - 1);
    loaded += Live({arguments[1], size});
  }
  stand_in_fails[0] = '\0';
  allocations_that_fail = 1;  // an exception inside the plugin
  loaded += Live({arguments[1], size});
  printf("%d %d\n", loaded, stand_in_alive);
  return 0;
}
