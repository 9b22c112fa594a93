// Convolution, forward: y = activation(conv(x, w) * scale + shift + skip), [h, w, ci] -> [oh, ow, co], for all images of a
// batch at once; a fully connected layer over rows is a 1x1 convolution.
//
// The CPU reference is core/src/op/conv; sums run over taps, then input channels, as there, so the two differ by the order
// in which one accumulator is rounded only where a vector unit has several. BatchNorm is the epilogue's scale and shift,
// never folded; the addition that ends a residual block is its skip.
//
// Versions
//   1. one thread per output: every weight is read by every pixel. Bound by loads, 3 % of the peak by count.
//   2. tiles of 64 x 64 in shared memory, 8 x 4 outputs a thread (gemm.cuh): 32 multiply-adds for three 128-bit loads.
//      The input is gathered as it lies: four consecutive channels of a pixel are one 128-bit load, and running counters of
//      tap and channel replace divisions in the loop.
//   3. two steps in shared memory, one barrier a step: the next operands are loaded while the current ones are multiplied.
//   4. tiles of 32 x 64 where 64 pixels would leave multiprocessors idle (the last stages of a ResNet at batch 1).
//   5. GELU and QuickGELU in a loop over what a thread has just written: 32 times inlined they were most of the kernel, and a
//      Jetson would have compiled them for a minute.
// Inputs whose channels aren't a multiple of four (the image) go through the same tile with single loads.
#include "forward.cuh"

#define CONV(name, Weight, WIDE, ROWS)                                                                                 \
    ELUCID_KERNEL(name, ConvParams, ELUCID_GEMM_BLOCK, ROWS == 8 ? 4 : 5) {                                                            \
        __shared__ GemmMemory<8 * ROWS> memory;                                                                        \
        convolve<Weight, WIDE, ROWS>(p, memory);                                                                       \
    }

CONV(elucid_conv_f32, float, true, 8)
CONV(elucid_conv_f16, elucid_half, true, 8)
CONV(elucid_conv_half_f32, float, true, 4)
CONV(elucid_conv_half_f16, elucid_half, true, 4)
CONV(elucid_conv_single_f32, float, false, 8)
CONV(elucid_conv_single_f16, elucid_half, false, 8)
