// A file of this name is compiled once for each precision, which its kernels' names tell.
#include "optmsm.cuh"

#define F32 1
#define TF32 2
#define BF16 3
#if PRECISION == F32
#define KERNEL(name) name##_f32
#elif PRECISION == TF32
#define KERNEL(name) name##_tf32
#else
#define KERNEL(name) name##_bf16
#endif

// out[0] = the precision's number above.
extern "C" __global__ void __launch_bounds__(32) KERNEL(precision)(unsigned* out) {
    if (threadIdx.x == 0) out[0] = PRECISION;
}
