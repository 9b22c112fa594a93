// Convolution, forward, as conv.cu, with the activations of transformers: GELU and QuickGELU in the epilogue.
//
// A file of its own, since 32 inlined error functions are most of its code: networks without them needn't compile it.
// The CPU reference is core/src/op/conv.
//
// Versions
//   1. an activation kernel after the product: the layer's output crosses memory three times.
//   2. in the epilogue of the product.
#include "forward.cuh"

#define CONV_SMOOTH(name, Weight, WIDE, ROWS)                                                                                 \
    ELUCID_KERNEL(name, ConvParams, ELUCID_GEMM_BLOCK, ROWS == 8 ? 4 : 5) {                                                            \
        __shared__ GemmMemory<8 * ROWS> memory;                                                                        \
        convolve<Weight, WIDE, true, ROWS>(p, memory);                                                                       \
    }

CONV_SMOOTH(elucid_smooth_f32, float, true, 8)
CONV_SMOOTH(elucid_smooth_f16, elucid_half, true, 8)
CONV_SMOOTH(elucid_smooth_half_f32, float, true, 4)
CONV_SMOOTH(elucid_smooth_half_f16, elucid_half, true, 4)
CONV_SMOOTH(elucid_smooth_single_f32, float, false, 8)
CONV_SMOOTH(elucid_smooth_single_f16, elucid_half, false, 8)
