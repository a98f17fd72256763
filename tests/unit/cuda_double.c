/* Doubles of NVIDIA's driver and of cuDNN: memory is the processor's, and the convolution is computed there. Built once as
   libcuda.so.1 and once as libcudnn.so.9; DOUBLE_GPUS says how many GPUs there are, DOUBLE_WRONG that they miscompute. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t address;
struct shape { int n, c, h, w; };

int cuInit(unsigned flags) { return flags != 0 || getenv("DOUBLE_NO_DRIVER") ? 100 : 0; }
int cuGetErrorString(int status, const char **text) { (void)status; *text = "no CUDA-capable device is detected"; return 0; }
int cuDeviceGetCount(int *count) { *count = atoi(getenv("DOUBLE_GPUS")); return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = malloc(1 + device); return 0; }
int cuCtxSetCurrent(void *context) { return context == NULL; }
int cuCtxSynchronize(void) { return 0; }
int cuMemAlloc_v2(address *memory, size_t size) { *memory = (address)calloc(1, size); return size == 0; }
int cuMemcpyHtoD_v2(address to, const void *from, size_t size) { memcpy((void *)to, from, size); return 0; }
int cuMemcpyDtoH_v2(void *to, address from, size_t size) { memcpy(to, (void *)from, size); return 0; }

size_t cudnnGetVersion(void) { return 91501; }
const char *cudnnGetErrorString(int status) { return status == 3 ? "CUDNN_STATUS_BAD_PARAM" : "CUDNN_STATUS_SUCCESS"; }
static int make(void **handle) { *handle = calloc(1, sizeof(struct shape)); return 0; }
int cudnnCreate(void **handle) { return make(handle); }
int cudnnCreateTensorDescriptor(void **handle) { return make(handle); }
int cudnnCreateFilterDescriptor(void **handle) { return make(handle); }
int cudnnCreateConvolutionDescriptor(void **handle) { return make(handle); }
int cudnnSetTensor4dDescriptor(struct shape *x, int format, int type, int n, int c, int h, int w) {
  *x = (struct shape){n, c, h, w};
  return format == 0 && type == 0 ? 0 : 3;
}
int cudnnSetFilter4dDescriptor(struct shape *x, int type, int format, int k, int c, int h, int w) {
  return cudnnSetTensor4dDescriptor(x, format, type, k, c, h, w);
}
int cudnnSetConvolution2dDescriptor(void *how, int ph, int pw, int u, int v, int dh, int dw, int mode, int type) {
  return how && ph == 0 && pw == 0 && u == 1 && v == 1 && dh == 1 && dw == 1 && mode == 1 && type == 0 ? 0 : 3;
}
int cudnnGetConvolutionForwardWorkspaceSize(void *cudnn, void *x, void *w, void *how, void *y, int algorithm, size_t *size) {
  *size = 64;
  return cudnn && x && w && how && y && algorithm == 0 ? 0 : 3;
}
int cudnnConvolutionForward(void *cudnn, float *alpha, struct shape *x, address image, struct shape *w, address filters,
                            void *how, int algorithm, address workspace, size_t size, float *beta, struct shape *y,
                            address result) {
  if (!cudnn || !how || algorithm != 0 || !workspace || size != 64 || *alpha != 1 || *beta != 0) return 3;
  if (y->c != w->n || x->c != w->c || y->h != x->h - w->h + 1) return 3;
  for (int f = 0; f < y->c; ++f)
    for (int row = 0; row < y->h; ++row)
      for (int column = 0; column < y->w; ++column) {
        float sum = getenv("DOUBLE_WRONG") ? 1 : 0;
        for (int c = 0; c < x->c; ++c)
          for (int i = 0; i < w->h; ++i)
            for (int j = 0; j < w->w; ++j)
              sum += ((float *)image)[(c * x->h + row + i) * x->w + column + j] *
                     ((float *)filters)[((f * w->c + c) * w->h + i) * w->w + j];
        ((float *)result)[(f * y->h + row) * y->w + column] = sum;
      }
  return 0;
}
