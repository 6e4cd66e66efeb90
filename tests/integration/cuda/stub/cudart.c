/* A CUDA runtime without a GPU: memory is the host's, kernels are recorded instead of run.
 *
 * ONNX Runtime's CUDA provider is linked with it in place of NVIDIA's library, so that everything that the provider
 * decides on the host is real: where nodes are placed, which kernels it launches with which grid, what it copies and
 * when it waits. Nothing is computed: what the provider reads back from the device is what it wrote there, or zeros.
 * The trace goes to the file that STUB_TRACE names, one event per line.
 *
 * Device memory is reserved and never touched as a whole, so that weights take none.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <driver_types.h>
#include <vector_types.h>

#define PAGE 4096
#define COPIED_BYTES 65536 /* larger copies are recorded and not made: they are weights and activations */

static FILE *trace;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void stub_log(const char *format, ...) {
  va_list arguments;
  pthread_mutex_lock(&lock);
  if (trace == NULL && getenv("STUB_TRACE") != NULL) trace = fopen(getenv("STUB_TRACE"), "w");
  if (trace != NULL) {
    va_start(arguments, format);
    vfprintf(trace, format, arguments);
    va_end(arguments);
    fputc('\n', trace);
    fflush(trace);
  }
  pthread_mutex_unlock(&lock);
}

/* ---- What the tests call ---- */

void stub_mark(const char *text) { stub_log("mark %s", text); }

static size_t in_use, peak;
size_t stub_peak_bytes(void) { return peak; }
size_t stub_bytes(void) { return in_use; }

/* ---- Kernels ---- */

typedef struct {
  const void *function;
  const char *name;
} Kernel;
static Kernel *kernels;
static int kernel_count, kernel_room;

void **__cudaRegisterFatBinary(void *binary) {
  (void)binary;
  return malloc(64);
}
void __cudaRegisterFatBinaryEnd(void **handle) { (void)handle; }
void __cudaUnregisterFatBinary(void **handle) { (void)handle; }
void __cudaRegisterVar(void **handle, ...) { (void)handle; }

void __cudaRegisterFunction(void **handle, const char *function, char *device_function, const char *name, ...) {
  (void)handle, (void)device_function;
  if (kernel_count == kernel_room) {
    kernel_room = kernel_room ? 2 * kernel_room : 4096;
    kernels = realloc(kernels, kernel_room * sizeof *kernels);
  }
  kernels[kernel_count++] = (Kernel){function, name};
}

int __cudaGetKernel(const void **kernel, const void *function) {
  *kernel = function;
  return 0;
}

static const char *name_of(const void *function) {
  for (int i = 0; i < kernel_count; i++)
    if (kernels[i].function == function) return kernels[i].name;
  return "unknown";
}

static __thread struct {
  dim3 grid, block;
  size_t shared;
  void *stream;
} launch;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream) {
  launch.grid = grid, launch.block = block, launch.shared = shared, launch.stream = stream;
  return 0;
}
int __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void **stream) {
  *grid = launch.grid, *block = launch.block, *shared = launch.shared, *stream = launch.stream;
  return 0;
}

/* A stream that is captured runs nothing: its kernels become a graph. What CUDA refuses meanwhile fails here too. */
static int is_capturing, captured_launches;
void stub_launched(void) {
  if (is_capturing) captured_launches++;
}
static int refused_in_capture(const char *what) {
  if (is_capturing) stub_log("refused %s", what);
  return is_capturing ? cudaErrorStreamCaptureUnsupported : 0;
}

static int record(const void *function, dim3 grid) {
  stub_launched();
  stub_log("kernel %u %u %u %s", grid.x, grid.y, grid.z, name_of(function));
  return 0;
}
int __cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared, void *stream) {
  (void)block, (void)arguments, (void)shared, (void)stream;
  return record(function, grid);
}
int cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared, void *stream) {
  return __cudaLaunchKernel(function, grid, block, arguments, shared, stream);
}
int cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *function, void **arguments) {
  (void)arguments;
  return record(function, config->gridDim);
}
int cudaLaunchHostFunc(void *stream, void (*function)(void *), void *data) {
  (void)stream;
  function(data);
  return 0;
}
int cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *function) {
  (void)function;
  memset(attributes, 0, sizeof *attributes);
  return 0;
}
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks) {
  *blocks = 2;
  return 0;
}

/* ---- The device: an H100, as far as kernels are chosen by it ---- */

static void describe(struct cudaDeviceProp *p) {
  memset(p, 0, sizeof *p);
  strcpy(p->name, "no GPU");
  p->major = 9, p->minor = 0;
  p->multiProcessorCount = 132;
  p->totalGlobalMem = 80ull << 30;
  p->l2CacheSize = 50 << 20;
  p->sharedMemPerBlock = 49152, p->sharedMemPerBlockOptin = 232448, p->sharedMemPerMultiprocessor = 233472;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->warpSize = 32;
  p->maxThreadsPerBlock = 1024, p->maxThreadsPerMultiProcessor = 2048, p->maxBlocksPerMultiProcessor = 32;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024, p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647, p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->memPitch = 2147483647;
  p->unifiedAddressing = p->memoryPoolsSupported = p->cooperativeLaunch = p->concurrentKernels = 1;
}
int cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
  (void)device;
  describe(properties);
  return 0;
}
int cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
  struct cudaDeviceProp p;
  (void)device;
  describe(&p);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = p.sharedMemPerBlock; break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = p.sharedMemPerMultiprocessor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = p.sharedMemPerBlockOptin; break;
    default: *value = 1;
  }
  return 0;
}
static int one(int *value, int number) {
  *value = number;
  return 0;
}
int cudaGetDeviceCount(int *count) { return one(count, 1); }
int cudaGetDevice(int *device) { return one(device, 0); }
int cudaDriverGetVersion(int *version) { return one(version, 13000); }
int cudaRuntimeGetVersion(int *version) { return one(version, 13000); }
int cudaMemGetInfo(size_t *available, size_t *total) {
  *total = 80ull << 30;
  *available = *total - in_use;
  return 0;
}
const char *cudaGetErrorString(int error) { return error ? "an error of the stub" : "no error"; }
const char *cudaGetErrorName(int error) { return cudaGetErrorString(error); }
int cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned version, unsigned long long flags,
                                     int *found) {
  (void)symbol, (void)version, (void)flags;
  *function = NULL;
  if (found != NULL) *found = 1;
  return 0;
}

/* ---- Memory ---- */

int cudaMalloc(void **pointer, size_t bytes) {
  if (refused_in_capture("cudaMalloc")) return cudaErrorStreamCaptureUnsupported;
  char *memory = mmap(NULL, bytes + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return cudaErrorMemoryAllocation;
  *(size_t *)memory = bytes;
  *pointer = memory + PAGE;
  in_use += bytes;
  if (in_use > peak) peak = in_use;
  return 0;
}
int cudaFree(void *pointer) {
  if (pointer == NULL) return 0;
  if (refused_in_capture("cudaFree")) return cudaErrorStreamCaptureUnsupported;
  char *memory = (char *)pointer - PAGE;
  size_t bytes = *(size_t *)memory;
  in_use -= bytes;
  munmap(memory, bytes + PAGE);
  return 0;
}
int cudaMallocAsync(void **pointer, size_t bytes, void *stream) {
  (void)stream;
  return cudaMalloc(pointer, bytes);
}
int cudaMallocFromPoolAsync(void **pointer, size_t bytes, void *pool, void *stream) {
  (void)pool, (void)stream;
  return cudaMalloc(pointer, bytes);
}
int cudaFreeAsync(void *pointer, void *stream) {
  (void)stream;
  return cudaFree(pointer);
}
int cudaMallocHost(void **pointer, size_t bytes) {
  *pointer = calloc(1, bytes);
  return *pointer == NULL ? cudaErrorMemoryAllocation : 0;
}
int cudaHostAlloc(void **pointer, size_t bytes, unsigned flags) {
  (void)flags;
  return cudaMallocHost(pointer, bytes);
}
int cudaFreeHost(void *pointer) {
  free(pointer);
  return 0;
}

static int copy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, const char *how) {
  static const char *const kinds[] = {"host-to-host", "host-to-device", "device-to-host", "device-to-device", "default"};
  stub_log("copy %s %zu %s", kinds[kind], bytes, how);
  if (bytes <= COPIED_BYTES) memcpy(to, from, bytes);
  return 0;
}
int cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
  if (refused_in_capture("cudaMemcpy")) return cudaErrorStreamCaptureUnsupported;
  return copy(to, from, bytes, kind, "waits");
}
int cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, void *stream) {
  (void)stream;
  return copy(to, from, bytes, kind, "on-stream");
}
int cudaMemset(void *pointer, int value, size_t bytes) {
  stub_launched();
  stub_log("fill %zu", bytes);
  if (bytes <= COPIED_BYTES) memset(pointer, value, bytes);
  return 0;
}
int cudaMemsetAsync(void *pointer, int value, size_t bytes, void *stream) {
  (void)stream;
  return cudaMemset(pointer, value, bytes);
}

/* ---- Streams and events ---- */

static int made(void **handle) {
  *handle = malloc(8);
  return 0;
}
int cudaStreamCreate(void **stream) { return made(stream); }
int cudaStreamCreateWithFlags(void **stream, unsigned flags) { return (void)flags, made(stream); }
int cudaEventCreate(void **event) { return made(event); }
int cudaEventCreateWithFlags(void **event, unsigned flags) { return (void)flags, made(event); }
int cudaEventElapsedTime(float *ms) { return *ms = 1, 0; }
int cudaStreamIsCapturing(void *stream, int *status) { return (void)stream, one(status, is_capturing); }
static int wait_for(const char *what) {
  if (refused_in_capture(what)) return cudaErrorStreamCaptureUnsupported;
  return stub_log("wait %s", what), 0;
}
int cudaStreamSynchronize(void *stream) { return (void)stream, wait_for("stream"); }
int cudaDeviceSynchronize(void) { return wait_for("device"); }
int cudaEventSynchronize(void *event) { return (void)event, wait_for("event"); }

/* ---- CUDA graphs: a graph is the number of its launches ---- */

int cudaStreamBeginCapture(void *stream, int mode) {
  (void)stream, (void)mode;
  is_capturing = 1, captured_launches = 0;
  stub_log("capture begins");
  return 0;
}
int cudaStreamEndCapture(void *stream, void **graph) {
  (void)stream;
  is_capturing = 0;
  int *launches = malloc(sizeof *launches);
  *launches = captured_launches;
  *graph = launches;
  stub_log("capture ends");
  return 0;
}
int cudaGraphInstantiate(void **executable, void *graph, unsigned long long flags) {
  (void)flags;
  int *launches = malloc(sizeof *launches);
  *launches = *(int *)graph;
  *executable = launches;
  return 0;
}
int cudaGraphLaunch(void *executable, void *stream) {
  (void)stream;
  stub_log("graph %d", *(int *)executable);
  return 0;
}
int cudaGraphDestroy(void *graph) { return free(graph), 0; }
int cudaGraphExecDestroy(void *executable) { return free(executable), 0; }
