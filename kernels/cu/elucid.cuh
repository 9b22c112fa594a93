// What the kernels share: how one is declared, which thread this is, and arithmetic that nobody rearranges.
//
// No headers but our own are included, so a bare NVRTC compiles every kernel. A host C++ compiler does too (see
// tests/src/emulator/): it must have threadIdx, blockIdx, blockDim and fabsf before it comes here, and must not
// contract a * b + c itself (-ffp-contract=off).
#ifndef ELUCID_CUH
#define ELUCID_CUH

#include "params.h"

#ifdef __CUDACC__
#define ELUCID_DEVICE static __device__ __forceinline__
#define ELUCID_KERNEL extern "C" __global__ void __launch_bounds__(ELUCID_BLOCK)
#else
#define ELUCID_DEVICE static inline
#define ELUCID_KERNEL extern "C" void
#endif

// The number of this thread in a grid of one dimension.
ELUCID_DEVICE unsigned int elucid_thread() { return blockIdx.x * blockDim.x + threadIdx.x; }

// Each operation rounded by itself. CUDA compilers fuse a plain a * b + c into one rounding; the CPU's code, which a
// kernel must equal, doesn't.
#ifdef __CUDACC__
ELUCID_DEVICE float add_rn(float a, float b) { return __fadd_rn(a, b); }
ELUCID_DEVICE float sub_rn(float a, float b) { return __fsub_rn(a, b); }
ELUCID_DEVICE float mul_rn(float a, float b) { return __fmul_rn(a, b); }
ELUCID_DEVICE float div_rn(float a, float b) { return __fdiv_rn(a, b); }
#else
ELUCID_DEVICE float add_rn(float a, float b) { return a + b; }
ELUCID_DEVICE float sub_rn(float a, float b) { return a - b; }
ELUCID_DEVICE float mul_rn(float a, float b) { return a * b; }
ELUCID_DEVICE float div_rn(float a, float b) { return a / b; }
#endif

#endif
