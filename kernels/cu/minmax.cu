// A map whose minimum becomes 0 and whose maximum 1: (x - min) / (max - min + 1e-7), image by image.
//
// The CPU reference is `minmax` in core/src/op/map.rs, which this equals bit for bit: minimum and maximum don't depend on
// the order they are taken in, and what is not a number is left out of both.
//
// Versions
//   1. a block per image: each thread takes every 256th cell, then warps and the block reduce. The adapter's maps have some
//      1600 cells, 6.4 kB: what this costs is the launch. Only with maps of 10^6 cells one block an image would be slow.
#include "elucid.cuh"

// Added to the range of a map, so that a constant one doesn't divide by zero.
#define MINMAX_LEAST_RANGE 1e-7f
#define MINMAX_WARPS (ELUCID_BLOCK / 32)

ELUCID_KERNEL(elucid_minmax, MinmaxParams, ELUCID_BLOCK, 4) {
    __shared__ float leasts[MINMAX_WARPS];
    __shared__ float mosts[MINMAX_WARPS];
    const unsigned int thread = threadIdx.x;

    for (unsigned int image = blockIdx.x; image < p.images; image += gridDim.x) {
        const float *x = p.x + (unsigned long long)image * p.count;
        float *y = p.y + (unsigned long long)image * p.count;

        float least = of_bits(0x7f800000u), most = of_bits(0xff800000u);
        for (unsigned int i = thread; i < p.count; i += ELUCID_BLOCK) {
            least = fminf(least, x[i]);
            most = fmaxf(most, x[i]);
        }
#pragma unroll
        for (int other = 16; other > 0; other /= 2) {
            least = fminf(least, __shfl_xor_sync(0xffffffffu, least, other));
            most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, other));
        }
        if (thread % 32 == 0) {
            leasts[thread / 32] = least;
            mosts[thread / 32] = most;
        }
        __syncthreads();
#pragma unroll
        for (int warp = 0; warp < MINMAX_WARPS; ++warp) {
            least = fminf(least, leasts[warp]);
            most = fmaxf(most, mosts[warp]);
        }
        // Before the next image's are written.
        __syncthreads();

        const float range = add_rn(sub_rn(most, least), MINMAX_LEAST_RANGE);
        for (unsigned int i = thread; i < p.count; i += ELUCID_BLOCK) y[i] = div_rn(sub_rn(x[i], least), range);
    }
}
