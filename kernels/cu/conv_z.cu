// z+ relevance, first half: z = conv(a, max(w, 0)) + eps and s = r / z, the division fused into the product.
//
// The CPU reference is core/src/op/conv (`relevance`). Where z vanishes, s is 0; or, where relevance of such a cell is to be
// spread over its inputs, ELUCID_DEAD_CELL, which elucid_back_* looks for. Weights aren't copied: what is negative of them
// becomes 0 on its way into shared memory.
//
// Versions
//   1. the product of conv.cu into memory, then a second kernel for the quotient: z crosses memory twice.
//   2. the quotient in the epilogue: z never leaves registers. Without r, z is written for several maps to share.
#include "denominator.cuh"

template <class Weight, bool WIDE, int ROWS>
ELUCID_DEVICE void quotients(const QuotientParams &p, GemmMemory<8 * ROWS> &memory) {
    float acc[ROWS][4];
    const unsigned int first = blockIdx.x * (8u * ROWS), end = p.shape.oh * p.shape.ow;
    const unsigned int channel = blockIdx.y * ELUCID_TILE;
    product<Weight, WIDE, true, ROWS>(p.a, p.weight, p.shape, first, end, channel, memory, acc);
    denominate<ROWS>(p, first, end, channel, acc);
}

#define CONV_Z(name, Weight, WIDE, ROWS)                                                                               \
    ELUCID_KERNEL(name, QuotientParams, ELUCID_GEMM_BLOCK, ROWS == 8 ? 4 : 5) {                                                        \
        __shared__ GemmMemory<8 * ROWS> memory;                                                                        \
        quotients<Weight, WIDE, ROWS>(p, memory);                                                                     \
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
