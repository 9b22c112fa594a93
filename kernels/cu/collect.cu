// The end of an explanation: the relevance of the image, summed over its channels, is the heat map.
//
// heat[pixel] = sum_c R[pixel, c], in ascending order of channels, written or added. The CPU reference is `collect` in
// core/src/op/head.rs, which this equals bit for bit.
//
// Versions
//   1. one thread per pixel. An image has three channels, so a warp reads 384 consecutive bytes, in three strided
//      loads that share their cache lines; every byte comes from memory once.
#include "elucid.cuh"

ELUCID_KERNEL(elucid_collect, CollectParams, ELUCID_BLOCK, 4) {
    const unsigned int pixel = elucid_thread();
    if (pixel >= p.pixels) return;

    const float *r = p.relevance + (unsigned long long)pixel * p.channels;
    float sum = r[0];
    for (unsigned int c = 1; c < p.channels; ++c) sum = add_rn(sum, r[c]);
    p.heat[pixel] = p.accumulate ? add_rn(p.heat[pixel], sum) : sum;
}
