// What the kernels share: how one is declared, which thread this is, stored halves, and arithmetic that nobody rearranges.
//
// No headers but our own are included, so a bare NVRTC compiles every kernel. A host C++ compiler does too: it includes its
// emulator of the device first (tests/emulator/), which defines ELUCID_EMULATED and what CUDA has built in, and it must not
// contract a * b + c itself (-ffp-contract=off).
#ifndef ELUCID_CUH
#define ELUCID_CUH

#include "params.h"

// ELUCID_KERNEL(name, Params, threads of a block, least blocks of a multiprocessor) { body; its argument is p }
#ifndef ELUCID_EMULATED
#define ELUCID_DEVICE static __device__ __forceinline__
#define ELUCID_KERNEL(name, Params, threads, blocks) \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const Params p)
#endif

// The number of this thread in a grid of one dimension.
ELUCID_DEVICE unsigned int elucid_thread() { return blockIdx.x * blockDim.x + threadIdx.x; }

// A stored half, and what it is worth: exact.
typedef unsigned short elucid_half;
ELUCID_DEVICE float widen(float w) { return w; }
#ifndef ELUCID_EMULATED
ELUCID_DEVICE float widen(elucid_half h) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}
#else
ELUCID_DEVICE float widen(elucid_half h) { return emulated_widen(h); }
#endif

// Functions that the compiler evaluates, and members of structs.
#ifndef ELUCID_EMULATED
#define ELUCID_CONSTANT __device__ __forceinline__
#define ELUCID_DEVICE_METHOD __device__ __forceinline__
#else
#define ELUCID_CONSTANT inline
#define ELUCID_DEVICE_METHOD inline
#endif

// Sixteen bytes at once; the address must be a multiple of sixteen.
#ifndef ELUCID_EMULATED
ELUCID_DEVICE float4 load4(const float *from) { return *reinterpret_cast<const float4 *>(from); }
ELUCID_DEVICE uint4 load8(const elucid_half *from) { return *reinterpret_cast<const uint4 *>(from); }
ELUCID_DEVICE void store4(float *to, float4 v) { *reinterpret_cast<float4 *>(to) = v; }
ELUCID_DEVICE void store8(elucid_half *to, uint4 v) { *reinterpret_cast<uint4 *>(to) = v; }
#else
ELUCID_DEVICE float4 load4(const float *from) { return emulated_load16<float4>(from); }
ELUCID_DEVICE uint4 load8(const elucid_half *from) { return emulated_load16<uint4>(from); }
ELUCID_DEVICE void store4(float *to, float4 v) { emulated_store16(to, v); }
ELUCID_DEVICE void store8(elucid_half *to, uint4 v) { emulated_store16(to, v); }
#endif

// The bits of a float, and the float of bits.
#ifndef ELUCID_EMULATED
ELUCID_DEVICE unsigned int bits_of(float v) { return __float_as_uint(v); }
ELUCID_DEVICE float of_bits(unsigned int bits) { return __uint_as_float(bits); }
#else
ELUCID_DEVICE unsigned int bits_of(float v) { return emulated_bits(v); }
ELUCID_DEVICE float of_bits(unsigned int bits) { return emulated_float(bits); }
#endif

// The half nearest to a float, ties to even; beyond the largest, infinity.
#ifndef ELUCID_EMULATED
ELUCID_DEVICE elucid_half narrow(float v) {
    elucid_half h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(v));
    return h;
}
#else
ELUCID_DEVICE elucid_half narrow(float v) { return emulated_narrow(v); }
#endif

// Each operation rounded by itself. CUDA compilers fuse a plain a * b + c into one rounding; the CPU's code, which a
// kernel must equal, doesn't. Where it does, both say fmaf.
#ifndef ELUCID_EMULATED
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
