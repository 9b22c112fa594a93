// A factor and a summand per channel: a BatchNorm that no convolution comes before.
//
// y = x * scale + shift, rounded once. The CPU reference is `affine` in core/src/op/norm.rs.
//
// Versions
//   1. one thread per element, four where channels are a multiple of four: 8 bytes for an element, factors and summands
//      from the cache: bound by memory. One modulo by the channels a thread.
#include "few.cuh"

template <int N>
ELUCID_DEVICE void affine_of(const AffineParams &p) {
    const unsigned int i = elucid_thread() * N;
    if (i >= p.count) return;

    const unsigned int channel = i % p.channels;
    const Few<N> x = Few<N>::load(p.x + i);
    const Few<N> scale = p.scale ? Few<N>::load(p.scale + channel) : all_of<N>(1.0f);
    const Few<N> shift = p.shift ? Few<N>::load(p.shift + channel) : all_of<N>(0.0f);
    Few<N> y;
#pragma unroll
    for (int k = 0; k < N; ++k) y.v[k] = fmaf(x.v[k], scale.v[k], shift.v[k]);
    Few<N>::store(p.y + i, y);
}

ELUCID_KERNEL(elucid_affine, AffineParams, ELUCID_BLOCK, 8) {
    if (p.vector) {
        affine_of<4>(p);
    } else {
        affine_of<1>(p);
    }
}
