// Parameter-free shortcut (option A): every stride-th pixel, with zero channels before and after; and its relevance.
//
// The CPU reference is core/src/op/subsample.rs, which this equals bit for bit. What lies on the zero channels has no
// input to go to; elucid_total books it.
//
// Versions
//   1. one thread per element that is written, both ways: no two threads meet, and neighbours write neighbours. Bound by
//      memory; its networks are small.
#include "elucid.cuh"

ELUCID_KERNEL(elucid_subsample, SubsampleParams, ELUCID_BLOCK, 4) {
    const unsigned int i = elucid_thread();
    if (i >= p.count) return;
    const unsigned int c = i % p.out_c, pixel = i / p.out_c;
    const unsigned int x = pixel % p.out_w, row = pixel / p.out_w;
    const unsigned int y = row % p.out_h, image = row / p.out_h;
    float v = 0.0f;
    if (c >= p.before && c < p.before + p.in_c) {
        const unsigned int from = (image * p.in_h + y * p.stride) * p.in_w + x * p.stride;
        v = p.from[from * p.in_c + (c - p.before)];
    }
    p.to[i] = v;
}

ELUCID_KERNEL(elucid_subsample_relevance, SubsampleParams, ELUCID_BLOCK, 4) {
    const unsigned int i = elucid_thread();
    if (i >= p.count) return;
    const unsigned int c = i % p.in_c, pixel = i / p.in_c;
    const unsigned int x = pixel % p.in_w, row = pixel / p.in_w;
    const unsigned int y = row % p.in_h, image = row / p.in_h;
    const bool passed = y % p.stride == 0 && x % p.stride == 0;
    if (!passed) {
        if (!p.accumulate) p.to[i] = 0.0f;
        return;
    }
    const unsigned int from = (image * p.out_h + y / p.stride) * p.out_w + x / p.stride;
    const float r = p.from[from * p.out_c + (c + p.before)];
    p.to[i] = add_rn(p.accumulate ? p.to[i] : 0.0f, r);
}
