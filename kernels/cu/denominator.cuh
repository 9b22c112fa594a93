// What conv_z.cu and conv_z_tensor.cu have in common: how the first half of z+ ends.
#ifndef ELUCID_DENOMINATOR_CUH
#define ELUCID_DENOMINATOR_CUH

#include "product.cuh"
#include "quotient.cuh"

// Divides by a tile of products, or writes it: this thread's pixels and four channels.
template <int ROWS>
ELUCID_DEVICE void denominate(const QuotientParams &p, unsigned int first, unsigned int end, unsigned int channel,
                              const float (&acc)[ROWS][4]) {
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

#endif
