// The tokens or the grid, cut out of every image.
//
// The CPU reference is `slice` in core/src/op/token.rs, which this equals bit for bit: it is a copy.
//
// Versions
//   1. one thread per element, 8 bytes moved for each: bound by memory. Four elements a thread where rows are multiples
//      of four.
#include "few.cuh"

template <int N>
ELUCID_DEVICE void slice_of(const SliceParams &p) {
    const unsigned int i = elucid_thread() * N;
    if (i >= p.count) return;
    for (unsigned int image = blockIdx.y; image < p.images; image += gridDim.y) {
        const float *x = p.x + (unsigned long long)image * p.stride + p.first;
        float *y = p.y + (unsigned long long)image * p.count;
        Few<N>::store(y + i, Few<N>::load(x + i));
    }
}

ELUCID_KERNEL(elucid_slice, SliceParams, ELUCID_BLOCK, 8) {
    if (p.vector) {
        slice_of<4>(p);
    } else {
        slice_of<1>(p);
    }
}
