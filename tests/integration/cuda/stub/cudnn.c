/* cuDNN without a GPU. The graphs use no kernel of it; the provider asks for its version. */
#include <stddef.h>

size_t cudnnGetVersion(void) { return 91000; }
const char *cudnnGetErrorString(int status) { return status ? "an error of the stub" : "no error"; }
