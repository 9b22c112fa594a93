// The adapter's map in the size of the image, resized bilinearly: centres of pixels on halves, borders repeated.
//
// The CPU reference is `enlarge` in core/src/op/token.rs, which this equals bit for bit: same operations, same order, each
// rounded.
//
// Versions
//   1. one thread per pixel. The map lies in the cache; 4 bytes are written for each pixel and target: bound by writing.
#include "resize.cuh"

ELUCID_KERNEL(elucid_enlarge, EnlargeParams, ELUCID_BLOCK, 8) {
    const unsigned int i = elucid_thread();
    const unsigned int pixels = p.rows * p.columns, cells = p.map_rows * p.map_columns;
    if (i >= pixels) return;

    const Taps<2> down = linear_taps(i / p.columns, p.map_rows, p.down);
    const Taps<2> across = linear_taps(i % p.columns, p.map_columns, p.across);
    for (unsigned int image = blockIdx.y; image < p.images; image += gridDim.y) {
        const float *map = p.map + (unsigned long long)image * cells;
        const Few<1> value = mix<1, 2>(map, p.map_columns, 1, down, across, all_of<1>(0.0f));
        float *heat = p.heat + (unsigned long long)image * p.targets * pixels + i;
        for (unsigned int target = 0; target < p.targets; ++target) heat[(unsigned long long)target * pixels] = value.v[0];
    }
}
