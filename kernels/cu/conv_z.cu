// z+ relevance, first half: z = conv(a, max(w, 0)) + eps and s = r / z, the division fused into the product.
//
// The CPU reference is core/src/op/conv (`relevance`). Where z vanishes, s is 0; or, where relevance of such a cell is to be
// spread over its inputs, ELUCID_DEAD_CELL, which elucid_back_* looks for. Weights aren't copied: what is negative of them
// becomes 0 on its way into shared memory.
//
// Versions
//   1. the product of conv.cu into memory, then a second kernel for the quotient: z crosses memory twice.
//   2. the quotient in the epilogue: z never leaves registers. Without r, z is written for several maps to share.
#include "product.cuh"
#include "quotient.cuh"

template <class Weight, bool WIDE, int ROWS>
ELUCID_DEVICE void denominate(const QuotientParams &p, GemmMemory<8 * ROWS> &memory) {
    float acc[ROWS][4];
    const unsigned int first = blockIdx.x * (8u * ROWS), end = p.shape.oh * p.shape.ow;
    const unsigned int channel = blockIdx.y * ELUCID_TILE;
    product<Weight, WIDE, true, ROWS>(p.a, p.weight, p.shape, first, end, channel, memory, acc);

    const unsigned int co = p.shape.co, n = channel + (threadIdx.x & 15u) * 4u, width = n < co ? co - n : 0u;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        const unsigned int pixel = first + (threadIdx.x >> 4) * ROWS + r;
        if (pixel >= end || width == 0u) continue;
        const unsigned int at = pixel * co + n;
        if ((co & 3u) == 0u) {
            float4 v = make_float4(add_rn(acc[r][0], p.eps), add_rn(acc[r][1], p.eps), add_rn(acc[r][2], p.eps),
                                   add_rn(acc[r][3], p.eps));
            if (p.r) {
                const float4 above = load4(p.r + at);
                v = make_float4(quotient(above.x, v.x, p.spread), quotient(above.y, v.y, p.spread),
                                quotient(above.z, v.z, p.spread), quotient(above.w, v.w, p.spread));
            }
            store4(p.s + at, v);
        } else {
#pragma unroll
            for (int c = 0; c < 4; ++c) {
                if (c >= (int)width) continue;
                const float z = add_rn(acc[r][c], p.eps);
                p.s[at + c] = p.r ? quotient(p.r[at + c], z, p.spread) : z;
            }
        }
    }
}

#define CONV_Z(name, Weight, WIDE, ROWS)                                                                               \
    ELUCID_KERNEL(name, QuotientParams, ELUCID_GEMM_BLOCK, ROWS == 8 ? 4 : 5) {                                                        \
        __shared__ GemmMemory<8 * ROWS> memory;                                                                        \
        denominate<Weight, WIDE, ROWS>(p, memory);                                                                     \
    }

CONV_Z(elucid_z_f32, float, true, 8)
CONV_Z(elucid_z_f16, elucid_half, true, 8)
CONV_Z(elucid_z_half_f32, float, true, 4)
CONV_Z(elucid_z_half_f16, elucid_half, true, 4)
CONV_Z(elucid_z_single_f32, float, false, 8)
CONV_Z(elucid_z_single_f16, elucid_half, false, 8)

// s = r / z where z is known already: the second and later maps of one image.
ELUCID_KERNEL(elucid_divide, DivideParams, ELUCID_BLOCK, 8) {
    const unsigned int i = elucid_thread();
    if (i >= p.count) return;
    p.s[i] = quotient(p.r[i], p.z[i], p.spread);
}
