// z+ relevance, first half, on tensor cores (sm_80 and later), for weights in halves: as conv_z.cu, and as exact.
//
// The product is that of conv_tensor.cu. What is missing of an activation in two halves is at most 2^-37, or 2^-22 of it, so of a
// denominator at most 2^-37 W and 2^-22 of it, with W the sum of its positive weights. Where that is more than 2^-19 of the denominator,
// z < 2^-18 W, or where an activation was too small for halves at all, a block does its tile once more as conv_z.cu does: in
// f32. With an eps well above 2^-18 W in the denominator nothing needs to be looked at.
//
// The CPU reference is core/src/op/conv (`relevance`).
//
// Versions
//   1. conv_z.cu: f32 on CUDA cores, half of the time of an explanation.
//   2. activations as halves: denominators that differ from those of the way back, which multiplies by the activations
//      themselves: relevance is lost.
//   3. two halves, and f32 where they don't suffice.
#include "denominator.cuh"
#include "tensor_product.cuh"

#ifdef ELUCID_TENSOR
// Whether one of this thread's denominators is too small for what the halves lack.
ELUCID_DEVICE bool doubtful(const QuotientParams &p, unsigned int first, unsigned int end, unsigned int channel,
                            const float (&acc)[8][4]) {
    const unsigned int n = channel + (threadIdx.x & 15u) * 4u;
    bool any = false;
    if (!p.sums || n >= p.shape.co) return any;
    // Panels are whole: four sums are there even where the channels end.
    const unsigned int row = (p.shape.co + ELUCID_PANEL - 1) / ELUCID_PANEL * ELUCID_PANEL;
    const float4 sums = load4(p.sums + p.shape.kh * p.shape.kw * row + n);
    const float least[4] = {sums.x, sums.y, sums.z, sums.w};
#pragma unroll
    for (unsigned int c = 0; c < 4u; ++c) {
#pragma unroll
        for (unsigned int r = 0; r < 8u; ++r)
            any |= n + c < p.shape.co && first + (threadIdx.x >> 4) * 8u + r < end && acc[r][c] > 0.0f &&
                   acc[r][c] < mul_rn(least[c], 3.814697265625e-6f); // 2^-18
    }
    return any;
}
#endif

ELUCID_KERNEL(elucid_tensor_z_f16, QuotientParams, ELUCID_GEMM_BLOCK, 3) {
    __shared__ TensorMemory memory;
    float acc[8][4];
    const unsigned int first = blockIdx.x * ELUCID_TILE, end = p.shape.oh * p.shape.ow;
    const unsigned int channel = blockIdx.y * ELUCID_TILE;
    const elucid_half *weight = (const elucid_half *)p.weight;
#ifdef ELUCID_TENSOR
    if (tensor_product<true>(p.a, weight, p.shape, first, end, channel, memory, acc) &&
        !__syncthreads_or(doubtful(p, first, end, channel, acc) ? 1 : 0)) {
        denominate<8>(p, first, end, channel, acc);
        return;
    }
    __syncthreads(); // the finished tile was read by all
#endif
    product<elucid_half, true, true, 8>(p.a, weight, p.shape, first, end, channel, memory.plain, acc);
    denominate<8>(p, first, end, channel, acc);
}
