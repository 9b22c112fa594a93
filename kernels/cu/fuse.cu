// A feature map added to the grid of every image, resized to it bilinearly; rows of tokens stay what they are.
//
// The CPU reference is `fuse` in core/src/op/token.rs, which this equals bit for bit: same operations, same order, each
// rounded.
//
// Versions
//   1. one thread per element, four where channels are a multiple of four. 8 bytes for an element and those of the map,
//      which is smaller than the grid or as large; its four cells come from the cache: bound by memory.
#include "resize.cuh"

template <int N>
ELUCID_DEVICE void fuse_of(const FuseParams &p) {
    const unsigned int i = elucid_thread() * N;
    const unsigned int count = (p.tokens + p.rows * p.columns) * p.channels;
    if (i >= count) return;

    const unsigned int row = i / p.channels, channel = i % p.channels;
    const unsigned int cell = row < p.tokens ? 0 : row - p.tokens;
    const Taps<2> down = linear_taps(cell / p.columns, p.map_rows, p.down);
    const Taps<2> across = linear_taps(cell % p.columns, p.map_columns, p.across);
    const unsigned int cells = p.map_rows * p.map_columns;
    for (unsigned int image = blockIdx.y; image < p.images; image += gridDim.y) {
        const unsigned long long at = (unsigned long long)image * count + i;
        const float *map = p.map + (unsigned long long)image * cells * p.channels + channel;
        Few<N> y = Few<N>::load(p.x + at);
        if (row >= p.tokens) y = mix<N, 2>(map, p.map_columns, p.channels, down, across, y);
        Few<N>::store(p.y + at, y);
    }
}

ELUCID_KERNEL(elucid_fuse, FuseParams, ELUCID_BLOCK, 6) {
    if (p.vector) {
        fuse_of<4>(p);
    } else {
        fuse_of<1>(p);
    }
}
