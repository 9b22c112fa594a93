// The activations of transformers, one value at a time: what the epilogues of products call.
//
// The CPU reference is core/src/simd/function.rs; both are exact to 3e-7 of |x|, but not bit for bit the same.
// No finite x overflows: far from 0 both are exactly x or 0.
#ifndef ELUCID_ACTIVATION_CUH
#define ELUCID_ACTIVATION_CUH

#include "elucid.cuh"

// x Phi(x), Phi the distribution function of the normal distribution: x / 2 + x / 2 * erf(x / sqrt 2), rounded once.
ELUCID_DEVICE float gelu(float x) {
    const float half = mul_rn(x, 0.5f);
    return fmaf(half, erff(mul_rn(x, 0.70710678118654752f)), half);
}

// x sigmoid(1.702 x), by the exponential of what isn't positive.
ELUCID_DEVICE float quick_gelu(float x) {
    const float size = fabsf(x);
    const float e = expf(mul_rn(size, -1.702f));
    return fmaf(size, -div_rn(e, add_rn(e, 1.0f)), fmaxf(x, 0.0f));
}

#endif
