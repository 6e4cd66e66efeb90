/* cuBLAS without a GPU: products are recorded with their sizes. The numbers of types are cudaDataType_t's. */
#include <stdlib.h>

void stub_log(const char *format, ...);
void stub_launched(void);

int cublasCreate_v2(void **handle) {
  *handle = malloc(64);
  return 0;
}
int cublasGemmEx(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha, const void *a,
                 int type) {
  (void)handle, (void)transpose_a, (void)transpose_b, (void)alpha, (void)a;
  stub_launched();
  stub_log("product %d %d %d %d", m, n, k, type);
  return 0;
}
int cublasSgemm_v2(void *handle, int transpose_a, int transpose_b, int m, int n, int k) {
  (void)handle, (void)transpose_a, (void)transpose_b;
  stub_launched();
  stub_log("product %d %d %d 0", m, n, k);
  return 0;
}
const char *cublasGetStatusName(int status) { return status ? "an error of the stub" : "no error"; }
const char *cublasGetStatusString(int status) { return cublasGetStatusName(status); }
