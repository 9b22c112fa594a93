// A feature masked with a map: each pixel's channels times its cell.
//
// The CPU reference is `multiply` in core/src/op/map.rs, which this equals bit for bit.
//
// Versions
//   1. one thread per element, four where channels are a multiple of four: 8 bytes for an element, cells from the cache:
//      bound by memory. One division by the channels a thread.
#include "few.cuh"

template <int N>
ELUCID_DEVICE void mulmap_of(const MulmapParams &p) {
    const unsigned int i = elucid_thread() * N;
    if (i >= p.count) return;

    const float cell = p.map[i / p.channels];
    Few<N> y = Few<N>::load(p.x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) y.v[k] = mul_rn(y.v[k], cell);
    Few<N>::store(p.y + i, y);
}

ELUCID_KERNEL(elucid_mulmap, MulmapParams, ELUCID_BLOCK, 8) {
    if (p.vector) {
        mulmap_of<4>(p);
    } else {
        mulmap_of<1>(p);
    }
}
